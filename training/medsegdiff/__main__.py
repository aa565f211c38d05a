"""`python -m training.medsegdiff --model_variant MedSegDiff-S --dataset refuge2 ...`: trains by the flags of an earlier port
of MedSegDiff to Jittor, each variant, data set and ablation in a folder of its own. `--help` lists the flags.

Exit status: 0 all trained, 1 some run failed or was interrupted, 2 bad arguments.
"""

import argparse
import itertools
import math
import pathlib
import sys

from training.medsegdiff import layouts
from training.medsegdiff.runs import run

VARIANTS = {"MedSegDiff-S": 32, "MedSegDiff-B": 32, "MedSegDiff-L": 16, "MedSegDiff++": 16, "MedSegDiff-nano": 8}
"""Batch sizes."""
FOLDERS = {"brats2021": "data/BraTs2021/Train", "refuge2": "data/REFUGE2/Train", "ddti": "data/DDTI/Train"}
ABLATIONS = ((), ("disable_ff_parser",), ("disable_dynamic_encoding",), ("disable_ff_parser", "disable_dynamic_encoding"))
REFUSED = {
    "mixed_precision": "Jittor's mixed precision is for CUDA; on a CPU with AMX convolutions take bfloat16 by themselves",
    "early_stopping_patience": "best.safetensors keeps the weights that were best on held-out images; a run has its epochs",
    "min_delta": "best.safetensors keeps the weights that were best on held-out images; a run has its epochs",
    "save_best_only": "best.safetensors, last.safetensors and one state to resume from are always kept, and nothing else",
    "logging_dir": "train.csv, validation.csv and curves.png lie beside the weights",
    "cosine_restart_epochs": "there are no restarts; schedules are those of training/schedule.py",
    "adam_beta1": "it is 0.9", "adam_beta2": "it is 0.999", "adam_epsilon": "it is 1e-8",
    "mask_channels": "a mask has one channel",
}
"""Flags of that port that would mean nothing here, and why."""
EPILOG = """\
A learning rate above 3e-4 is lowered to it; with --scale_lr it is multiplied by the batch and --gradient_accumulation_steps,
to 2e-4 at most. Other than there, the averaged weights are kept (0.999), and the cosine ends at 1 % of the peak. A run that
was interrupted goes on when the command is given again. Every recipe is kept in its folder: `python -m training` takes it too.
"""


