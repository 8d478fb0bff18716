"""Translates a video frame by frame, by PyAV: the times of its frames and its sound stay what they are.

Each frame is translated on its own, so that what moves little may flicker.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from i2i.bounds import MAX_PIXELS, open_regular
from i2i.config.schema import Precision
from i2i.data.images import Pixels
from i2i.display import say, tracked
from i2i.errors import ConfigError, DataError
from i2i.inference.batching import batch_pixels
from i2i.inference.precision import PROBED, choose
from i2i.inference.translator import Translator
from i2i.needs import is_video, require_packages
from i2i.storage.files import replacing, require_free
from i2i.tiling.settings import AUTO, Tiles

if TYPE_CHECKING:
    from av import AudioStream, Packet, VideoFrame, VideoStream
    from av.container import InputContainer, OutputContainer
    from av.stream import Stream

FORMATS = {".mp4": ("mp4", "libx264"), ".mov": ("mov", "libx264"), ".mkv": ("matroska", "libx264")}
FORMATS |= {".webm": ("webm", "libvpx-vp9")}
"""The containers that are read and written, by suffix, and what frames are encoded by in them."""
QUALITY = {"crf": "17", "b": "0"}
"""Constant, and so high that the encoder takes little away from the translation."""
BT709, BT601 = 1, 5
"""How videos turn colours into brightness and colour differences; where one does not say it, its height does."""
MATRICES = (1, 4, 5, 6, 7, 9)
"""Those that can be converted; 2 says nothing, and 0 is of frames of red, green and blue."""
HIGH = 720
"""Pixels of height from which BT709 is meant."""


@dataclass(frozen=True)
class Video:
    """A video that was written, with as many frames and streams of sound."""

    path: Path
    frames: int
    sounds: int


def video_target(source: Path, output: Path | None) -> Path:
    """The name of the translation of a video.

    Raises:
        DataError: it is the input, or of a format that is not written.
    """
    target = output or source.with_name(f"{source.stem}-translated{source.suffix}")
    if target.is_dir():
        target = target / source.name
    if not is_video(target):
        known = ", ".join(suffix[1:] for suffix in FORMATS)
        raise DataError(f"{target}: videos are written as {known}: choose such a name with -o")
    if target.resolve() == source.resolve():
        raise DataError(f"{target} is the input itself: choose another output")
    return target


def translate_video(
    translator: Translator,
    source: Path,
    target: Path,
    direction: str | None = None,
    *,
    seed: int | None = None,
    precision: Precision = "auto",
    tiles: Tiles = AUTO,
    max_pixels: int = MAX_PIXELS,
    overwrite: bool = False,
) -> Video:
    """Translates a video to ``target``, which appears whole.

    Args:
        translator: the model.
        source: the input.
        target: the output, from ``video_target``.
        direction: one of the translator's directions; the first by default.
        seed: as in ``Translator.translate``, one for all frames.
        precision: as in ``translate_files``, by the first frames.
        tiles: which frames are translated by tiles, and by which.
        max_pixels: the limit for frames that are read.
        overwrite: whether an existing file is replaced.

    Raises:
        ConfigError: a direction, precision or tiles that are not possible, or a model of other than 8-bit RGB images.
        DataError: PyAV is missing, the video cannot be read or has no frames, or the output exists, cannot be written
            or cannot hold its sound.
    """
    require_packages("the translation of videos", "av", extra="video")
    direction = translator.check_direction(direction)
    if translator.channels(direction) != (3, 3) or not all(each.is_plain for each in translator.depths(direction)):
        raise ConfigError(f"{translator.config.arch}: videos need a model of 8-bit RGB images, and this is none")
    translator.require_tiles(direction, tiles)
    require_free(target, overwrite=overwrite)
    import av

    try:
        with _opened(source) as probed:
            reader = Reader(probed, source, max_pixels)
            few = [pixels for _, pixels in islice(reader.frames(), PROBED)]
        if not few:
            raise DataError(f"{source}: has no frames")
        taken = _faster(translator, direction, precision, few, reader.expected, seed)
        with replacing(target, flush=False, overwrite=overwrite) as temporary:
            container, codec = FORMATS[target.suffix.lower()]
            with _opened(source) as given, av.open(str(temporary), "w", format=container) as made:
                writer = Writer(made, Reader(given, source, max_pixels), codec, few[0].shape[:2])
                return Video(target, _translate(taken, writer, direction, seed, tiles, source.name), len(writer.sounds))
    except av.FFmpegError as error:
        raise DataError(f"{source}: cannot be translated as a video ({error.strerror or error})") from None


def frames_of(source: Path, max_pixels: int = MAX_PIXELS) -> Iterator[Pixels]:
    """The frames (H, W, 3) of a video.

    Raises:
        DataError: PyAV is missing, or the video cannot be read or has no frames.
    """
    require_packages("reading videos", "av", extra="video")
    import av

    try:
        with _opened(source) as given:
            yield from (pixels for _, pixels in Reader(given, source, max_pixels).frames())
    except av.FFmpegError as error:
        raise DataError(f"{source}: cannot be read as a video ({error.strerror or error})") from None


@contextmanager
def _opened(source: Path) -> Iterator[InputContainer]:
    """The video in a file, and nothing that its name or content leads to: no address, and no list of other files."""
    import av

    try:
        with open_regular(source) as file, av.open(file, "r", format=FORMATS[source.suffix.lower()][0]) as given:
            yield given
    except av.FFmpegError:
        raise
    except OSError as error:
        raise DataError(f"{source}: {error.strerror or error}") from None


class Reader:
    """The frames of an open video, upright and in RGB.

    Attributes:
        source: the file.
        stream: of the frames.
        sounds: the streams of sound.
        expected: how many there are, where the video says it.
    """

    def __init__(self, given: InputContainer, source: Path, max_pixels: int) -> None:
        if not given.streams.video:
            raise DataError(f"{source}: has no frames")
        self._given, self.source = given, source
        self.stream: VideoStream = given.streams.video[0]
        self.stream.thread_type = "AUTO"
        self.sounds: tuple[AudioStream, ...] = tuple(given.streams.audio)
        if self.stream.width * self.stream.height > max_pixels:
            size = f"{self.stream.width:,}x{self.stream.height:,} pixels"
            raise DataError(
                f"{source}: {size} are more than the {max_pixels:,} that are read: --max-pixels allows more"
            )
        seconds = float((given.duration or 0) / 1_000_000)
        self.expected = self.stream.frames or round(seconds * float(self.stream.average_rate or 0))

    def frames(self, writer: Writer | None = None) -> Iterator[tuple[VideoFrame, Pixels]]:
        """Each frame with its pixels (H, W, 3); ``writer`` takes the sound between them."""
        for packet in self._given.demux(self.stream, *self.sounds):
            if packet.stream is self.stream:
                for frame in self.stream.decode(packet):
                    yield frame, self._pixels(frame)
            elif writer is not None and packet.dts is not None:
                writer.pass_on(packet)

    def matrix(self) -> int:
        """How this video turns colours into brightness and colour differences."""
        said = int(self.stream.codec_context.colorspace)
        return said if said in MATRICES else BT709 if self.stream.height >= HIGH else BT601

    def _pixels(self, frame: VideoFrame) -> Pixels:
        if (frame.width, frame.height) != (self.stream.width, self.stream.height):
            raise DataError(f"{self.source}: the size of its frames changes")
        pixels = frame.reformat(format="rgb24", src_colorspace=self.matrix()).to_ndarray()
        return np.ascontiguousarray(np.rot90(pixels, frame.rotation // 90))


class Writer:
    """A video with other frames than the one that is read, and its sound.

    Attributes:
        sounds: the streams of sound, by the numbers of those that they are copies of.
    """

    def __init__(self, made: OutputContainer, reader: Reader, codec: str, shape: Sequence[int]) -> None:
        self._made, self.reader = made, reader
        rate = reader.stream.average_rate or Fraction(25)
        self._stream: VideoStream = made.add_stream(codec, rate=rate, options=QUALITY)  # type: ignore[assignment]
        base = reader.stream.time_base or 1 / rate
        self._stream.time_base = self._stream.codec_context.time_base = base
        self._stream.codec_context.colorspace = reader.matrix()
        # The values are translated as they are: what they mean, such as HLG of a telephone's clip, stays the same.
        of_given = reader.stream.codec_context
        self._stream.codec_context.color_primaries = of_given.color_primaries
        self._stream.codec_context.color_trc = of_given.color_trc
        self._stream.height, self._stream.width = shape
        # Colours at half the resolution, as players want them, need even sides.
        self._stream.pix_fmt = "yuv444p" if any(side % 2 for side in shape) else "yuv420p"
        try:
            self.sounds = {sound.index: made.add_stream_from_template(sound) for sound in reader.sounds}
        except ValueError as error:
            raise DataError(f"{reader.source}: its sound does not fit ({error}): write to .mkv") from None

    def write(self, frame: VideoFrame, pixels: Pixels) -> None:
        """Writes ``pixels`` (H, W, 3) at the time of ``frame``."""
        from av import VideoFrame

        made = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(
            format=self._stream.pix_fmt, dst_colorspace=self.reader.matrix()
        )
        made.pts, made.time_base = frame.pts, frame.time_base
        self._made.mux(self._stream.encode(made))

    def pass_on(self, packet: Packet[Stream]) -> None:
        """Writes a packet of sound as it is."""
        packet.stream = self.sounds[packet.stream.index]
        self._made.mux(packet)

    def end(self) -> None:
        """Writes what the encoder has kept."""
        self._made.mux(self._stream.encode(None))


def _faster(
    translator: Translator, direction: str, precision: Precision, frames: list[Pixels], count: int, seed: int | None
) -> Translator:
    if precision == "auto" and translator.fastest is not None:
        return translator  # which takes what i2i bench has found
    if precision == "auto" and translator.is_fixed:
        precision = "fp32"
    choice, taken = choose(translator, direction, precision, frames, count, seed)
    if choice.distance is not None:
        say(str(choice))
    return taken


def _translate(
    translator: Translator, writer: Writer, direction: str, seed: int | None, tiles: Tiles, name: str
) -> int:
    """Translates all frames in their order; returns how many there were."""
    shown = tracked(f"translating {name}, frames", writer.reader.expected)(writer.reader.frames(writer))
    count = 0
    for batch in _batches(shown, batch_pixels(translator.device)):
        pixels = [each for _, each in batch]
        outputs, _ = translator.translate_images(pixels, direction, tiles, seed=seed, names=[name] * len(batch))
        for (frame, _), output in zip(batch, outputs, strict=True):
            writer.write(frame, output[:, :])
        count += len(batch)
    writer.end()
    return count


def _batches(frames: Iterator[tuple[VideoFrame, Pixels]], most: int) -> Iterator[list[tuple[VideoFrame, Pixels]]]:
    """Frames in batches of up to ``most`` pixels, and of one frame at least."""
    first = next(frames, None)
    if first is None:
        return
    size = max(1, most // (first[1].shape[0] * first[1].shape[1]))
    batch = [first, *islice(frames, size - 1)]
    while batch:
        yield batch
        batch = list(islice(frames, size))
