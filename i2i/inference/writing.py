"""The outputs of a translation: encoded, recorded, and put in place. They are renamed but not flushed to the disk."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import dataclass, replace
from io import BufferedIOBase, BytesIO
from pathlib import Path

import numpy as np

from i2i.data import streamed
from i2i.data.images import encode_image
from i2i.data.on_disk import DiskImage
from i2i.errors import DataError
from i2i.inference.inputs import Input
from i2i.inference.outputs import FileResult, Job, Outputs, Part, digest_of
from i2i.inference.work import Work
from i2i.kinds import AnyPixels
from i2i.storage.files import replacing


@dataclass(frozen=True)
class Record:
    """Records each output of a process before it is put in place."""

    outputs: Outputs
    part: Part


class Writer:
    """Writes outputs; ``record`` is that of their folder, where they have one."""

    def __init__(self, work: Work, record: Record | None = None) -> None:
        self._work, self._record = work, record

    def write(self, job: Job, item: Input, output: AnyPixels | DiskImage, side: int | None) -> FileResult:
        """Writes the output for ``item``, which was translated by tiles of ``side``; or says why it cannot be."""
        target, record = job.target, self._record
        shown = str(target) if record is None else record.outputs.name(target)
        try:
            with _encoded(target, item, output) as content:
                result = replace(
                    self._work.result(job, shown),
                    input_bytes=item.size,
                    input_sha256=item.digest,
                    output_sha256=digest_of(content)[1],
                    tile=side,
                )
                overwrite = self._work.overwrite if record is None else record.outputs.is_replaced(target)
                if record is not None:
                    record.part.add(result)
                with replacing(target, flush=False, overwrite=overwrite) as temporary, temporary.open("xb") as file:
                    content.seek(0)
                    shutil.copyfileobj(content, file)
            return result
        except (OSError, DataError) as error:
            if isinstance(error, DataError):
                return self.failed(job, str(error))
            return self.failed(job, f"cannot write {target}: {error.strerror or error}")

    def failed(self, job: Job, reason: str) -> FileResult:
        """Records a failure, for the other processes too."""
        result = self._work.result(job, None, reason)
        if self._record is not None:
            with suppress(OSError):  # on a full disk; the result in memory is reported instead
                self._record.part.add(result)
        return result


def _encoded(target: Path, item: Input, output: AnyPixels | DiskImage) -> BufferedIOBase:
    """The content of the file ``target``, on the disk where the output is, and can be encoded by bands."""
    suffix = target.suffix.lower()
    options = item.carried.options(suffix, output.shape[2])
    if isinstance(output, DiskImage) and not isinstance(item.alpha, np.ndarray) and suffix in streamed.SUFFIXES:
        return streamed.encoded(target, output, options, item.alpha)
    return BytesIO(encode_image(target, output[:, :], options, None if item.alpha is None else item.alpha[:, :]))
