"""The tables of docs/hardware.md: what every recipe takes on an accelerator, computed without one.

usage: python -m benchmarks.hardware [ARCH ...] > TABLES.md
"""

from __future__ import annotations

import argparse
from functools import cache

from i2i import resolve_config
from i2i.config.resolve import recipe_names
from i2i.config.schema import Config, Precision
from i2i.planning.fitting import largest_batch
from i2i.planning.hardware import GPUS
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.report import settled, with_known_data
from i2i.planning.roofline import Bound, bound
from i2i.planning.stage import Stage, stage_for

MEMORIES = (4, 8, 12, 16, 24, 80)
"""GB, of 10^9 bytes."""
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
SIZES = (64, 128, 256, 512)
"""Image sizes of the second table."""


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archs", nargs="*", default=recipe_names())
    archs = parser.parse_args().archs
    columns = " | ".join(f"{memory} GB" for memory in MEMORIES)
    print(f"| recipe | size | batch | precision | GiB | {columns} |\n{'|---' * (5 + len(MEMORIES))}|")
    for arch in archs:
        for precision in PRECISIONS:
            print(memory_row(arch, precision), flush=True)
    print(f"\n| recipe | size | precision | GFLOP | GB | kernels | {' | '.join(gpu.name for gpu in GPUS)} |")
    print("|---" * (6 + len(GPUS)) + "|")
    for arch in archs:
        for size in SIZES if resolve_config(arch).image_size == 256 else [resolve_config(arch).image_size]:
            for precision in PRECISIONS:
                print(work_row(arch, size, precision), flush=True)


def memory_row(arch: str, precision: Precision) -> str:
    """What a recipe takes at its own size and batch, and the largest batch in each memory."""
    config, rehearsal, stage = rehearsed(arch, precision, 0)
    batch = config.training.batch_size
    needed = cache(lambda count: rehearsal.peak(count).total)
    need = needed(batch) + stage.context
    batches = [largest_batch(needed, batch, memory * 10**9 - stage.context) for memory in MEMORIES]
    cells = " | ".join(f"{count:,}" if count else "no" for count in batches)
    return f"| `{arch}` | {config.image_size} | {batch} | {precision} | {need / 2**30:.2f} | {cells} |"


def work_row(arch: str, size: int, precision: Precision) -> str:
    """What there is to compute in a step, and the shortest time on each GPU."""
    _, rehearsal, _ = rehearsed(arch, precision, size)
    _, work = rehearsal.step()
    bounds = " | ".join(cell(bound(work, gpu, precision)) for gpu in GPUS)
    return (
        f"| `{arch}` | {size} | {precision} | {work.flop / 1e9:,.1f} | {work.bytes / 1e9:,.2f} | "
        f"{work.kernels:,} | {bounds} |"
    )


def cell(least: Bound | None) -> str:
    """Milliseconds, and what binds."""
    return "" if least is None else f"{1e3 * least.seconds:.1f} {least.binding}"


def rehearsed(arch: str, precision: Precision, size: int) -> tuple[Config, Rehearsal, Stage]:
    """A recipe on an accelerator, at another size where one is given."""

    def resized(size: int) -> Config:
        return resolve_config(arch, assignments=[f"image_size={size}"] if size else [])

    config, stage = settled(with_known_data(resized), precision, size), stage_for("cuda")
    return config, Rehearsal(config, stage), stage


if __name__ == "__main__":
    main()
