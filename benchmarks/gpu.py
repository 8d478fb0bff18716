"""Every recipe on an accelerator: whether it runs, whether it repeats, and what was predicted beside what is measured.

Each recipe trains on noise of its own size and batch, in its own precision and in the other of bf16 and fp32. Several
processes at a time look at:

- smoke: a few steps end with finite losses;
- exactness: steps from the same seed give the same bits again, those after a resume do, and so do those that are
  computed kernel by kernel instead of replayed (``training.graphs``);
- kernels of a step by torch's profiler, copies counted apart;
- prediction: kernels, time and memory as ``--dry-run`` computes them, with the bound from the GPU's data sheet where
  that is known.

Then one process after the other measures:

- measurement: the median time of a step kernel by kernel, and the peak memory that torch counts above what there was
  before the method was built, without batches;
- replaying: the median time of a replayed step.

Writes ``gpu.md`` and ``gpu.json`` as it goes; the exit code is 1 where something failed, differed or was left
out. Without an accelerator it says so and ends; ``--device cpu`` tries its logic, where kernels and memory are not
counted and nothing is replayed. It has not been run on a GPU yet.

usage: python -m benchmarks.gpu [-o FOLDER] [--device auto|NAME] [--minutes 10] [--arch ARCH]... [--set KEY=VALUE]...
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import re
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.profiler import profile, supported_activities
from torch.utils import collect_env
from torch.utils._pytree import keystr, tree_flatten_with_path, tree_map

from i2i import resolve_config
from i2i.batch import Batch
from i2i.bench.training import random_batch
from i2i.config.resolve import changed, recipe_names
from i2i.config.schema import Config, Precision
from i2i.device import (
    accelerators,
    available_devices,
    capabilities,
    determinism,
    environment,
    read,
    resolve_device,
    resolve_precision,
)
from i2i.errors import UserError
from i2i.planning.hardware import GPU, GPUS
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.report import settled, with_known_data
from i2i.planning.roofline import bound
from i2i.planning.stage import stage_for
from i2i.seeding import derive_seed
from i2i.training.engine import Engine

Figures = dict[str, Any]
BATCHES = 4
SMOKE, EXACT, WARM_UP, TIMED = 3, 7, 5, 10
"""Steps: of the smoke test, before and after a resume, before a measurement, and those that are timed.

A few steps more than it takes until they are replayed.
"""
LOOKS = ("check", "plan", "measure")
TOGETHER = 6
"""Processes at a time, but for those that measure."""
SHEETS = {
    "RTX 3090": r"RTX 3090(?! Ti)",
    "RTX 4090": r"RTX 4090(?! D| Laptop)",
    "A100 80GB": r"A100-SXM.*80GB",
    "H100 SXM": r"H100 80GB HBM3",
    "H200 SXM": r"H200$",
}
"""How the driver names the GPUs whose data sheets are known, where that is not by the same word."""
CHECKS = 0.6
"""The share of the time that is for all but measuring, at most."""
MIB = 2**20


def main() -> None:
    """Runs the recipes in turn, or one of them for its parent process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--arch", action="append", choices=recipe_names())
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--look", choices=LOOKS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.device == "auto" and available_devices() == ["cpu"]:
        print("skipped: torch finds no accelerator here")
        return
    archs = arguments.arch or recipe_names()
    try:
        device = resolve_device(arguments.device)
        for arch in archs:
            resolve_config(arch, assignments=arguments.assignments)
    except UserError as error:
        parser.error(str(error))
    if arguments.look:
        look_at(archs[0], arguments.look, device, arguments.assignments)
        return
    found: Figures = {arch: {"parts": {}, "left_out": []} for arch in archs}
    report = {"machine": machine(device), "settings": arguments.assignments, "recipes": found}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for arch, look, told in looks(archs, device, arguments.minutes, arguments.assignments):
        note(found[arch], look, told)
        (arguments.output / "gpu.json").write_text(json.dumps(report, indent=1) + "\n")
        (arguments.output / "gpu.md").write_text(table(report))
    sys.exit(1 if any(map(faults, found.values())) else 0)


def machine(device: torch.device) -> Figures:
    """The device and all versions."""
    name = "cpu" if device.type == "cpu" else accelerators()[device.index or 0]
    return {
        "device": name,
        "environment": environment(),
        "driver": collect_env.get_nvidia_driver_version(collect_env.run),  # type: ignore[no-untyped-call]
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]
    }


