"""Networks as kernels that torch.compile makes for them (``training.compile``), and where they are called as they are.

Weights, names and states stay what they are. A compiled call cannot be differentiated twice, and what happens between
its layers cannot be seen or changed: gradient penalties, feature maps and previews take the layers one by one.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from i2i.display import say
from i2i.errors import ConfigError
from i2i.storage.cache import cache_folder

KEPT = "TORCHINDUCTOR_CACHE_DIR"
"""The variable that names the folder of what is compiled."""
MOST = 256
"""Graphs of one function."""


def keep_compiled() -> None:
    """What the compiler makes is kept in the cache folder; to be called before optimisers are made, which import it."""
    os.environ.setdefault(KEPT, str(cache_folder() / "compiled"))


def compile_networks(networks: Iterable[nn.Module], backend: str = "inductor") -> None:
    """Lets each of ``networks`` be compiled for every kind of call that it gets, at the first of that kind.

    Random layers draw what they draw without it.
    """
    from torch._dynamo import config as dynamo
    from torch._inductor import config as inductor

    inductor.fallback_random = True
    # Networks of one class share their code, and each is called in several ways.
    dynamo.recompile_limit = dynamo.accumulated_recompile_limit = MOST
    warnings.filterwarnings("ignore", r"The \.grad attribute of a Tensor")  # the compiler looks at every attribute
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # it warns where there is no CUDA
    for network in networks:
        network.compile(backend=backend, dynamic=False)
    say(f"networks are compiled in the first steps, which takes minutes; kept for later runs in {os.environ.get(KEPT)}")


@contextmanager
def uncompiled() -> Iterator[None]:
    """Within the context compiled networks are called as they are."""
    if "torch._dynamo" not in sys.modules:  # nothing is compiled, and its import takes seconds
        yield
        return
    with torch.compiler.set_stance("force_eager"):
        yield


@contextmanager
def compiler_errors() -> Iterator[None]:
    """What the compiler fails at becomes an error of one line.

    Raises:
        ConfigError: a network cannot be compiled here.
    """
    try:
        yield
    except Exception as error:
        if type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = " ".join(str(error).split())[:200]
            raise ConfigError(f"training.compile: the compiler failed ({reason}): leave it out") from error
        raise
