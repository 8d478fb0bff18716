"""i2i: train image-to-image translators on two folders of images, and run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from i2i.errors import ConfigError, DataError, TrainingStopped, UserError, WeightsError
from i2i.version import __version__

__all__ = [
    "Callback",
    "Config",
    "ConfigError",
    "DataError",
    "Sampler",
    "TrainingStopped",
    "Translator",
    "UserError",
    "WeightsError",
    "__version__",
    "every",
    "load",
    "load_sampler",
    "load_translator",
    "push",
    "resolve_config",
    "resume",
    "train",
]

if TYPE_CHECKING:
    from i2i.config.resolve import resolve_config
    from i2i.config.schema import Config
    from i2i.exchange.push import push
    from i2i.inference.load import load, load_sampler, load_translator
    from i2i.inference.sampler import Sampler
    from i2i.inference.translator import Translator
    from i2i.training.callbacks import Callback, every
    from i2i.training.start import resume, train

_HOMES = {
    "Callback": "i2i.training.callbacks",
    "Config": "i2i.config.schema",
    "Sampler": "i2i.inference.sampler",
    "Translator": "i2i.inference.translator",
    "every": "i2i.training.callbacks",
    "load": "i2i.inference.load",
    "load_sampler": "i2i.inference.load",
    "load_translator": "i2i.inference.load",
    "push": "i2i.exchange.push",
    "resolve_config": "i2i.config.resolve",
    "resume": "i2i.training.start",
    "train": "i2i.training.start",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `import i2i` and `i2i --help` must not wait for torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'i2i' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
