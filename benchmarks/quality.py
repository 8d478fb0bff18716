"""Makes the results table: every translator on every set, several seeds, measured by ``i2i evaluate``.

Each run is one process on one thread, and takes the same time. What is there is not made again: an interrupted run is
resumed, a finished one is left. FOLDER gets the runs, NAME.json for each set (every figure of every image, floors and
ceilings, the CPU's features) and results.md. Sets are folders of trainA, trainB, testA and testB; recipes that learn
without pairs are not told them.

usage: python -m benchmarks.quality DATA... -o FOLDER [--arch ARCH]... [--seeds 0 1 2] [--max-time 4m]
       [--set ARCH:KEY=VALUE]... [--count N] [--metrics METRIC...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from i2i.evaluation.evaluate import Request, evaluate
from i2i.storage.runs import RunFolder

SMALL = ("networks.generator.width=32", "networks.discriminator.width=32", "networks.discriminator.layers=2")
BUDGET = (
    "training.schedule.over=budget",
    "training.schedule.constant=0.5",
    "training.ema={half_life: 550, ramp: 0.05}",
)
CONTRASTIVE = (
    *("networks.generator.blocks=6", "networks.generator.downsample=strided", "networks.generator.init=normal"),
    *("networks.discriminator.downsample=strided", "networks.discriminator.init=normal", "data.load_size=64"),
)
SETTINGS: dict[str, tuple[str, ...]] = {
    "cyclegan-fast": (),
    "cyclegan": (
        *("networks.generator.width=32", "networks.discriminator.width=32", "training.batch_size=4"),
        *("training.schedule.over=budget", "training.schedule.constant=0.5"),
    ),
    "pix2pix": (
        *("networks.generator.depth=6", "networks.discriminator.layers=2", "training.batch_size=4"),
        *("networks.generator.dropout_in=inner", "inference.statistics=running", "data.load_size=64"),
        *BUDGET,
    ),
    "dualgan": (
        *("networks.generator.depth=6", "method.critic_steps=2", "training.batch_size=4", "data.load_size=64"),
        *("optimizers.generator.lr=2e-4", "optimizers.discriminator.lr=2e-4", "inference.statistics=running"),
        *("networks.generator.dropout_in=inner", *SMALL, *BUDGET),
    ),
    "cut": (*CONTRASTIVE, *SMALL, *BUDGET),
    "fastcut": ("method.contrastive_weight=2", *CONTRASTIVE, *SMALL, *BUDGET),
    "enco": (*CONTRASTIVE, *SMALL, *BUDGET),
}
"""What makes each recipe one for 64 px and minutes on a CPU."""
METRICS = ("l1", "ssim", "kid", "swd", "precision", "recall", "alignment")


def train(arch: str, data: Path, seed: int, run: RunFolder, arguments: argparse.Namespace) -> None:
    """Trains a run to its end, unless it is there."""
    finished = run.root / "finished"
    if finished.exists():
        return
    if run.checkpoints():
        command = ["--resume", run.root]
    else:
        own = [text.partition(":")[2] for text in arguments.assignments if text.startswith(f"{arch}:")]
        settings = [part for setting in (*SETTINGS.get(arch, ()), *own) for part in ("--set", setting)]
        limits = ["--image-size", 64, "--max-time", arguments.max_time, "--seed", seed, "--threads", 1]
        command = ["--arch", arch, "--data", data, "--run", run.root, *limits, *settings]
    subprocess.run([sys.executable, "-m", "i2i", "train", *map(str, command)], check=True)
    finished.touch()


def rows_of(report: dict[str, Any]) -> list[str]:
    """A report as a Markdown table for each direction: the mean over seeds, and their range where there are several."""
    lines = []
    for part in report["directions"]:
        names = list(part["models"][0]["figures"])
        ranges = {str(entry["arch"]): entry["figures"] for entry in part["seeds"]}
        about = f"{Path(part['data']['title']).name}, {part['direction']}, n = {part['n']['outputs']}"
        lines += ["", f"| {about} | steps | {' | '.join(names)} |", f"|---|---{'|---' * len(names)}|"]
        for title, figures in (("real images", part["real"]), ("copying the input", part["copy"])):
            cells = [number(figures[name]["value"]) if name in figures else "" for name in names]
            lines.append(f"| {title} | | {' | '.join(cells)} |")
        for arch in dict.fromkeys(str(model["arch"]) for model in part["models"]):
            own = [model for model in part["models"] if model["arch"] == arch]
            steps = ", ".join(f"{model['step']:,}" for model in own)
            cells = [span(ranges.get(arch, {}).get(name), own[0]["figures"][name]["value"]) for name in names]
            lines.append(f"| `{arch}` | {steps} | {' | '.join(cells)} |")
    return lines


def span(known: Sequence[float] | None, alone: float) -> str:
    """Mean and range of several seeds, or the figure of one."""
    return number(alone) if known is None else f"{number(known[0])} ({number(known[1])}-{number(known[2])})"


def number(value: float | None) -> str:
    """A figure with four digits."""
    return "" if value is None else f"{value:.4f}" if abs(value) < 10 else f"{value:.4g}"


def main(given: Sequence[str] | None = None) -> None:
    """Trains what is missing, evaluates, and writes the tables; ``given`` are arguments, by default the command's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--arch", dest="archs", action="append", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--max-time", default="4m")
    parser.add_argument("--set", dest="assignments", action="append", default=[], metavar="ARCH:KEY=VALUE")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--metrics", nargs="+", default=METRICS)
    arguments = parser.parse_args(given)
    archs = arguments.archs or list(SETTINGS)
    for data in arguments.data:
        runs = []
        for seed in arguments.seeds:  # so that the first table of all recipes is there early
            for arch in archs:
                runs.append(RunFolder(arguments.output / data.name / f"{arch}-seed{seed}"))
                train(arch, data, seed, runs[-1], arguments)
        ordered = sorted((run.root for run in runs), key=lambda root: root.name)
        report = evaluate(
            ordered, Request(str(data), metrics=tuple(arguments.metrics), count=arguments.count, device="cpu")
        )
        report.write(arguments.output / f"{data.name}.json")
    lines: list[str] = []
    for path in sorted(arguments.output.glob("*.json")):
        report_tree = json.loads(path.read_bytes())
        lines += rows_of(report_tree)
        cpu = report_tree["cpu"]
    lines += [
        "",
        f"One thread of {cpu['name']} ({cpu['used']}; {', '.join(cpu['features'])}), {arguments.max_time} each.",
    ]
    lines += ["Several seeds: mean, and in brackets their range. Real images: real ones in the place of outputs."]
    (arguments.output / "results.md").write_text("\n".join(lines).lstrip() + "\n")
    print((arguments.output / "results.md").read_text())


if __name__ == "__main__":
    main()
