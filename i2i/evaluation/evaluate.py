"""Evaluates models: makes their held-out outputs, measures them, and says what may be said."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Literal

from i2i.batch import Needs
from i2i.config.changes import CADENCES, FOLDERS, MACHINE
from i2i.config.explain import leaves
from i2i.config.schema import Config, DataConfig, Device
from i2i.device import resolve_device
from i2i.display import warn
from i2i.errors import ConfigError
from i2i.evaluation.clip import read_clip
from i2i.evaluation.compare import compare
from i2i.evaluation.cost import made
from i2i.evaluation.evaluated import Evaluated
from i2i.evaluation.features.base import FeatureNetwork, default_network, find_network, require_impartial
from i2i.evaluation.held_out import Half, HeldOut, PartName, Wanted, read_held_out, whereabouts
from i2i.evaluation.measure import choose, inputs_in_place_of_outputs, measured, real_in_place_of_outputs
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.outputs import directions_of, held_against, outputs_of
from i2i.evaluation.report import Evaluation, Figures, Part, Range, Report
from i2i.inference.load import load
from i2i.inference.outputs import read_with_digest
from i2i.inference.sampler import Sampler
from i2i.inference.together import Together
from i2i.inference.translator import Translator
from i2i.methods.base import Method
from i2i.needs import installing
from i2i.storage.runs import RunFolder, weight_file

NOT_THE_RECIPE = ("training.seed", *FOLDERS, *MACHINE, *CADENCES)
"""Settings by which runs may differ and still be runs of one recipe."""


@dataclass(frozen=True)
class Request:
    """How models are evaluated.

    Attributes:
        data: a folder or a built-in set; None: what each run was trained on.
        split: the part of it.
        features: the feature network, by name or file; None: lite0 where it is installed.
        metrics: their names; None: those that can be measured.
        task: a judge that is trained on the spot, for one task.
        count: how many held-out images at most, evenly spread.
        pairs: whether partners are looked for by name.
        half: the half of the held-out images; weights that were chosen on one are reported on the other.
        seed: decides samples, patches, shuffles, resampling and the networks that are trained on the spot.
        max_pixels: the limit for images that are read; None: that of each run.
        device: where to compute.
    """

    data: str | None = None
    split: PartName = "test"
    features: str | None = None
    metrics: Sequence[str] | None = None
    task: str | None = None
    count: int = 1000
    pairs: bool = True
    half: Half = "all"
    seed: int = 0
    max_pixels: int | None = None
    device: Device = "auto"


@dataclass(frozen=True)
class Subject:
    """A model that is evaluated, and the run that it is from, where that is known.

    ``which``: of a run that watches a metric, whether these are its best or its last weights.
    """

    file: Path
    sha256: str
    model: Translator | Sampler
    run: Config | None
    which: Literal["", "best", "last"] = ""

    @property
    def title(self) -> str:
        """What tells it from others."""
        return f"{self.file.parent.name} {self.which}".strip() if self.run is not None else self.file.stem

    @property
    def watched(self) -> bool:
        """Whether its run has chosen weights on a part of the held-out images."""
        return self.run is not None and self.run.evaluation.watch is not None

    @property
    def needs(self) -> Needs:
        """What it learnt from."""
        return Method.named(self.model.config.method["name"]).needs

    @property
    def directions(self) -> tuple[str, ...]:
        """What is evaluated of it."""
        return directions_of(self.model)


@dataclass(frozen=True)
class Task:
    """One model in one direction, and where it is held against others."""

    subject: Subject
    bench: Bench


def evaluate(models: Sequence[str | Path | None], request: Request, processes: Together | None = None) -> Report:
    """Evaluates models, each in all its directions.

    Args:
        models: run folders or weight files; None for the newest run.
        request: how.
        processes: share the making of outputs; the first measures them.

    Returns:
        What was found; in processes other than the first, a report of nothing.

    Raises:
        WeightsError: no such file, or not one of i2i.
        DataError: there are no held-out images, or weights of the feature network.
        ConfigError: no such metric, task, network or device; or a model that cannot be evaluated.
    """
    processes = processes or Together()
    tasks, network = processes.each(lambda: _prepared(models, request, measures=processes.is_first))
    for task in tasks:
        task.bench.add(task.subject, network, processes)
    if not processes.is_first:
        return Report([], None, request.seed, [])
    benches = list(dict.fromkeys(task.bench for task in tasks))
    skipped = list(dict.fromkeys(line for bench in benches for line in bench.finish()))
    about = None if network is None else (network.label, network.sha256)
    return Report([bench.part for bench in benches], about, request.seed, skipped)


def _prepared(
    models: Sequence[str | Path | None], request: Request, *, measures: bool
) -> tuple[list[Task], FeatureNetwork | None]:
    """What is to be done, and the feature network in the process that ``measures``; errors as ``evaluate``."""
    metrics = choose(request.metrics, request.task)
    read = _reader(metrics, request)
    subjects = [subject for model in models for subject in _best_and_last(model, request.device)]
    request = on_unseen_images(request, subjects)
    network = _network(metrics, request) if measures else None
    if network is not None:
        for subject in subjects:
            require_impartial(network, subject.model.config)
    sets: dict[Wanted, HeldOut] = {}
    benches: dict[tuple[int, str], Bench] = {}
    tasks = []
    for subject in subjects:
        wanted = wanted_by(subject, request)
        if wanted not in sets:
            sets[wanted] = _known(wanted, read(wanted), sets)
        held_out = sets[wanted]
        for direction in subject.directions:
            bench = benches.setdefault((id(held_out), direction), Bench(held_out, wanted, direction, metrics, request))
            tasks.append(Task(subject, bench))
    return tasks, network


def _reader(metrics: Sequence[Metric], request: Request) -> Callable[[Wanted], HeldOut]:
    """What reads the images that ``metrics`` are measured on: held-out images, or the frames of a clip.

    Raises:
        ConfigError: both are needed, or no clip is named.
    """
    of_frames = [metric.name for metric in metrics if "frames" in metric.needs]
    if not of_frames:
        return read_held_out
    if len(of_frames) < len(metrics):
        raise ConfigError(f"{of_frames[0]} is measured on a clip, which has no held-out images: name it alone")
    if request.data is None:
        raise ConfigError(f"{of_frames[0]} needs a clip: --data VIDEO, or --data FOLDER of frames in name order")
    return read_clip


def _known(wanted: Wanted, found: HeldOut, sets: Mapping[Wanted, HeldOut]) -> HeldOut:
    """``found``, or what was read before where it is the same: paired and unpaired recipes share a table."""
    for other, known in sets.items():
        same_images = (known.title, known.digest) == (found.title, found.digest)
        same_pairs = (known.paired, known.trains_in_pairs) == (found.paired, found.trains_in_pairs)
        if same_images and same_pairs and (other.images, other.image_size) == (wanted.images, wanted.image_size):
            return known
    return found


class Bench:
    """Where models are held against the same images, in the same direction."""

    def __init__(
        self, held_out: HeldOut, wanted: Wanted, direction: str, metrics: Sequence[Metric], request: Request
    ) -> None:
        self._metrics, self._request, self._named = metrics, request, request.metrics is not None
        self._last: Evaluated | None = None
        self.part = Part(direction, wanted.image_size, held_out, {})

    def add(self, subject: Subject, network: FeatureNetwork | None, processes: Together) -> None:
        """Makes the outputs of a model, and measures them in the first process."""
        model, part, seed = subject.model, self.part, self._request.seed
        outputs, cost = made(
            model, part.direction, lambda: outputs_of(model, part.direction, part.held_out, seed, processes)
        )
        if not processes.is_first:
            return
        images = held_against(outputs, part.direction, part.held_out, network, seed)
        figures = measured(self._metrics, images, named=self._named, unavailable=part.unavailable)
        run = subject.run
        part.models.append(
            Evaluation(
                title=subject.title,
                file=str(subject.file),
                sha256=subject.sha256,
                arch=model.config.arch,
                step=model.step,
                seed=None if run is None else run.training.seed,
                family=None if run is None else f"{_family(run)} {subject.which}".strip(),
                figures=figures,
                cost=cost,
            )
        )
        self._last = images

    def finish(self) -> list[str]:
        """Measures what stands beside the models, and compares them; returns what was skipped, a line each."""
        images, part = self._last, self.part
        if images is None:
            raise ValueError("no model was added")
        by_title = {metric.title(images): metric for metric in self._metrics}
        part.lower_is_better = {title for title, metric in by_title.items() if metric.lower_is_better}
        part.unranked = {title for title, metric in by_title.items() if not metric.ranks}
        if images.masks is not None:
            part.masked = {title for title, metric in by_title.items() if metric.masked}
        part.cautions = {
            title: caution
            for title, metric in by_title.items()
            if title not in part.unavailable and (caution := metric.caution(images)) is not None
        }
        copied = inputs_in_place_of_outputs(images)
        for metric in self._metrics:
            if metric.title(images) in part.unavailable:
                continue
            unused: dict[str, str] = {}
            real = real_in_place_of_outputs(metric, images)
            for stand_in, figures in ((real, part.real), (copied, part.copy)):
                if stand_in is not None:
                    figures |= measured([metric], stand_in, named=True, unavailable=unused)
        part.n = {"outputs": len(images.outputs), "real": len(images.target)}
        if images.training is not None:
            part.n["training"] = len(images.training)
        for title, metric in by_title.items():
            own = [model.figures[title] for model in part.models if title in model.figures]
            if metric.ranks and len(own) == len(part.models):
                pairs = combinations(range(len(own)), 2)
                part.comparisons += [compare(metric, title, own, a, b, self._request.seed) for a, b in pairs]
        part.ranges = _ranges(part.models)
        return [*part.held_out.skipped, *self._skipped(images)]

    def _skipped(self, images: Evaluated) -> list[str]:
        own = [line for each in (images.training, images.training_sources) if each is not None for line in each.skipped]
        if self._named:
            own += [f"{name} of {self.part.direction}: {why}" for name, why in self.part.unavailable.items()]
        return own


def read_subject(model: str | Path | None, device: Device) -> Subject:
    """Loads a model that is evaluated; errors as ``evaluate``."""
    file = weight_file(model)
    loaded, sha256 = read_with_digest(file, lambda: load(file, device=device, fastest=False))
    if loaded.config.image_size == 1:
        raise ConfigError(f"{file}: {loaded.config.arch} was trained on points, and images are evaluated")
    run = RunFolder(file.parent)
    return Subject(file, sha256, loaded, run.read_config() if run.config.is_file() else None)


def on_unseen_images(request: Request, subjects: Sequence[Subject]) -> Request:
    """The request, on the half of the held-out images on which no run of ``subjects`` has chosen its weights."""
    watched = request.split == "test" and any(subject.watched for subject in subjects)
    return replace(request, half="reporting") if watched else request


def _best_and_last(model: str | Path | None, device: Device) -> list[Subject]:
    """A model; of a run that watches a metric, its best and its last weights."""
    subject = read_subject(model, device)
    run = RunFolder(subject.file.parent)
    if subject.file != run.best or (model is not None and not Path(model).is_dir()):
        return [subject]
    return [replace(subject, which="best"), replace(read_subject(run.model, device), which="last")]


def _network(metrics: Sequence[Metric], request: Request) -> FeatureNetwork | None:
    if not any("network" in metric.needs for metric in metrics):
        return None
    device = resolve_device(request.device)
    network = default_network(device) if request.features is None else find_network(request.features, device)
    if network is None:
        warn(f"no feature network: KID, precision and recall need one; {installing('eval')}")
    return network


def wanted_by(subject: Subject, request: Request) -> Wanted:
    """The held-out images that a model is evaluated on; errors as ``evaluate``."""
    config = subject.model.config
    if request.data is not None:
        most = {} if subject.run is None else {"max_pixels": subject.run.data.max_pixels}
        data = DataConfig(path=request.data, **most)
    elif subject.run is not None:
        subject.run.data.require_there()
        data = subject.run.data
    else:
        raise ConfigError(f"{subject.file} does not say where its data lies: add --data FOLDER")
    if request.max_pixels is not None:
        data = data.model_copy(update={"max_pixels": request.max_pixels})
    return Wanted(
        data=whereabouts(data, config.image_size),
        images=config.images,
        image_size=config.image_size,
        needs=subject.needs,
        split=request.split,
        count=request.count,
        pairs=request.pairs,
        half=request.half,
        sub_labels=request.task == "classify" and isinstance(subject.model, Translator),
    )


def _family(run: Config) -> str:
    """A digest of what runs of one recipe have in common."""
    settings = {path: value for path, value in leaves(run.model_dump(mode="json")) if path not in NOT_THE_RECIPE}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]


def _ranges(models: Sequence[Evaluation]) -> list[Range]:
    families: dict[str, list[Evaluation]] = {}
    for model in models:
        if model.family is not None:
            families.setdefault(model.family, []).append(model)
    ranges = []
    for own in families.values():
        seeds = [model.seed for model in own if model.seed is not None]
        if len(set(seeds)) > 1:
            ranges.append(Range(own[0].arch, seeds, _spans([model.figures for model in own])))
    return ranges


def _spans(figures: Sequence[Figures]) -> dict[str, tuple[float, float, float]]:
    """Mean, smallest and largest of each figure that all have."""
    spans = {}
    for name in figures[0]:
        values = [each[name].value for each in figures if name in each]
        if len(values) == len(figures):
            spans[name] = (sum(values) / len(values), min(values), max(values))
    return spans
