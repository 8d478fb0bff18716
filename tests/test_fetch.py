"""Public sets: the catalogue, downloads that go on where they were cut, archives from strangers, and what is left."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from i2i.data.collection import IDX_FILES, find_collection
from i2i.data.images import Pixels
from i2i.errors import DataError
from i2i.fetch import download
from i2i.fetch.catalogue import dataset_names, describe
from i2i.fetch.get import Limits, get_dataset
from i2i.fetch.unpack import ArchiveError
from i2i.inference.load import load_sampler
from i2i.inference.sampler import Sampler

from .conftest import Run, draw, make_set, small_settings
from .toys import assert_refused

LABELLED = ["cifar10", "cifar100", "fashion-mnist", "kmnist", "mnist"]
TRANSLATED = [
    *("apple2orange", "cat2dog", "cezanne2photo", "cityscapes", "edges2handbags", "edges2shoes", "facades"),
    *("horse2zebra", "iphone2dslr_flower", "maps", "monet2photo", "summer2winter_yosemite", "ukiyoe2photo"),
    "vangogh2photo",
]
NAMES = sorted(LABELLED + TRANSLATED)


@dataclass
class Site:
    """A web server, and what went over the wire: the Range asked for, and the bytes sent.

    It has one file, whatever it is asked for, or several by their names.
    """

    address: str = ""
    content: bytes = b""
    files: dict[str, bytes] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    validators: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    ranges: bool = True
    believes_if_range: bool = True
    states_length: bool = True
    cuts: list[int] = field(default_factory=list)
    status: int = 200
    shift: int = 0
    log: list[tuple[str | None, int]] = field(default_factory=list)
    conditions: list[str | None] = field(default_factory=list)

    @property
    def sent(self) -> int:
        return sum(count for _, count in self.log)

    @property
    def url(self) -> str:
        return f"{self.address}/archive"

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answers as told, and cuts the body after the next of ``cuts`` bytes."""
        if self.files:
            self.names.append(handler.path.rpartition("/")[2])
            self.content = self.files[self.names[-1]]
        asked = handler.headers["Range"]
        if self.status != 200:
            self.log.append((asked, 0))
            handler.send_error(self.status)
            return
        condition = handler.headers["If-Range"]
        self.conditions.append(condition)
        unchanged = condition is None or condition in self.validators.values() or not self.believes_if_range
        begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked and self.ranges and unchanged else 0
        begin, self.shift = begin + self.shift if begin else 0, 0
        if begin and begin >= len(self.content):
            self.log.append((asked, 0))
            handler.send_error(416)
            return
        body = self.content[begin:]
        handler.send_response(206 if begin else 200)
        for name, value in self.validators.items():
            handler.send_header(name, value)
        if begin:
            handler.send_header("Content-Range", f"bytes {begin}-{len(self.content) - 1}/{len(self.content)}")
        if self.states_length:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        body = body[: self.cuts.pop(0)] if self.cuts else body
        self.log.append((asked, len(body)))
        handler.wfile.write(body)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A server of this test's own; waiting before another try takes no time."""
    served = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.answer(self)

        def log_message(self, *arguments: object) -> None:
            pass

    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        served.address = f"http://127.0.0.1:{server.server_address[1]}"
        yield served
        server.shutdown()
        thread.join()


def packed_zip(folder: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder.parent))
    return packed.getvalue()


def packed_tar(folder: Path) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.add(folder, folder.name)
    return packed.getvalue()


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A zip of a top folder with trainA to testB."""
    root = tmp_path_factory.mktemp("source") / "horse2zebra"
    return packed_zip(make_set(root, trainA=3, trainB=2, testA=1, testB=1))


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A tar.gz of a top folder with train and val of side-by-side images."""
    root = tmp_path_factory.mktemp("source") / "maps"
    for seed, name in enumerate(("train/1", "train/2", "val/1")):
        draw(root / f"{name}.png", seed, (40, 20))
    return packed_tar(root)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- the catalogue


