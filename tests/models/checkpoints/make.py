"""Makes the checkpoints of this folder with PyTorch, and expected.npz by other means: `python make.py`.

PyTorch is no part of this project: run it with an interpreter that has torch and numpy. It was run with torch 2.13.0.
"""

import functools
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parent


def numbers(*shape: int) -> np.ndarray:
    """Distinct float32 with bits in every place."""
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def tensors() -> tuple[dict[str, torch.Tensor], dict[str, np.ndarray]]:
    """(what is saved, what must be read): the second by numpy alone, bfloat16 as the float32 of the same value."""
    saved, expected = {}, {}
    whole = np.array([0, 1, 2, 100, 127, -1, -100, -128])
    floats = np.array([0.0, -0.0, 1.5, -2.75, 65504.0, 6.1e-5, np.inf, -np.inf, np.nan])
    for name in ("float64", "float32", "float16"):
        expected[name] = floats.astype(name)
    for name in ("int64", "int32", "int16", "int8"):
        expected[name] = whole.astype(name) * (np.iinfo(name).max // 127)
    expected["uint8"] = np.arange(0, 256, 5, dtype=np.uint8)
    expected["uint16"] = np.array([0, 1, 40000, 65535], np.uint16)  # stored as bytes with a dtype, _rebuild_tensor_v3
    expected["bool"] = np.array([[True, False, True], [False, False, True]])
    expected["scalar"] = np.array(-7, np.int64)
    expected["empty"] = np.zeros((0, 3), np.float32)
    saved = {name: torch.from_numpy(array.copy()) for name, array in expected.items()}
    # Values whose lower 16 bits are 0 are bfloat16 already: nothing is rounded, by torch or by us.
    bits = numbers(5, 7).view(np.uint32) & 0xFFFF0000
    expected["bfloat16"] = bits.view(np.float32)
    saved["bfloat16"] = torch.from_numpy(expected["bfloat16"].copy()).bfloat16()
    expected["bfloat16_transposed"] = expected["bfloat16"].T[2:5]
    saved["bfloat16_transposed"] = saved["bfloat16"].t()[2:5]

    matrix = numbers(6, 8)
    one = torch.from_numpy(matrix.copy())
    views = {"base": (one, matrix), "transposed": (one.t(), matrix.T), "rows": (one[2:4], matrix[2:4]),
             "columns": (one[:, 1::3], matrix[:, 1::3]), "transposed_rows": (one.t()[1:3], matrix.T[1:3]),
             "element": (one[3, 5], matrix[3, 5]), "expanded": (one[0:1].expand(4, 8), np.repeat(matrix[0:1], 4, 0)),
             "diagonal": (one.diagonal(1), matrix.diagonal(1)), "window": (one.unfold(0, 3, 1)[1], matrix[1:4].T)}
    for name, (tensor, array) in views.items():
        saved[name], expected[name] = tensor, array
    image = numbers(2, 3, 4, 5)
    expected["channels_last"] = image
    saved["channels_last"] = torch.from_numpy(image.copy()).contiguous(memory_format=torch.channels_last)
    expected["parameter"] = numbers(3, 3)
    saved["parameter"] = torch.nn.Parameter(torch.from_numpy(expected["parameter"].copy()))
    expected["half_parameter"] = numbers(2, 2).astype(np.float16)
    saved["half_parameter"] = torch.nn.Parameter(torch.from_numpy(expected["half_parameter"].copy()), requires_grad=False)
    return saved, expected


class Encoder(torch.nn.Module):
    """A part with a convolution and running statistics."""

    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 4, 3, bias=False)
        self.norm = torch.nn.BatchNorm2d(4)


class Net(torch.nn.Module):
    """Two parts, as the SAM family has them."""

    def __init__(self):
        super().__init__()
        self.image_encoder = Encoder()
        self.mask_decoder = torch.nn.Linear(4, 2)


def trained_net() -> tuple[Net, torch.optim.Optimizer]:
    """A net after one step, so that the optimiser has a state."""
    torch.manual_seed(0)
    net = Net()
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    net.mask_decoder(net.image_encoder.norm(net.image_encoder.conv(torch.randn(2, 3, 8, 8))).mean((2, 3))).sum().backward()
    optimizer.step()
    return net, optimizer


def main() -> None:
    saved, expected = tensors()
    tree = {"tensors": OrderedDict(saved), "epoch": 12, "loss": 0.125, "best": None, "name": "größer",
            "done": True, "shape": torch.Size([2, 3]), "device": torch.device("cpu"), "dtype": torch.float16,
            "history": [1, -2, 3 << 40, (0.5, "x")], "nested": {"deep": {"base": saved["base"], 7: saved["scalar"]}}}
    torch.save(tree, FOLDER / "zip.pth")
    torch.save(tree, FOLDER / "zip_protocol4.pth", pickle_protocol=4)
    # PyTorch itself cannot write a uint16 in the legacy format and read it again.
    tree["tensors"] = OrderedDict((key, value) for key, value in saved.items() if key != "uint16")
    torch.save(tree, FOLDER / "legacy.pth", _use_new_zipfile_serialization=False)

    net, optimizer = trained_net()
    state = net.state_dict()
    for key, value in state.items():
        expected[f"net/{key}"] = value.numpy()
    torch.save(state, FOLDER / "plain.pth")
    ddp = OrderedDict((f"module.{key}", value) for key, value in state.items())
    torch.save({"model": ddp, "optimizer": optimizer.state_dict(), "epoch": 3, "best_loss": np.float64(0.5)},
               FOLDER / "training.pth", _use_new_zipfile_serialization=False)
    # What Lightning keeps of a module that saves its hyper-parameters, as MedficientSAM's do.
    lightning = {"epoch": 1, "global_step": 10, "pytorch-lightning_version": "2.2.0", "loops": {"fit_loop": {"state_dict": {}}},
                 "callbacks": {"ModelCheckpoint{'monitor': None}": {"best_model_score": torch.tensor(0.5)}},
                 "optimizer_states": [optimizer.state_dict()], "lr_schedulers": [{"gamma": 0.5}],
                 "hparams_name": "kwargs", "hyper_parameters": {
                     "optimizer": functools.partial(torch.optim.AdamW, lr=0.075, weight_decay=5e-4),
                     "scheduler": functools.partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.5)}}
    encoder = net.image_encoder.state_dict()
    both = {f"student_encoder.{key}": value for key, value in encoder.items()}
    both |= {f"teacher_encoder.{key}": value + 1 for key, value in encoder.items()}
    torch.save({"state_dict": both, **lightning}, FOLDER / "distilled.ckpt")
    torch.save({"state_dict": {f"model.{key}": value for key, value in state.items()}, **lightning}, FOLDER / "finetuned.ckpt")
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
