"""Seeds as a pure function of names and numbers, so that no random draw depends on worker, process or clock."""

from __future__ import annotations

import hashlib

import numpy as np


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from ``parts``, the same on every machine."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def numpy_rng(*parts: int | str) -> np.random.Generator:
    """A NumPy random generator seeded from ``parts``."""
    return np.random.default_rng(derive_seed(*parts))