@pytest.mark.parametrize("name", TRANSLATED)
def test_every_description_of_two_domains_is_whole(name: str) -> None:
    described = describe(name)
    for text in (described.about, described.a, described.b, described.licence):
        assert text
        assert "\n" not in text
    assert described.home.startswith("http")
    assert (described.task == "paired") == (described.layout == "side by side") == (described.direction is not None)
    folders = ("train", "val", "test") if described.task == "paired" else ("trainA", "trainB", "testA", "testB")
    assert set(described.counts) <= set(folders)
    assert all(count > 0 for count in described.counts.values())
    assert ("method.direction=BtoA" in described.training_options()) == (described.direction == "BtoA")
    if described.archive is None:
        assert described.note
    else:
        assert described.archive.endswith(f"/{name}.tar.gz" if described.task == "paired" else f"/{name}.zip")
        assert described.megabytes


@pytest.mark.parametrize("name", LABELLED)
def test_every_description_of_labelled_images_is_whole(name: str) -> None:
    described = describe(name)
    assert described.task == "labelled"
    for text in (described.about, described.licence, described.note):
        assert text
        assert "\n" not in text
    assert described.home.startswith("http")
    assert described.archive is not None
    assert described.megabytes
    assert sum(described.counts.values()) in (60000, 70000)
    if described.layout == "IDX":
        assert set(described.files) == {f"{name}.gz" for pair in IDX_FILES.values() for name in pair}
        checksums = list(described.files.values())
    else:
        assert described.archive.endswith("-binary.tar.gz")  # the pickles of the other release could run code
        checksums = [described.sha256 or ""]
    assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in checksums)
    assert len(set(checksums)) == len(checksums)


def test_without_a_name_the_sets_are_listed(i2i: Run) -> None:
    assert dataset_names() == NAMES
    result = i2i("data", "get")
    assert (result.code, [line.split()[0] for line in result.out.splitlines()]) == (0, NAMES)
    assert "about 117 MB" in result.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["horse2zebar"], "did you mean horse2zebra?; known: apple2orange"),
        (["cat2dog"], "no permanent address: DRIT's script names http://"),
        (["--to", "somewhere"], "need a NAME"),
        (["maps", "--url", "ftp://host/maps.tar.gz"], "only http and https"),
        (["maps", "--url", "host/maps.tar.gz"], "no such archive; an address begins with http"),
        (["maps", "--url", "http://[host/"], "no valid address"),
        (["maps", "--url", "http://127.0.0.1:1/a b"], "no valid address"),
        (["maps", "--url", "http://127.0.0.1:1/"], "cannot be reached"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    result = i2i("data", "get", *arguments)
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, [])
    assert named in result.err


# ---- whole sets


