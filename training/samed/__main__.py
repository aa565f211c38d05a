"""`python -m training.samed`: see `--help`."""

import argparse
import sys
from pathlib import Path

from safetensors import SafetensorError

from models.samed.config import CONFIGS
from training.samed.samples import ADAPTATIONS

DONE, REFUSED, BAD_ARGUMENTS = 0, 1, 2

_DESCRIPTION = """\
The files that SAMed exchanges hold what is trained alone: LoRAs, prompt encoder and mask decoder. The models of this project
hold all. Exit status: 0 done, 1 a file is refused, 2 bad arguments."""
_EPILOG = """\
  python -m training.samed give runs/samed/best.safetensors --model samed -o epoch_159.pth
  python -m training.samed take epoch_159.pth --model samed --base weights/sam-vit-b/sam-vit-b.safetensors -o samed.safetensors
  python -m training.samed count --model samed-nano
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m training.samed", description=_DESCRIPTION, epilog=_EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    give = commands.add_parser("give", help="what is trained of a model, for the SAMed repository")
    give.add_argument("source", type=Path, metavar="WEIGHTS", help="safetensors of the whole model")
    take = commands.add_parser("take", help="a whole model of a base SAM and what the SAMed repository has trained")
    take.add_argument("source", type=Path, metavar="LORA", help=".pth or .safetensors of what is trained")
    take.add_argument("--base", type=Path, required=True, metavar="WEIGHTS", help="safetensors of the base SAM")
    count = commands.add_parser("count", help="how many parameters each way of adapting trains")
    for command in (give, take, count):
        command.add_argument("--model", required=True, choices=CONFIGS, metavar="NAME", help=", ".join(CONFIGS))
    give.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".pth or .safetensors to write")
    take.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help=".safetensors to write")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    args = _parser().parse_args(arguments)
    endings = (".pth", ".safetensors") if args.command == "give" else (".safetensors",)
    if args.command != "count" and args.out.suffix not in endings:
        print(f"--out must end in {' or '.join(endings)}; got {args.out}", file=sys.stderr)
        return BAD_ARGUMENTS
    try:
        {"give": _give, "take": _take, "count": _count}[args.command](args)
    except (ValueError, OSError, SafetensorError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    return DONE


def _give(args) -> None:
    from models.samed.build import build, load_weights
    from models.samed.lora_file import lora_state, save_lora

    network = build(args.model)
    load_weights(network, args.source)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_lora(network, args.out)
    state = lora_state(network)
    print(f"{args.out}: {len(state)} keys, {sum(var.numel() for var in state.values()):,} elements")


def _take(args) -> None:
    from models.samed.base import load_base
    from models.samed.build import build, parameter_count, save_weights
    from models.samed.lora_file import load_lora

    network = build(args.model)
    load_base(network, args.base)
    load_lora(network, args.source)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    save_weights(network, args.out)
    print(f"{args.out}: {args.model}, {parameter_count(network):,} parameters")


def _count(args) -> None:
    from models.samed.build import build, parameter_count
    from training.samed.task import adapted_state

    network = build(args.model)
    total = parameter_count(network)
    for adapt in ADAPTATIONS:
        count = sum(var.numel() for var in adapted_state(network, adapt).values())
        print(f"{adapt:8} {count:>12,} of {total:,} parameters, {100 * count / total:.2f} %")


if __name__ == "__main__":
    sys.exit(main())
