"""Every recipe on an accelerator: whether it runs, whether it repeats, and what was predicted beside what is measured.

Each recipe has processes of its own and an equal share of the time that is left, and trains on noise of its own size
and batch, in its own precision and in the other of bf16 and fp32. What is looked at:

- smoke: a few steps end with finite losses;
- exactness: steps from the same seed give the same bits again, and so do those after a resume;
- kernels of a step by torch's profiler, copies counted apart;
- measurement: the median time of a step, and the peak memory that torch counts above what there was before the method
  was built, without batches;
- prediction: the same as ``--dry-run`` computes it, with the bound from the GPU's data sheet where that is known.

Writes ``gpu.md`` and ``gpu.json`` after each recipe; the exit code is 1 where something failed, differed or was left
out. Without an accelerator it says so and ends; ``--device cpu`` tries its logic, where kernels and memory are not
counted. It has not been run on a GPU yet.

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
from i2i.config.resolve import recipe_names
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
SMOKE, EXACT, WARM_UP, TIMED = 3, 2, 3, 10
"""Steps: of the smoke test, before and after a resume, before a measurement, and those that are timed."""
SHEETS = {
    "RTX 3090": r"RTX 3090(?! Ti)",
    "RTX 4090": r"RTX 4090(?! D| Laptop)",
    "A100 80GB": r"A100-SXM.*80GB",
    "H100 SXM": r"H100 80GB HBM3",
    "H200 SXM": r"H200$",
}
"""How the driver names the GPUs whose data sheets are known, where that is not by the same word."""
AROUND = 15
"""Seconds that are kept for what is around the recipes."""
MIB = 2**20


def main() -> None:
    """Runs the recipes in turn, or one of them for its parent process."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path())
    parser.add_argument("--device", default="auto")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--arch", action="append", choices=recipe_names())
    parser.add_argument("--set", dest="assignments", action="append", default=[])
    parser.add_argument("--look", choices=["steps", "plan"], help=argparse.SUPPRESS)
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
    found: Figures = {}
    report = {"machine": machine(device), "settings": arguments.assignments, "recipes": found}
    arguments.output.mkdir(parents=True, exist_ok=True)
    for arch, each in in_turn(archs, device, arguments.minutes, arguments.assignments):
        found[arch] = each
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


def in_turn(
    archs: Sequence[str], device: torch.device, minutes: float, assignments: Sequence[str]
) -> Iterator[tuple[str, Figures]]:
    """What was found of each recipe; what one leaves of its time goes to those after it."""
    end = time.monotonic() + 60 * minutes - AROUND
    for number, arch in enumerate(archs):
        start = time.monotonic()
        share = max(0.0, end - start) / (len(archs) - number)
        found = apart(arch, device, share, assignments)
        took = time.monotonic() - start
        said = [f"{arch:14} {took:5.0f} s, {share - took:5.0f} s of its share left over", *faults(found)]
        print("; ".join(said), flush=True)
        yield arch, {**found, "seconds": round(took, 1)}


def faults(found: Figures) -> list[str]:
    """What failed, differed or was left out."""
    parts = found["parts"].items()
    return [
        *(f"{name} failed: {part['error']}" for name, part in parts if "error" in part),
        *(f"{name}: not {key}" for name, part in parts for key, value in part.items() if value is False),
        *([f"left out: {', '.join(found['left_out'])}"] if found["left_out"] else []),
    ]


def apart(arch: str, device: torch.device, share: float, assignments: Sequence[str]) -> Figures:
    """Looks at a recipe's steps and then at its plan, within a share of the time.

    Each in a process of its own: planning registers another accelerator, which torch refuses once it took real steps.
    """
    end = time.monotonic() + share
    found: Figures = {"parts": {}, "left_out": []}
    for look in ("steps", "plan"):
        told = told_by(arch, look, device, max(0.0, end - time.monotonic()), assignments)
        if not told:
            found["left_out"].append(f"the {look}")
            continue
        head, *parts = told
        expected, named = head.pop("expected"), {part.pop("part"): part for part in parts}
        found.update(head)
        found["parts"].update(named)
        found["left_out"] += [name for name in expected if name not in named]
    return found


def told_by(
    arch: str, look: str, device: torch.device, seconds: float, assignments: Sequence[str]
) -> list[dict[str, Any]]:
    """What a process told that looks at a recipe, and that is ended after so many seconds."""
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
    counted = [kernels] if capabilities(device).asynchronous else []
    looks = [smoke, exactness, *counted, measurement] if look == "steps" else [prediction]
    parts = {
        f"{each.__name__} {precision}": partial(each, settled(resized, precision, 0), device)
        for precision in precisions(config, device)
        for each in looks
    }
    head = {
        "image_size": config.image_size,
        "batch_size": training.batch_size,
        "only_deterministic": training.deterministic,
        "precisions": precisions(config, device),
        "expected": list(parts),
    }
    print(json.dumps(head), flush=True)
    with determinism(training.deterministic and look == "steps", device):
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
    """Whether the same steps, and those after a resume, end in the same bits."""
    (middle, end), (_, again) = (states(config, device) for _ in range(2))
    engine, batches = Engine(config, device), Noise(config, device)
    engine.load_state_dict(middle["engine"])
    batches.taken = middle["taken"]
    take(engine, batches, EXACT)
    found = {"repeats": differing(end, again), "resumes": differing(end, state_of(engine, batches))}
    return {
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
    """Seconds of each of several steps, and their peak memory in bytes."""
    batches = Noise(config, device)
    memory = torch.get_device_module(device) if capabilities(device).own_memory else None
    before = memory.memory_allocated(device) if memory else 0
    engine = Engine(config, device)
    take(engine, batches, WARM_UP)
    wait(device)
    if memory:
        memory.reset_peak_memory_stats(device)
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        take(engine, batches, 1)
        wait(device)
        seconds.append(time.perf_counter() - start)
    peak = memory.max_memory_allocated(device) - before if memory else None
    reserved = memory.max_memory_reserved(device) if memory else None
    return {"step": median(seconds), "steps": seconds, "peak": peak, "before": before, "reserved": reserved}


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
    columns = "recipe | size | batch | precision | finite | repeats | resumes"
    compared = "kernels predicted | counted | peak predicted, MiB | counted | bound, ms | by | measured, ms"
    lines = [f"| {columns} | {compared} |", "|---" * 14 + "|"]
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
        *(cell("smoke", "finite"), cell("exactness", "repeats"), cell("exactness", "resumes")),
        *(cell("prediction", "kernels"), cell("kernels", "kernels")),
        *(cell("prediction", "peak", MIB), cell("measurement", "peak", MIB)),
        *(cell("prediction", "step", 1e-3, 2), cell("prediction", "binding"), cell("measurement", "step", 1e-3, 2)),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
