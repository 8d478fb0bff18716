"""What a run has written down of itself: the lines of its metrics.jsonl, which anybody may have edited since."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LAST_STEP = 2**63
LARGEST = 1e300
"""No figure of a training is beyond it, and differences of such figures are still numbers."""


def read_records(metrics: Path) -> Iterator[dict[str, Any]]:
    """The lines of a metrics.jsonl, in order: the step and figures; what is no whole line or no number is left out."""
    try:
        lines = metrics.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and type(record.get("step")) is int and 0 <= record["step"] < LAST_STEP:
            yield {tag: value for tag, value in record.items() if tag == "step" or _is_figure(value)}


def _is_figure(value: Any) -> bool:
    """Whether it is a number, finite or not."""
    return type(value) is float or (type(value) is int and abs(value) < LARGEST)
