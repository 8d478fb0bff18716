"""Hostile and broken images and data folders: each is named in one line, and neither time nor memory runs away."""

from __future__ import annotations

import atexit
import gzip
import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings, strategies
from PIL import Image

from i2i.data.heads import read_head
from i2i.data.images import encode_image, list_images, read_image, read_values
from i2i.errors import DataError
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_arguments, small_config
from .hostile import Case
from .test_identity import nobody, shared_folder  # noqa: F401

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the bounds of memory are Linux's")

Write = Callable[[Path], object]
"""Puts something bad at a path, whose folder is there."""


def cut(path: Path) -> None:
    """An image that ends in the middle of its pixels."""
    whole = draw(path, 0, (64, 64)).read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])


def holds(content: bytes) -> Write:
    return lambda path: path.write_bytes(content)


def saved(mode: str, size: tuple[int, int] = (8, 8), **parameters: Any) -> Write:
    return lambda path: Image.new(mode, size).save(path, **parameters)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *chunks: bytes, content: bytes = b"\0" * 64) -> bytes:
    """A grey PNG that says it is so large, whatever it holds."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(content))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


def with_wrong_checksum() -> bytes:
    content = bytearray(png(8, 8, content=b"\0" * 72))
    content[-20] ^= 255
    return bytes(content)


def bomb(size: int) -> bytes:
    return zlib.compress(b"\0" * size, 9)


def bmp(width: int, height: int) -> bytes:
    header = struct.pack("<IHHIIiiHHIIiiII", 66, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
    return b"BM" + header + bytes(12)


def webp(width: int, height: int) -> bytes:
    size = b"".join((side - 1).to_bytes(3, "little") for side in (width, height))
    body = b"WEBPVP8X" + struct.pack("<IB3x", 10, 0) + size
    return b"RIFF" + struct.pack("<I", len(body)) + body


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; entries: tag, type, count, value."""
    packed = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + struct.pack("<I", following) + bytes(64)


def grey_tiff(width: int, height: int, *more: tuple[int, int, int, int], following: int = 0) -> bytes:
    size = ((256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1))
    strips = ((273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, height), (279, 4, 1, width * height % 2**32))
    return tiff(*size, *strips, *more, following=following)


def many_scans(path: Path) -> None:
    """A progressive JPEG whose last scan stands there a few thousand times: each costs a walk over all blocks."""
    Image.new("L", (4000, 4000)).save(path, progressive=True)
    content = path.read_bytes()
    last = content.rindex(b"\xff\xda")
    path.write_bytes(content[:last] + content[last:-2] * 4000 + b"\xff\xd9")


def sparse(content: bytes, size: int) -> Write:
    """A file that says it is so large, and takes no room on the disk."""

    def write(path: Path) -> None:
        path.write_bytes(content)
        os.truncate(path, size)

    return write


def bound_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(path))


def link_to(target: str) -> Write:
    return lambda path: path.symlink_to(target)


def bands_of_nothing() -> bytes:
    return grey_tiff(9_000, 9_000).replace(struct.pack("<HHII", 277, 3, 1, 1), struct.pack("<HHII", 277, 3, 1, 900))


def bands_of_signed(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((9, 9, 7), np.int16), photometric="minisblack", planarconfig="contig")


