"""Writing under faults: whatever call fails, wherever the process dies, a reader sees the old file or the new one."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from i2i.errors import DataError
from i2i.storage.files import append_line, remove_temporaries, require_free, write_atomically
from i2i.storage.weights import load_tree, save_tree

from .conftest import no_space_beyond

OLD, NEW = b"old" * 1000, b"new" * 2000
CALLS = ("mkdir", "open", "write", "fsync", "close", "replace")


class Faults:
    """Lets the ``at``-th of the system calls that write a file end in another way; counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, happen: Callable[[str], None]) -> None:
        self.count = 0
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(name, getattr(os, name), at, happen))

    def _wrap(self, name: str, call: Callable[..., Any], at: int, happen: Callable[[str], None]) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.count == at:
                if name == "close":  # the system closes the file also where it reports an error
                    call(*arguments, **named)
                happen(name)
            return call(*arguments, **named)

        return counted


def fail(name: str) -> None:
    raise OSError(errno.EIO if name == "fsync" else errno.ENOSPC, "no luck")


def die(name: str) -> None:
    os._exit(7)


def write_bytes(path: Path) -> None:
    write_atomically(path, NEW)


def write_unflushed(path: Path) -> None:
    write_atomically(path, NEW, flush=False)


@pytest.mark.parametrize("write", [write_bytes, write_unflushed])
@pytest.mark.parametrize("exists", [True, False])
def test_a_call_that_fails_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], exists: bool
) -> None:
    path = tmp_path / "deep/folder/file" if not exists else tmp_path / "file"
    failures = 0
    for at in range(1, 100):
        if exists:
            path.write_bytes(OLD)
        with monkeypatch.context() as patch:
            faults = Faults(patch, at, fail)
            try:
                write(path)
            except DataError:
                failures += 1
        left = [found for found in tmp_path.rglob("*") if found.is_file()]
        content = path.read_bytes() if path.exists() else None
        assert content in ((OLD, NEW) if exists else (None, NEW))
        assert left == ([path] if content else [])
        path.unlink(missing_ok=True)
        if faults.count < at:
            assert content == NEW
            break
    # At least open, write, close and replace of each; with a flush, those of the file and of the folder.
    assert failures >= (4 if write is write_unflushed else 8)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_that_dies_leaves_the_old_file_or_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    died = 0
    for at in range(1, 100):
        path.write_bytes(OLD)
        child = os.fork()
        if child == 0:
            Faults(monkeypatch, at, die)
            try:
                write_bytes(path)
            finally:
                os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert path.read_bytes() in (OLD, NEW)
        remove_temporaries([tmp_path])
        assert list(tmp_path.iterdir()) == [path]
        if code == 0:
            assert path.read_bytes() == NEW
            break
        died += 1
    assert died >= 8


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_has_come_in_the_meantime_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    """Also on a file system without links."""
    if not links:
        monkeypatch.setattr(os, "link", lambda *_: fail("link"))
    path = tmp_path / "file"
    write_atomically(path, NEW, overwrite=False)
    assert path.read_bytes() == NEW
    path.unlink()
    write = os.write

    def as_another_comes(file: int, content: memoryview) -> int:
        path.write_bytes(OLD)
        return write(file, content)

    monkeypatch.setattr(os, "write", as_another_comes)
    with pytest.raises(DataError, match="file"):
        write_atomically(path, NEW, overwrite=False)
    assert path.read_bytes() == OLD
    assert list(tmp_path.iterdir()) == [path]


def test_a_disk_that_is_full_anywhere_in_a_file_of_tensors_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "tree"
    save_tree(path, {"a": torch.zeros(500)}, {}, kind="checkpoint")
    size = path.stat().st_size
    for limit in (*range(0, size, 97), size - 1):
        with no_space_beyond(limit), pytest.raises(DataError, match="cannot write"):
            save_tree(path, {"a": torch.ones(500)}, {}, kind="checkpoint")
        assert list(tmp_path.iterdir()) == [path]
        assert not load_tree(path, kind="checkpoint")[0]["a"].any()
    with no_space_beyond(size):
        save_tree(path, {"a": torch.ones(500)}, {}, kind="checkpoint")
    assert load_tree(path, kind="checkpoint")[0]["a"].all()


def test_a_file_of_another_kind_is_no_target(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError, match="not a regular file"):
        write_atomically(tmp_path / "folder", b"")


def test_temporary_files_of_those_who_live_and_of_other_hosts_stay(tmp_path: Path) -> None:
    seen: list[str] = []
    write = os.write

    def look(file: int, content: memoryview) -> int:
        remove_temporaries([tmp_path])
        seen.extend(os.listdir(tmp_path))
        return write(file, content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "write", look)
        write_atomically(tmp_path / "file", b"x")
    assert len(seen) == 1
    own = seen[0]
    assert (tmp_path / "file").read_bytes() == b"x"
    code = "from pathlib import Path; import i2i.storage.files as f; print(f._temporary_name())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    elsewhere = dead.replace(dead.split("-")[1], "0" * 12)
    other_boot = own.replace(own.split("-")[2], "abc")
    for name in (dead, elsewhere, own, other_boot, ".mine.tmp"):
        (tmp_path / name).touch()
    remove_temporaries([tmp_path])
    assert {path.name for path in tmp_path.iterdir()} == {"file", elsewhere, own, ".mine.tmp"}


def test_a_line_is_added_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "lines"
    append_line(path, "first")
    with no_space_beyond(8), pytest.raises(OSError, match="large"):
        append_line(path, "second")
    append_line(path, "third")
    assert path.read_text() == "first\nthird\n"


def test_names_that_are_taken_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    for name in ("dangling", "file"):
        with pytest.raises(DataError, match="--overwrite"):
            require_free(tmp_path / "free", tmp_path / name)
        require_free(tmp_path / name, overwrite=True)
