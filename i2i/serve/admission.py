"""What the page's functions may be asked: known functions, with as many inputs as they take, each of its kind.

gradio would look at other requests too, and fetch addresses and open files that they name.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from i2i.serve.folder import holds
from i2i.serve.refused import Refused

SESSION = re.compile(r"[A-Za-z0-9_\-]{1,64}")
LONGEST = 200
"""Characters of a text."""
Check = Callable[[Any], Any]


class Admission:
    """Checks requests for the functions of a page.

    Args:
        page: the page.
        uploads: the folder of the images that it has sent.
    """

    def __init__(self, page: gr.Blocks, uploads: Path) -> None:
        self._checks: Mapping[int, list[Check]] = {
            number: [_check_of(component, uploads) for component in function.inputs]
            for number, function in page.fns.items()
        }

    def __call__(self, body: bytes) -> bytes:
        """The request with nothing in it but what the page needs.

        Raises:
            Refused: it is none that the page sends.
        """
        try:
            asked = json.loads(body)
            number, session, data = asked["fn_index"], asked["session_hash"], asked["data"]
            trigger = asked.get("trigger_id")
            checks = self._checks[number]
            if not isinstance(session, str) or not SESSION.fullmatch(session) or not isinstance(data, list):
                raise ValueError
            if type(number) is not int or not (trigger is None or type(trigger) is int):
                raise ValueError
            admitted = [check(value) for check, value in zip(checks, data, strict=True)]
        except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
            raise Refused(400, "this is no request that the page sends") from None
        asked = {"fn_index": number, "session_hash": session, "trigger_id": trigger, "data": admitted}
        return json.dumps(asked | {"event_data": None}).encode()


def _check_of(component: Any, uploads: Path) -> Check:
    if isinstance(component, gr.Image):
        return lambda value: _image(value, uploads)
    if isinstance(component, gr.Checkbox):
        return _yes_or_no
    if isinstance(component, gr.Number | gr.Slider):
        return lambda value: _number(value, component.minimum, component.maximum)
    return _text


def _image(value: Any, uploads: Path) -> dict[str, Any] | None:
    if value is None:
        return None
    path = value["path"]
    if not isinstance(path, str) or not holds(uploads, path):
        raise Refused(400, "the image is no longer there: send it again")
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


def _number(value: Any, least: float, most: float) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError
    if not least <= value <= most or value != int(value):
        raise Refused(400, f"{value!r}: give a whole number from {least:,} to {most:,}")
    return int(value)


def _yes_or_no(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST:
        raise ValueError
    return value
