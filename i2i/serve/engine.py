"""What answers every request, of the page and of REST: one worker, for which a few requests may wait.

An image is decoded, translated and encoded as `i2i translate` does it, to the same bytes.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from i2i.data.depth import as_shown
from i2i.data.images import Pixels, TooLittleMemory, TooManyPixels, encode_image
from i2i.device import is_out_of_memory
from i2i.errors import ConfigError, DataError, UserError
from i2i.inference import views
from i2i.inference.outputs import Job
from i2i.inference.sampler import Sampler
from i2i.inference.work import Work
from i2i.serve.models import Served
from i2i.serve.refused import Refused, later

Answer = TypeVar("Answer")
MOST_SAMPLES, MOST_STOPS = 100, 8
"""Of a sheet, and of a walk."""


class Translation(NamedTuple):
    """A translated image.

    Attributes:
        content: of its file.
        suffix: of its file.
        before: the input as people see it: (H, W, C), uint8.
        after: the translation as people see it.
    """

    content: bytes
    suffix: str
    before: Pixels
    after: Pixels


class Engine:
    """Computes one answer after the other.

    Args:
        models: by name.
        waiting: how many requests may wait while one is computed.
        folder: where images are put until they are decoded, under names of its own.
    """

    def __init__(self, models: Mapping[str, Served], *, waiting: int, folder: Path) -> None:
        self.models = models
        self._waiting, self._folder = waiting, folder
        self._worker = ThreadPoolExecutor(1, "i2i-worker")
        self._inside, self._lock = 0, threading.Lock()

    def close(self) -> None:
        """Ends with the answer that is being computed."""
        self._worker.shutdown(cancel_futures=True)

    def submit(self, task: Callable[[], Answer]) -> Future[Answer]:
        """Computes ``task`` when its turn has come.

        Raises:
            Refused: as many requests are waiting as may.
        """
        with self._lock:
            if self._inside > self._waiting:
                raise later(503, f"{self._waiting} requests are waiting already", 1)
            self._inside += 1
        future = self._worker.submit(task)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: Future[Answer]) -> None:
        with self._lock:
            self._inside -= 1

    def translation(
        self,
        name: str,
        direction: str | None,
        path: Path,
        seed: int | None = None,
        *,
        answer: int | None = None,
        alpha: bool = False,
    ) -> Translation:
        """Translates the image at ``path``, which must not be a name that a client has chosen.

        ``answer``: the number of one of several translations. ``alpha``: whether the file takes over that of the image.

        Raises:
            Refused: no such model or direction, the image cannot be read or is too large, or this model's translations
                cannot take over its alpha.
        """
        work = replace(self._way(name, direction), seed=seed, alpha=alpha)
        target = Path(f"translation.{self.models[name].writes(work.direction)}")
        job = Job(path, target)
        try:
            if alpha:
                work.require_alpha([target])
            item = work.reader.read(job)
            (output,), _ = work.translated([item], answer)
            pixels, made, kept = item.pixels[:, :], output[:, :], None if item.alpha is None else item.alpha[:, :]
            content = encode_image(target, made, item.carried.options(target.suffix, made.shape[2]), kept)
        except (TooManyPixels, TooLittleMemory) as error:
            raise Refused(413, _about(error, path)) from None
        except (DataError, ConfigError) as error:
            raise Refused(400, _about(error, path)) from None
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise Refused(413, "there is not enough memory to translate an image of this size") from None
        given, wanted = work.translator.depths(work.direction)
        return Translation(content, target.suffix, as_shown(pixels, given), as_shown(made, wanted))

    def translation_of(
        self, name: str, direction: str | None, content: bytes, seed: int | None = None, *, alpha: bool = False
    ) -> Translation:
        """The same for the content of a file."""
        with self._as_file(content) as path:
            return self.translation(name, direction, path, seed, alpha=alpha)

    def sheet(self, name: str, *, count: int, label: str | None, seed: int) -> bytes:
        """A PNG of samples, as `i2i sample` writes it.

        Raises:
            Refused: no such model, or it has no such label.
        """
        sampler = self._sampler(name)
        return _of_label(lambda: _png(views.sheet(sampler.sample(count, label=label, seed=seed))))

    def walk(self, name: str, *, stops: int, label: str | None, seed: int) -> bytes:
        """A GIF of a walk between samples; errors as ``sheet``."""
        sampler = self._sampler(name)
        return _of_label(lambda: views.gif(views.walk(sampler, stops, label=label, seed=seed)))

    def _way(self, name: str, direction: str | None) -> Work:
        served = self._served(name)
        if not served.ways:
            raise Refused(404, f"{name} generates images from noise and does not translate")
        chosen = next(iter(served.ways)) if direction is None else direction
        if chosen not in served.ways:
            raise Refused(404, f"{name} has no direction of that name; it has {', '.join(served.ways)}")
        return served.ways[chosen]

    def _sampler(self, name: str) -> Sampler:
        model = self._served(name).model
        if not isinstance(model, Sampler):
            raise Refused(404, f"{name} translates images and does not generate them from noise")
        return model

    def _served(self, name: str) -> Served:
        if name not in self.models:
            raise Refused(404, f"no model of that name; there are {', '.join(self.models)}")
        return self.models[name]

    @contextmanager
    def _as_file(self, content: bytes) -> Iterator[Path]:
        path = self._folder / secrets.token_hex(16)
        try:
            path.write_bytes(content)
            yield path
        finally:
            path.unlink(missing_ok=True)


def _of_label(make: Callable[[], bytes]) -> bytes:
    try:
        return make()
    except ConfigError as error:
        raise Refused(400, str(error)) from None


_png = partial(encode_image, Path("sheet.png"))


def _about(error: UserError, path: Path) -> str:
    """What is wrong with an image, without the name that it has here."""
    return str(error).replace(f"{path}: ", "").replace(str(path), "the image")
