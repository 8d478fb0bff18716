"""Memory and disk space that a training process and its loader workers share."""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import tempfile
from pathlib import Path

import torch
from torch import Tensor


def shared_zeros(size: int) -> Tensor:
    """Bytes that forked processes share; torch shares a tensor with those that are started otherwise."""
    return torch.frombuffer(mmap.mmap(-1, size), dtype=torch.uint8) if size else torch.zeros(0, dtype=torch.uint8)


def shared_file(size: int, folder: Path) -> Tensor:
    """Bytes on the disk that forked processes share: a file without a name in ``folder``, which is gone with them.

    All of it is reserved, so that the disk cannot be full later.

    Raises:
        OSError: there is no room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=folder) as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, size)
        elif shutil.disk_usage(folder).free < size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        else:
            file.truncate(size)
        return torch.frombuffer(mmap.mmap(file.fileno(), size), dtype=torch.uint8)