def test_a_zip_arrives_is_checked_and_the_next_command_is_said(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    site.content = unpaired
    result = i2i("data", "get", "horse2zebra", "--url", site.url)
    assert (result.code, result.err) == (0, "")
    for part in ("ImageNet", "1,067 in trainA", "3 in A, 2 in B", "1 in A, 1 in B", "unreadable 0"):
        assert part in result.out
    assert "train --arch cyclegan --data horse2zebra" in result.out
    assert left_in(tmp_path) == ["horse2zebra"]
    assert left_in(tmp_path / "horse2zebra") == ["testA", "testB", "trainA", "trainB"]


def test_the_val_of_a_tar_becomes_test_and_the_direction_is_said(
    tmp_path: Path, i2i: Run, site: Site, strips: bytes
) -> None:
    site.content = strips
    result = i2i("data", "get", "maps", "--url", site.url, "--to", tmp_path / "new/folder")
    assert (result.code, left_in(tmp_path / "new")) == (0, ["folder"])
    assert left_in(tmp_path / "new/folder") == ["test", "train"]
    for part in ("val to test", "side by side", "2 in A, 2 in B", "--arch pix2pix --set method.direction=BtoA"):
        assert part in result.out


def test_where_there_is_a_test_val_stays(tmp_path: Path) -> None:
    for name in ("train/1", "val/1", "test/1"):
        draw(tmp_path / f"facades/{name}.png", len(name), (40, 20))
    (tmp_path / "archive").write_bytes(packed_tar(tmp_path / "facades"))
    fetched = get_dataset("facades", tmp_path / "out", str(tmp_path / "archive"))
    assert (fetched.renamed, left_in(tmp_path / "out")) == ([], ["test", "train", "val"])


def test_a_single_split_is_no_top_folder(tmp_path: Path) -> None:
    draw(tmp_path / "train/1.png", 0, (40, 20))
    (tmp_path / "archive").write_bytes(packed_tar(tmp_path / "train"))
    assert left_in(get_dataset("maps", tmp_path / "out", str(tmp_path / "archive")).root) == ["train"]


def test_an_archive_without_a_top_folder_and_with_rubbish(tmp_path: Path) -> None:
    make_set(tmp_path / "set", trainA=1, trainB=1)
    draw(tmp_path / "set/__MACOSX/trainA/._1.png", 0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for path in (tmp_path / "set").rglob("*.png"):
            archive.write(path, path.relative_to(tmp_path / "set"))
    root = get_dataset("cat2dog", tmp_path / "out", (tmp_path / "a.zip").as_uri()).root
    assert (root / "trainA/image00.png").is_file()
    assert (tmp_path / "a.zip").is_file()


def test_a_fault_that_the_check_finds_is_exit_1(tmp_path: Path, i2i: Run) -> None:
    root = make_set(tmp_path / "set", trainA=2, trainB=2, testA=1, testB=1)
    (root / "testA/image00.png").write_bytes((root / "trainA/image00.png").read_bytes())
    (tmp_path / "a.zip").write_bytes(packed_zip(root))
    result = i2i("data", "get", "cat2dog", "--url", tmp_path / "a.zip", "--to", tmp_path / "out")
    assert (result.code, result.err.count("fault: ")) == (1, 1)
    assert (tmp_path / "out/trainB").is_dir()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path, i2i: Run, site: Site, unpaired: bytes) -> None:
    site.content = unpaired
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").touch()
    (tmp_path / "empty").mkdir()
    for target in (tmp_path / "full", tmp_path / "full/mine"):
        result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", target)
        assert (result.code, result.err.count("\n"), site.log) == (2, 1, [])
        assert "exists: " in result.err
    assert left_in(tmp_path / "full") == ["mine"]
    assert i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "empty").code == 0


# ---- sets of labelled images


def idx(values: Pixels) -> bytes:
    return gzip.compress(struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.tobytes())


@pytest.fixture
def idx_files() -> dict[str, bytes]:
    """MNIST's four files with six and three images of 28x28."""
    random = np.random.default_rng(0)
    return {
        f"{prefix}-{kind}.gz": idx(values)
        for prefix, labels in (("train", [1, 0, 2, 2, 1, 0]), ("t10k", [2, 1, 0]))
        for kind, values in (
            ("images-idx3-ubyte", random.integers(0, 256, (len(labels), 28, 28), np.uint8)),
            ("labels-idx1-ubyte", np.array(labels, np.uint8)),
        )
    }


def record_files(label_bytes: int) -> dict[str, bytes]:
    """CIFAR's files, three records in each: record n of a set has the label n % 3, and planes of n, n + 1 and n + 2.

    The second pixel of the last plane's first row is 255.
    """
    split = ["train.bin", "test.bin"] if label_bytes == 2 else [f"data_batch_{i}.bin" for i in range(1, 6)]
    files: dict[str, bytes] = {}
    for number, name in enumerate([*split, *(["test_batch.bin"] if label_bytes == 1 else [])]):
        for record in range(3 * number, 3 * number + 3):
            planes = np.repeat(np.arange(record, record + 3, dtype=np.uint8), 32 * 32).reshape(3, 32, 32)
            planes[2, 0, 1] = 255
            labels = bytes([77, record % 3][-label_bytes:])
            files[name] = files.get(name, b"") + labels + planes.tobytes()
    names = "batches.meta.txt" if label_bytes == 1 else "fine_label_names.txt"
    return files | {names: b"frog\ncat\ntruck\n\n", "readme.html": b"<html>"}


