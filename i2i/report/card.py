"""The card of a run's model, for whoever gets the weights: Markdown, with the front matter that model hubs read.

Its last line has a digest of the others. As long as it fits, nobody has edited the card, and i2i writes it anew; a card
that somebody has edited stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from i2i.bounds import read_regular
from i2i.display import counted, one_line
from i2i.needs import LICENCES, is_built_in
from i2i.report.facts import Facts
from i2i.report.measured import measured_of
from i2i.storage.files import write_atomically

TO_FILL_IN = "(to fill in)"
LARGEST = 2**22
"""Bytes of a card that is looked at; a larger one has been edited."""
MARK = re.compile(rb"<!-- i2i renews this card until somebody edits it: sha256 ([0-9a-f]{64}) -->\n")


def write_card(facts: Facts) -> bool:
    """Writes the card into the run's folder; False where somebody has edited the one that is there.

    Raises:
        DataError: it cannot be written.
    """
    path = facts.run.card
    if not _may_be_replaced(path):
        return False
    text = "\n".join(card(facts)) + "\n\n"
    mark = f"<!-- i2i renews this card until somebody edits it: sha256 {sha256(text.encode()).hexdigest()} -->\n"
    write_atomically(path, (text + mark).encode())
    return True


def _may_be_replaced(path: Path) -> bool:
    """Whether there is no card, or one as i2i has written it."""
    try:
        content = read_regular(path, LARGEST).replace(b"\r\n", b"\n")
    except FileNotFoundError:
        return True
    except OSError:
        return False
    text, newline, last = content.rstrip(b"\n").rpartition(b"\n")
    found = MARK.fullmatch(last + b"\n")
    return found is not None and sha256(text + newline).hexdigest().encode() == found[1]


def card(facts: Facts) -> Iterator[str]:
    """The lines of the card."""
    config = facts.config
    kind = "unconditional-image-generation" if facts.makes_from_noise else "image-to-image"
    yield from (
        "---",
        "library_name: i2i",
        f"pipeline_tag: {kind}",
        "tags: [gan, i2i]",
        "license:  # to fill in",
        "---",
    )
    yield from ("", f"# {_text(config.arch)}, {counted(facts.step, 'step')} on {_text(config.data.name)}", "")
    told = "".join(f"{_text(text)}. " for text in (config.about, config.paper) if text)
    yield f"{told}Trained with i2i, which uses it without any other setting."
    yield from ("", "## Training", "", "| | |", "|---|---|")
    for name, text in _training(facts):
        yield f"| {name} | {_text(text)} |"
    yield from ("", "## Licence", "", f"- of the weights: {TO_FILL_IN}", f"- of the data: {_licence(facts)}")
    yield from ("", "## Use", "", *_use(facts))
    yield from ("", "## Figures", "", *_figures(facts))
    yield from ("", "## Limits", "", *(f"- {limit}" for limit in _limits(facts)))


def _training(facts: Facts) -> Iterator[tuple[str, str]]:
    config = facts.config
    yield "recipe", config.arch
    yield "data", config.data.name
    yield "training images", facts.images or "not known"
    yield "image size", f"{config.image_size} px"
    yield "steps", facts.trained + (f"; best.safetensors: {facts.best_step:,}" if facts.best_step is not None else "")
    yield "batch size", str(config.training.batch_size * config.training.accumulate)
    yield "seed", str(config.training.seed)
    yield "device", f"{config.training.device} in {config.training.precision}"
    yield "environment", facts.environment or "not known"


def _licence(facts: Facts) -> str:
    path = facts.config.data.path
    return LICENCES[path] if is_built_in(path) else TO_FILL_IN


def _use(facts: Facts) -> Iterator[str]:
    file = facts.run.model.name if facts.best_step is None else facts.run.best.name
    if facts.makes_from_noise:
        yield from ("```sh", f"i2i sample -o samples.png --model {file}", "```", "", "```python", "import i2i", "")
        yield f'images = list(i2i.load("{file}").sample(10, seed=0))  # uint8 arrays'
    else:
        yield from ("```sh", f"i2i translate INPUT -o OUTPUT --model {file}", "```", "", "```python", "import i2i")
        yield from ("from PIL import Image", "", f'translator = i2i.load("{file}")')
        yield 'translator(Image.open("input.png")).save("output.png")'
    yield from ("```", "", "The file describes its networks and images itself, and loading it runs no code.")


def _figures(facts: Facts) -> Iterator[str]:
    tables = measured_of(facts.run, [])
    for table in tables:
        yield from (_text(table.title), "", "| | " + " | ".join(map(_text, table.columns)) + " |")
        yield "|---" * (1 + len(table.columns)) + "|"
        yield from (f"| {_text(name)} | " + " | ".join(map(_text, cells)) + " |" for name, cells in table.rows)
        yield ""
    if not tables:
        yield "Not measured yet: in this folder `i2i evaluate --model . --json evaluation.json`, then `i2i report .`."


def _limits(facts: Facts) -> Iterator[str]:
    config = facts.config
    if facts.makes_from_noise:
        yield f"It generates images of {config.image_size} px like those that it learnt from, their faults included."
    else:
        yield f"It learnt from images of {config.image_size} px of these two domains; of others expect no good outputs."
        yield "Outputs are plausible, not true: do not use them as evidence or for diagnosis."
    yield "Figures on held-out images of the same set say nothing of images from elsewhere."
    for finding in facts.findings:
        if finding.on:
            yield f"Measured in training: {_text(finding.sign.says)} ({_text(finding.tag)} is {finding.value:.3g})."


def _text(text: str) -> str:
    """The text, of which Markdown makes no markup and no second cell."""
    return re.sub(r"([\\`*_{}\[\]<>#|&!~])", r"\\\1", one_line(text))
