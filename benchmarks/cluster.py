"""The table of docs/scale.md: how well training scales to 1,024 GPUs, computed without one.

Each rank has the recipe's own batch, so that the global batch grows with the number of GPUs. A step takes its bound
from the GPU's data sheet (``i2i.planning``) and after that its exchanges, one after the other; nothing overlaps. What
is exchanged is what a real step asks for, which is taken here with tensors that have no numbers by rank 0 of a group
that is played.

usage: python -m benchmarks.cluster [ARCH ...]
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from statistics import fmean

from i2i import resolve_config
from i2i.config.schema import Config, Precision
from i2i.methods.history import ImageHistory
from i2i.planning.hardware import GPUS
from i2i.planning.rehearsal import Rehearsal
from i2i.planning.report import settled, with_known_data
from i2i.planning.roofline import bound
from i2i.planning.stage import stage_for
from tests.cluster import Cluster

RECIPES = ("cyclegan", "pix2pix", "cut", "dcgan")
SIZES = (2, 8, 64, 1024)
PRECISION: Precision = "bf16"
STEPS = 4
"""Over which what is drawn is averaged."""
HOST = 8
"""GPUs of a host."""
GPU = next(gpu for gpu in GPUS if gpu.name == "H100 SXM")
NVLINK = 450e9
"""Bytes a second from a GPU in each direction: NVLink 4 (NVIDIA H100 data sheet, SXM5, 2023: 900 GB/s both ways)."""


@dataclass(frozen=True)
class Network:
    """What joins hosts.

    Attributes:
        name: as the table has it.
        bandwidth: bytes a second from a host in each direction.
    """

    name: str
    bandwidth: float


NETWORKS = (
    Network("InfiniBand", 8 * 50e9),  # NVIDIA DGX H100 data sheet, 2023: eight ports of 400 Gbit/s
    Network("Ethernet", 12.5e9),  # IEEE 802.3ba, 2010: one port of 100 Gbit/s
)


@dataclass(frozen=True)
class Latency:
    """Seconds, as NCCL 2.30's own model of its protocol LL128 has them (``src/graph/tuning.cc``, 2026).

    Attributes:
        start: of an operation.
        nvlink: of a hop within a host.
        network: of a hop between hosts.
    """

    start: float
    nvlink: float
    network: float


RING = Latency(14e-6, 1.9e-6, 4.0e-6)
TREE = Latency(14e-6, 1.25e-6, 8.5e-6)


def ring(size: int, count: int, network: Network) -> float:
    """Seconds of an all-reduce of ``size`` bytes around ``count`` GPUs: 2 (N - 1) hops of a share of 1 / N each."""
    hosts = math.ceil(count / HOST)
    hops, between = 2 * (count - 1), 2 * (hosts - 1)
    latency = RING.start + (hops - between) * RING.nvlink + between * RING.network
    return latency + hops / count * size / _bandwidth(hosts, network)


def tree(size: int, count: int, network: Network) -> float:
    """The same up and down two trees of hosts, through each of which half of it goes (Sanders et al. 2009)."""
    hosts = math.ceil(count / HOST)
    within, between = 2 * (min(count, HOST) - 1), 2 * math.log2(hosts)
    return TREE.start + within * TREE.nvlink + between * TREE.network + 2 * size / _bandwidth(hosts, network)


def _bandwidth(hosts: int, network: Network) -> float:
    return NVLINK if hosts == 1 else min(NVLINK, network.bandwidth)


@dataclass(frozen=True)
class Step:
    """One step of one rank.

    Attributes:
        seconds: its bound.
        exchanges: for each of some steps the bytes of every all-reduce.
    """

    seconds: float
    exchanges: list[list[int]]

    @classmethod
    def taken(cls, arch: str, count: int) -> Step:
        """That of a recipe among ``count`` ranks."""
        config, stage = at_scale(arch, count), stage_for("cuda")
        with Cluster(count).rank(0) as log:
            rehearsal = Rehearsal(config, stage)
            for module in rehearsal.engine.method.modules():
                if isinstance(module, ImageHistory):
                    module.stored = len(module.images)  # as after the first steps
            exchanges, seconds = [], 0.0
            for _ in range(STEPS):
                before = len(log)
                _, work = rehearsal.step(config.training.batch_size // count)
                least = bound(work, GPU, PRECISION)
                assert least is not None
                assert {each.kind for each in log[before:]} <= {"allreduce"}
                exchanges.append([each.bytes for each in log[before:]])
                seconds += least.seconds / STEPS
        return cls(seconds, exchanges)

    def efficiency(self, alone: float, count: int, network: Network, *, trees: bool) -> float:
        """The share of ``count`` times the speed of one GPU, whose step takes ``alone`` seconds."""
        ways = (ring, tree) if trees else (ring,)
        waiting = fmean(
            sum(min(way(size, count, network) for way in ways) for size in sizes) for sizes in self.exchanges
        )
        return alone / (self.seconds + waiting)


def at_scale(arch: str, count: int) -> Config:
    """A recipe whose own batch is on each of ``count`` ranks."""
    batch = resolve_config(arch).training.batch_size

    def resized(size: int) -> Config:
        return resolve_config(arch, assignments=[f"training.batch_size={batch * count}"])

    return settled(with_known_data(resized), PRECISION, 0)


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archs", nargs="*", default=RECIPES)
    columns = [(count, network) for count in SIZES for network in NETWORKS if count > HOST or network is NETWORKS[0]]
    names = [f"{count:,}" if count <= HOST else f"{count:,}, {network.name}" for count, network in columns]
    print(f"| recipe | step | exchanges | {' | '.join(names)} |\n|{'---|' * (3 + len(names))}")
    for arch in parser.parse_args().archs:
        alone = Step.taken(arch, 1).seconds
        steps = {count: Step.taken(arch, count) for count in SIZES}
        cells = []
        for count, network in columns:
            best, plain = (100 * steps[count].efficiency(alone, count, network, trees=trees) for trees in (True, False))
            cells.append(f"{best:.0f} %" + (f" ({plain:.0f})" if best - plain >= 1 else ""))
        last = steps[SIZES[-1]].exchanges
        told = f"{fmean(map(len, last)):.3g} of {fmean(map(sum, last)) / 1e6:,.0f} MB"
        size = resolve_config(arch).image_size
        print(f"| `{arch}`, {size} px | {1e3 * alone:.1f} ms | {told} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
