"""The training loop: AdamW, warm-up and cosine, averaged weights, validation, checkpoints."""

import dataclasses
import json
import math
import pathlib
import sys
import time

import jittor as jt
import numpy as np
from jittor import nn
from tqdm import tqdm

import models  # noqa: F401  (sets Jittor's environment first)
from models import cpu
from models.roi.build import build, load_weights, save_weights
from models.signals import restore_signals
from training import checkpoint, losses, validation
from training.log import Log, draw_curves

LOG_EVERY = 50


def learning_rate(recipe, step: int) -> float:
    """Linear warm-up to the peak, then a cosine down to 1 % of it at the last step."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2)


class Trainer:
    """One run. out: its folder (state.safetensors, best.safetensors, last.safetensors, *.csv, curves.png).

    average: an exponential moving average of every parameter and every running statistic; it is what is validated and
    what ships.
    """

    def __init__(self, recipe, out: pathlib.Path):
        self.recipe, self.out = recipe, out
        restore_signals()
        jt.set_global_seed(recipe.seed)
        self.net = build(recipe.model)
        self.net.train()
        self.twin = build(recipe.model)
        self.twin.eval()
        self.names = list(self.net.state_dict())
        self.average = [value.clone().stop_grad() for value in self.net.state_dict().values()]
        weights = [p for p in self.net.parameters() if not p.is_stop_grad()]
        decayed = [p for p in weights if len(p.shape) > 1]
        others = [p for p in weights if len(p.shape) == 1]
        self.optimizer = jt.optim.AdamW(
            [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.learning_rate)
        self.step, self.best = 0, -1.0

    def restore(self, path: pathlib.Path):
        """Takes up a state that `save` wrote. Raises ValueError where it belongs to another recipe."""
        groups, self.step, recipe, self.best = checkpoint.load_state(path)
        for key, value in json.loads(json.dumps(dataclasses.asdict(self.recipe))).items():
            if recipe.get(key) != value:
                raise ValueError(f"{path}: was made with {key} = {recipe.get(key)}; the recipe says {value}")
        for name, var in self.net.state_dict().items():
            var.assign(jt.array(groups["net"][name]))
        for name, var in zip(self.names, self.average):
            var.assign(jt.array(groups["average"][name]))
        for group, moments in (("first_moment", "m"), ("second_moment", "values")):
            for key, var in self._moments(moments).items():
                var.assign(jt.array(groups[group][key]))
        self.optimizer.n_step = self.step
        if self.step > self.recipe.freeze_norms_at:
            self._hold_norms()

    def start_from(self, path: pathlib.Path):
        """Takes the weights of a finished network (safetensors) as the first of a new run. Raises ValueError."""
        load_weights(self.net, path)
        for mean, value in zip(self.average, self.net.state_dict().values()):
            mean.update(value.clone())

    def save(self):
        """state.safetensors: all that the next step depends on."""
        groups = {
            "net": {name: var.numpy() for name, var in self.net.state_dict().items()},
            "average": {name: var.numpy() for name, var in zip(self.names, self.average)},
            "first_moment": {key: var.numpy() for key, var in self._moments("m").items()},
            "second_moment": {key: var.numpy() for key, var in self._moments("values").items()},
        }
        checkpoint.save_state(self.out / "state.safetensors", groups, self.step, dataclasses.asdict(self.recipe), self.best)

    def _freeze_norms(self):
        """From here on the averaged network itself is trained, with its running statistics as constants."""
        for var, mean in zip(self.net.state_dict().values(), self.average):
            var.assign(jt.array(mean.numpy()))  # assign(mean) would hand on that mean takes no gradient
        self._hold_norms()

    def _hold_norms(self):
        for module in self.net.modules():
            if isinstance(module, nn.BatchNorm):
                # Not module.eval(), which also stops the gradients of its weight and bias.
                module.is_train = False

    def _moments(self, kind):
        return {f"{g}.{i}": var for g, group in enumerate(self.optimizer.param_groups) for i, var in enumerate(group[kind])}

    def _train_on(self, crop, box_px, target):
        if self.step == self.recipe.freeze_norms_at:
            self._freeze_norms()
        self.optimizer.lr = learning_rate(self.recipe, self.step)
        logits = self.net.logits(jt.array(crop), jt.array(box_px))
        target = jt.array(target)
        cross_entropy, dice = losses.binary_cross_entropy(logits, target), losses.dice(logits, target)
        self.optimizer.step(cross_entropy + dice)
        # The average is young at first: a fixed decay would keep the random start in it for thousands of steps.
        keep = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average, self.net.state_dict().values()):
            mean.update(mean * keep + value * (1 - keep))
        jt.sync(self.average)
        self.step += 1
        return cross_entropy, dice

    def validate(self, samples) -> dict[str, float]:
        """Scores the averaged weights."""
        for var, mean in zip(self.twin.state_dict().values(), self.average):
            var.assign(mean)

        def predict(crop, box_px):
            with jt.no_grad():
                return self.twin(jt.array(crop), jt.array(box_px)).numpy()

        return validation.score(predict, samples, self.recipe.batch)

    def run(self, loader, samples):
        """Trains to the recipe's last step; Ctrl-C saves and returns False."""
        train_log = Log(self.out / "train.csv", ["step", "loss", "cross_entropy", "dice_loss", "learning_rate", "crops_per_s",
                                                 "elapsed_s"], self.step + 1)
        names = sorted({f"{s[0]}/{s[1]}" for s in samples})
        validation_log = Log(self.out / "validation.csv", ["step", "macro", *names], self.step + 1)
        started = time.perf_counter()
        recent, marked = [], started
        bar = tqdm(total=self.recipe.steps, initial=self.step, desc=self.recipe.model, unit="batch",
                   disable=not sys.stderr.isatty())
        try:
            with cpu.installed(bfloat16=True), bar:
                for step, crop, box_px, target in loader:
                    recent.append(self._train_on(crop, box_px, target))
                    bar.update()
                    if self.step % LOG_EVERY == 0:
                        terms = np.array([[a.item(), b.item()] for a, b in recent]).mean(axis=0)
                        if not np.isfinite(terms).all():
                            raise FloatingPointError(f"step {self.step}: the loss is {terms}; state.safetensors is older")
                        now = time.perf_counter()
                        train_log.add(step=self.step, loss=float(terms.sum()), cross_entropy=float(terms[0]),
                                      dice_loss=float(terms[1]), learning_rate=learning_rate(self.recipe, step),
                                      crops_per_s=len(recent) * self.recipe.batch / (now - marked), elapsed_s=now - started)
                        recent, marked = [], now
                    last = self.step == self.recipe.steps
                    if samples and (self.step % self.recipe.validate_every == 0 or last):
                        self._judge(samples, validation_log)
                        marked = time.perf_counter()
                    if self.step % self.recipe.checkpoint_every == 0 or last:
                        self.save()
        except KeyboardInterrupt:
            self.save()
            print(f"interrupted: step {self.step} is in {self.out / 'state.safetensors'}; go on with --resume", file=sys.stderr)
            return False
        return True

    def _judge(self, samples, log):
        scores = self.validate(samples)
        log.add(step=self.step, **scores)
        print(f"step {self.step}: held-out macro Dice {scores['macro']:.4f}", file=sys.stderr, flush=True)
        save_weights(self.twin, self.out / "last.safetensors")
        if scores["macro"] > self.best:
            self.best = scores["macro"]
            save_weights(self.twin, self.out / "best.safetensors")
        draw_curves(self.out)
