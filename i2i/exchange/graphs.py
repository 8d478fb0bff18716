"""Generators as graphs: with the draws of their random layers as inputs, traced, written and read again.

Batch, height and width stay open; height and width are multiples of what the generator needs.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.export import Dim

from i2i.data.ranges import Values
from i2i.exchange.cuts import Cuts
from i2i.methods.translation import Direction
from i2i.networks.at_inference import SeededDropout, SeededLatent, SeededLayer, SeededNoise
from i2i.networks.base import Translator
from i2i.runtime import IMAGES, KEY, TRANSLATED, About, Draw, OnnxTranslator, inputs_for, pad_to

Format = Literal["onnx", "torchscript", "pt2"]
Save = Callable[[Path, About], None]
"""Writes a graph with what the file says of itself."""


class Given(nn.Module):
    """A random layer that is given what it would draw."""

    def __init__(self, layer: SeededLayer, given: dict[str, Tensor]) -> None:
        super().__init__()
        self.layer, self._given = layer, given

    def forward(self, x: Tensor) -> Tensor:
        """Maps x: (N, C, H, W) as the layer does."""
        return self.layer.use(x, self._given[self.layer.path])


class Graph(nn.Module):
    """The generator of a translation, whose random layers are inputs.

    Args:
        translation: the direction.
        cut: whether the graph can be cut for tiles, where the generator has parts; its outputs are then more.

    Attributes:
        draws: of its random layers.
        cuts: where it is cut.
    """

    def __init__(self, translation: Direction, *, cut: bool) -> None:
        super().__init__()
        self.channels = translation.in_channels, translation.out_channels
        self.multiple, self.minimum = translation.generator.multiple, translation.generator.minimum
        self.draws = draws_of(translation)
        self._given: dict[str, Tensor] = {}
        self.generator = copy.deepcopy(translation.generator).requires_grad_(False)
        for name, layer in list(self.generator.named_modules()):
            if isinstance(layer, SeededLayer):
                parent, _, own = name.rpartition(".")
                self.generator.get_submodule(parent).register_module(own, Given(layer, self._given))
        self.cuts = Cuts(self.generator) if cut and self.generator.parts_for_tiles() else None

    def forward(self, images: Tensor, *draws: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Translates images (N, C, H, W) in [-1, 1], H and W multiples of ``multiple``, with draws for their size."""
        self._given.update((draw.path, drawn) for draw, drawn in zip(self.draws, draws, strict=True))
        translated: Tensor = (self.cuts or self.generator)(images)
        self._given.clear()
        translated = translated.clamp(-1, 1)
        return translated if self.cuts is None else (translated, *self.cuts.values)


def draws_of(translation: Direction) -> tuple[Draw, ...]:
    """The random layers of a generator, in the order in which they draw."""
    generator, found = translation.generator, list[Draw]()
    side = _example_side(generator)

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        channels, height = inputs[0].shape[1:3]
        name, division = f"draw_{len(found)}", side // height
        if isinstance(layer, SeededDropout):
            found.append(Draw(name, layer.path, "dropout", channels, division, layer.rate))
        elif isinstance(layer, SeededNoise):
            found.append(Draw(name, layer.path, "noise", layer.channels, division))
        elif isinstance(layer, SeededLatent):
            found.append(Draw(name, layer.path, "latent", layer.length, division))

    layers = [layer for layer in generator.modules() if isinstance(layer, SeededLayer)]
    hooks = [layer.register_forward_pre_hook(note) for layer in layers]
    try:
        if layers:
            with torch.inference_mode():
                generator(torch.zeros(1, translation.in_channels, side, side))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(found)


def traced(graph: Graph, form: Format, about: About) -> Save:
    """Traces a graph and returns what writes it as ``form``."""
    side = _example_side(graph)
    images = torch.zeros(2, graph.channels[0], side, side + graph.multiple)
    draws = [torch.from_numpy(draw.drawn(about.seed, *images.shape[2:])) for draw in about.draws]
    with torch.inference_mode(False), torch.no_grad(), _quiet():
        if form == "torchscript":
            script: Any = torch.jit.trace(graph, (images, *draws), check_trace=False)  # type: ignore[no-untyped-call]
            return lambda path, about: _quietly(script.save, path, _extra_files={KEY: about.to_json()})
        # Without this, a side of one unit could be refused: such a size has more than one layout in memory.
        with torch.fx.experimental._config.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
            program = torch.export.export(graph, (images, *draws), dynamic_shapes=_open(graph), strict=False)
        if form == "pt2":
            return lambda path, about: _quietly(torch.export.save, program, path, extra_files={KEY: about.to_json()})
        names = [IMAGES, *(draw.name for draw in about.draws)]
        outputs = [TRANSLATED, *(graph.cuts.names if graph.cuts is not None else [])]
        onnx = torch.onnx.export(program, dynamo=True, verbose=False, input_names=names, output_names=outputs)
        assert onnx is not None
        if graph.cuts is not None:
            graph.cuts.take_back(onnx.model)

    def save(path: Path, about: About) -> None:
        onnx.model.metadata_props[KEY] = about.to_json()
        onnx.save(path)

    return save


def read(path: Path, form: Format, about: About) -> Callable[[Values], Values]:
    """Reads a file and returns what translates images (N, C, H, W) in [-1, 1] by it, any H and W."""
    if form == "onnx":
        return OnnxTranslator(path, threads=torch.get_num_threads()).translate
    with _quiet():
        if form == "torchscript":
            graph: Any = torch.jit.load(path)  # type: ignore[no-untyped-call]
        else:
            graph = torch.export.load(path).module()

    def translate(images: Values) -> Values:
        padded = pad_to(images, about.multiple, about.minimum)
        inputs = map(torch.from_numpy, inputs_for(about, padded, about.seed).values())
        with torch.inference_mode():
            translated: Values = graph(*inputs).numpy()
        return translated[..., : images.shape[2], : images.shape[3]]

    return translate


def _open(graph: Graph) -> dict[str, Any]:
    """What may vary: the batch, and height and width in units of ``multiple``."""
    least = -(-graph.minimum // graph.multiple)
    batch, *sides = Dim("batch"), Dim("rows", min=least), Dim("columns", min=least)

    def units(factor: int) -> dict[int, Any]:
        return {axis: factor * side if factor > 1 else side for axis, side in enumerate(sides, 1)}

    images = {0: batch} | {axis + 1: side for axis, side in units(graph.multiple).items()}
    draws = tuple({} if draw.kind == "latent" else units(graph.multiple // draw.division) for draw in graph.draws)
    return {"images": images} | ({"draws": draws} if draws else {})


def _example_side(network: Translator | Graph) -> int:
    """A side for tracing: two units at least, as one would be taken for a constant."""
    return max(network.minimum, 2 * network.multiple)


def _quietly(save: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
    with _quiet():
        save(*args, **kwargs)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the deprecations and progress that PyTorch's exporters print: that TorchScript ages, the help says."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
