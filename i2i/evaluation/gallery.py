"""What the page of ``i2i compare`` shows: the same held-out images by several translators, or samples of one seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

from i2i.config.schema import PLACES, DataConfig
from i2i.data.images import Pixels
from i2i.display import counted, tracked, warn
from i2i.errors import ConfigError, DataError
from i2i.evaluation.compare import compare
from i2i.evaluation.evaluate import Request, Subject, on_unseen_images, read_subject, wanted_by
from i2i.evaluation.evaluated import Evaluated, Figure
from i2i.evaluation.held_out import HeldOut, Side, Wanted, read_held_out
from i2i.evaluation.images import ImageSet
from i2i.evaluation.measure import choose, inputs_in_place_of_outputs, measured
from i2i.evaluation.metrics.base import Metric
from i2i.evaluation.outputs import domains_of, translated
from i2i.evaluation.page import Column, Item, Page, Shown
from i2i.evaluation.page import Metric as Shownable
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator

TITLES = {"l1": ("L1", 4), "psnr": ("PSNR", 2), "ssim": ("SSIM", 3), "ms_ssim": ("MS-SSIM", 3), "lpips": ("LPIPS", 3)}
"""What the reader knows metrics by, and the digits behind the point."""


@dataclass(frozen=True)
class Gallery:
    """A page, and what was left out of it, a line each."""

    page: Page
    skipped: list[str]


def compare_models(models: Sequence[Path | None], request: Request, direction: str | None = None) -> Gallery:
    """The page of models of one kind.

    Args:
        models: run folders or weight files; None for the newest run.
        request: which images, how many, and of which seed.
        direction: of translators; by default the first of the first one.

    Raises:
        WeightsError: no such file, or not one of i2i.
        DataError: there are no held-out images.
        ConfigError: translators and samplers together, runs of different data, or a direction that one does not know.
    """
    subjects = [read_subject(model, request.device) for model in models]
    request = on_unseen_images(request, subjects)
    translators = [subject.model for subject in subjects if isinstance(subject.model, Translator)]
    samplers = [subject.model for subject in subjects if isinstance(subject.model, Sampler)]
    if translators and samplers:
        raise ConfigError(
            f"{translators[0].config.arch} translates images and {samplers[0].config.arch} draws them from noise: "
            "compare models of one kind"
        )
    if samplers:
        return _samples(subjects, samplers, request, direction)
    return _translations(subjects, translators, request, direction)


@dataclass(frozen=True)
class Translations:
    """What one translator made of held-out images.

    Attributes:
        source: the inputs.
        held_out: what they are of.
        outputs: by the names of the inputs.
        inputs: likewise, measured as if they were outputs.
        metrics: by the names of their figures.
        figures: of the outputs.
    """

    source: Side
    held_out: HeldOut
    outputs: Mapping[str, Shown]
    inputs: Mapping[str, Shown]
    metrics: Mapping[str, Metric]
    figures: Mapping[str, Figure]


def _translations(
    subjects: Sequence[Subject], models: Sequence[Translator], request: Request, direction: str | None
) -> Gallery:
    direction = models[0].check_direction(direction)
    for model in models:
        model.check_direction(direction)
    wanted = _wanted_by_all(subjects, request)
    sets: dict[Wanted, HeldOut] = {}
    for each in wanted:
        if each not in sets:
            sets[each] = read_held_out(each)
    made = [_translate(model, sets[each], direction, request) for model, each in zip(models, wanted, strict=True)]
    largest = max(range(len(made)), key=lambda number: wanted[number].image_size)
    shown = made[largest]
    truth = _truth(shown, direction)
    names = [name for name in shown.source.names if all(name in each.outputs for each in made)]
    stems = Counter(_stem(name) for name in names)
    items = []
    for name in names:
        images = [shown.inputs[name], *(each.outputs[name] for each in made)]
        title = _stem(name) if stems[_stem(name)] == 1 else name
        items.append(Item(title, [*images, truth[name]] if truth else images))
    columns = [Column("input", "input"), *_columns(subjects), *([Column("truth", "truth")] if truth else [])]
    held_out = shown.held_out
    sizes = sorted({each.image_size for each in wanted})
    page = Page(
        title=f"{_models(columns)}: {direction} on {wanted[0].data.name}",
        columns=columns,
        items=sorted(items, key=lambda item: item.name),
        metrics=[_shownable(title, metric) for title, metric in shown.metrics.items()],
        facts=[
            ("Data", f"{wanted[0].data.name}, {_part_of(held_out)}"),
            ("Direction", direction),
            ("Images", _how_many(len(items), shown.source.available)),
            ("Size", ", ".join(f"{size} px" for size in sizes)),
        ],
        notes=_notes(held_out, len(models), sizes, measured=bool(shown.metrics)),
        winners={} if len(sizes) > 1 else {title: 1 + model for title, model in _winners(made, request.seed).items()},
    )
    return Gallery(_said_if_lossy(page), list(dict.fromkeys(line for each in sets.values() for line in each.skipped)))


def _wanted_by_all(subjects: Sequence[Subject], request: Request) -> list[Wanted]:
    """What each model is shown: the same images for all, each at its own size; pairs alone where one needs them."""
    wanted = [wanted_by(subject, request) for subject in subjects]
    most = max(each.data.max_pixels for each in wanted)
    wanted = [replace(each, data=each.data.model_copy(update={"max_pixels": most})) for each in wanted]
    places = [each.data.model_copy(update={"load_size": wanted[0].data.load_size}) for each in wanted]
    for subject, place in zip(subjects, places, strict=True):
        if place != places[0]:
            apart = _apart((subjects[0].title, subject.title), (places[0], place))
            raise ConfigError(f"{apart}: name the images to compare them on with --data")
    in_pairs = any(each.needs == "paired" for each in wanted)
    return [replace(each, needs="paired") if in_pairs else each for each in wanted]


def _apart(models: tuple[str, str], places: tuple[DataConfig, DataConfig]) -> str:
    """What differs in two places of held-out images, by the names of the models."""
    (one, other), (here, there) = models, places
    differing = [key for key in (*PLACES, "held_out") if getattr(here, key) != getattr(there, key)]
    if here.title != there.title:
        return f"{one} learnt from {here.title} and {other} from {there.title}"
    if differing[0] in ("mask", "test_mask"):
        by = [f"the masks in {folder}" if (folder := getattr(place, differing[0])) else "no masks" for place in places]
        return f"{one} counts by {by[0]}, and {other} by {by[1]}"
    return f"{one} and {other} learnt from {here.title} with another {' and '.join(f'data.{key}' for key in differing)}"


def _translate(model: Translator, held_out: HeldOut, direction: str, request: Request) -> Translations:
    source_domain, target_domain = domains_of(direction, held_out)
    source, target = held_out.sides[source_domain or target_domain], held_out.sides[target_domain]
    images = Evaluated(
        outputs=ImageSet(translated(model, source.given, direction)),
        target=target.images,
        sources=source.images,
        truth=target.images if held_out.paired else None,
        masks=held_out.masks,
        seed=request.seed,
    )
    metrics = [metric for metric in choose(None) if not metric.of_sets and {*metric.needs} <= {"sources", "truth"}]
    copies = inputs_in_place_of_outputs(images)
    figures = measured(metrics, images, named=False, unavailable={})
    of_inputs = {} if copies is None else measured(metrics, copies, named=False, unavailable={})
    return Translations(
        source,
        held_out,
        outputs=_shown(source.names, images.outputs, figures),
        inputs=_shown(source.names, source.images, of_inputs),
        metrics={metric.title(images): metric for metric in metrics if metric.title(images) in figures},
        figures=figures,
    )


def _shown(names: Sequence[str], images: Sequence[Pixels], figures: Mapping[str, Figure]) -> dict[str, Shown]:
    """Images by their names, each with its part of the figures."""
    parts = {title: figure.per_image for title, figure in figures.items() if figure.per_image is not None}
    return {
        name: Shown(images[number], {title: float(values[number]) for title, values in parts.items()})
        for number, name in enumerate(names)
    }


def _winners(made: Sequence[Translations], seed: int) -> dict[str, int]:
    """By figure, the number of the model that is better than every other by more than the spread of the difference."""
    winners = dict[str, int]()
    for title, metric in made[0].metrics.items():
        figures = [each.figures[title] for each in made if title in each.figures]
        pairs = list(combinations(range(len(figures)), 2)) if len(figures) == len(made) else []
        won = Counter(compare(metric, title, figures, a, b, seed).better for a, b in pairs)
        for model, times in won.items():
            if model is not None and times == len(made) - 1:
                winners[title] = model
    return winners


def _truth(made: Translations, direction: str) -> dict[str, Shown]:
    """The true partner of each input by the input's name; none where pairs are not known."""
    if not made.held_out.paired:
        return {}
    target = made.held_out.sides[domains_of(direction, made.held_out)[1]].images
    return {name: Shown(target[number]) for number, name in enumerate(made.source.names)}


