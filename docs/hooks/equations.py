"""Equations as MathML, which browsers draw themselves: the site loads no script for them."""

from __future__ import annotations

import re
from typing import Any

from latex2mathml.converter import convert
from links import log


def equation(source: str, *_: Any, **__: Any) -> str:
    """The HTML of a fence of the language ``math``, which holds TeX; pymdownx.superfences calls it."""
    drawn = convert(source.strip(), display="block")
    if re.search(r"<m[io]>(&</|\\)", drawn):
        log.warning("an equation has TeX that is not known: %s", source)
    return drawn
