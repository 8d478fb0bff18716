"""Records: a folder for each figure that is claimed, from which one command makes it again.

``benchmarks/records/NAME`` holds record.json (command, commit, environment, CPU, figures of every seed), the curves of
a training, and a sheet of translations. ``keep`` writes one from finished runs of several seeds; ``again`` trains with
the same command, and prints its figures beside the recorded ones. Sets are given as folders, since not all may be
redistributed. Figures are those of ``i2i evaluate``.

usage: python -m benchmarks.records keep NAME --data DATA [--commit COMMIT] RUN... -- TRAIN_OPTION...
       python -m benchmarks.records again NAME --data DATA -o RUN [--seed 0]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2i.errors import DataError, UserError
from i2i.evaluation.evaluate import Request, evaluate

RECORDS = Path(__file__).parent / "records"
METRICS = ("l1", "ssim", "kid")
SHOWN = 8
"""One in so many of the held-out images is on the sheet."""


def keep(name: str, data: Path, runs: Sequence[Path], options: Sequence[str], commit: str) -> None:
    """Writes the record of finished runs that were trained with these ``options`` of ``i2i train`` at ``commit``."""
    report = evaluated(runs, data)
    folder = RECORDS / name
    folder.mkdir(parents=True, exist_ok=True)
    record = {
        "train": list(options),
        "set": data.name,
        "commit": text_of("git", "rev-parse", commit),
        "environment": report["environment"],
        "cpu": report["cpu"],
        "directions": [figures_of(direction) for direction in report["directions"]],
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    shutil.copyfile(runs[0] / "metrics.jsonl", folder / "metrics.jsonl")
    sheet(runs[0], data, record["directions"][0]["direction"], folder / "sheet.png")
    print(table(record["directions"], None))


def again(name: str, data: Path, run: Path, seed: int) -> None:
    """Trains what a record has once more, and prints both."""
    if not (RECORDS / name / "record.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in RECORDS.glob("*/record.json")))
        raise DataError(f"no record {name}; there are {known}")
    record = json.loads((RECORDS / name / "record.json").read_bytes())
    i2i("train", *record["train"], "--data", data, "--run", run, "--seed", seed)
    print(f"recorded with {record['environment']} on {record['cpu']['name']}, commit {record['commit'][:12]}")
    print(table(record["directions"], [figures_of(each) for each in evaluated([run], data)["directions"]]))


def evaluated(runs: Sequence[Path], data: Path) -> dict[str, Any]:
    """The report of ``i2i evaluate``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "report.json"
        evaluate(list(runs), Request(str(data), metrics=METRICS, device="cpu")).write(path)
        found: dict[str, Any] = json.loads(path.read_bytes())
    return found


def figures_of(direction: dict[str, Any]) -> dict[str, Any]:
    """A direction's figures: of real images, of copies of the input, and of each seed with its steps."""

    def values(figures: dict[str, Any]) -> dict[str, float]:
        return {metric: round(figure["value"], 5) for metric, figure in figures.items()}

    seeds = [
        {"seed": model["seed"], "steps": model["step"], **values(model["figures"])} for model in direction["models"]
    ]
    return {
        "direction": direction["direction"],
        "images": direction["n"]["outputs"],
        "real": values(direction["real"]),
        "copy": values(direction["copy"]),
        "seeds": seeds,
    }


def table(recorded: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]] | None) -> str:
    """The figures of every seed, and those that were found now."""
    lines = []
    for part in recorded:
        rows = [("recorded", seed) for seed in part["seeds"]]
        rows += [
            ("now", seed) for each in found or [] if each["direction"] == part["direction"] for seed in each["seeds"]
        ]
        lines += [f"{part['direction']}, {part['images']} images; copying the input: {part['copy']}"]
        lines += [f"  {when:9} {', '.join(f'{key} {value}' for key, value in row.items())}" for when, row in rows]
    return "\n".join(lines)


def sheet(run: Path, data: Path, direction: str, output: Path) -> None:
    """Rows of input, translation and truth, of ``direction``, such as AtoB."""
    source, target = data / f"test{direction[0]}", data / f"test{direction[-1]}"
    with tempfile.TemporaryDirectory() as folder:
        i2i("translate", source, "--model", run, "--direction", direction, "-o", folder)
        columns = [source, folder, target]
        options = ["--every", SHOWN, "--abreast", 4, "-o", output]
        subprocess.run([sys.executable, "-m", "benchmarks.sheet", *map(str, [*columns, *options])], check=True)


def text_of(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def i2i(*arguments: object) -> None:
    """Runs a command of i2i; ends as it does where it does not finish, after what it says."""
    code = subprocess.run([sys.executable, "-m", "i2i", *map(str, arguments)]).returncode
    if code:
        sys.exit(code)


def main() -> None:
    """Keeps a record, or makes one again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    keeping, making = commands.add_parser("keep"), commands.add_parser("again")
    for command in (keeping, making):
        command.add_argument("name")
        command.add_argument("--data", type=Path, required=True)
    keeping.add_argument("--commit", default="HEAD", help="the commit that trained the runs")
    keeping.add_argument("runs", type=Path, nargs="+")
    making.add_argument("-o", "--output", type=Path, required=True)
    making.add_argument("--seed", type=int, default=0)
    given, options = sys.argv[1:], []
    if "--" in given:
        given, options = given[: given.index("--")], given[given.index("--") + 1 :]
    arguments = parser.parse_args(given)
    try:
        if arguments.command == "keep":
            keep(arguments.name, arguments.data, arguments.runs, options, arguments.commit)
        else:
            again(arguments.name, arguments.data, arguments.output, arguments.seed)
    except UserError as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