def packed_records(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def in_place_of_the_address(monkeypatch: pytest.MonkeyPatch, name: str, address: str, **changed: object) -> None:
    """Puts a server of the test in the place of the documented address."""
    description = describe(name).model_copy(update={"archive": address, **changed})
    monkeypatch.setattr("i2i.fetch.get.describe", lambda _: description)


def trained_on(folder: Path, run: Path, *, size: int, i2i: Run) -> Sampler:
    """``i2i train --arch cgan --data FOLDER``, as the command that fetched it says, with tiny networks."""
    sizes = ("--image-size", size) if size != 28 else ()
    tiny = [part for setting in small_settings("cgan") for part in ("--set", setting)]
    short = ("--batch-size", 2, "--steps", 2, "--device", "cpu", "--precision", "fp32")
    result = i2i("train", "--arch", "cgan", *sizes, "--data", folder, "--run", run, *short, *tiny)
    assert result.code == 0, result.err
    return load_sampler(run, device="cpu")


def test_idx_files_arrive_and_train_a_conditional_model(
    tmp_path: Path, i2i: Run, site: Site, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.files = idx_files
    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in idx_files.items()}
    in_place_of_the_address(monkeypatch, "mnist", site.address, files=checksums)
    result = i2i("data", "get", "mnist", "--to", tmp_path / "digits")
    assert result.code == 0, result.err
    for part in (
        "checksum   the documented SHA-256",
        "60,000 in train, 10,000 in test",
        "train      6",
        "test       3",
    ):
        assert part in result.out
    assert f"train --arch cgan --data {tmp_path / 'digits'}" in result.out
    assert "A and B" not in result.out
    assert {path.name: path.read_bytes() for path in (tmp_path / "digits").iterdir()} == idx_files
    assert left_in(tmp_path) == ["digits"]
    sampler = trained_on(tmp_path / "digits", tmp_path / "run", size=28, i2i=i2i)
    assert (sampler.labels, sampler.config.images.channels_a) == (("0", "1", "2"), 1)


def test_a_set_of_files_goes_on_with_the_file_that_was_cut(
    tmp_path: Path, i2i: Run, site: Site, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", ())
    site.files, site.cuts = idx_files, [10**6, 10]
    command = ("data", "get", "mnist", "--url", f"{site.address}/mirror/", "--to", tmp_path / "out")
    assert i2i(*command).code == 2
    images, labels = list(idx_files)[:2]
    assert left_in(tmp_path) == [f"out.{name}.partial{end}" for name in (images, labels) for end in ("", ".json")]
    result = i2i(*command)
    assert (result.code, left_in(tmp_path)) == (0, ["out"])
    assert site.names == [images, labels, *list(idx_files)[1:]]
    assert site.log[2][0] == "bytes=10-"


def test_a_folder_of_files_that_are_here_already(tmp_path: Path, idx_files: dict[str, bytes]) -> None:
    (tmp_path / "mine").mkdir()
    for name, content in idx_files.items():
        (tmp_path / "mine" / name).write_bytes(content)
    fetched = get_dataset("kmnist", tmp_path / "out", str(tmp_path / "mine"))
    assert left_in(fetched.root) == left_in(tmp_path / "mine") == sorted(idx_files)
    # Other images than the documented ones are the user's choice, and are said.
    assert fetched.unlike == list(idx_files)
    assert "not the documented SHA-256" in "\n".join(fetched.lines())
    (tmp_path / "mine" / list(idx_files)[3]).unlink()
    with pytest.raises(DataError, match=f"{list(idx_files)[3]}: no such archive"):
        get_dataset("kmnist", tmp_path / "other", str(tmp_path / "mine"))
    assert left_in(tmp_path) == ["mine", "out"]


@pytest.mark.parametrize("label_bytes", [1, 2])
def test_records_arrive_with_images_and_labels_and_train_a_conditional_model(
    tmp_path: Path, i2i: Run, site: Site, label_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {1: "cifar10", 2: "cifar100"}[label_bytes]
    site.content = packed_records(record_files(label_bytes))
    in_place_of_the_address(monkeypatch, name, site.url, sha256=hashlib.sha256(site.content).hexdigest())
    result = i2i("data", "get", name, "--to", tmp_path / "out")
    assert result.code == 0, result.err
    count = {1: 15, 2: 3}[label_bytes]
    for text in ("the documented SHA-256", f"train      {count}", "test       3", "32x32", f"RGB ({count + 3})"):
        assert text in result.out
    assert f"train --arch cgan --image-size 32 --data {tmp_path / 'out'}" in result.out
    assert left_in(tmp_path) == ["out"]
    collection = find_collection(str(tmp_path / "out"), size=32)
    assert collection.labels == ("frog", "cat", "truck")
    for part, numbers in ((collection.train, range(count)), (collection.test, range(count, count + 3))):
        assert part.labels == [number % 3 for number in numbers]
        for image, number in zip(part.images, numbers, strict=True):
            pixels = image.read(3, (255, 255, 255))
            assert pixels[1, 1].tolist() == [number, number + 1, number + 2]
            assert np.argwhere(pixels == 255).tolist() == [[0, 1, 2]]
    sampler = trained_on(tmp_path / "out", tmp_path / "run", size=32, i2i=i2i)
    assert (sampler.labels, sampler.config.images.channels_a) == (("frog", "cat", "truck"), 3)


@pytest.mark.parametrize(
    ("file", "content", "named"),
    [
        (
            "data_batch_3.bin",
            lambda whole: whole[:-1],
            "data_batch_3.bin has 9,218 bytes, not a multiple of a record's",
        ),
        ("test_batch.bin", lambda _: b"", "test_batch.bin has 0 bytes"),
        ("data_batch_2.bin", lambda whole: bytes([3]) + whole[1:], "data_batch_2.bin has the label 3, and only 3 have"),
        ("data_batch_4.bin", None, "data_batch_4.bin: No such file or directory; a set of records needs all its files"),
        ("batches.meta.txt", None, "batches.meta.txt: the names of the labels cannot be read"),
        ("batches.meta.txt", lambda _: b"\n", "does not hold the names of the labels"),
        ("batches.meta.txt", lambda _: b"cat\ncat\nfrog\n", "does not hold the names of the labels"),
    ],
)
def test_damaged_records_are_named_and_nothing_is_left(
    tmp_path: Path, i2i: Run, site: Site, file: str, content: Callable[[bytes], bytes] | None, named: str
) -> None:
    files = record_files(1)
    if content is None:
        del files[file]
    else:
        files[file] = content(files[file])
    site.content = packed_records(files)
    result = i2i("data", "get", "cifar10", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, [])
    assert named in result.err


def test_another_file_at_the_documented_address_is_refused(
    tmp_path: Path, i2i: Run, site: Site, idx_files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.content = packed_records(record_files(1))
    in_place_of_the_address(monkeypatch, "cifar10", site.url)
    result = i2i("data", "get", "cifar10", "--to", tmp_path / "out")
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, [])
    assert f"{site.url}: its SHA-256 is {hashlib.sha256(site.content).hexdigest()} and not" in result.err
    site.files = idx_files
    in_place_of_the_address(monkeypatch, "mnist", site.address)
    result = i2i("data", "get", "mnist", "--to", tmp_path / "out")
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, [])
    # Where the user names another address, what comes from there is compared, and taken.
    site.files, site.content = {}, packed_records(record_files(1))
    in_place_of_the_address(monkeypatch, "cifar10", "http://127.0.0.1:1/")
    result = i2i("data", "get", "cifar10", "--url", site.url, "--to", tmp_path / "out")
    assert result.code == 0, result.err
    assert "not the documented SHA-256, so another packing or other images: the archive" in result.out


# ---- connections


@pytest.mark.parametrize(
    ("validators", "condition"),
    [({"ETag": '"1"'}, '"1"'), ({"Last-Modified": "yesterday"}, "yesterday"), ({"ETag": 'W/"1"'}, None), ({}, None)],
)
def test_a_cut_download_goes_on_where_it_stopped(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, validators: dict[str, str], condition: str | None
) -> None:
    site.content, site.cuts, site.validators = unpaired, [100, 50], validators
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, result.err.count("trying again")) == (0, 2)
    assert [asked for asked, _ in site.log] == [None, "bytes=100-", "bytes=150-"]
    assert site.conditions == [None, condition, condition]
    assert site.sent == len(unpaired)
    assert left_in(tmp_path) == ["out"]


def test_the_same_command_goes_on_with_what_an_earlier_one_left(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "PAUSES", ())
    site.content, site.cuts = unpaired, [1000]
    command = ("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    result = i2i(*command)
    assert (result.code, result.err.count("\n")) == (2, 1)
    assert f"{site.url}: the connection was cut; {tmp_path / 'out.partial'} keeps 0.0 MB" in result.err
    assert left_in(tmp_path) == ["out.partial", "out.partial.json"]
    assert i2i(*command).code == 0
    assert ([asked for asked, _ in site.log], site.sent) == ([None, "bytes=1000-"], len(unpaired))
    assert left_in(tmp_path) == ["out"]


def test_somebody_elses_file_is_not_taken_for_a_download(tmp_path: Path, i2i: Run, site: Site, unpaired: bytes) -> None:
    site.content = unpaired
    (tmp_path / "out.partial").write_text("mine")
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert_refused(result, "was not created by i2i")
    assert (tmp_path / "out.partial").read_text() == "mine"


@pytest.mark.parametrize("believes_if_range", [True, False])
def test_a_file_that_changed_in_between_is_fetched_again(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, believes_if_range: bool
) -> None:
    site.content, site.believes_if_range = unpaired, believes_if_range
    (tmp_path / "out.partial").write_bytes(b"x" * 100)
    (tmp_path / "out.partial.json").write_text(
        f'{{"url": "{site.url}", "etag": "\\"0\\"", "modified": null, "length": {len(unpaired)}}}'
    )
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert result.code == 0
    assert "has changed on the server" in result.err
    assert left_in(tmp_path) == ["out"]


@pytest.mark.parametrize(("elsewhere", "length", "shift"), [(False, 10**6, 0), (True, 10, 0), (False, 10, 1)])
def test_what_does_not_fit_on_the_rest_is_fetched_again(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, elsewhere: bool, length: int, shift: int
) -> None:
    """More than the server has; a part of another file; an answer from another place than asked for."""
    site.content, site.shift = unpaired, shift
    (tmp_path / "out.partial").write_bytes(unpaired[:length].ljust(length))
    url = "http://elsewhere/" if elsewhere else site.url
    (tmp_path / "out.partial.json").write_text(
        f'{{"url": "{url}", "etag": "\\"1\\"", "modified": null, "length": null}}'
    )
    assert i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out").code == 0
    assert site.log[-1] == (None, len(unpaired))
    assert left_in(tmp_path) == ["out"]


def test_a_server_without_ranges_is_read_from_the_beginning_again(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes
) -> None:
    site.content, site.ranges, site.cuts = unpaired, False, [100]
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, site.sent) == (0, len(unpaired) + 100)
    assert "sends no ranges; starting again" in result.err
    site.log, site.cuts = [], [100, 100, 100]
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "other")
    assert (result.code, len(site.log), left_in(tmp_path)) == (2, 3, ["out"])


