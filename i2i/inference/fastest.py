"""How a run is translated fastest on this machine: kept beside the run by `i2i bench`, used where it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from i2i.device import machine
from i2i.display import say
from i2i.inference.precision import Choice
from i2i.inference.translator import Translator
from i2i.storage.files import write_atomically
from i2i.storage.runs import RunFolder

FORMAT = 1


@dataclass(frozen=True)
class Fastest:
    """What was fastest.

    Attributes:
        choices: the way to translate, by direction.
        threads: the number of CPU threads.
    """

    choices: Mapping[str, Choice]
    threads: int


def keep_fastest(run: RunFolder, translator: Translator, fastest: Fastest) -> None:
    """Writes it into the run folder, with all that it depends on.

    Raises:
        DataError: the folder cannot be written.
    """
    choices = {direction: asdict(choice) for direction, choice in fastest.choices.items()}
    content = {**_decisive(translator), "threads": fastest.threads, "directions": choices}
    write_atomically(run.fastest, json.dumps(content, indent=1).encode())


def kept_fastest(weights: Path, translator: Translator) -> Fastest | None:
    """What was kept for ``translator``, which was loaded from ``weights``; one line says why it is not used."""
    file = RunFolder(weights.parent).fastest
    try:
        content = json.loads(file.read_bytes())
        decisive = _decisive(translator)
        changed = [name for name, value in decisive.items() if content[name] != value]
        choices = {name: Choice.parsed(kept) for name, kept in content["directions"].items()}
        found = Fastest(choices, int(content["threads"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        say(f"{file} is not used: it cannot be read; i2i bench writes it anew")
        return None
    if changed:
        say(f"{file} is not used: it was measured with another {changed[0]}; i2i bench measures anew")
        return None
    return found


def _decisive(translator: Translator) -> dict[str, Any]:
    """What the verdict depends on."""
    return {
        "format": FORMAT,
        "machine": machine(),
        "device": translator.device.type,
        "weights": translator.digest,
    }
