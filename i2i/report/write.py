"""Writes what a run tells of itself: report.html, and MODEL_CARD.md where there are weights."""

from __future__ import annotations

from pathlib import Path

from i2i.config.schema import Config
from i2i.display import say, warn
from i2i.report.card import write_card
from i2i.report.facts import read_facts
from i2i.report.page import render
from i2i.storage.files import write_atomically
from i2i.storage.runs import RunFolder

MOST_BYTES = 2**25
"""Of a metrics.jsonl: the curves of a longer one take seconds, and nobody waits for them at the end of a training."""


def write_report(run: RunFolder, output: Path | None = None, *, config: Config | None = None) -> Path:
    """Writes the report of a run, finished or not, and without ``output`` the card of its model beside it.

    Args:
        run: the folder.
        output: the page; by default report.html in the folder.
        config: of the run, for who has it at hand.

    Raises:
        DataError: this is no run folder, or a file cannot be written.
        ConfigError: its configuration was edited into something invalid.
    """
    facts = read_facts(run, config)
    path = output or run.report
    write_atomically(path, render(facts).encode(), flush=False)
    if output is None and run.model.is_file() and not write_card(facts):
        say(f"{run.card} has been edited and stays as it is")
    return path


def leave_report(run: RunFolder, config: Config) -> None:
    """The same at the end of a training, to which nothing that goes wrong here may matter."""
    try:
        if run.metrics.is_file() and run.metrics.stat().st_size > MOST_BYTES:
            say(f"{run.metrics} is long: i2i report {run.root} makes its page")
            return
        write_report(run, config=config)
    except Exception as error:
        warn(f"the report of {run.root} could not be written ({error}); all else is there")
