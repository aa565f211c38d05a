"""python -m time_eval: wall clock, CPU seconds and memory of every case, by the challenge's rules."""

import argparse
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from time_eval.harness import dimension, time_case, warm_up, work_folder
from time_eval.report import Table, summary
from time_eval.runners import BareRunner, ContainerRunner, RunnerError

ENGINE_RUNS = 5


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; exits with 2 on a bad one."""
    parser = argparse.ArgumentParser(prog="python -m time_eval", description=__doc__.split(": ", 1)[1])
    parser.add_argument("--images", type=Path, required=True, help="folder of npz cases")
    parser.add_argument("--out", type=Path, required=True, help="OUT/TEAM gets the masks, the table and the summary")
    parser.add_argument("--runner", choices=("docker", "podman", "bare"), default="docker")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--image", help="tag of a loaded image (default medseg-laptop:latest)")
    what.add_argument("--tar", type=Path, help="folder of TEAM.tar.gz: each is loaded, timed as TEAM:latest, removed")
    parser.add_argument("--team", help="name in file names and of the container (default: the image's, or 'bare')")
    parser.add_argument("--memory", default="8G", help="memory limit of a container (default 8G)")
    parser.add_argument("--hardened", action="store_true", help="challenge's command plus --network none --read-only")
    parser.add_argument("--timeout", type=float, default=600, metavar="S", help="seconds a case may take (default 600)")
    parser.add_argument("--baseline-true", action="store_true", help=f"also time {ENGINE_RUNS} containers of `true`")
    options = parser.parse_args(arguments)
    if not options.images.is_dir() or not any(options.images.glob("*.npz")):
        parser.error(f"--images {options.images}: not a folder with npz files")
    if options.tar and not any(options.tar.glob("*.tar*")):
        parser.error(f"--tar {options.tar}: not a folder with tar files")
    if options.tar and options.team:
        parser.error("--team: with --tar, a team is named by its file")
    if options.runner == "bare" and (options.image or options.tar or options.hardened or options.baseline_true):
        parser.error("--runner bare: --image, --tar, --hardened and --baseline-true are for containers")
    return options


def runners(options: argparse.Namespace) -> Iterator[tuple[str, BareRunner | ContainerRunner, Path | None]]:
    """Yields (team, runner, tar or None) for every thing to time. A tar TEAM.x.tar.gz is image team:latest."""
    if options.runner == "bare":
        yield options.team or "bare", BareRunner(options.timeout), None
        return
    settings = {"timeout_s": options.timeout, "memory": options.memory, "hardened": options.hardened}
    if options.tar is None:
        image = options.image or "medseg-laptop:latest"
        team = options.team or image.rsplit("/", 1)[-1].split(":")[0]
        yield team, ContainerRunner(options.runner, image, team, **settings), None
        return
    for tar in sorted(options.tar.glob("*.tar*")):
        team = tar.name.split(".")[0].lower()
        yield team, ContainerRunner(options.runner, f"{team}:latest", team, **settings), tar


@contextmanager
def ready(runner: BareRunner | ContainerRunner, tar: Path | None) -> Iterator[None]:
    """Loads the tar, if there is one, and removes its image afterwards; raises RunnerError if the runner cannot run."""
    if tar is not None:
        runner.load(tar)
    try:
        if isinstance(runner, ContainerRunner):
            runner.check()
        yield
    finally:
        if tar is not None:
            runner.remove_image()


def fresh_folder(folder: Path, team: str) -> None:
    """An empty result folder. One that holds anything but an earlier result of this command raises RunnerError."""
    if folder.is_dir() and any(folder.iterdir()):
        if not (folder / f"{team}_running_time.csv").is_file():
            raise RunnerError(f"{folder} is not empty and holds no earlier result; choose another --out")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)


def time_team(team: str, runner: BareRunner | ContainerRunner, options: argparse.Namespace) -> bool:
    """Times every case for one team, writes its table and summary, and says whether all cases have masks."""
    folder = options.out / team
    fresh_folder(folder, team)
    rows = []
    with work_folder() as work, Table(folder / f"{team}_running_time.csv") as table:
        first = warm_up(runner, work)
        if first.exit_code != 0:
            tqdm.write(f"{team}: with no case to do, exit code {first.exit_code}: {first.last_line}", file=sys.stderr)
        for image in tqdm(sorted(options.images.glob("*.npz")), desc=team, unit="case"):
            row = time_case(runner, image, work, folder)
            table.add(row)
            rows.append((dimension(image), row))
            if row.reason:
                tqdm.write(f"{team}: {row.name}: {row.reason}", file=sys.stderr)
    idle = [runner.run_true() for _ in range(ENGINE_RUNS)] if options.baseline_true else []
    text = summary(team, runner.name, rows, [run.elapsed_s for run in idle if run.exit_code == 0])
    (folder / f"{team}_summary.md").write_text(text)
    print(text)
    return not any(row.reason for _, row in rows)


def time_all(options: argparse.Namespace) -> bool:
    """Times every team; one that cannot be loaded or run is reported, and the next goes on."""
    good = True
    for team, runner, tar in runners(options):
        try:
            with ready(runner, tar):
                good &= time_team(team, runner, options)
        except (RunnerError, OSError) as error:
            print(f"{team}: {error}", file=sys.stderr)
            good = False
    return good


def main(arguments: list[str] | None = None) -> int:
    """0: every case has masks; 1: some case, image or tar failed; 2: bad arguments; 130: interrupted."""
    options = parse(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return 0 if time_all(options) else 1
    except KeyboardInterrupt:
        print("interrupted; the tables hold the cases timed so far", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
