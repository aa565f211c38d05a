"""The training loop of every task: AdamW, averaged weights, validation, checkpoints, MPI."""

import dataclasses
import json
import pathlib
import sys
import time

import jittor as jt
import numpy as np
from jittor import nn
from tqdm import tqdm

import models  # noqa: F401  (sets Jittor's environment first)
from models import cpu
from models.signals import restore_signals
from training import checkpoint, tasks
from training.log import Log, draw_curves
from training.mirrors import Mirror
from training.schedule import learning_rate

LOG_EVERY = 50


class Trainer:
    """One run. out: its folder (state.safetensors, best.safetensors, last.safetensors, *.csv, curves.png).

    average: an exponential moving average of every parameter and every running statistic; it is what is validated and
    what ships. Under mpirun every process trains on its share of each batch, Jittor's optimiser averages the gradients,
    and the first process alone validates and writes.
    """

    def __init__(self, recipe, out: pathlib.Path, mirrors: tuple[Mirror, ...] = ()):
        self.recipe, self.out, self.mirrors = recipe, out, mirrors
        self.task = tasks.task(recipe.task)
        self.leads = not jt.in_mpi or jt.rank == 0
        restore_signals()
        jt.set_global_seed(recipe.seed, different_seed_for_mpi=False)
        self.net = self.task.build(recipe)
        self.net.train()
        self.twin = self.task.build(recipe)
        self.twin.eval()
        weights = self.task.trained(self.net, recipe)
        self.names = list(self.net.state_dict())
        self.average = [value.clone().stop_grad() for value in self.net.state_dict().values()]
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
        self.task.load(self.net, path)
        for mean, value in zip(self.average, self.net.state_dict().values()):
            mean.update(value.clone())

    def save(self):
        """state.safetensors: all that the next step depends on."""
        if not self.leads:
            return
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

    def _train_on(self, arrays):
        """One step on a batch; its loss terms, means over the batch, by name."""
        if self.step == self.recipe.freeze_norms_at:
            self._freeze_norms()
        self.optimizer.lr = learning_rate(self.recipe, self.step)
        parts = self.recipe.accumulate
        sums = {}
        for part in range(parts):
            size = len(arrays[0]) // parts
            shares = [jt.array(array[part * size : (part + 1) * size]) for array in arrays]
            terms = self.task.losses(self.net, self.recipe, *shares)
            self.optimizer.backward(sum(terms.values()) / parts)
            sums = {name: sums.get(name, 0) + value / parts for name, value in terms.items()}
        if self.recipe.clip_norm:
            self.optimizer.clip_grad_norm(self.recipe.clip_norm)
        self.optimizer.n_step = self.step + 1  # which counts the calls of backward
        self.optimizer.step()
        # The average is young at first: a fixed decay would keep the random start in it for thousands of steps.
        keep = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        for mean, value in zip(self.average, self.net.state_dict().values()):
            mean.update(mean * keep + value * (1 - keep))
        jt.sync(self.average)
        self.step += 1
        return sums

    def validate(self, samples) -> dict[str, float]:
        """Scores the averaged weights, which `twin` takes."""
        for var, mean in zip(self.twin.state_dict().values(), self.average):
            var.assign(mean)
        if not samples:
            return {}
        return self.task.score(self.twin, samples, self.recipe)

    def run(self, loader, samples):
        """Trains to the recipe's last step; Ctrl-C saves and returns False."""
        if self.leads:
            train_log, validation_log = (Log(self.out / name, self.step + 1, self.mirrors)
                                         for name in ("train.csv", "validation.csv"))
        started = time.perf_counter()
        recent, marked = [], started
        bar = tqdm(total=self.recipe.steps, initial=self.step, desc=self.recipe.model, unit="batch",
                   disable=not sys.stderr.isatty())
        try:
            with cpu.installed(self.recipe.bfloat16), bar:
                for step, arrays in loader:
                    recent.append(self._train_on(arrays))
                    bar.update()
                    last = self.step == self.recipe.steps
                    if self.step % LOG_EVERY == 0 or last:
                        terms = {name: self._mean([terms[name] for terms in recent]) for name in recent[0]}
                        if not np.isfinite(list(terms.values())).all():
                            raise FloatingPointError(f"step {self.step}: the loss is {terms}; state.safetensors is older")
                        now = time.perf_counter()
                        if self.leads:
                            train_log.add(step=self.step, loss=sum(terms.values()), **terms,
                                          learning_rate=learning_rate(self.recipe, step),
                                          samples_per_s=len(recent) * self.recipe.batch / (now - marked),
                                          elapsed_s=now - started)
                        recent, marked = [], now
                    if self.leads and (self.step % self.recipe.validate_every == 0 or last):
                        self._judge(samples, validation_log)
                        marked = time.perf_counter()
                    if self.step % self.recipe.checkpoint_every == 0 or last:
                        self.save()
        except KeyboardInterrupt:
            self.save()
            print(f"interrupted: step {self.step} is in {self.out / 'state.safetensors'}; go on with --resume", file=sys.stderr)
            return False
        return True

    @staticmethod
    def _mean(values) -> float:
        """Over the steps since the last log and, under mpirun, over the processes."""
        mean = sum(values) / len(values)
        return (mean.mpi_all_reduce("mean") if jt.in_mpi else mean).item()

    def _judge(self, samples, log):
        scores = self.validate(samples)
        self.task.save(self.twin, self.out / "last.safetensors")
        if scores:
            log.add(step=self.step, **scores)
            print(f"step {self.step}: held-out macro {scores['macro']:.4f}", file=sys.stderr, flush=True)
            if scores["macro"] > self.best:
                self.best = scores["macro"]
                self.task.save(self.twin, self.out / "best.safetensors")
        draw_curves(self.out)