def looks(
    archs: Sequence[str], device: torch.device, minutes: float, assignments: Sequence[str]
) -> Iterator[tuple[str, str, list[Figures]]]:
    """What each look at a recipe told: several at a time, and then those that measure one by one."""
    start = time.monotonic()

    def seconds(share: float) -> float:
        return max(0.0, start + share * 60 * minutes - time.monotonic())

    def look_from_outside(arch: str, look: str) -> tuple[str, str, list[Figures]]:
        return arch, look, told_by(arch, look, device, seconds(CHECKS), assignments)

    with ThreadPoolExecutor(TOGETHER) as pool:
        tasks = [pool.submit(look_from_outside, arch, look) for look in LOOKS[:2] for arch in archs]
        for task in as_completed(tasks):
            yield task.result()
    for number, arch in enumerate(archs):
        yield arch, LOOKS[2], told_by(arch, LOOKS[2], device, seconds(1) / (len(archs) - number), assignments)


def note(found: Figures, look: str, told: Sequence[Figures]) -> None:
    """Adds what a look at a recipe told to what was found."""
    head, parts = (dict(told[0]), list(told[1:])) if told else ({"expected": [f"the look {look!r}"]}, [])
    named = {part.pop("part"): part for part in map(dict, parts)}
    left_out = [name for name in head.pop("expected") if name not in named]
    found.update(head)
    found["parts"].update(named)
    found["left_out"] += left_out
    print("; ".join([f"{head.get('arch', '')} {look}", *faults({"parts": named, "left_out": left_out})]), flush=True)


def faults(found: Figures) -> list[str]:
    """What failed, differed or was left out."""
    parts = found["parts"].items()
    return [
        *(f"{name} failed: {part['error']}" for name, part in parts if "error" in part),
        *(f"{name}: not {key}" for name, part in parts for key, value in part.items() if value is False),
        *([f"left out: {', '.join(found['left_out'])}"] if found["left_out"] else []),
    ]


def told_by(
    arch: str, look: str, device: torch.device, seconds: float, assignments: Sequence[str]
) -> list[dict[str, Any]]:
    """What a process told that looks at a recipe, and that is ended after so many seconds.

    Planning has one of its own: it registers another accelerator, which torch refuses once it took real steps.
    """
    given = [part for setting in assignments for part in ("--set", setting)]
    command = ["-m", "benchmarks.gpu", "--look", look, "--arch", arch, "--device", device.type, *given]
    try:
        text = subprocess.run([sys.executable, *command], stdout=subprocess.PIPE, timeout=seconds).stdout
    except subprocess.TimeoutExpired as late:
        text = late.stdout or b""
    return [json.loads(line) for line in text.decode().splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]


def look_at(arch: str, look: str, device: torch.device, assignments: Sequence[str]) -> None:
    """Prints a line of JSON with what there is to look at, and then one for each part of it."""
    resized = with_known_data(lambda _: resolve_config(arch, assignments=assignments))
    config = resized(0)
    training = config.training
    asynchronous = capabilities(device).asynchronous
    looks_of = {
        "check": [smoke, exactness, *([kernels] if asynchronous else [])],
        "plan": [prediction],
        "measure": [measurement, *([replaying] if asynchronous else [])],
    }
    parts = {
        f"{each.__name__} {precision}": partial(each, settled(resized, precision, 0), device)
        for precision in precisions(config, device)
        for each in looks_of[look]
    }
    head = {
        "arch": arch,
        "image_size": config.image_size,
        "batch_size": training.batch_size,
        "only_deterministic": training.deterministic,
        "precisions": precisions(config, device),
        "expected": list(parts),
    }
    print(json.dumps(head), flush=True)
    with determinism(training.deterministic and look != "plan", device):
        for name, part in parts.items():
            tell(name, part)


def precisions(config: Config, device: torch.device) -> list[Precision]:
    """The recipe's own, and the other of bf16 and fp32 if the device computes in both."""
    own = resolve_precision(config.training.precision, device)
    others: list[Precision] = ["bf16", "fp32"] if capabilities(device).fast_precision == "bf16" else ["fp32"]
    return [own, *[other for other in others if other != own][:1]]


def tell(name: str, look: Callable[[], Figures]) -> None:
    """Prints what a part finds, or how it fails, which leaves the others alone."""
    start = time.monotonic()
    gc.collect()
    try:
        found = look()
    except Exception as error:
        traceback.print_exc()
        found = {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}
    print(json.dumps({"part": name, "took": round(time.monotonic() - start, 2), **found}), flush=True)


