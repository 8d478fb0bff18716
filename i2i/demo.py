"""``i2i demo``: trains a small CycleGAN to colour line drawings, and shows its results on held-out ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from i2i.config.resolve import resolve_config
from i2i.data.builtin import openmoji
from i2i.data.images import Pixels, list_images, read_image, write_image
from i2i.display import counted, say
from i2i.evaluation.evaluate import Request
from i2i.evaluation.gallery import compare_models
from i2i.evaluation.page import render
from i2i.inference.load import load_translator
from i2i.inference.plan import plan
from i2i.inference.translate import translate_files
from i2i.storage.files import write_atomically
from i2i.tiles import tile
from i2i.training.start import train

ROWS, TRIPLES = 12, 4
"""The contact sheet: this many rows, each with this many of input | translation | truth."""
SHORT = {"training.steps": 800, "training.max_time": 230.0, "networks.generator.blocks": 3}
"""How the demo trains unless a time is given: until faces and hands have their colour, on a slow CPU nearly so. With
half of the recipe's blocks steps take 0.8 times as long, and so short a training does not need more."""


@dataclass(frozen=True)
class Demo:
    """What the demo writes, and the commands to try next."""

    sheet: Path
    page: Path
    next_commands: list[str]


def run_demo(seconds: float | None, run: Path | None, seed: int) -> Demo:
    """Trains, translates the held-out drawings, and writes contact-sheet.png and index.html.

    Args:
        seconds: how long to train with the recipe's own settings; None: as ``SHORT`` says.
        run: the run folder, or None for a new one.
        seed: of the run.

    Raises:
        DataError: the packages of the demo extra are missing, or a folder cannot be written.
        TrainingStopped: a loss is not finite.
    """
    settings = SHORT if seconds is None else {"training.max_time": seconds}
    config = resolve_config("cyclegan-fast", options=settings | {"training.seed": seed})
    outcome = train(config, run, name="demo")
    folder = outcome.run
    drawings = openmoji(config.data.load_size)
    output = folder.root / "translated"
    planned = plan(drawings / "testA", output, "png")
    translate_files(load_translator(folder.root), planned, None)
    say(f"translated {len(planned.jobs)} held-out drawings after {counted(outcome.step, 'step')}")
    names = [path.name for path in list_images(drawings / "testA")]
    chosen = [names[i * len(names) // (ROWS * TRIPLES)] for i in range(ROWS * TRIPLES)]
    columns = (drawings / "testA", output, drawings / "testB")
    sheet, page = folder.root / "contact-sheet.png", folder.root / "index.html"
    write_image(sheet, contact_sheet([[read_image(column / name) for column in columns] for name in chosen]))
    write_atomically(page, _page(folder.root, outcome.step).encode())
    return Demo(
        sheet,
        page,
        [
            f"i2i translate {drawings / 'testB'} -o outlines --direction BtoA --model {folder.root}",
            "i2i train --arch cyclegan-fast --data FOLDER_WITH_trainA_AND_trainB --max-time 10m",
            "tensorboard --logdir runs",
        ],
    )


def contact_sheet(triples: list[list[Pixels]], gap: int = 8) -> Pixels:
    """Joins triples of equally large images, ``TRIPLES`` to a row, scaled by two, on grey."""
    cells = [tile(triple, len(triple)) for triple in triples]
    return tile(cells, TRIPLES, gap=gap, frame=gap, background=160, scale=2)


def _page(run: Path, steps: int) -> str:
    shown = compare_models([run], Request(count=60)).page
    about = (
        f"A CycleGAN trained for {counted(steps, 'step')} on outlines and coloured drawings, without being told which "
        "belongs to which. Here are drawings that training has not seen: input, ours and truth. All translations are "
        "in translated/ beside this page, the training's own previews in samples/."
    )
    licence = "Drawings: OpenMoji, the open-source emoji and icon project, CC BY-SA 4.0."
    title = "i2i demo: line drawings, coloured"
    return render(replace(shown, title=title, intro=[about], notes=[licence]))
