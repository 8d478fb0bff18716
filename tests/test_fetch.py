"""Public sets: the catalogue, downloads that go on where they were cut, archives from strangers, and what is left."""

from __future__ import annotations

import gzip
import io
import stat
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from i2i.data import download
from i2i.data.catalogue import dataset_names, describe
from i2i.data.fetch import Limits, get_dataset
from i2i.data.unpack import ArchiveError
from i2i.errors import DataError

from .conftest import Run, draw, make_set

NAMES = [
    *("apple2orange", "cat2dog", "cezanne2photo", "cityscapes", "edges2handbags", "edges2shoes", "facades"),
    *("horse2zebra", "iphone2dslr_flower", "maps", "monet2photo", "summer2winter_yosemite", "ukiyoe2photo"),
    "vangogh2photo",
]


@dataclass
class Site:
    """A web server with one file, and what went over the wire: the Range asked for, and the bytes sent."""

    address: str = ""
    content: bytes = b""
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
    """A tar.gz of a top folder with train and val of side-by-side pictures."""
    root = tmp_path_factory.mktemp("source") / "maps"
    for seed, name in enumerate(("train/1", "train/2", "val/1")):
        draw(root / f"{name}.png", seed, (40, 20))
    return packed_tar(root)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---- the catalogue


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_description_is_whole(name: str) -> None:
    described = describe(name)
    for text in (described.about, described.a, described.b, described.licence):
        assert text
        assert "\n" not in text
    assert described.home.startswith("http")
    assert (described.task == "paired") == (described.layout == "side by side") == (described.direction is not None)
    folders = ("train", "val", "test") if described.task == "paired" else ("trainA", "trainB", "testA", "testB")
    assert set(described.counts) <= set(folders)
    assert all(count > 0 for count in described.counts.values())
    if described.archive is None:
        assert described.note
    else:
        assert described.archive.endswith(f"/{name}.tar.gz" if described.task == "paired" else f"/{name}.zip")
        assert described.megabytes


def test_without_a_name_the_sets_are_listed(i2i: Run) -> None:
    assert dataset_names() == NAMES
    result = i2i("data", "get")
    assert (result.code, [line.split()[0] for line in result.out.splitlines()]) == (0, NAMES)
    assert "about 117 MB" in result.out


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["horse2zebar"], "did you mean horse2zebra?; known: apple2orange"),
        (["cat2dog"], "no lasting address: DRIT's script names http://"),
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
    assert (root / "trainA/picture00.png").is_file()
    assert (tmp_path / "a.zip").is_file()


def test_a_fault_that_the_check_finds_is_exit_1(tmp_path: Path, i2i: Run) -> None:
    root = make_set(tmp_path / "set", trainA=2, trainB=2, testA=1, testB=1)
    (root / "testA/picture00.png").write_bytes((root / "trainA/picture00.png").read_bytes())
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
        assert "is there already" in result.err
    assert left_in(tmp_path / "full") == ["mine"]
    assert i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "empty").code == 0


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
    assert (result.code, "is no download of i2i" in result.err) == (2, True)
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
        patch.setattr("i2i.data.download.time.sleep", interrupt)
        result = i2i("data", "get", "horse2zebra", "--url", site.url, "--to", tmp_path / "out")
    assert (result.code, left_in(tmp_path)) == (130, ["out.partial", "out.partial.json"])
    assert "the same command goes on" in result.err
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


def tar_with_a_header_of(size: int) -> bytes:
    entry = tarfile.TarInfo("trainA/1.png")
    entry.type, entry.size = tarfile.XHDTYPE, size
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
    "tar, bomb behind it": (gzip.compress(bytes(2**25)), "data after the end of the archive"),
    "no tar": (gzip.compress(b"hello" * 1000), "damaged or cut archive"),
    "page": (b"<!DOCTYPE html><p>Not Found", "neither a zip nor a tar.gz archive, but a web page"),
    "nothing": (b"", "neither a zip nor a tar.gz archive"),
    "no data": (zip_of(("set/picture.png", b"x")), "no data set: the archive: found neither trainA/"),
    "no pictures": (zip_of(("trainA/a", b"x"), ("trainB/b", b"")), "no data set: the archive/trainA: no pictures"),
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
        patch.setattr("i2i.data.fetch.unpack", fill)
        result = i2i(*command)
    assert (result.code, result.err.count("\n"), left_in(tmp_path)) == (2, 1, ["out.partial", "out.partial.json"])
    assert "No space left on device" in result.err
    assert (i2i(*command).code, site.sent, left_in(tmp_path)) == (0, len(unpaired), ["out"])
