"""Verdicts that are measured once on a machine and kept in the cache folder, so that they are the same each time."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256

from i2i.errors import DataError
from i2i.storage.cache import cache_folder
from i2i.storage.files import write_atomically


def verdict(question: str, machine: str, measure: Callable[[], bool]) -> bool:
    """The answer to ``question`` on ``machine``, a description of all that it depends on: kept, or else measured."""
    name = sha256(f"{question}, {machine}".encode()).hexdigest()[:16]
    path = cache_folder() / "machine" / f"{name}.json"
    with suppress(OSError, ValueError, TypeError, KeyError):
        kept = json.loads(path.read_bytes())["answer"]
        if isinstance(kept, bool):
            return kept
    answer = measure()
    with suppress(DataError):  # a cache folder that cannot be written: measured again next time
        content = {"question": question, "machine": machine, "answer": answer}
        write_atomically(path, json.dumps(content, indent=1).encode(), flush=False)
    return answer
