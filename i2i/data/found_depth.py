"""Finds the depth of each domain when a run starts: what its values are, and their range."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from i2i.batch import Domain
from i2i.config.schema import DataConfig, Depth
from i2i.data.heads import Head
from i2i.data.store import ImageLike, attempted
from i2i.data.stored import Held
from i2i.display import tracked
from i2i.errors import ConfigError, DataError
from i2i.kinds import FULL


@dataclass(frozen=True)
class Found:
    """The images of a domain, and the headers that have been read of them, by number."""

    domain: Domain
    images: Sequence[ImageLike]
    heads: Mapping[int, Head]


def with_depths(config: DataConfig, *domains: Found) -> DataConfig:
    """``config`` with the depth of each domain, and with the channels of those that are not 8-bit images.

    Raises:
        DataError: two images of a domain hold different values, or its depth is none that was asked for; names them.
        ConfigError: channels that the files do not have are asked for.
    """
    settled: dict[str, Any] = {}
    for found in domains:
        side = found.domain.lower()
        held = _held_by_all(found)
        given: Depth | None = getattr(config, f"depth_{side}")
        if given is not None and given.kind != held.kind:
            first = found.images[next(iter(found.heads))].name
            raise DataError(f"{first}: holds {held}, and data.depth_{side}.kind is {given.kind}: leave it out")
        if held.channels is not None:
            settled[f"channels_{side}"] = _channels(config, found, held.channels)
            settled[f"depth_{side}"] = given or _depth(found, held)
    return config.model_copy(update=settled)


def _held_by_all(found: Found) -> Held:
    (number, first), *others = found.heads.items()
    for other, head in others:
        if head.held != first.held:
            raise DataError(
                f"{found.images[number].name} holds {first.held}, and {found.images[other].name} {head.held}: "
                f"the images of domain {found.domain} need one depth and number of channels: convert some"
            )
    return first.held


def _channels(config: DataConfig, found: Found, channels: int) -> int:
    """Those of the files; 3, which recipes have, asks for nothing."""
    key = f"channels_{found.domain.lower()}"
    given = getattr(config, key)
    if given not in (channels, 3, "auto"):
        raise ConfigError(f"data.{key} is {given}, and the images of domain {found.domain} have {channels} channels")
    return channels


def _depth(found: Found, held: Held) -> Depth:
    if held.kind in FULL:
        return Depth(kind=held.kind, low=0, high=FULL[held.kind])
    low, high = _range(found, held)
    if not low < high:
        raise DataError(f"all values of domain {found.domain} are {low:g}: there is nothing to learn")
    return Depth(kind=held.kind, low=low, high=high)


def _range(found: Found, held: Held) -> tuple[float, float]:
    """The least and the largest value of all images that can be read; the others are met again, and named, later."""

    def extremes(image: ImageLike) -> tuple[float, float]:
        values = image.values(held.kind, held.channels or 1)
        return float(values.min()), float(values.max())

    low, high = math.inf, -math.inf
    first: DataError | None = None
    for result in tracked(f"range of {found.domain}", len(found.images))(attempted(extremes, found.images)):
        if isinstance(result, DataError):
            first = first or result
        else:
            low, high = min(low, result[0]), max(high, result[1])
    if low > high:
        raise first or DataError(f"no image of domain {found.domain} can be read")
    return low, high
