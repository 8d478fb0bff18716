"""The earth mover's distance between two histograms, shown as moved bars (Arjovsky et al. 2017, definition of EM).

Two histograms P and Q hold the same amount of earth in the same bins, one unit apart. A transport plan says how much
moves from each bin to each other bin; its cost is amount times distance, and W(P, Q) is the cost of the cheapest plan.
On a line the cheapest plan keeps the order of the earth, and is found from left to right. The Kantorovich-Rubinstein
dual proves it optimal: W = max E_P f - E_Q f over all f of slope at most 1, the form that WGAN's critic maximises
(equation 2). Every plan costs at least the value of every such f, so a plan and an f with equal values are both
optimal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from i2i.lab.drawing import CRITIC, DATA, GENERATED, new_figure
from i2i.lab.findings import Findings
from i2i.seeding import numpy_rng

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Counts = NDArray[np.int64]
Doubles = NDArray[np.float64]

BINS, BLOCKS = 10, 30
"""Number of bins, and of blocks of earth in each histogram."""


def transport(seed: int) -> Findings:
    """Draws two histograms and moves one into the other.

    Args:
        seed: seed of the histograms.
    """
    p, q = histograms(seed)
    plan, critic = best_plan(p, q), best_critic(p, q)
    cost, independent, dual = cost_of(plan), cost_of(np.outer(p, q) / p.sum()), float(critic @ (p - q))
    metrics = {
        "p": p.tolist(),
        "q": q.tolist(),
        "plan": plan.tolist(),
        "critic": critic.tolist(),
        "cost": {"best": cost, "critic": dual, "independent": independent},
        "distance": cost / BLOCKS,
    }
    lines = [
        f"the best plan costs {cost:g} blocks x bins, so W(P, Q) = {cost:g} / {BLOCKS} = {cost / BLOCKS:.4f} bins",
        f"the best critic of slope 1 gives E_P f - E_Q f = {dual:g} / {BLOCKS}: the same, so both are optimal",
        f"a plan that ignores where the earth comes from costs {independent:g}",
    ]
    return Findings(_figure(p, q, plan, critic), metrics, lines)


def histograms(seed: int) -> tuple[Counts, Counts]:
    """Two histograms of ``BLOCKS`` blocks over ``BINS`` bins: one heap, and two heaps."""
    random = numpy_rng(seed, "transport")
    left, middle, right = random.uniform(0.5, 2.5), random.uniform(3.5, 5.5), random.uniform(6.5, 8.5)
    one = random.normal(middle, 1.0, BLOCKS)
    two = random.normal(np.where(np.arange(BLOCKS) < BLOCKS // 3, left, right), 0.8)
    p, q = (np.bincount(np.clip(heap.round(), 0, BINS - 1).astype(np.int64), minlength=BINS) for heap in (one, two))
    return p, q


def best_plan(p: Counts, q: Counts) -> Counts:
    """The cheapest plan on a line, (BINS, BINS): row i says where the earth of p's bin i goes.

    The leftmost remaining earth goes to the leftmost free place.
    """
    plan, p, q = np.zeros((len(p), len(q)), np.int64), p.copy(), q.copy()
    i = j = 0
    while i < len(p) and j < len(q):
        moved = min(p[i], q[j])
        plan[i, j] += moved
        p[i] -= moved
        q[j] -= moved
        i, j = (i + 1, j) if not p[i] else (i, j + 1)
    return plan


def best_critic(p: Counts, q: Counts) -> Doubles:
    """The f of slope at most 1 that separates p and q best, (BINS,), with mean 0.

    Between two bins f rises where more of q's earth lies to the left of the gap, and falls where more of p's does.
    """
    slope = np.sign(np.cumsum(q - p))[:-1]
    f = np.concatenate([[0], np.cumsum(slope)]).astype(np.float64)
    centred: Doubles = f - f.mean()
    return centred


def cost_of(plan: NDArray[np.int64] | Doubles) -> float:
    """Amount times distance, summed over a plan (BINS, BINS)."""
    i, j = np.indices(plan.shape)
    return float((plan * np.abs(i - j)).sum())


def _figure(p: Counts, q: Counts, plan: Counts, critic: Doubles) -> Figure:
    figure = new_figure(13, 7.5)
    (before, after), (matrix, dual) = figure.subplots(2, 2)
    top = max(p.max(), q.max()) + 1
    for axes, heaps in ((before, np.diag(p)), (after, plan)):
        _draw_bars(axes, heaps)
        axes.set(ylim=(0, top), xticks=range(BINS), xlabel="bin", ylabel="blocks")
    before.set_title("P, a colour for each bin")
    after.set_title(f"Q, made of P's blocks by the best plan: cost {cost_of(plan):g} blocks x bins")
    matrix.imshow(plan.T, cmap="Greys", origin="lower", vmin=0, vmax=2 * plan.max(), aspect="auto")
    matrix.plot([-0.5, BINS - 0.5], [-0.5, BINS - 0.5], ":", color="0.4", linewidth=0.8)
    for (i, j), amount in np.ndenumerate(plan):
        if amount:
            matrix.text(i, j, str(amount), ha="center", va="center")
    matrix.set(title="the plan: blocks from a bin of P to a bin of Q", xlabel="bin of P", ylabel="bin of Q")
    matrix.set(xticks=range(BINS), yticks=range(BINS))
    dual.bar(np.arange(BINS) - 0.2, p, 0.4, color=DATA, alpha=0.5, label="P")
    dual.bar(np.arange(BINS) + 0.2, q, 0.4, color=GENERATED, alpha=0.5, label="Q")
    dual.plot(critic, "o-", color=CRITIC, label="best critic f")
    dual.axhline(0, color="0.6", linewidth=0.8)
    dual.set(title=f"the dual: sum of f (P - Q) = {critic @ (p - q):g}, the same", xlabel="bin", xticks=range(BINS))
    dual.legend(loc="upper left")
    return figure


def _draw_bars(axes: Axes, heaps: Counts) -> None:
    """Stacks the earth in each column of ``heaps`` (from, to), in the colour of the bin that it came from."""
    from matplotlib import colormaps

    colours, height = colormaps["tab10"], np.zeros(BINS)
    for source, row in enumerate(heaps):
        axes.bar(range(BINS), row, 0.9, bottom=height, color=colours(source), edgecolor="white", linewidth=0.5)
        for bin_, amount in enumerate(row):
            if amount:
                middle = height[bin_] + amount / 2
                axes.text(bin_, middle, str(source), ha="center", va="center", color="white", fontsize=8)
        height = height + row
