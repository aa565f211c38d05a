"""What a run leaves to read and to look at: two CSV files and a picture of the curves."""

import csv
import pathlib

from training.mirrors import Mirror


class Log:
    """Appends rows to a CSV file, whose columns are those of its first row; on resuming, rows at or after the first new
    step are dropped, so that none is double. mirrors: shown each new row too, see `training.mirrors`."""

    def __init__(self, path: pathlib.Path, first_step: int, mirrors: tuple[Mirror, ...] = ()):
        self.path = path
        self.mirrors = ()
        kept = [row for row in read_log(path) if int(row["step"]) < first_step]
        path.unlink(missing_ok=True)
        for row in kept:
            self.add(**row)
        self.mirrors = mirrors

    def add(self, **row):
        """One row, with its `step`; floats keep six significant digits."""
        for show in self.mirrors:
            show(row["step"], {f"{self.path.stem}/{key}": value for key, value in row.items() if key != "step"})
        row = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        new = not self.path.exists()
        with open(self.path, "a", newline="") as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow(row)


def read_log(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a CSV log, as strings; none where there is no file."""
    if not path.exists():
        return []
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def draw_curves(folder: pathlib.Path):
    """FOLDER/curves.png from train.csv and validation.csv: loss, held-out Dice and learning rate over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    train, validation = (read_log(folder / name) for name in ("train.csv", "validation.csv"))
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4), constrained_layout=True)
    steps = [int(row["step"]) for row in train]
    for name in train[0] if train else ():
        if name in ("step", "learning_rate", "samples_per_s", "elapsed_s"):
            continue
        axes[0].plot(steps, [float(row[name]) for row in train], label=name.replace("_", " "))
    axes[0].set(xlabel="step", ylabel="training loss", yscale="log")
    axes[0].legend()
    if validation:
        steps = [int(row["step"]) for row in validation]
        for name in [key for key in validation[0] if key not in ("step", "macro")]:
            axes[1].plot(steps, [float(row[name]) for row in validation], lw=0.7, alpha=0.5)
        axes[1].plot(steps, [float(row["macro"]) for row in validation], "k", lw=2, label="macro")
        axes[1].legend()
    axes[1].set(xlabel="step", ylabel="Dice on held-out training cases")
    axes[2].plot([int(row["step"]) for row in train], [float(row["learning_rate"]) for row in train])
    axes[2].set(xlabel="step", ylabel="learning rate")
    figure.savefig(folder / "curves.png", dpi=90)
    pyplot.close(figure)