NO_IMAGE = "not an image that can be read"
TOO_LARGE = "--max-pixels"
BAD: dict[str, tuple[str, Write, str]] = {
    "nothing": ("bad.png", holds(b""), NO_IMAGE),
    "text": ("bad.jpg", holds(b"hello"), NO_IMAGE),
    "cut png": ("bad.png", cut, "unreadable image"),
    "cut jpg": ("bad.jpg", cut, "unreadable image"),
    "cut webp": ("bad.webp", cut, "bad.webp"),
    "cut bmp": ("bad.bmp", cut, "unreadable image"),
    "cut tiff": ("bad.tiff", cut, "bad.tiff"),
    "wrong checksum": ("bad.png", holds(with_wrong_checksum()), "unreadable image"),
    "gif by the name of png": ("bad.png", partial(Image.new("P", (8, 8)).save, format="GIF"), NO_IMAGE),
    "PostScript": ("bad.png", holds(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), NO_IMAGE),
    "PostScript in a jacket": ("bad.tiff", holds(b"\xc5\xd0\xd3\xc6" + struct.pack("<I", 30) + bytes(60)), NO_IMAGE),
    "svg": ("bad.png", holds(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), NO_IMAGE),
    "pdf": ("bad.jpg", holds(b"%PDF-1.4\n"), NO_IMAGE),
    "floats": ("bad.tiff", saved("F"), "bad.tiff holds float32 values in 1 channel, and data/trainA/image00.png 8-bit"),
    "objects": ("bad.npy", lambda path: np.save(path, np.array([[{}]]), allow_pickle=True), "holds objects"),
    "sparse npy": ("bad.npy", sparse(b"\x93NUMPY\x01\0", 2**36), TOO_LARGE),
    "tiff of bands": ("bad.tiff", bands_of_signed, "a TIFF of int16"),
    "tiff of bands that are not there": ("bad.tiff", holds(bands_of_nothing()), "bytes of values, and it has"),
    "integers": ("bad.tiff", saved("I"), "32-bit images (mode I)"),
    "png of no width": ("bad.png", holds(png(0, 8)), NO_IMAGE),
    "png of 2^31 squared": ("bad.png", holds(png(2**31 - 1, 2**31 - 1)), TOO_LARGE),
    "png bomb": ("bad.png", holds(png(20_000, 20_000, content=b"\0" * 2**24)), "20,000x20,000 = 400,000,000 pixels"),
    "just too large": ("bad.png", holds(png(9_500, 9_500)), "90,250,000 pixels are more than the 89,478,485"),
    "bmp bomb": ("bad.bmp", holds(bmp(65_000, 65_000)), TOO_LARGE),
    "bmp of negative width": ("bad.bmp", holds(bmp(-4, 4)), TOO_LARGE),
    "webp bomb": ("bad.webp", holds(webp(16_383, 16_383)), "268,402,689 pixels are more than"),
    "tiff bomb": ("bad.tiff", holds(grey_tiff(60_000, 60_000)), TOO_LARGE),
    "tiff without pixels": ("bad.tiff", holds(grey_tiff(9_000, 9_000)), "unreadable image"),
    "tiff of tags": ("bad.tiff", holds(tiff((256, 4, 2**31, 9), (257, 4, 2**31, 9))), "bad.tiff"),
    "text bomb": ("bad.png", holds(png(8, 8, chunk(b"zTXt", b"k\0\0" + bomb(2**27)))), "bad.png"),
    "scans": ("bad.jpg", many_scans, "scans"),
    "sparse webp": ("bad.webp", sparse(b"RIFF\xff\xff\xff\xffWEBPVP8 ", 2**36), TOO_LARGE),
    "sparse png": ("bad.png", sparse(png(8, 8)[:33] + struct.pack(">I", 2**31 - 1) + b"tEXt", 2**31), TOO_LARGE),
    "fifo": ("bad.png", os.mkfifo, "not a regular file"),
    "socket": ("bad.png", bound_socket, "not a regular file"),
    "device": ("bad.png", link_to("/dev/zero"), "not a regular file"),
    "broken link": ("bad.png", link_to("nowhere.png"), "no such file"),
    "link to itself": ("bad.png", link_to("bad.png"), "symbolic links"),
    "newline and colours": ("\x1b[31mbad\nerror: fake.png", holds(b"hello"), "\\x1b[31mbad\\nerror: fake.png"),
    "name that is no text": (os.fsdecode(b"bad\xff\xfe.png"), holds(b"hello"), NO_IMAGE),
}


def put(folder: Path, kind: str) -> str:
    """One bad image in ``folder``; returns its name."""
    name, write, _ = BAD[kind]
    folder.mkdir(parents=True, exist_ok=True)
    write(folder / name)
    return name