class Noise(Iterator[Batch]):
    """Batches on the device that are made once, so that steps do not wait for them.

    Attributes:
        taken: how many were taken.
    """

    def __init__(self, config: Config, device: torch.device) -> None:
        self.taken = 0
        self._made = [noise(config, number).to(device) for number in range(BATCHES)]

    def __next__(self) -> Batch:
        self.taken += 1
        return self._made[self.taken % BATCHES]


def noise(config: Config, number: int) -> Batch:
    """A random batch, always the same for a number."""
    return random_batch(config, derive_seed(config.training.seed, "noise", number))


def take(engine: Engine, batches: Noise, count: int) -> dict[str, Tensor]:
    """Takes steps; the values of the last."""
    values = {}
    for _ in range(count):
        values = engine.step(batches, 0.0)
    return values


def wait(device: torch.device) -> None:
    """Returns when all is computed."""
    if capabilities(device).asynchronous:
        torch.accelerator.synchronize(device)


def smoke(config: Config, device: torch.device) -> Figures:
    """Whether losses are finite after a few steps."""
    values = read(take(Engine(config, device), Noise(config, device), SMOKE))
    bad = [tag for tag, value in values.items() if not math.isfinite(value)]
    return {"finite": not bad, "values": len(values), "not_finite": bad}


def exactness(config: Config, device: torch.device) -> Figures:
    """Whether the same steps, those after a resume, and those that are not replayed end in the same bits."""
    replayed = changed(config, {"training.graphs": True})
    (middle, end), (_, again), (_, eager) = (states(each, device) for each in (replayed, replayed, config))
    engine, batches = Engine(replayed, device), Noise(config, device)
    engine.load_state_dict(middle["engine"])
    batches.taken = middle["taken"]
    take(engine, batches, EXACT)
    left = {"repeats": again, "resumes": state_of(engine, batches), "replays": eager}
    found = {name: differing(end, other) for name, other in left.items()}
    return {
        "recorded": engine.replay is not None,
        **{name: not different for name, different in found.items()},
        "differing": {name: {"count": len(each), "first": each[:5]} for name, each in found.items()},
    }


def states(config: Config, device: torch.device) -> list[Figures]:
    """The states in the middle and at the end of a few steps."""
    engine, batches = Engine(config, device), Noise(config, device)
    found = []
    for _ in range(2):
        take(engine, batches, EXACT)
        found.append(state_of(engine, batches))
    return found


def state_of(engine: Engine, batches: Noise) -> Figures:
    """A copy on the host of all that the next step depends on."""
    state = {"engine": engine.state_dict(), "taken": batches.taken}
    copied: Figures = tree_map(lambda leaf: leaf.cpu().clone() if isinstance(leaf, Tensor) else leaf, state)
    return copied


def differing(one: Figures, other: Figures) -> list[str]:
    """The names of what is in only one of two states, or not the same in both."""
    left, right = ({keystr(path): leaf for path, leaf in tree_flatten_with_path(each)[0]} for each in (one, other))
    both = left.keys() & right.keys()
    return sorted(left.keys() ^ right.keys()) + [name for name in left if name in both and apart_in(left, right, name)]


def apart_in(left: Figures, right: Figures, name: str) -> bool:
    """Whether two leaves differ."""
    one, other = left[name], right[name]
    return not torch.equal(one, other) if isinstance(one, Tensor) else bool(one != other)


def kernels(config: Config, device: torch.device) -> Figures:
    """How many kernels, copies and fillings of memory the profiler sees in a step."""
    engine, batches = Engine(config, device), Noise(config, device)
    take(engine, batches, WARM_UP)
    wait(device)
    with profile(activities=supported_activities()) as seen:  # type: ignore[no-untyped-call]
        take(engine, batches, 1)
        wait(device)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(trace))
        counts = Counter(event.get("cat") for event in json.loads(trace.read_text())["traceEvents"])
    if not counts["kernel"]:
        raise RuntimeError("the profiler saw no kernels")
    return {"kernels": counts["kernel"], "copies": counts["gpu_memcpy"], "fillings": counts["gpu_memset"]}