def test_a_server_that_states_no_length(tmp_path: Path, site: Site, unpaired: bytes) -> None:
    site.content, site.states_length = unpaired, False
    assert get_dataset("horse2zebra", tmp_path / "out", site.url).report.faults == []


@pytest.mark.parametrize(("status", "tries"), [(404, 1), (403, 1), (503, 3)])
def test_what_the_server_refuses_is_one_line_naming_the_address(
    tmp_path: Path, i2i: Run, site: Site, status: int, tries: int
) -> None:
    site.status = status
    result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, len(site.log), left_in(tmp_path)) == (2, tries, [])
    assert result.err.splitlines()[-1].startswith(f"error: {site.url}: the server says {status}")


def test_a_file_over_the_limit_is_refused_stated_or_not(tmp_path: Path, site: Site) -> None:
    site.content = b"x" * 3000
    for states_length in (True, False):
        site.states_length = states_length
        with pytest.raises(DataError, match="it is larger than"):
            get_dataset("horse2zebra", tmp_path / "out", site.url, limits=Limits(bytes=2000))
    assert left_in(tmp_path) == []


def test_an_interrupted_download_is_kept(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(seconds: float) -> None:
        raise KeyboardInterrupt

    site.content, site.cuts = unpaired, [100]
    with monkeypatch.context() as patch:
        patch.setattr("i2i.fetch.download.time.sleep", interrupt)
        result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, left_in(tmp_path)) == (130, ["out.partial", "out.partial.json"])
    assert "repeat the command to continue" in result.err
    assert i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out").code == 0
    assert site.sent == len(unpaired)


