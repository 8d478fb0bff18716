"""Looks at a model: measures every sign that its outputs and its discriminators can show, on a few fixed images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import torch
from torch import Tensor, nn

from i2i.batch import Batch
from i2i.doctor import judgements, outputs
from i2i.inference.sampler import Sampler
from i2i.inference.translator import Translator
from i2i.methods.base import Judge, Method, ending
from i2i.methods.generative import GenerativeMethod
from i2i.methods.translation import TranslationMethod
from i2i.seeding import derive_seed

TRANSLATED, DRAWN = 8, 64
"""How many images a look takes, of translators and of models that draw from noise: enough to see that all are alike."""


def images_for(method: Method | type[Method]) -> int:
    """How many images a look at a model of this kind takes."""
    kind = method if isinstance(method, type) else type(method)
    return DRAWN if issubclass(kind, GenerativeMethod) else TRANSLATED


def look_at_outputs(model: Translator | Sampler, held_out: Batch) -> dict[str, float]:
    """The figures of what a model makes, by their tags.

    Args:
        model: ready for inference.
        held_out: images (N, C, H, W) that training does not see, on the host.
    """
    found = _drawn(model, held_out) if isinstance(model, Sampler) else _translated(model, held_out)
    return {f"health/{name}": value for name, value in found.items() if value is not None}


def _drawn(model: Sampler, held_out: Batch) -> dict[str, float | None]:
    made = model.generate(model.latents(range(len(held_out.a))), held_out.label).cpu()
    return {"diversity": outputs.diversity(made, held_out.a, held_out.label), **_surfaces(made, held_out.a)}


def _translated(model: Translator, held_out: Batch) -> dict[str, float | None]:
    found: dict[str, float | None] = {}
    offered = model.method.directions()
    several = len(offered) > 1
    for name, direction in offered.items():
        inputs, real = held_out.of(direction.source), held_out.of(direction.target)
        made = model.translate(inputs, name)
        host = made.cpu()
        figures = _figures(inputs, host, real, paired=model.method.needs == "paired")
        back = next((k for k, d in offered.items() if (d.source, d.target) == (direction.target, direction.source)), "")
        if back:
            faint = torch.Generator().manual_seed(derive_seed("doctor", name))
            noisy = outputs.as_from_a_file(host, faint).to(made.device)
            exact, from_file = (model.translate(images, back).cpu() for images in (made, noisy))
            figures["hidden_signal"] = outputs.hidden_signal(inputs, exact, from_file)
        found |= {f"{figure}_{name}" if several else figure: value for figure, value in figures.items()}
    return found


def _figures(inputs: Tensor, made: Tensor, real: Tensor, *, paired: bool) -> dict[str, float | None]:
    """Those of one direction. Outputs may be as alike as inputs or real images are."""
    against = [outputs.diversity(made, images) for images in (real, inputs) if images.shape == made.shape]
    return {
        "diversity": max((each for each in against if each is not None), default=None),
        "change": outputs.change(inputs, made),
        "tones": outputs.tones(inputs, made, real, paired=paired),
        **_surfaces(made, real, inputs),
    }


def _surfaces(made: Tensor, real: Tensor, *others: Tensor) -> dict[str, float | None]:
    """What needs images of more than a few pixels."""
    if min(made.shape[2:]) < outputs.BLOCK:
        return {}
    return {
        "checkerboard": outputs.checkerboard(made, real),
        "spots": outputs.spots(made, real, *others),
        "blobs": outputs.blobs(made, real, *others),
    }


@torch.no_grad()
def look_at_judges(
    method: Method, learnt: Batch | None, held_out: Batch | None, *, batch_size: int
) -> dict[str, float]:
    """The figures of what a method's discriminators say, as they answer in training, by their tags.

    Batch norm sees batches of ``batch_size`` as in training. Nothing of the method is changed; noise, dropout and
    augmentation draw from torch's global generator.

    Args:
        method: in training mode, on its device.
        learnt: images that it learns from, on that device.
        held_out: images that it does not.
        batch_size: how many images of a batch one process has in training.
    """
    judges, found = method.judges(), dict[str, float]()
    if learnt is None or len(learnt.a) < min(2, batch_size):  # batch norm sees two images at least
        return found
    of_domain = Counter(judge.domains[-1] for judge in judges.values())
    for discriminator, judge in judges.items():
        fakes = _generated(method, judge, learnt, batch_size)
        if fakes is None:
            continue
        figures = _judged(method, judge, learnt, held_out, fakes, batch_size)
        domain = judge.domains[-1]
        where = f"_{domain}" if len(of_domain) > 1 else ""
        if of_domain[domain] > 1:  # as of BicycleGAN's four
            where = ending(discriminator)
        found |= {f"health/{name}{where}": value for name, value in figures.items()}
    return found


def _judged(
    method: Method, judge: Judge, learnt: Batch, held_out: Batch | None, fakes: Tensor, batch_size: int
) -> dict[str, float]:
    """The figures of one discriminator, given what is generated from ``learnt``."""
    with unmoved(judge.network):

        def scores(batch: Batch, last: Tensor | None = None) -> Tensor:
            return _scores(method, judge, batch, last, batch_size)

        real, fake = scores(learnt), scores(learnt, fakes)
        figures = {} if judge.objective is None else judgements.answers(real, fake, judge.objective)
        if held_out is not None:
            figures["held_out_gap"] = judgements.held_out_gap(real, scores(held_out), fake)
    return figures


def _scores(method: Method, judge: Judge, batch: Batch, last: Tensor | None, batch_size: int) -> Tensor:
    """A discriminator's scores of a batch, with ``last`` in the place of the images of its last domain; on the host."""
    shown = [batch.of(domain) for domain in judge.domains]
    if last is not None:
        shown[-1] = last
    images, labels = torch.cat(shown, 1), batch.label

    def ask(part: slice) -> Tensor:
        return method.judge(judge.network, images[part], *(() if labels is None else (labels[part],)))

    return torch.cat([ask(part) for part in _parts(len(images), batch_size)]).float().cpu()


def _generated(method: Method, judge: Judge, learnt: Batch, batch_size: int) -> Tensor | None:
    """What the method generates for a discriminator, as in training; None where it has no such direction."""
    if isinstance(method, GenerativeMethod):
        latents = method.draw_latents(len(learnt.a))
        labels = learnt.label

        def draw(part: slice) -> Tensor:
            return method.generate(latents[part], None if labels is None else labels[part])

        return _in_parts(method.generator, draw, len(latents), batch_size)
    if not isinstance(method, TranslationMethod):
        return None
    direction = next((each for each in method.directions().values() if each.target == judge.domains[-1]), None)
    if direction is None:
        return None
    inputs, translate = learnt.of(direction.source), direction.generator
    return _in_parts(translate, lambda part: translate(inputs[part]), len(inputs), batch_size)


def _in_parts(network: nn.Module, make: Callable[[slice], Tensor], count: int, batch_size: int) -> Tensor:
    with unmoved(network):
        return torch.cat([make(part) for part in _parts(count, batch_size)]).float()


def _parts(count: int, batch_size: int) -> list[slice]:
    """Where to cut ``count`` images into parts of about ``batch_size``: none is smaller, which batch norm may need."""
    parts = max(1, count // batch_size)
    ends = [count * number // parts for number in range(parts + 1)]
    return [slice(start, end) for start, end in pairwise(ends)]


@contextmanager
def unmoved(network: nn.Module) -> Iterator[None]:
    """What a call in training mode changes is put back: the statistics of batch norm, the vectors of spectral norm."""
    kept = [(buffer, buffer.clone()) for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, before in kept:
            buffer.copy_(before)
