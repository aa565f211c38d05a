"""`python -m models.checkpoints`: see `--help`."""

import argparse
import contextlib
import math
import sys
from pathlib import Path

from safetensors import SafetensorError, safe_open

from models.checkpoints import convert, registry
from models.checkpoints.errors import CheckpointError, brief, naming, printable
from models.checkpoints.files import read_checkpoint
from models.checkpoints.tensors import Tensor
from models.weights import write_weights

DONE, REFUSED, BAD_ARGUMENTS = 0, 1, 2

_DESCRIPTION = """\
Official PyTorch checkpoints (.pth, .pt, .ckpt; zip or legacy) to safetensors for the models of this project. Nothing in
a checkpoint is ever run: a name that it asks for and that is no tensor is refused. Exit status: 0 done, 1 the file is
refused, 2 bad arguments."""
_EPILOG = """\
  python -m models.checkpoints where medsam-vit-b
  python -m models.checkpoints show medsam_vit_b.pth
  python -m models.checkpoints convert medsam_vit_b.pth -o out/medsam-vit-b.safetensors --model medsam-vit-b
  python -m models.checkpoints convert step_400000.ckpt --with medsam_vit_b.pth -o out/m.safetensors --model medficientsam-l1
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m models.checkpoints", description=_DESCRIPTION, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    inert = argparse.ArgumentParser(add_help=False)
    inert.add_argument("--inert", action="append", default=[], metavar="NAME",
                       help="a name, pkg.module.attribute, that the file calls beside its weights and that may be passed over "
                            "(it is not run either way)")
    into = commands.add_parser("convert", parents=[inert], help="write the weights of a model")
    into.add_argument("source", type=Path, metavar="SRC")
    into.add_argument("-o", "--out", type=Path, required=True, metavar="OUT", help="the .safetensors file to write")
    into.add_argument("--model", required=True, metavar="NAME", help=", ".join(registry.MODELS))
    into.add_argument("--with", dest="others", type=Path, action="append", default=[], metavar="FILE",
                      help="take the parts that SRC lacks altogether (prompt_encoder, mask_decoder) from FILE")
    into.add_argument("--part", metavar="PART", help="convert one part only, such as image_encoder")
    show = commands.add_parser("show", parents=[inert], help="list what a file holds: key, dtype, shape")
    show.add_argument("source", type=Path, metavar="SRC")
    where = commands.add_parser("where", help="which file a model needs, where it is published, and what to do with it")
    where.add_argument("model", nargs="?", metavar="NAME")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        if getattr(args, "model", None):
            registry.model_of(args.model)
        if args.command == "convert" and args.out.suffix != ".safetensors":
            raise CheckpointError(f"OUT must end in .safetensors; got {printable(str(args.out))}")
    except CheckpointError as error:
        print(error, file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        {"convert": _convert, "show": _show, "where": _where}[args.command](args)
    except (CheckpointError, OSError, SafetensorError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    return DONE


def _convert(args: argparse.Namespace) -> None:
    """Nothing is written before all keys and shapes have been checked."""
    rules, sources = registry.model_of(args.model).rules, [args.source, *args.others]
    state = {}
    for path in sources:
        tree = read_checkpoint(path, args.inert)
        with naming(path):
            ours, left_out = convert.renamed(convert.state_of(tree), rules)
        for what, count in left_out.items():
            print(f"{printable(path.name)}: left out {count} keys {what}")
        state = convert.add_parts(state, ours)
    shapes, facts = registry.expected(args.model)
    name = args.model
    if args.part:
        name = f"{args.part} of {args.model}"
        state, shapes = ({key: value for key, value in keys.items() if key.startswith(f"{args.part}.")}
                         for keys in (state, shapes))
        if not shapes:
            raise CheckpointError(f"--part must be a part of {args.model}; got {args.part}")
    with naming(*sources):
        convert.check_fit(state, shapes, name)
        digests = [convert.sha256_of(path) for path in sources]
        arrays = convert.arrays_of({key: state[key] for key in shapes})
    facts |= {"model": args.model, "source": " + ".join(path.name for path in sources), "source_sha256": " + ".join(digests)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_weights(args.out, arrays, facts | ({"part": args.part} if args.part else {}))
    for path, digest in zip(sources, digests):
        known = registry.published_as(digest)
        print(f"{printable(path.name)}: sha256 {digest}" + (f", the published {known}" if known else ""))
    print(f"{printable(str(args.out))}: {name}, {len(arrays)} keys, {sum(array.size for array in arrays.values()):,} elements")


def _show(args: argparse.Namespace) -> None:
    count = elements = 0
    where, tree = "", None
    if args.source.suffix == ".safetensors":
        rows = _safetensors_rows(args.source)
    else:
        tree = read_checkpoint(args.source, args.inert)
        rows = _rows(tree)
    for key, dtype, shape, numel in rows:
        print(f"{printable(key)}\t{dtype}\t{shape}")
        count, elements = count + (numel is not None), elements + (numel or 0)
    with contextlib.suppress(CheckpointError):
        state = convert.state_of(tree)
        if state is not tree:
            where, count, elements = " in its state dict", len(state), sum(tensor.numel for tensor in state.values())
    print(f"{count} tensors, {elements:,} elements{where}")


def _rows(tree: object):
    """(path of keys, dtype or type, shape or value, elements or None) of everything, each container once."""
    seen, stack = set(), [("", tree)]
    while stack:
        key, value = stack.pop()
        if isinstance(value, Tensor):
            yield key, value.dtype, value.shape, value.numel
        elif isinstance(value, (dict, list, tuple)):
            if id(value) not in seen:
                seen.add(id(value))
                items = list(value.items() if isinstance(value, dict) else enumerate(value))
                stack += [(f"{key}/{_key(name)}" if key else _key(name), item) for name, item in reversed(items)]
        else:
            yield key, type(value).__name__, brief(value), None


def _key(name: object) -> str:
    return name if isinstance(name, str) else brief(name)


def _safetensors_rows(path: Path):
    with safe_open(path, framework="numpy") as file:
        for key, value in (file.metadata() or {}).items():
            yield f"[{key}]", "metadata", brief(value), None
        for key in file.keys():
            part = file.get_slice(key)
            shape = tuple(part.get_shape())
            yield key, part.get_dtype(), shape, math.prod(shape)


def _where(args: argparse.Namespace) -> None:
    if not args.model:
        for name, model in registry.MODELS.items():
            print(f"{name:22}{' or '.join(file.file for file in model.published)}")
        print("\nmake weights MODEL=NAME says where a file is published and how to convert it")
        return
    model = registry.model_of(args.model)
    out = f"out/weights/{args.model}/{args.model}.safetensors"
    for files in filter(None, ([model.published[0]] if model.published else [], list(model.together))):
        print(f"{args.model} from {' and '.join(file.file for file in files)}:")
        for file in files:
            print(f"  {file.file}: {file.page}\n    {file.where}")
            print(f"    sha256 {file.sha256 or 'not known to us; convert prints what it finds'}")
            print(f"    put it at out/official/{args.model}/{file.file}")
        first, *others = (f"out/official/{args.model}/{file.file}" for file in files)
        print("  then: python -m models.checkpoints convert " + " --with ".join([first, *others]) +
              f" -o {out} --model {args.model}\n")


if __name__ == "__main__":
    sys.exit(main())
