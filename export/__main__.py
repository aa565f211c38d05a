"""`python -m export`: see `--help`."""

import argparse
import dataclasses
import importlib
import os
import sys
from pathlib import Path

from safetensors import SafetensorError

from export import ExportError, export
from export.exporter import Exported
from export.inputs import parse_dynamic, parse_input
from export.registry import OPSETS
from export.verify import table

_EPILOG = """\
a module of your own:
  python -m export --module jittor.models:resnet18 --input x=1x3x224x224 -o resnet18.onnx
  python -m export --module nets:build --input image=1x3x64x64 --input ids=1x16:int32:1000 --dynamic image:0,2,3 \\
      -o m.onnx --ir
a model of this project, into weights/ with its manifest:
  python -m export roi2d --weights runs/roi2d
"""


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m export", epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Export a Jittor module to ONNX and OpenVINO IR. Nothing is written unless ONNX Runtime and "
                    "OpenVINO agree with Jittor at several batch sizes.")
    parser.add_argument("name", nargs="?", help="a model of this project: roi2d, roi3d")
    parser.add_argument("--module", metavar="PKG.MOD:FACTORY",
                        help="a function (or class) without arguments that returns a module")
    parser.add_argument("--weights", metavar="FILE", help="safetensors to load, strictly; for NAME a folder will do")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=SHAPE[:DTYPE[:BELOW]]",
                        help="x=1x3x224x224, or ids=1x16:int32:1000 with values below 1000; once per input")
    parser.add_argument("--output", action="append", metavar="NAME", help="a name for an output; once per output")
    parser.add_argument("--dynamic", action="append", default=[], metavar="INPUT:AXIS,...",
                        help="axes whose size may change (default: 0). x: for none; x:0,2=h names an axis to share it")
    parser.add_argument("-o", "--out", type=Path, help="the .onnx file; for NAME the weights folder (default: weights)")
    parser.add_argument("--ir", action="store_true", help="also write an OpenVINO IR beside it (NAME always does)")
    parser.add_argument("--f16", action="store_true", help="store the IR's weights in half precision")
    parser.add_argument("--opset", type=int, default=17, help=f"{OPSETS[0]}..{OPSETS[-1]} (default: 17)")
    parser.add_argument("--keep-norms", action="store_true", help="do not fold BatchNorm into convolutions")
    parser.add_argument("--tolerance", type=float, default=1e-4,
                        help="largest error of outputs of unit std (default: 1e-4)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Exit status: 0 written, 1 could not be exported, 2 bad arguments."""
    parser = _parser()
    args = parser.parse_args(arguments)
    try:
        inputs = _inputs(args)
    except ValueError as error:
        parser.error(str(error))
    if bool(args.name) == bool(args.module):
        parser.error("give NAME or --module")
    if args.module and not (inputs and args.out):
        parser.error("--module needs --input and -o")
    if args.name and not args.weights:
        parser.error("NAME needs --weights")
    try:
        done = _publish(args) if args.name else _export_module(args, inputs)
    except (ExportError, ValueError, OSError, SafetensorError) as error:
        print(error, *getattr(error, "__notes__", ()), sep="\n", file=sys.stderr)
        return 1
    _report(done)
    return 0


def _inputs(args):
    inputs = {spec.name: spec for spec in map(parse_input, args.input)}
    for text in args.dynamic:
        name, dynamic = parse_dynamic(text)
        if name not in inputs:
            raise ValueError(f"--dynamic: the inputs are {', '.join(inputs)}; got {name}")
        inputs[name] = dataclasses.replace(inputs[name], dynamic=dynamic)
    return list(inputs.values())


def _publish(args):
    from export.publish import publish  # needs the project's models; a module of one's own does not

    return publish(args.name, args.weights, args.out or Path("weights"), opset=args.opset, f16=args.f16,
                   tolerance=args.tolerance)


def _export_module(args, inputs):
    model = _build(args.module)
    if args.weights:
        _load(model, Path(args.weights))
    return export(model, inputs, args.out, outputs=args.output, opset=args.opset, fold_norms=not args.keep_norms,
                  ir=args.ir, f16=args.f16, tolerance=args.tolerance)


def _build(text):
    import jittor as jt

    path, _, name = text.partition(":")
    sys.path.insert(0, os.getcwd())
    try:
        factory = getattr(importlib.import_module(path), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ExportError(f"module {text}", f"--module must be package.module:factory; {error}") from error
    model = factory if isinstance(factory, jt.Module) else factory()
    if not isinstance(model, jt.Module):
        raise ExportError(f"module {text}", f"the factory must return a jittor Module; got {type(model).__name__}")
    return model


def _load(model, path):
    """Strictly: the file's keys and shapes must be the state dict's."""
    import jittor as jt
    from safetensors.numpy import load_file

    arrays, state = load_file(path), model.state_dict()
    wrong = [f"missing {key}" for key in state if key not in arrays]
    wrong += [f"unexpected {key}" for key in arrays if key not in state]
    wrong += [f"{key} must be {list(state[key].shape)}; got {list(arrays[key].shape)}" for key in arrays
              if key in state and list(arrays[key].shape) != list(state[key].shape)]
    if wrong:
        more = f", and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise ValueError(f"{path} must fit the module: {'; '.join(wrong[:8])}{more}")
    for key, var in state.items():
        var.assign(jt.array(arrays[key]))


def _report(done: Exported):
    for assumption in done.assumptions:
        print(f"assumed at every size: {assumption}")
    print(table(done.agreements))
    for file in done.files:
        print(f"{file}  {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    sys.exit(main())