def checked(kind: str) -> Case:
    def make(folder: Path) -> Sequence[object]:
        make_set(folder / "data", trainA=1, trainB=1)
        put(folder / "data/trainA", kind)
        return ["data", "check", "data", "--unpaired"]

    return Case(f"data check: {kind}", make, 1, BAD[kind][2])


@cache
def model() -> Path:
    """A translator of no merit."""
    root = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    data = make_set(root / "data", trainA=1, trainB=1)
    return train(small_config("cyclegan", data, "training.steps=1"), root / "run").run.root


def translated(kind: str, *, alone: bool) -> Case:
    def make(folder: Path) -> Sequence[object]:
        draw(folder / "in/good.png", 0)
        name = put(folder / "in", kind)
        return ["translate", Path("in", name) if alone else "in", "-o", "out", "--model", model(), "--device", "cpu"]

    code = 2 if alone and kind in ("fifo", "socket", "device", "broken link") else 1
    line = {"broken link": "no such file", "fifo": "neither a regular file"}.get(kind, "bad") if alone else BAD[kind][2]
    return Case(f"translate {'the file' if alone else 'a folder with it'}: {kind}", make, code, line)


def trained(kind: str) -> Case:
    def make(folder: Path) -> Sequence[object]:
        data = make_set(folder / "data", trainA=2, trainB=2)
        put(data / "trainB", kind)
        return small_arguments("cyclegan", Path("data"), Path("run"), steps=2)

    return Case(f"train: {kind}", make, 1, BAD[kind][2])


def idx(shape: Sequence[int], content: bytes) -> bytes:
    return struct.pack(f">HBB{len(shape)}I", 0, 8, len(shape), *shape) + content


def numbers(folder: Path, *, images: bytes | None = None, labels: bytes | None = None) -> Path:
    """A set of IDX files of four images of 8x8 pixels and two labels."""
    folder.mkdir(parents=True)
    (folder / "train-images-idx3-ubyte").write_bytes(images or idx((4, 8, 8), bytes(256)))
    (folder / "train-labels-idx1-ubyte").write_bytes(labels or idx((4,), bytes((0, 1, 0, 1))))
    return folder


def in_folder(name: str, code: int, line: str, make: Callable[[Path], object], *arguments: object) -> Case:
    """A case whose data folder ``make`` fills; ``data`` is checked unless ``arguments`` say something else."""

    def fill(folder: Path) -> Sequence[object]:
        make(folder / "data")
        return arguments or ("data", "check", "data")

    return Case(name, fill, code, line)


def records(data: Path, test: Write) -> None:
    make_records = bytes(2 * 3073)
    data.mkdir()
    for name in (f"data_batch_{number}.bin" for number in range(1, 6)):
        (data / name).write_bytes(make_records)
    (data / "batches.meta.txt").write_text("one\ntwo\n")
    test(data / "test_batch.bin")


def with_fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def idx_and_folders(data: Path) -> None:
    numbers(data)
    make_set(data, **{"train/one": 1, "train/two": 1})


def gzipped(data: Path, content: bytes) -> None:
    (numbers(data) / "train-images-idx3-ubyte").unlink()
    (data / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(content, 1))


def unseen_label(data: Path) -> None:
    numbers(data)
    (data / "t10k-images-idx3-ubyte").write_bytes(idx((1, 8, 8), bytes(64)))
    (data / "t10k-labels-idx1-ubyte").write_bytes(idx((1,), b"\x09"))


def only_fifos(data: Path) -> None:
    data.mkdir()
    for number in range(3):
        os.mkfifo(data / f"{number}.png")


def pairs(data: Path) -> None:
    make_set(data, trainA=2, trainB=2)