def _samples(
    subjects: Sequence[Subject], models: Sequence[Sampler], request: Request, direction: str | None
) -> Gallery:
    if direction is not None:
        raise ConfigError(f"{models[0].config.arch} draws images from noise, in no direction: leave out --direction")
    drawn = [_drawn(model, request) for model in models]
    real = _real(subjects[0], request)
    columns = _columns(subjects)
    if real is not None:
        columns.append(Column("real", "real"))
        drawn.append([Shown(pixels) for pixels in real.sides["A"].images])
    items = []
    for number in range(request.count):
        items.append(Item(f"sample {number}", [own[number] if number < len(own) else None for own in drawn]))
    facts = [("Samples", f"{request.count}, of seed {request.seed}")]
    if real is not None:
        facts.insert(0, ("Data", f"{Path(real.title).name}, {_part_of(real)}"))
    notes = ["A sample is the same latent in models of one recipe; in others it is the same number alone."]
    page = Page(
        title=f"{_models(columns)}: samples of seed {request.seed}",
        columns=columns,
        items=items,
        facts=facts,
        notes=notes if len(models) > 1 else [],
        layout="grids",
    )
    return Gallery(_said_if_lossy(page), [] if real is None else real.skipped)


def _drawn(model: Sampler, request: Request) -> list[Shown]:
    labels = model.labels_for(range(request.count))
    captions = [""] * request.count if labels is None else [model.labels[number] for number in labels.tolist()]
    images = tracked("sampling", request.count)(model.sample(request.count, seed=request.seed))
    return [Shown(pixels, caption=caption) for pixels, caption in zip(images, captions, strict=True)]


