"""Evaluation beside a run: figures of ``i2i evaluate`` on a fixed part of the held-out images, and the best weights.

Weights are chosen on one half of the held-out images, by a hash of their names; ``i2i evaluate`` reports such a run on
the other half. The first process measures. What it knows of earlier evaluations it reads from metrics.jsonl, so that an
interrupted run chooses and stops as one in a piece would.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from accelerate.utils import broadcast_object_list

from i2i.display import say, warn
from i2i.doctor.records import read_records
from i2i.errors import ConfigError
from i2i.evaluation.features.base import DEFAULT, FeatureNetwork, find_network, require_impartial
from i2i.evaluation.held_out import Wanted, read_held_out, whereabouts
from i2i.evaluation.measure import choose, measured
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.outputs import SAMPLES, directions_of, domains_of, held_against, outputs_of
from i2i.storage.runs import RunFolder
from i2i.storage.weights import load_weights, save_weights
from i2i.training.callbacks import Callback, every
from i2i.world import as_rank, world

if TYPE_CHECKING:
    from i2i.training.trainer import Trainer

SEED = 0
"""Decides samples, shuffles and patches: the same at every evaluation of every run."""


def evaluation_callbacks(trainer: Trainer, evaluation: Evaluation | None, run: RunFolder) -> list[Callback]:
    """The evaluation of a run that is about to start or go on; none where its configuration asks for none.

    Args:
        trainer: the run.
        evaluation: in the first process what measures; None in others, which only hear whether the run is to end.
        run: its folder.
    """
    config = trainer.config.evaluation
    if config.every is None:
        return []

    def end_if(enough: bool) -> None:
        told = [enough]
        if config.patience is not None and world().size > 1:
            broadcast_object_list(told)
        if told[0]:
            trainer.end()

    end_if(evaluation is not None and evaluation.begin(run))
    return [Callback(every(config.every), lambda _: end_if(evaluation is not None and evaluation.step(trainer, run)))]


class Evaluation:
    """Measures, keeps the best weights, and says when there is no use in going on.

    Args:
        trainer: the run, before its next step.

    Attributes:
        tags: those of all figures.

    Raises:
        ConfigError: a metric that is not known, a watched one that cannot be measured, or a judge that took part.
        DataError: there are no held-out images.
    """

    def __init__(self, trainer: Trainer) -> None:
        config = self._config = trainer.config.evaluation
        self._metrics = choose(config.metrics)
        self._network = self._judge(trainer)
        model = trainer.config.model
        wanted = Wanted(
            data=whereabouts(trainer.config.data, model.image_size),
            images=model.images,
            image_size=model.image_size,
            needs=trainer.method.needs,
            split="test",
            count=config.images,
            half="choosing",
        )
        self._held_out = read_held_out(wanted)
        for line in (*self._held_out.notes, *self._held_out.skipped):
            say(f"evaluation: {line}")
        with trainer.model() as live:
            self._directions = directions_of(live)
        self._by_tag = self._measurable()
        self.tags = sorted(self._by_tag)
        self.best = Best(any(self._by_tag[tag].lower_is_better for tag in self._watched_tags()))

    def begin(self, run: RunFolder) -> bool:
        """Takes over what a run knows of its past; whether it has ended before for want of patience."""
        for record in read_records(run.metrics):
            value = self._watched(record)
            if value is not None:
                self.best.add(value, record["step"])
        return self._enough()

    def step(self, trainer: Trainer, run: RunFolder) -> bool:
        """Evaluates the model as it is now; whether it has failed to become better for as long as is waited."""
        values = self.measure(trainer)
        trainer.record(values)
        value, step = self._watched(values), trainer.engine.step_count
        if value is None:
            return False
        if self.best.add(value, step):
            save_weights(run.best, trainer.engine.inference_weights(), trainer.config.model, step)
        enough = self._enough()
        if enough or trainer.position.over:
            self._conclude(value, run)
        return enough

    def _enough(self) -> bool:
        enough = self._config.patience is not None and self.best.since >= self._config.patience
        if enough:
            say(
                f"{self._config.watch} has not become better in {self.best.since} evaluations: the run ends here "
                "(evaluation.patience)"
            )
        return enough

    def measure(self, trainer: Trainer) -> dict[str, float]:
        """The figures of this step, by their tags."""
        values: dict[str, float] = {}
        with trainer.model() as model, as_rank(0, 1):
            for direction in self._directions:
                outputs = outputs_of(model, direction, self._held_out, SEED)
                images = held_against(outputs, direction, self._held_out, self._network, SEED)
                figures = measured(self._metrics, images, named=True, unavailable={})
                values |= {_tag(name, direction): figure.value for name, figure in figures.items()}
        return values

    def _measurable(self) -> dict[str, Metric]:
        """The metrics by their tags; one that cannot be measured is said, or refused where it is watched."""
        by_tag: dict[str, Metric] = {}
        for direction in self._directions:
            real = self._held_out.sides[domains_of(direction, self._held_out)[1]].images
            images = held_against(real, direction, self._held_out, self._network, SEED)
            for metric in self._metrics:
                reason = metric.lacking(images)
                if reason is None and metric.name == self._config.watch and not metric.ranks:
                    reason = "no value of it is better than another"
                if reason is None:
                    by_tag[_tag(metric.title(images), direction)] = metric
                elif metric.name == self._config.watch:
                    raise ConfigError(f"evaluation.watch {metric.name} cannot be measured: {reason}")
                else:
                    say(f"evaluation leaves out {metric.name} of {direction}: {reason}")
        return by_tag

    def _judge(self, trainer: Trainer) -> FeatureNetwork | None:
        if not any("network" in metric.needs for metric in self._metrics):
            return None
        network = find_network(self._config.features or DEFAULT, trainer.device)
        require_impartial(network, trainer.config.model)
        return network

    def _watched_tags(self) -> list[str]:
        return [tag for tag in self.tags if self._by_tag[tag].name == self._config.watch]

    def _watched(self, values: Mapping[str, float]) -> float | None:
        """The watched figure: the mean over directions; None where there is none among ``values``."""
        found = [values[tag] for tag in self._watched_tags() if tag in values]
        return fmean(found) if found else None

    def _conclude(self, last: float, run: RunFolder) -> None:
        """Says what the best and the last weights are worth, on the images that they were chosen by."""
        best = self.best
        if not best.step:
            warn(f"{self._config.watch} was never a number: the last weights are used")
            run.best.unlink(missing_ok=True)
            return
        if not run.best.is_file() or load_weights(run.best).step != best.step:
            warn(f"{run.best} is not that of step {best.step:,}, which was best: the last weights are used")
            run.best.unlink(missing_ok=True)
            return
        name = self._config.watch
        say(
            f"best {name}: {best.value:.5g} after step {best.step:,} ({run.best.name}), last: {last:.5g}; "
            "chosen on one half of the held-out images: i2i evaluate reports both on the other"
        )


class Best:
    """The best value so far.

    Attributes:
        value: it; not a number until there is one.
        step: where it was.
        since: how many values have come after it.
    """

    def __init__(self, lower_is_better: bool) -> None:
        self._sign = 1 if lower_is_better else -1
        self.value, self.step, self.since = float("nan"), 0, 0

    def add(self, value: float, step: int) -> bool:
        """Takes the next value; whether it is the best so far, which what is not a number never is."""
        better = not math.isnan(value) and not self._sign * value >= self._sign * self.value  # the first one too
        if better:
            self.value, self.step, self.since = value, step, 0
        else:
            self.since += 1
        return better


def _tag(name: str, direction: str) -> str:
    return f"metric/{name}" if direction == SAMPLES else f"metric/{name}_{direction}"
