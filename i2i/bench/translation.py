"""Times the ways to translate images, and compares their outputs with those of torch's layers in fp32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch

from i2i.bench.rows import Row, Table, Way
from i2i.data.images import Pixels
from i2i.device import capabilities, fewest_that_pay, thread_numbers
from i2i.display import say
from i2i.errors import ConfigError
from i2i.inference.precision import PROBED, Choice, Distance, distance_of
from i2i.inference.translator import Translator
from i2i.timing import in_turns

PLAIN = Way("fp32")


def ways_to_translate(translator: Translator, *, compiled: bool) -> list[Way]:
    """Those that this device offers, the plain one first.

    Raises:
        ConfigError: the model takes or makes no 8-bit images, which distances are stated for.
    """
    if not translator.config.images.is_plain:
        raise ConfigError(
            "translators of more than 8 bits are not timed yet: they compute in fp32 unless asked otherwise"
        )
    able = capabilities(translator.device)
    precisions = dict.fromkeys(("fp32", able.fast_precision))
    fast = [Way(each, "fast") for each in precisions] if translator.device.type == "cpu" else []
    plain = [Way(each, layers) for layers in ("torch", "channels last") for each in precisions]
    return [PLAIN, *fast, *plain[1:], *[Way(each, "channels last", True) for each in precisions if compiled]]


def pick_threads(translator: Translator, direction: str, image: Pixels, limit: float) -> int:
    """Sets the number of threads that pays for the usual way, and returns it."""
    numbers, usual = thread_numbers(translator.device), translator.faster(direction, "fp32")

    def translated(number: int, turn: int) -> None:
        torch.set_num_threads(number)
        usual.translate_pixels([image], direction)

    if len(numbers) > 1:
        seconds = in_turns({number: partial(translated, number) for number in numbers}, 3, limit, "threads")
        numbers = [fewest_that_pay({number: min(each) for number, each in seconds.items()})]
    torch.set_num_threads(numbers[0])
    return numbers[0]


def time_translation(
    translator: Translator, direction: str, ways: Sequence[Way], images: Sequence[Pixels], limit: float
) -> tuple[Table, Mapping[Way, Distance]]:
    """Translates ``images``, all of one size, one in each turn, within ``limit`` seconds.

    Returns:
        The times, and the distance of each way's outputs from the plain one's.
    """
    outputs: dict[Way, list[Pixels]] = {way: [] for way in ways}
    timed = in_turns(
        {way: _translating(translator, direction, way, images, outputs) for way in ways},
        len(images),
        limit,
        f"timing {direction}",
    )
    plain = min(timed[PLAIN])
    distances = {way: distance_of(way.precision, zip(outputs[PLAIN], outputs[way], strict=False)) for way in timed}
    rows = [
        Row(
            way=way,
            seconds=min(seconds),
            first=seconds[0],
            turns=len(seconds),
            times=plain / min(seconds),
            apart="" if way == PLAIN else f"{distances[way].mean:.2f}, at most {distances[way].largest}",
            allowed=way == PLAIN or distances[way].is_small,
        )
        for way, seconds in timed.items()
    ]
    height, width = images[0].shape[:2]
    return Table(f"{direction}: an image of {width}x{height} px", torch.get_num_threads(), rows), distances


def choice_of(table: Table, distances: Mapping[Way, Distance]) -> Choice | None:
    """The fastest way; None where too few images were compared to know it."""
    way = table.fastest.way
    if any(distances[row.way].images < PROBED for row in table.rows if row.times >= 1 and not row.way.compiled):
        return None
    return Choice(way.precision, distances[way] if way.precision != "fp32" else None, way.layers)


def _translating(
    translator: Translator, direction: str, way: Way, images: Sequence[Pixels], outputs: Mapping[Way, list[Pixels]]
) -> Callable[[int], None]:
    made = translator.faster(direction, way.precision, way.layers)
    if way.compiled:
        say(f"{direction}: compiling, {way.precision}")
        made.method.directions()[direction].generator.compile()
        made.translate_pixels([images[0]], direction)

    def translated(turn: int) -> None:
        outputs[way].append(made.translate_pixels([images[turn]], direction)[0])

    return translated
