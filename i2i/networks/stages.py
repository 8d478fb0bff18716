"""Looking at the named stages of a network while it runs, and changing one: by forward hooks, for every network alike.

Which stages a network has, it says itself (``Network.stages``). The network is called as ever, so that whatever else
attaches to its call stays attached.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress

from torch import Tensor, nn

from i2i.networks.base import Network

Reduce = Callable[[Tensor], Tensor]


def stage_outputs(
    network: Network,
    *inputs: Tensor | None,
    stages: Collection[str] | None = None,
    reduce: Reduce | None = None,
) -> dict[str, Tensor]:
    """The outputs of ``stages`` of ``network(*inputs)``, which runs no further than the last of them.

    Args:
        network: what is run.
        inputs: what it is called with.
        stages: names of its stages; all of them by default.
        reduce: as in ``recorded``.

    Returns:
        By stage, in the order in which they run: maps (N, C, H, W), or what ``reduce`` makes of them.

    Raises:
        KeyError: a stage that the network does not have.
    """
    with recorded(network, stages, reduce=reduce) as found:
        modules = [module for name, module in network.stages().items() if stages is None or name in stages]
        if modules:
            with _hooked(modules[-1], _stop), suppress(_Reached):
                network(*inputs)
    return found


@contextmanager
def recorded(
    network: Network, stages: Collection[str] | None = None, *, reduce: Reduce | None = None
) -> Iterator[dict[str, Tensor]]:
    """A call of ``network`` within the context leaves the outputs of ``stages`` in the dictionary.

    They are complete after the context. No layer that works in place changes them. Who compiles a network whose stages
    are read later sets ``torch._dynamo.config.skip_nnmodule_hook_guards`` to False before its first call.

    Args:
        network: what is called, once.
        stages: names of its stages; all of them by default.
        reduce: is applied to each output (N, C, H, W) at once, so that no more than its result is kept.

    Raises:
        KeyError: a stage that the network does not have.
        RuntimeError: a stage did not run.
    """
    known = network.stages()
    missing = set(stages or ()) - known.keys()
    if missing:
        raise KeyError(f"no stage {', '.join(sorted(missing))} in {type(network).__name__}")
    chosen = {name: module for name, module in known.items() if stages is None or name in stages}
    found: dict[str, Tensor] = {}
    originals: dict[str, tuple[Tensor, int]] = {}

    def keep(name: str) -> Callable[[nn.Module, object, Tensor], None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            copy = output.clone()
            found[name] = copy if reduce is None else reduce(copy)
            if reduce is None and not output.is_inference():  # inference tensors count no changes
                originals[name] = output, output._version

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in chosen.items()]
    try:
        yield found
        if idle := chosen.keys() - found.keys():
            raise RuntimeError(f"stage {', '.join(sorted(idle))} of {type(network).__name__} did not run")
        # The output itself where nothing worked on it in place: with a copy in its place, the backward pass would sum
        # the same gradients in another order.
        found |= {name: output for name, (output, version) in originals.items() if output._version == version}
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def changed_stage(network: Network, stage: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within the context, ``network`` goes on with ``change`` of the output (N, C, H, W) of ``stage``.

    Raises:
        KeyError: a stage that the network does not have.
    """
    with _hooked(network.stages()[stage], lambda _module, _inputs, output: change(output)):
        yield


class _Reached(Exception):
    """The last stage that was asked for has run."""


def _stop(_module: nn.Module, _inputs: object, _output: Tensor) -> None:
    raise _Reached


@contextmanager
def _hooked(module: nn.Module, hook: Callable[[nn.Module, object, Tensor], Tensor | None]) -> Iterator[None]:
    """Applies a forward hook for the time of the context."""
    handle = module.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()