def measurement(config: Config, device: torch.device) -> Figures:
    """Seconds of each of several steps, kernel by kernel, and their peak memory in bytes."""
    batches = Noise(config, device)
    memory = torch.get_device_module(device) if capabilities(device).own_memory else None
    before = memory.memory_allocated(device) if memory else 0
    engine = Engine(config, device)
    take(engine, batches, WARM_UP)
    wait(device)
    if memory:
        memory.reset_peak_memory_stats(device)
    seconds = timed(engine, batches, device)
    peak = memory.max_memory_allocated(device) - before if memory else None
    reserved = memory.max_memory_reserved(device) if memory else None
    return {"step": median(seconds), "steps": seconds, "peak": peak, "before": before, "reserved": reserved}


def replaying(config: Config, device: torch.device) -> Figures:
    """Seconds of each of several steps that are replayed, and the memory that is reserved then."""
    engine, batches = Engine(changed(config, {"training.graphs": True}), device), Noise(config, device)
    if engine.replay is None:
        return {"step": None}
    take(engine, batches, 3 * WARM_UP)  # where steps differ, each kind is recorded apart
    wait(device)
    seconds = timed(engine, batches, device)
    return {"step": median(seconds), "steps": seconds, "reserved": torch.cuda.max_memory_reserved(device)}


def timed(engine: Engine, batches: Noise, device: torch.device) -> list[float]:
    """Seconds of each of several steps."""
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        take(engine, batches, 1)
        wait(device)
        seconds.append(time.perf_counter() - start)
    return seconds


def prediction(config: Config, device: torch.device) -> Figures:
    """Kernels and work of a step, its peak memory without batches, and the shortest time by the data sheet."""
    gpu = sheet_of(device)
    rehearsal = Rehearsal(config, stage_for(device.type))
    peak, work = rehearsal.step()
    least = None if gpu is None else bound(work, gpu, config.training.precision)
    return {
        "kernels": work.kernels,
        "peak": peak.total - peak.by_kind["batch"],
        "by_kind": peak.by_kind,
        "flop": work.flop,
        "moved": work.bytes,
        "data_sheet": None if gpu is None else gpu.name,
        "step": None if least is None else least.seconds,
        "binding": None if least is None else least.binding,
        "bounds": None if least is None else least._asdict(),
    }


def sheet_of(device: torch.device) -> GPU | None:
    """The GPU of the data sheets that this device is."""
    describe = getattr(torch.get_device_module(device), "get_device_properties", None)
    name = "" if describe is None else str(getattr(describe(device), "name", ""))
    return next((gpu for gpu in GPUS if re.search(SHEETS.get(gpu.name, rf"\b{gpu.name}\b"), name)), None)


def table(report: Figures) -> str:
    """A row for each recipe and precision, and below what it was made on, what failed and what was left out."""
    columns = "recipe | size | batch | precision | finite | repeats | resumes | replays"
    compared = (
        "kernels predicted | counted | peak predicted, MiB | counted | bound, ms | by | measured, ms | replayed, ms"
    )
    lines = [f"| {columns} | {compared} |", "|---" * 16 + "|"]
    notes = [f"{name}: {value}" for name, value in report["machine"].items()]
    if report["settings"]:
        notes.append(f"settings: {', '.join(report['settings'])}")
    for arch, found in report["recipes"].items():
        lines += [row(arch, found, precision) for precision in found.get("precisions", [])]
        notes += [f"{arch}: {fault}" for fault in faults(found)]
    return "\n".join([*lines, "", *(f"- {note}" for note in notes), ""])


def row(arch: str, found: Figures, precision: str) -> str:
    """What was found in a precision; cells of what was not are empty."""

    def cell(part: str, name: str, unit: float = 1, digits: int = 0) -> str:
        value = found["parts"].get(f"{part} {precision}", {}).get(name)
        if isinstance(value, bool):
            return "yes" if value else "NO"
        return f"{value / unit:,.{digits}f}" if isinstance(value, int | float) else value or ""

    cells = [
        *(f"`{arch}`", str(found["image_size"]), str(found["batch_size"]), precision),
        *(
            cell("smoke", "finite"),
            cell("exactness", "repeats"),
            cell("exactness", "resumes"),
            cell("exactness", "replays"),
        ),
        *(cell("prediction", "kernels"), cell("kernels", "kernels")),
        *(cell("prediction", "peak", MIB), cell("measurement", "peak", MIB)),
        *(cell("prediction", "step", 1e-3, 2), cell("prediction", "binding"), cell("measurement", "step", 1e-3, 2)),
        cell("replaying", "step", 1e-3, 2),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