CHECK = ("data", "check", "data")
TRAIN = small_arguments("cyclegan", Path("data"), Path("run"), steps=2)
TRAIN_ONE = small_arguments("dcgan", Path("data"), Path("run"), steps=1)
FOLDERS = [
    in_folder("IDX gzip bomb", 2, "does not have the 256", partial(gzipped, content=idx((4, 8, 8), bytes(2**26)))),
    in_folder("IDX of 2^96", 2, "too large", partial(numbers, images=idx((2**32 - 1,) * 3, bytes(64)))),
    in_folder("IDX of images of nothing", 2, "says that it is empty", partial(numbers, images=idx((4, 0, 0), b""))),
    in_folder("IDX of 2^31 specks", 2, "too large", partial(gzipped, content=idx((2**31, 1, 1), bytes(2**20)))),
    in_folder("IDX of 200 dimensions", 2, "200 dimensions", partial(numbers, images=b"\0\0\x08\xc8" + bytes(900))),
    in_folder("IDX cut", 2, "256 bytes, more than it can hold", partial(numbers, images=idx((4, 8, 8), bytes(99)))),
    in_folder("IDX with more", 2, "does not have the 256 bytes", partial(numbers, images=idx((4, 8, 8), bytes(999)))),
    in_folder("IDX fifo", 2, "not a regular file", lambda data: with_fifo(numbers(data) / "train-images-idx3-ubyte")),
    in_folder("IDX labels fifo", 2, "not a regular", lambda data: with_fifo(numbers(data) / "train-labels-idx1-ubyte")),
    in_folder("IDX beside folders", 2, "several sets, IDX files and images in train/", idx_and_folders),
    in_folder("IDX label of test alone", 2, "test images have the label 9", unseen_label),
    in_folder("IDX bomb for train", 2, "too large", partial(gzipped, content=idx((2**31, 1, 1), b"")), *TRAIN_ONE),
    in_folder("records fifo", 2, "test_batch.bin: not a regular file", partial(records, test=os.mkfifo)),
    in_folder("records without end", 2, "more than", partial(records, test=sparse(b"", 3073 * 2**26))),
    in_folder("fifos alone, check", 1, "2.png: not a regular file", only_fifos),
    in_folder("fifos alone, train", 2, "0.png: not a regular file", only_fifos, *TRAIN_ONE),
    in_folder("file for a folder", 2, "is a file", lambda data: data.write_bytes(b"")),
    in_folder("limit of check", 1, "480 pixels are more than the 479", pairs, *CHECK, "--max-pixels", 479),
    in_folder("limit of train", 2, "480 pixels are more than the 479", pairs, *TRAIN, "--max-pixels", 479),
    in_folder("limit of no pixel", 2, "--max-pixels", pairs, *CHECK, "--max-pixels", 0),
]
CASES = [
    *map(checked, BAD),
    *(translated(kind, alone=False) for kind in ("cut jpg", "PostScript", "png bomb", "fifo", "newline and colours")),
    *(translated(kind, alone=True) for kind in ("text", "webp bomb", "fifo", "socket", "broken link")),
    *(trained(kind) for kind in ("cut png", "png bomb", "fifo")),
    *FOLDERS,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    case.check(folder)


@pytest.fixture(scope="module")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A whole image of each format, and of some of its kinds."""
    folder = tmp_path_factory.mktemp("small")
    kinds: dict[str, dict[str, Any]] = {
        **{f"plain.{suffix}": {} for suffix in ("png", "jpg", "webp", "bmp", "tiff")},
        "progressive.jpg": {"progressive": True},
        "lossless.webp": {"lossless": True},
        **{f"{name}.tiff": {"compression": name} for name in ("tiff_lzw", "jpeg", "tiff_adobe_deflate")},
    }
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 11, 3), np.uint8))
    for name, kind in kinds.items():
        image.save(folder / name, **kind)
    image.convert("P").save(folder / "palette.png", transparency=3)
    image.convert("P").save(folder / "palette.bmp")
    deep = np.random.default_rng(1).integers(0, 65_536, (9, 11, 7), np.uint16)
    for name, values in (("deep.png", deep[..., :3]), ("deep.tiff", deep[..., :1]), ("bands.tiff", deep)):
        (folder / name).write_bytes(encode_image(Path(name), values))
    (folder / "bands.npy").write_bytes(encode_image(Path("bands.npy"), deep.astype(np.float32)))
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@settings(max_examples=400, derandomize=True, database=None, deadline=None)
@given(data=strategies.data())
def test_damage_anywhere_leaves_an_image_or_one_line(
    small_images: dict[str, bytes], data: strategies.DataObject
) -> None:
    name = data.draw(strategies.sampled_from(sorted(small_images)))
    content = bytearray(small_images[name])
    places = strategies.lists(strategies.integers(0, len(content) - 1), max_size=4)
    for place in data.draw(places):
        content[place] = data.draw(strategies.sampled_from((0, 1, 127, 128, 255, content[place] ^ 16)))
    kept = data.draw(strategies.integers(0, len(content)) | strategies.just(len(content)))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content[:kept])
        channels = data.draw(strategies.sampled_from((1, 3, 4)))
        try:
            held = read_head(path, 10_000).held
            if held.channels is None or data.draw(strategies.booleans()):
                told, pixels = None, read_image(path, channels, max_pixels=10_000)
            else:
                told, pixels = None, read_values(path, held.kind, held.channels, max_pixels=10_000)
        except DataError as error:
            told = str(error)
        if told is None:
            assert 0 < pixels.shape[0] * pixels.shape[1] <= 10_000
        else:
            assert told.startswith(f"{path}: ")
            assert "\n" not in told


def test_folders_are_walked_deeper_than_python_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(sys.getrecursionlimit() + 100):
        os.mkdir("d")
        os.chdir("d")
    draw(Path("deep.png"), 0)
    os.chdir(tmp_path)
    try:
        assert [path.name for path in list_images(Path("d"))] == ["deep.png"]
    finally:
        subprocess.run(["rm", "-r", "d"], check=True)  # pytest's own way is recursive


def test_what_is_odd_in_metadata_is_not_told(tmp_path: Path, i2i: Run) -> None:
    (tmp_path / "odd.tiff").write_bytes(grey_tiff(4, 4, (306, 2, 1000, 5000)))
    result = i2i("data", "check", tmp_path)
    assert (result.code, result.err) == (0, "")


def test_names_do_not_colour_or_break_lines(tmp_path: Path, i2i: Run) -> None:
    output = tmp_path / "out\x1b[31m\nerror: fake.png"
    result = i2i("translate", draw(tmp_path / "a.png", 0), "-o", output, "--model", model(), "--device", "cpu")
    assert (result.code, result.out.count("\n")) == (0, 1), result.err
    assert "\\x1b[31m\\nerror: fake.png" in result.out


def test_translate_names_and_counts_folders_that_cannot_be_entered(shared_folder: Path, i2i: Run) -> None:  # noqa: F811
    shutil.copytree(model(), shared_folder / "model")
    subprocess.run(["chmod", "-R", "a+rX", shared_folder / "model"], check=True)
    draw(shared_folder / "in/a.png", 0)
    draw(shared_folder / "in/closed/b.png", 0)
    (shared_folder / "in/closed").chmod(0)
    command = ("translate", "in", "-o", "out", "--model", "model", "--device", "cpu")
    try:
        with nobody(shared_folder):
            result = i2i(*command)
        assert result.code == 1, result.err
        assert "left out: in/closed: Permission denied" in result.err
        assert "translated 1 of 1" in result.out
        assert "folders that cannot be entered: 1" in result.out
        assert json.loads((shared_folder / "out/report.json").read_text())["denied"] == ["in/closed: Permission denied"]
        (shared_folder / "in").chmod(0)
        with nobody(shared_folder):
            result = i2i(*command)
        assert (result.code, result.err) == (2, "error: in: Permission denied\n")
    finally:
        (shared_folder / "in").chmod(0o755)
        (shared_folder / "in/closed").chmod(0o755)