def _real(subject: Subject, request: Request) -> HeldOut | None:
    """Held-out images to look at beside samples, where it is known where they lie."""
    if request.data is None and subject.run is None:
        return None
    try:
        return read_held_out(wanted_by(subject, request))
    except DataError as error:
        if request.data is not None:
            raise
        warn(f"without real images: {error}")
        return None


def _columns(subjects: Sequence[Subject]) -> list[Column]:
    """A column for each model, by the shortest name that no other has."""
    titles = Counter(subject.title for subject in subjects)
    columns = []
    for subject in subjects:
        config, step = subject.model.config, subject.model.step
        trained = f"{counted(step, 'step')} at {config.image_size} px on {config.data}" if step else config.about
        name = subject.title if titles[subject.title] == 1 else str(subject.file)
        columns.append(Column(name, "model", f"{config.arch}, {trained}"))
    return columns


def _stem(name: str) -> str:
    return str(Path(name).with_suffix(""))


def _models(columns: Sequence[Column]) -> str:
    names = [column.name for column in columns if column.kind == "model"]
    return " and ".join(names) if len(names) < 3 else f"{len(names)} models"


def _part_of(held_out: HeldOut) -> str:
    return "which the models were trained on" if held_out.split == "train" else f"{held_out.split} part"


def _how_many(count: int, available: int) -> str:
    if count >= available:
        return f"all {count:,} held-out images"
    return f"{count:,} of {available:,} held-out images, evenly spread"


def _shownable(title: str, metric: Metric) -> Shownable:
    name, digits = TITLES.get(title, (title.replace("_", " ").capitalize(), 3))
    return Shownable(title, name, "lower" if metric.lower_is_better else "higher", digits)


def _notes(held_out: HeldOut, models: int, sizes: Sequence[int], *, measured: bool) -> list[str]:
    notes = [f"{note[0].upper()}{note[1:]}." for note in held_out.notes]
    if measured:
        notes.append("Figures are means over the images on this page; i2i evaluate measures more, on more of them.")
    if measured and len(sizes) > 1:
        notes.append("Every model is measured at its own size: figures of different sizes say little about each other.")
    elif measured and models > 1:
        notes.append("Bold: better than every other model by more than the spread of the difference.")
    return notes


def _said_if_lossy(page: Page) -> Page:
    if page.lossless:
        return page
    return replace(page, notes=[*page.notes, "Images are shown slightly compressed, and measured as they are."])
