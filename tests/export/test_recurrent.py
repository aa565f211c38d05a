"""Recurrent layers as ONNX's own operators, at lengths and batches that differ from the traced ones."""

import pytest
from jittor import nn

from export import ExportError, Input, to_onnx

SEQUENCE = Input("x", (3, 1, 4), dynamic={0: "length", 1: "batch"})
SIZES = {"length": 2, "batch": 1}, {"length": 5, "batch": 3}


def test_recurrent_layers(agrees, kinds):
    modules = {
        "rnn": nn.RNN(4, 3), "relu": nn.RNN(4, 3, nonlinearity="relu", bias=False), "lstm": nn.LSTM(4, 3),
        "gru": nn.GRU(4, 3), "lstm_both_ways": nn.LSTM(4, 3, bidirectional=True),
        "gru_deep": nn.GRU(4, 3, num_layers=2, bidirectional=True, dropout=0.5),
        "lstm_deep": nn.LSTM(4, 3, num_layers=2, bias=False),
    }

    exported = agrees(lambda self, x: {name: getattr(self, name)(x) for name in modules}, SEQUENCE, modules=modules,
                      sizes=SIZES)
    found = kinds(exported)
    assert (found.count("RNN"), found.count("LSTM"), found.count("GRU")) == (2, 4, 3)
    names = [output.name for output in exported.graph.output]
    assert names[:2] == ["rnn_0", "rnn_1"] and {"lstm_0", "lstm_1_0", "lstm_1_1"} <= set(names)


def test_the_batch_in_front_and_states_to_start_from(agrees):
    """Jittor takes a batch in front, but returns the length there."""
    modules = {"gru": nn.GRU(4, 3, batch_first=True), "lstm": nn.LSTM(4, 3, num_layers=2, batch_first=True)}

    def run(self, x, start):
        return self.gru(x, start[:1])[0], self.lstm(x, (start, start * 2))

    x = Input("x", (1, 5, 4), dynamic={0: "batch"})
    agrees(run, x, Input("start", (2, 1, 3), dynamic={1: "batch"}), modules=modules)


def test_a_layer_that_onnx_does_not_have_is_unrolled_over_a_static_length(agrees, kinds):
    class Leaky(nn.RNN):
        def call_rnn_cell(self, input, hidden, suffix):
            new, _ = super().call_rnn_cell(input, hidden, suffix)
            mixed = 0.5 * new + 0.5 * hidden
            return mixed, mixed

    static = Input("x", (3, 1, 4), dynamic={1: "batch"})
    assert "RNN" not in kinds(agrees(Leaky(4, 3), static))
    with pytest.raises(ExportError, match="length is known only when the exported model runs"):
        to_onnx(Leaky(4, 3), [SEQUENCE])