def main(argv: list[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    parser = _parser()
    for flag in (text[2:].partition("=")[0] for text in argv if text.startswith("--")):
        if flag in REFUSED:
            parser.error(f"--{flag} is not taken: {REFUSED[flag]}")
    args = parser.parse_args(argv)
    if args.load_model_from and not args.load_model_from.is_file():
        parser.error(f"--load_model_from: there is no file {args.load_model_from}")
    try:
        runs = list(planned(args))
    except ValueError as error:
        parser.error(str(error))
    failed = 0
    for table, data, out, options in runs:
        print(f"{out}: {table['steps']} batches of {table['batch']}", flush=True)
        try:
            failed += run(table, data, out, options, args.load_model_from) != 0
        except ValueError as error:
            print(error, file=sys.stderr)
            failed += 1
        except KeyboardInterrupt:
            return 1
    return 1 if failed else 0


def _parser():
    parser = argparse.ArgumentParser(
        prog="python -m training.medsegdiff", epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False, description="Train MedSegDiff by the flags of an earlier port of it to Jittor.")
    parser.add_argument("--model_variant", choices=VARIANTS, default="MedSegDiff-S")
    parser.add_argument("--train_variants", nargs="+", choices=VARIANTS, metavar="VARIANT", help="several")
    parser.add_argument("--train_all_models", action="store_true", help="S, B, L and ++")
    parser.add_argument("--dataset", choices=FOLDERS, default="brats2021")
    parser.add_argument("--train_datasets", nargs="+", choices=FOLDERS, metavar="DATASET", help="several")
    parser.add_argument("--train_all_datasets", action="store_true")
    parser.add_argument("--data_path", type=pathlib.Path, metavar="DIR", help="of the one data set (data/.../Train)")
    parser.add_argument("--disable_ff_parser", action="store_true", help="no dynamic attention map; the static one stays")
    parser.add_argument("--disable_dynamic_encoding", action="store_true",
                        help="the image's features stay out of the decoder's skip connections")
    parser.add_argument("--include_ablation", action="store_true", help="with neither, each and both of these two flags")
    parser.add_argument("--self_condition", action="store_true", help="the network sees its own last guess")
    parser.add_argument("--epochs", type=_count, default=10)
    parser.add_argument("--batch_size", type=_count, help="32 for S and B, 16 for L and ++")
    parser.add_argument("--image_size", type=_count, metavar="PX", help="the variant's, 256")
    parser.add_argument("--input_img_channels", type=_count, help="4 for brats2021, 3 for others")
    parser.add_argument("--learning_rate", type=float, default=1e-4)
    parser.add_argument("--scale_lr", action="store_true")
    parser.add_argument("--gradient_accumulation_steps", type=_count, default=2, help="for --scale_lr alone")
    parser.add_argument("--lr_scheduler", choices=("cosine",), default="cosine")
    parser.add_argument("--adam_weight_decay", type=float, default=1e-2)
    parser.add_argument("--timesteps", type=_count, default=100)
    parser.add_argument("--sampling_timesteps", type=_count, default=5, help="of the masks drawn for validation")
    parser.add_argument("--save_every", type=_count, default=1, metavar="EPOCHS", help="validation and state")
    parser.add_argument("--load_model_from", type=pathlib.Path, metavar="FILE", help="safetensors to start from")
    parser.add_argument("--output_dir", type=pathlib.Path, default=pathlib.Path("output/train"))
    parser.add_argument("--report_to", choices=("wandb", "none"), default="none")
    parser.add_argument("--num_workers", type=_count, default=4)
    return parser


def _count(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1; got {text}")
    return int(text)


def planned(args):
    """(recipe, data folder, folder of the run, more options) of every run. Raises ValueError."""
    datasets = list(FOLDERS) if args.train_all_datasets else args.train_datasets or [args.dataset]
    variants = args.train_variants or [args.model_variant]
    if args.train_all_models:
        variants = [variant for variant in VARIANTS if variant != "MedSegDiff-nano"]
    given = tuple(flag for flag in ABLATIONS[-1] if getattr(args, flag))
    if args.data_path and len(datasets) > 1:
        raise ValueError("--data_path is the folder of one data set; several are read from " + ", ".join(FOLDERS.values()))
    options = ("--workers", str(args.num_workers))
    options += ("--log", "wandb") if args.report_to == "wandb" else ()
    for dataset, variant, off in itertools.product(datasets, variants, ABLATIONS if args.include_ablation else (given,)):
        data = args.data_path or pathlib.Path(FOLDERS[dataset])
        suffix = "".join(flag.replace("disable", "_no") for flag in off)
        yield recipe(args, variant, dataset, data, off), data, args.output_dir / f"{variant}_{dataset}{suffix}", options


def recipe(args, variant: str, dataset: str, data: pathlib.Path, off: tuple[str, ...]) -> dict:
    """The recipe of a run, as its TOML has it; an epoch is what the folder holds for training, in batches."""
    sources = layouts.find(dataset, data)
    cases = sum(not layouts.is_held_out(source.name, len(sources)) for source in sources)
    batch = args.batch_size or VARIANTS[variant]
    epoch = math.ceil(cases / batch)
    rate = args.learning_rate * batch * args.gradient_accumulation_steps if args.scale_lr else args.learning_rate
    table = {
        "task": "medsegdiff", "model": variant.lower(), "layout": dataset, "augmentation": "none",
        "channels": args.input_img_channels or (4 if dataset == "brats2021" else 3), "self_condition": args.self_condition,
        "timesteps": args.timesteps, "validation_steps": args.sampling_timesteps, "batch": batch,
        "steps": args.epochs * epoch, "warmup_steps": min(3, args.epochs // 10) * epoch,
        "learning_rate": min(rate, 2e-4 if args.scale_lr else 3e-4), "weight_decay": args.adam_weight_decay,
        "clip_norm": 5.0, "ema_decay": 0.999, "seed": 42,
        "validate_every": args.save_every * epoch, "checkpoint_every": args.save_every * epoch,
    }
    return table | ({"image_size": args.image_size} if args.image_size else {}) | dict.fromkeys(off, True)


if __name__ == "__main__":
    sys.exit(main())
