"""How far trainings on 2 and 3 processes are from one on 1: ``python -m benchmarks.ranks [STEPS]``.

Every recipe at 16 px with tiny networks, a global batch of 6 and double precision, with plain SGD and with its own
optimisers. Shown are the norm of the difference of all weights against their norm at the end, and the largest relative
difference of a logged value in the first 5 steps.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from tests.toys import joined


def trained_on(processes: int, steps: int, path: Path) -> dict[str, Any]:
    """What tests/ranks.py leaves."""
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    subprocess.run([sys.executable, *launch, "-m", "tests.ranks", str(path), str(steps)], check=True)
    results: dict[str, Any] = torch.load(path)
    return results


def distance(one: dict[str, Any], other: dict[str, Any]) -> str:
    """Of the weights, and of the logged values, as two cells."""
    left, right = (joined(each["weights"]) for each in (one, other))
    values = [
        abs(float(b[name] - a[name])) / max(1e-3, abs(float(a[name])))
        for a, b in zip(one["losses"][:5], other["losses"][:5], strict=True)
        for name in a
    ]
    return f"{float((right - left).norm() / left.norm()):.0e} | {max(values):.0e}"


def main() -> None:
    """Prints the table."""
    steps = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as folder:
        one, *others = (trained_on(count, steps, Path(folder) / str(count)) for count in (1, 2, 3))
    print("| recipe | SGD, 2: weights | values | SGD, 3 | | own, 2 | | own, 3 | |")
    print("|---|---|---|---|---|---|---|---|---|")
    for arch in one:
        cells = [distance(one[arch][kind], other[arch][kind]) for kind in ("sgd", "own") for other in others]
        print(f"| `{arch}` | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