# ---- archives from strangers


def zip_of(*entries: tuple[str, bytes], kind: int = stat.S_IFREG) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries:
            entry = zipfile.ZipInfo(name)
            entry.external_attr, entry.compress_type = (kind | 0o644) << 16, zipfile.ZIP_DEFLATED
            archive.writestr(entry, content)
    return packed.getvalue()


def in_directory(archive: bytes, offset: int, form: str, value: int) -> bytes:
    """A zip with one number of the first entry of its central directory replaced."""
    changed = bytearray(archive)
    struct.pack_into(form, changed, changed.index(b"PK\x01\x02") + offset, value)
    return bytes(changed)


def tar_of(*names: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", link: str = "") -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name in names:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, len(content)
            archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()


def tar_with_a_header_of(size: int, kind: bytes = tarfile.XHDTYPE) -> bytes:
    entry = tarfile.TarInfo("trainA/1.png")
    entry.type, entry.size = kind, size
    return gzip.compress(entry.tobuf(tarfile.GNU_FORMAT) + bytes(1024))


ZEROS = bytes(300_000)
HOSTILE = {
    "zip, above": (zip_of(("../evil.png", b"")), "'../evil.png' could be written outside"),
    "zip, absolute": (zip_of(("/evil.png", b"")), "'/evil.png' could be written outside"),
    "zip, drive": (zip_of(("C:evil.png", b"")), "'C:evil.png' could be written outside"),
    "zip, backslash": (zip_of(("..\\evil.png", b"")), "could be written outside"),
    "zip, link": (zip_of(("trainA", b"/etc"), kind=stat.S_IFLNK), "'trainA' is a link or a device"),
    "zip, device": (zip_of(("trainA", b""), kind=stat.S_IFCHR), "'trainA' is a link or a device"),
    "zip, encrypted": (in_directory(zip_of(("a.png", b"x")), 8, "<H", 1), "'a.png' is encrypted"),
    "zip, other method": (in_directory(zip_of(("a.png", b"x")), 10, "<H", 9), "compressed by method 9"),
    "zip, declared size": (zip_of(("a.png", ZEROS)), "'a.png' brings it over 0.0002 GB"),
    "zip, sum of sizes": (zip_of(*((f"{i}.png", ZEROS[:60_000]) for i in range(4))), "'3.png' brings it over"),
    "zip, size by content": (in_directory(zip_of(("a.png", ZEROS)), 24, "<L", 10), "damaged or cut archive (Bad CRC"),
    "zip, many": (zip_of(*((f"{i}.png", b"") for i in range(11))), "more than 10 entries"),
    "zip, file and folder": (zip_of(("a", b"x"), ("a/b.png", b"x")), "'a/b.png' is in it twice"),
    "tar, above": (tar_of("trainA/../../evil.png"), "could be written outside"),
    "tar, absolute": (tar_of("/evil.png"), "'/evil.png' could be written outside"),
    "tar, link": (tar_of("trainA", kind=tarfile.SYMTYPE, link="/etc"), "'trainA' is a link or a device"),
    "tar, hard link": (tar_of("a.png", kind=tarfile.LNKTYPE, link="../x"), "'a.png' is a link or a device"),
    "tar, device": (tar_of("a.png", kind=tarfile.CHRTYPE), "'a.png' is a link or a device"),
    "tar, pipe": (tar_of("a.png", kind=tarfile.FIFOTYPE), "'a.png' is a link or a device"),
    "tar, declared size": (tar_of("a.png", content=ZEROS), "'a.png' brings it over 0.0002 GB"),
    "tar, sum of sizes": (tar_of(*"abcd", content=ZEROS[:60_000]), "'d' brings it over"),
    "tar, many": (tar_of(*"abcdefghijk"), "more than 10 entries"),
    "tar, twice": (tar_of("a.png", "a.png", content=b"x"), "'a.png' is in it twice"),
    "tar, header": (tar_with_a_header_of(10**9), "a header of absurd size"),
    "tar, negative size": (tar_with_a_header_of(-1024, tarfile.REGTYPE), "'trainA/1.png' declares a negative size"),
    "tar, bomb behind it": (gzip.compress(bytes(2**25)), "data after the end of the archive"),
    "no tar": (gzip.compress(b"hello" * 1000), "damaged or cut archive"),
    "page": (b"<!DOCTYPE html><p>Not Found", "neither a zip nor a tar.gz archive, but a web page"),
    "nothing": (b"", "neither a zip nor a tar.gz archive"),
    "no data": (zip_of(("set/image.png", b"x")), "no data set: the archive: found neither trainA/"),
    "no images": (zip_of(("trainA/a", b"x"), ("trainB/b", b"")), "no data set: the archive/trainA: no images"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_nothing_is_left(tmp_path: Path, case: str) -> None:
    content, named = HOSTILE[case]
    (tmp_path / "here").mkdir()
    (tmp_path / "here/archive").write_bytes(content)
    with pytest.raises(ArchiveError) as error:
        get_dataset("maps", tmp_path / "here/out", str(tmp_path / "here/archive"), limits=Limits(200_000, 10))
    assert named in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "here/archive"))
    assert (left_in(tmp_path), left_in(tmp_path / "here")) == (["here"], ["archive"])


@pytest.mark.parametrize("pack", [packed_zip, packed_tar])
def test_an_archive_that_is_cut_short_on_the_server_is_not_kept(
    tmp_path: Path, i2i: Run, site: Site, pack: Callable[[Path], bytes]
) -> None:
    whole = pack(make_set(tmp_path / "source/maps", trainA=2, trainB=2))
    for count in (len(whole) // 2, len(whole) - 8):
        site.content = whole[:count]
        result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
        assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, ["source"])
        assert f"{site.url}: a damaged or cut archive" in result.err


def test_a_full_disk_keeps_the_download(
    tmp_path: Path, i2i: Run, site: Site, unpaired: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    site.content = unpaired
    command = ("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr("i2i.fetch.get.unpack", fill)
        result = i2i(*command)
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, ["out.partial", "out.partial.json"])
    assert "No space left on device" in result.err
    assert (i2i(*command).code, site.sent, left_in(tmp_path)) == (0, len(unpaired), ["out"])
