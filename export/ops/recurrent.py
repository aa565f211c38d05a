"""nn.RNN, nn.LSTM and nn.GRU as ONNX's operators of these names: batch and length may be dynamic.

Jittor has PyTorch's weights, one matrix for all gates: in_gates @ x, hid_gates @ h. Its result has the length in front
even with batch_first.
"""

import jittor as jt
import numpy as np
from jittor import nn

from export.graph import read
from export.registry import lowers
from export.symbolic import Shape

_GATES = {"RNN": [0], "LSTM": [0, 3, 1, 2], "GRU": [1, 0, 2]}
"""Where ONNX's gates (LSTM: input, output, forget, cell; GRU: update, reset, new) lie in Jittor's."""

_CELLS = {nn.RNN.call_rnn_cell, nn.LSTM.call_rnn_cell, nn.GRU.call_rnn_cell}


def _result(module, input, hx=None):
    """Vars of the shapes that `execute` returns; it would build every step."""
    length, batch = (input.shape[1], input.shape[0]) if module.batch_first else input.shape[:2]
    directions = 2 if module.bidirectional else 1
    width = module.proj_size or module.hidden_size
    output = jt.empty([length, batch, directions * width], input.dtype)
    hidden, cell = (jt.empty([directions * module.num_layers, batch, size], input.dtype)
                    for size in (width, module.hidden_size))
    return output, (hidden, cell) if module.mode == "LSTM" else hidden


@lowers("nn.RNNBase", result=_result)
def recurrent(g, out, module, input, hx=None):
    if module.proj_size or type(module).call_rnn_cell not in _CELLS:
        return NotImplemented  # step by step
    states = [] if hx is None else list(hx) if isinstance(hx, (list, tuple)) else [hx]
    x = g.op("Transpose", input, perm=[1, 0, 2]) if module.batch_first else g.operand(input)
    directions = 2 if module.bidirectional else 1
    ends = []
    for layer in range(module.num_layers):
        suffixes = [f"l{layer}", f"l{layer}_reverse"][:directions]
        start = [_part(g, state, layer * directions, directions) for state in states]
        y, *last = _layer(g, module, x, suffixes, start)
        ends.append(last)
        # (length, directions, batch, H) to (length, batch, directions * H)
        merged = g.int64s(0, 0, directions * module.hidden_size)
        x = g.op("Reshape", g.op("Transpose", y, perm=[0, 2, 1, 3]), merged)
    hidden = [_stacked(g, parts) for parts in zip(*ends)]
    return x, tuple(hidden) if module.mode == "LSTM" else hidden[0]


def _layer(g, module, x, suffixes, start):
    """Y, and the last hidden state (and cell) of one layer."""
    weights = [np.stack([_by_gate(module, f"weight_{kind}_{suffix}") for suffix in suffixes]) for kind in ("ih", "hh")]
    bias = None
    if module.bias:
        bias = np.stack([np.concatenate([_by_gate(module, f"bias_{kind}_{suffix}") for kind in ("ih", "hh")])
                         for suffix in suffixes])
    activation = (module.nonlinearity or "tanh").title()
    return g.op(
        module.mode, x, *weights, bias, None, *start, outputs=3 if module.mode == "LSTM" else 2,
        hidden_size=module.hidden_size, direction="bidirectional" if len(suffixes) == 2 else "forward",
        activations=[activation] * len(suffixes) if module.mode == "RNN" else None,
        linear_before_reset=1 if module.mode == "GRU" else None)


def _by_gate(module, name):
    gates = read(getattr(module, name)).reshape(len(_GATES[module.mode]), module.hidden_size, -1)
    ordered = np.concatenate([gates[gate] for gate in _GATES[module.mode]])
    return ordered if name.startswith("weight") else ordered[:, 0]


def _part(g, state, first, count):
    if Shape(state.shape)[0] == count:
        return g.operand(state)
    return g.op("Slice", state, g.int64s(first), g.int64s(first + count), g.int64s(0))


def _stacked(g, parts):
    return parts[0] if len(parts) == 1 else g.op("Concat", *parts, axis=0)
