"""i2i: train image-to-image translators on two folders of pictures, and run them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load", "resolve_config", "resume", "train"]

if TYPE_CHECKING:
    from i2i.config import resolve_config
    from i2i.inference.load import load
    from i2i.training.start import resume, train

_HOMES = {
    "load": "i2i.inference.load",
    "resolve_config": "i2i.config",
    "resume": "i2i.training.start",
    "train": "i2i.training.start",
}


def __getattr__(name: str) -> Any:
    # Imported on first use: `import i2i` and `i2i --help` must not wait for torch.
    if name in _HOMES:
        from importlib import import_module

        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'i2i' has no attribute {name!r}")
