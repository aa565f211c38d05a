"""What a run leaves to read and to look at: two CSV files and a picture of the curves."""

import csv
import pathlib


class Log:
    """Appends rows to a CSV file; on resuming, rows at or after the first new step are dropped, so that none is double."""

    def __init__(self, path: pathlib.Path, columns: list[str], first_step: int):
        self.path, self.columns = path, columns
        kept = [row for row in read_log(path) if int(row["step"]) < first_step] if path.exists() else []
        with open(path, "w", newline="") as file:
            writer = csv.DictWriter(file, columns, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, **row):
        """One row; floats keep six significant digits."""
        row = {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
        with open(self.path, "a", newline="") as file:
            csv.DictWriter(file, self.columns, extrasaction="ignore").writerow(row)


def read_log(path: pathlib.Path) -> list[dict[str, str]]:
    """The rows of a CSV log, as strings."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def draw_curves(folder: pathlib.Path):
    """FOLDER/curves.png from train.csv and validation.csv: loss, held-out Dice and learning rate over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    train, validation = read_log(folder / "train.csv"), read_log(folder / "validation.csv")
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 4), constrained_layout=True)
    steps = [int(row["step"]) for row in train]
    for name in ("loss", "cross_entropy", "dice_loss"):
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
