"""The training loop: runs steps, logs, previews, saves, stops when asked, and resumes exactly from a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from i2i.batch import Batch
from i2i.compiling import compile_networks, compiler_errors, keep_compiled
from i2i.config.changes import MAY_CHANGE
from i2i.config.explain import differing_keys
from i2i.config.resolve import parse_config
from i2i.config.schema import Config
from i2i.data.identity import ImageList
from i2i.device import capabilities, determinism, environment, read
from i2i.display import TrainingDisplay, training_display, warn
from i2i.errors import ConfigError, DataError, WeightsError
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator
from i2i.methods.base import Method
from i2i.methods.generative import GenerativeMethod
from i2i.methods.translation import TranslationMethod
from i2i.needs import require_compiler
from i2i.storage.runs import RunFolder
from i2i.storage.weights import require_finite as require_finite_weights
from i2i.storage.weights import save_tree, save_weights
from i2i.training.agreement import Agreement, Told, require_same_start
from i2i.training.callbacks import Callback, EverySeconds, Position, always, every
from i2i.training.engine import Engine, NotFinite, require_finite
from i2i.training.evaluating import Evaluation, evaluation_callbacks
from i2i.training.health import health_callbacks
from i2i.training.interrupt import StopRequest, catch_stop_requests
from i2i.training.logging import Meters, RunLog
from i2i.training.processes import join_processes
from i2i.training.settling import settle
from i2i.world import world

SILENT_STEPS = 100
"""A method may leave a player out of a step, but hardly of so many."""


@dataclass(frozen=True)
class Outcome:
    """How training ended."""

    run: RunFolder
    step: int
    interrupted: bool
    problems: list[str]
    is_main: bool
    translates: bool


class CountedBatches(Iterator[Batch]):
    """Batches with the number of those taken, which is the position of a run in its data."""

    def __init__(self, batches: Iterator[Batch], taken: int) -> None:
        self._batches, self.taken = batches, taken

    def close(self) -> None:
        """Ends loader workers now; their iterator would otherwise wait for the garbage collector."""
        if isinstance(self._batches, Generator):
            self._batches.close()

    def __next__(self) -> Batch:
        batch = next(self._batches)
        self.taken += 1
        return batch


class Speed:
    """Seconds of a step since the last time that somebody asked."""

    def __init__(self, step: int) -> None:
        self._step, self._at = step, time.perf_counter()

    def seconds_per_step(self, step: int) -> float:
        """The mean over the steps up to ``step``."""
        now = time.perf_counter()
        seconds = (now - self._at) / max(1, step - self._step)
        self._step, self._at = step, now
        return seconds


class Trainer:
    """A run that is ready to go on: ``fit`` takes it to its end.

    Args:
        config: the resolved configuration.
        listed: the images of a run that goes on.

    Attributes:
        config: the resolved configuration.
        device: where it computes.
        data: what it learns from.
        position: where it is.
        metrics: the means that were logged last, by their TensorBoard tags.
        is_main: whether this is the first process, which alone writes files.

    Raises:
        ConfigError: settings that do not fit each other, the data or the machine.
        DataError: no usable data.
    """

    def __init__(self, config: Config, *, listed: ImageList | None = None) -> None:
        processes = join_processes(config)
        if config.training.compile:
            require_compiler()
            if processes.num_processes > 1:
                raise ConfigError("training.compile is for one process: leave it out")
            keep_compiled()
        settled = settle(config, processes, listed=listed)
        self.config, self.device, self.data = settled.config, settled.device, settled.data
        config = settled.config
        self.is_main = processes.is_main_process
        with self._deterministic():  # set before the device starts
            self.engine = Engine(config, self.device)
            if not isinstance(self.method, TranslationMethod | GenerativeMethod):
                raise ConfigError(
                    f"method {self.method.name} is no TranslationMethod and no GenerativeMethod, which say what its "
                    "model is used for: derive it from one"
                )
            if config.training.graphs and (reason := self.engine.against_replay()):
                warn(f"training.graphs has no effect, steps are not replayed: {reason}")
            if config.training.compile:
                compile_networks(network for networks in self.method.players().values() for network in networks)
            self.previews = self.data.preview(config.training.sample_count).to(self.device)
        # Those that show every item once, of the larger domain where there are two.
        self.steps_per_epoch = math.ceil(self.data.size / self.engine.images_per_step)
        self.total_steps = config.training.steps or self.steps_per_epoch * (config.training.epochs or 1)
        self._dataset = self.data.dataset(
            batch_size=config.training.batch_size,
            seed=config.training.seed,
            rank=processes.process_index,
            world_size=processes.num_processes,
        )
        self._meters = Meters()
        self._batches = CountedBatches(iter(()), 0)
        self._agreement, self._too_many = Agreement(config), False
        self._seconds_before, self._ended = 0.0, False
        self._curves: RunLog | None = None
        self.metrics: dict[str, float] = {}
        self.position = Position(0, 0.0, over=False, asked_to_stop=False)
        evaluated = config.evaluation.every is not None and self.is_main
        self._evaluation = Evaluation(self) if evaluated else None

    @property
    def method(self) -> Method:
        """What is trained."""
        return self.engine.method

    def fit(self, run: RunFolder, callbacks: Sequence[Callback] = ()) -> Outcome:
        """Trains to the end of the run, or until somebody or the time limit stops it.

        Args:
            run: the folder that is written to, by the first process alone.
            callbacks: what is done beside, after logging and previews and before a checkpoint.

        Raises:
            NotFinite: a loss or gradient is not finite; the last checkpoint is kept.
            DataError: a checkpoint cannot be written, or too many items could not be read; the run is saved before.
                Or ranks start with other images or from other steps.
            ConfigError: ``training.deterministic`` with an operation that this device has in no such form, or ranks
                have other settings.
        """
        require_same_start(self.config, self.data.fingerprint(), self.engine.step_count)
        log = self._curves = RunLog(run, self.engine.step_count) if self.is_main else None
        try:
            evaluation = evaluation_callbacks(self, self._evaluation, run)
            health = health_callbacks(self, run)
            with self._deterministic(), catch_stop_requests() as request:
                self._begin()
                with training_display(self.total_steps) as display:
                    if log is not None and self.engine.step_count == 0:
                        log.start(self.config, [] if self._evaluation is None else self._evaluation.tags)
                    own = self._own_callbacks(log, display)
                    self._loop(request, [*evaluation, *own, *health, *callbacks, self._checkpoints(run, log)])
            self.data.unreadable.require_few()
        except NotFinite as stop:
            if log is not None:
                self._leave(run, log, stop)
            raise
        finally:
            self._batches.close()
            if log is not None:
                log.close()
        return Outcome(
            run,
            self.engine.step_count,
            not self.position.over,
            self.data.problems(),
            self.is_main,
            isinstance(self.method, TranslationMethod),
        )

    @contextmanager
    def model(self) -> Iterator[Translator | Sampler]:
        """The model as its weight file would give it at this step: averaged weights, layers as at inference."""
        config, step = self.config.model, self.engine.step_count
        with self.engine.at_inference() as method:
            if isinstance(method, TranslationMethod):
                yield Translator(method, config, step, self.device)
            elif isinstance(method, GenerativeMethod):
                yield Sampler(method, config, step, self.device)

    def record(self, values: Mapping[str, float]) -> None:
        """Writes a callback's figures of this step, by their tags: curves in TensorBoard, a line in metrics.jsonl.

        They have to be a function of the run alone, or a run that was interrupted would differ from one that was not.
        """
        if self._curves is not None and values:
            self._curves.scalars(self.engine.step_count, values)

    @property
    def has_its_length(self) -> bool:
        """Whether nothing is left to train of a run that goes on, by its steps or by its time."""
        limit = self.config.training.max_time
        return self.engine.step_count >= self.total_steps or (limit is not None and self._seconds_before >= limit)

    def end(self) -> None:
        """Makes this step the run's last, as if it were complete: what is due at the end of a run is due now."""
        self._ended = True
        self.position = replace(self.position, over=True)

    def probe(self, steps: int) -> float:
        """Runs ``steps`` steps after one that warms up, and returns the mean seconds of a step."""
        self._begin()
        with self._deterministic(), compiler_errors():
            read(self.engine.step(self._batches, 0.0))
            start = time.perf_counter()
            for _ in range(steps):
                values = self.engine.step(self._batches, 0.0)
            require_finite(read(values), f"step {self.engine.step_count}")
            return (time.perf_counter() - start) / steps

    def restore(self, path: Path, state: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        """Takes over the content of the checkpoint at ``path``.

        Raises:
            ConfigError: it was written with other settings.
            WeightsError: it does not fit this configuration, holds NaN, or is none that a run wrote.
            DataError: the images have changed since.
        """
        try:
            self._require_same_run(header)
            method = state["engine"]["method"]
            require_finite_weights({key: value for key, value in method.items() if isinstance(value, torch.Tensor)})
            self._take_over(state, header)
        except WeightsError as error:
            raise WeightsError(f"{path}: {error}; remove it to go back to the checkpoint before it") from None
        except (RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
            raise WeightsError(f"{path} does not fit its config.yaml: {' '.join(str(error).split())[:300]}") from None

    def _require_same_run(self, header: Mapping[str, Any]) -> None:
        try:
            before = parse_config(header["config"])  # settings that are newer than the run have their defaults
        except ConfigError as error:
            raise ValueError(str(error)) from None
        changed = differing_keys(before, self.config, ignoring=MAY_CHANGE)
        if changed:
            raise ConfigError(f"config.yaml was changed after the run was started: set back {', '.join(changed)}")
        if header["data"] != self.data.fingerprint():
            raise DataError(
                f"{self.config.data.title}: the images have changed since the run was started "
                f"({header['data']}; now {self.data.fingerprint()}): restore them or start a new run"
            )
        processes = header.get("world_size", 1)
        if processes != world().size:
            warn(f"this run was made by {processes} processes, and goes on with {world().size}: not bit for bit")
        self._warn_of_other_machine(before, header["environment"])

    def _take_over(self, state: Mapping[str, Any], header: Mapping[str, Any]) -> None:
        self.engine.load_state_dict(state["engine"])
        self._meters.load_state_dict(state["meters"], self.device)
        self._batches = CountedBatches(iter(()), int(state["batches"]))
        self._seconds_before = float(state["seconds"])
        self.data.unreadable.load_state(header.get("unreadable", []))
        if "contents" in state:
            ended_for_them = len(header.get("unreadable", [])) > self.data.unreadable.limit
            self.data.require_same(state["contents"], repaired=ended_for_them)
        self.data.unreadable.require_few()

    def _warn_of_other_machine(self, before: Config, environment_before: str) -> None:
        """Says what ends exactness."""
        one, now = before.training, self.config.training
        if one.device != now.device:
            warn(f"this run was trained on {one.device}, and goes on on {now.device}: not bit for bit the same")
        elif environment_before != environment():
            warn(f"this run was made by {environment_before}, and this is {environment()}: not bit for bit the same")
        if one.device == now.device == "cpu" and one.threads != now.threads:
            warn(f"this run had {one.threads} CPU threads, and has {now.threads} now: not bit for bit the same")

    def _deterministic(self) -> AbstractContextManager[None]:
        return determinism(self.config.training.deterministic, self.device)

    def _begin(self) -> None:
        self._started = time.perf_counter()
        taken = self._batches.taken
        batches = self.data.batches(self._dataset, taken, workers=self._workers(), device=self.device)
        self._batches = CountedBatches(batches, taken)

    def _workers(self) -> int:
        wanted = self.config.data.workers
        if wanted != "auto":
            return wanted
        # Decoded images cost less than handing batches between processes.
        return (
            0 if self.data.in_memory and not capabilities(self.device).asynchronous else min(4, torch.get_num_threads())
        )

    def _loop(self, request: StopRequest, callbacks: Sequence[Callback]) -> None:
        """Steps, and after each of them every callback that is due, until the run ends or is stopped."""
        self.position = self._position(request)
        for callback in callbacks:
            if callback.at_resume if self.engine.step_count else callback.at_start:
                callback.act(self)
        # At least one step, however short the time: what a run leaves can always be used.
        while not (self.position.over and self.engine.step_count):
            self._meters.add(self._step())
            self.position = self._position(request)
            self._call(callbacks)
            if self.position.last:
                break

    def _call(self, callbacks: Sequence[Callback]) -> None:
        """What is due after this step; where one ends the run, at once also what the end makes due of those before."""
        passed: list[Callback] = []
        for callback in callbacks:
            if not callback.due(self.position):
                passed.append(callback)
                continue
            was_over = self.position.over
            callback.act(self)
            if self.position.over and not was_over:
                for earlier in passed:
                    if earlier.due(self.position):
                        earlier.act(self)

    def _step(self) -> dict[str, torch.Tensor]:
        """A step of the run; compiled networks come into being in the first ones.

        Raises:
            ConfigError: the method does other things than it says.
        """
        method, augmentation, taken = self.method, self.engine.augmentation, self._batches.taken
        with compiler_errors():
            values = self.engine.step(self._batches, self.position.progress)
        took, said = self._batches.taken - taken, method.batches_per_step * self.config.training.accumulate
        if took != said:
            raise ConfigError(f"method {method.name} took {took} batches in a step, and batches_per_step means {said}")
        if self.engine.step_count == SILENT_STEPS:
            if augmentation is not None and not augmentation.asked:
                warn(f"method {method.name} calls no discriminator through judge: nothing that they see is augmented")
            if self.engine.silent:
                silent = ", ".join(sorted(self.engine.silent))
                warn(f"no update in {SILENT_STEPS} steps of method {method.name} for: {silent}")
        return values

    def _own_callbacks(self, log: RunLog | None, display: TrainingDisplay) -> list[Callback]:
        training = self.config.training
        speed = Speed(self.engine.step_count)

        def write_curves(_: Trainer) -> None:
            self._log(log, display, speed.seconds_per_step(self.engine.step_count))

        def write_previews(_: Trainer) -> None:
            if log is not None:
                log.images(self.engine.step_count, self.engine.preview(self.previews))

        return [
            Callback(always, lambda _: display.advance(self.engine.step_count)),
            Callback(every(training.log_every), write_curves),
            Callback(every(training.sample_every), write_previews, at_start=True),
        ]

    def _checkpoints(self, run: RunFolder, log: RunLog | None) -> Callback:
        return Callback(EverySeconds(self.config.training.checkpoint_seconds), lambda _: self._save(run, log))

    def _log(self, log: RunLog | None, display: TrainingDisplay, seconds_per_step: float) -> None:
        step = self.engine.step_count
        self.metrics = values = self._meters.take()
        require_finite(values, self._since_last_log())
        speed = self.engine.images_per_step / seconds_per_step
        if log is not None:
            log.scalars(step, values | {f"lr/{player}": rate for player, rate in self.engine.rates().items()})
            log.speed(step, speed)
        players: dict[str, float] = {}
        for tag, value in values.items():
            kind, _, rest = tag.partition("/")
            if kind == "loss":
                player = rest.partition("/")[0]
                players[player] = players.get(player, 0.0) + value
        display.figures(step, self._seconds_left(seconds_per_step), speed, players)

    def _save(self, run: RunFolder, log: RunLog | None) -> None:
        require_finite(read(self._meters.sums()), self._since_last_log())
        if log is None:
            return
        log.flush()
        state = {
            "engine": self.engine.state_dict(),
            "meters": self._meters.state_dict(),
            "batches": self._batches.taken,
            "seconds": self.seconds(),
            "contents": self.data.contents_state(),
        }
        config = self.config.model_dump(mode="json")
        header = {
            "data": self.data.fingerprint(),
            "unreadable": self.data.unreadable.state(),
            "environment": environment(),
            "world_size": world().size,
            "config": config,
        }
        save_tree(run.checkpoint(self.engine.step_count), state, header, kind="checkpoint")
        save_weights(run.model, self.engine.inference_weights(), self.config.model, self.engine.step_count)
        self._remove_old_checkpoints(run)

    def _remove_old_checkpoints(self, run: RunFolder) -> None:
        """Keeps the newest; those beyond this step could not be read when the run went on, and are in no one's way."""
        there, this = run.checkpoints(), run.checkpoint(self.engine.step_count)
        kept = [path for path in there if path <= this][-self.config.training.keep_checkpoints :]
        for old in there:
            if old not in kept:
                try:
                    old.unlink(missing_ok=True)
                except OSError as error:
                    warn(f"cannot remove the old checkpoint {old} ({error.strerror or error}); training goes on")

    def _since_last_log(self) -> str:
        """The steps whose values have not been read yet."""
        step, every = self.engine.step_count, self.config.training.log_every
        first = (step - 1) // every * every + 1
        return f"step {step}" if first == step else f"steps {first} to {step}"

    def _leave(self, run: RunFolder, log: RunLog, stop: NotFinite) -> None:
        """What a run that stops itself leaves: a word for the doctor, and its weights where there are none yet.

        The weights are good ones: the update that was not finite has not been applied. They are no checkpoint, since
        they lie between two steps.
        """
        step, tag = self.engine.step_count, f"health/not_finite_{stop.player}".removesuffix("_")
        log.scalars(step, {tag: 1.0})
        if step and not run.model.exists():
            weights = self.engine.inference_weights()
            if all(weight.isfinite().all() for weight in weights.values()):
                save_weights(run.model, weights, self.config.model, step)

    def seconds(self) -> float:
        """How long the run has trained so far, over all its parts."""
        return self._seconds_before + time.perf_counter() - self._started

    def _position(self, request: StopRequest) -> Position:
        """Where the run is, by the clock and the stop requests that hold for all ranks."""
        training, done = self.config.training, self.engine.step_count / self.total_steps
        spent = 0.0 if training.max_time is None else self.seconds() / training.max_time
        unreadable = self.data.unreadable
        own = Told(spent, request.made, unreadable.has_news)
        told = self._agreement.after(self.engine.step_count, own, last=done >= 1)
        if told.news and world().size > 1:
            unreadable.add(gather_object(unreadable.take_news()))
            unreadable.take_news()
        if world().size == 1 or told.news:  # what one rank alone has met changes nothing yet
            self._too_many = unreadable.too_many
        progress = max(done, told.spent) if training.schedule.over == "budget" else done
        return Position(
            self.engine.step_count,
            min(progress, 1.0),
            over=max(done, told.spent) >= 1 or self._ended,
            asked_to_stop=told.stop or self._too_many,
        )

    def _seconds_left(self, seconds_per_step: float) -> float:
        limit = self.config.training.max_time
        by_steps = (self.total_steps - self.engine.step_count) * seconds_per_step
        return by_steps if limit is None else max(0.0, min(by_steps, limit - self.seconds()))
