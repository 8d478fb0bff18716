"""Two folders of any name: found, split by names, stored in the run, and refused where they overlap."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from i2i.config.resolve import resolve_config
from i2i.data.layout import Layout, find_folders
from i2i.errors import ConfigError, DataError
from i2i.storage.runs import RunFolder

from .conftest import Run, draw, make_set, small_arguments


def named_folders(root: Path, count: int = 30) -> tuple[Path, Path]:
    make_set(root, summer=count, winter=count)
    return root / "summer", root / "winter"


def found(a: Path, b: Path, *, paired: bool = False, held_out: float = 0.3) -> Layout:
    return find_folders(a, b, None, None, held_out=held_out, paired=paired)


def stems(images: object) -> list[str]:
    return [image.path.stem for image in images]  # type: ignore[attr-defined]


def arguments(root: Path, arch: str, *folders: object) -> list[object]:
    """The small settings, with ``folders`` in the place of --data."""
    whole = small_arguments(arch, root, root / "run")
    at = whole.index("--data")
    return [*whole[:at], *folders, *whole[at + 2 :]]


def test_new_files_do_not_move_others_between_the_parts(tmp_path: Path) -> None:
    a, b = named_folders(tmp_path)
    before = found(a, b)
    held = set(stems(before.test.a))
    assert 3 <= len(held) <= 15
    assert held | set(stems(before.train.a)) == {f"image{i:02}" for i in range(30)}
    draw(a / "another.png", 99)
    assert set(stems(found(a, b).test.a)) - {"another"} == held
    assert held <= set(stems(found(a, b, held_out=0.6).test.a))
    assert found(a, b, held_out=0).test.a == []
    assert stems(found(a, b, held_out=0.9999).train.a)  # something is left to train on


def test_a_folder_without_a_held_out_image_is_said_and_named(tmp_path: Path, i2i: Run) -> None:
    a, b = named_folders(tmp_path)
    held = {*stems(found(a, b).test.a)}
    for path in [path for path in a.iterdir() if path.stem in held]:
        path.unlink()
    run = tmp_path / "run"
    trained = i2i(*arguments(tmp_path, "cyclegan", "--a", a, "--b", b), "--set", "data.held_out=0.3")
    assert trained.code == 0, trained.err
    assert "of one folder no image is held out" in trained.err
    measured = i2i("evaluate", "--model", run, "--metrics", "swd")
    assert measured.code == 2
    assert "no held-out images of A (give more images, another data.held_out, or --data" in measured.err


def test_pairs_stay_together(tmp_path: Path) -> None:
    a, b = named_folders(tmp_path)
    (b / "image07.png").rename(b / "alone.png")
    layout = found(a, b, paired=True)
    for split in (layout.train, layout.test):
        assert stems(split.a) == stems(split.b)
        assert split.paired
    assert len(layout.train.a) + len(layout.test.a) == 29
    assert sorted(path.name for path in layout.unmatched) == ["alone.png", "image07.png"]


@pytest.mark.parametrize("arch", ["cyclegan", "pix2pix"])
def test_a_run_on_two_folders_is_resumed_and_used_without_naming_them(tmp_path: Path, i2i: Run, arch: str) -> None:
    a, b = named_folders(tmp_path, 20)
    trained = i2i(*arguments(tmp_path, arch, "--a", a, "--b", b))
    assert trained.code == 0, trained.err
    (line,) = [line for line in trained.err.splitlines() if line.startswith("held out (chosen by file name)")]
    layout = found(a, b, held_out=0.1)
    assert f"{len(layout.test.a)} images of A and {len(layout.test.b)} of B" in line
    assert f"{len(layout.train.a)} images in A and {len(layout.train.b)} in B" in trained.err
    data = RunFolder(tmp_path / "run").read_config().data
    assert (data.a, data.b, data.path) == (str(a), str(b), "")
    assert i2i("train", "--resume", tmp_path / "run", "--steps", 8).code == 0
    assert i2i("translate", a, "-o", tmp_path / "out", "--model", tmp_path / "run").code == 0
    assert f"on {a.name} and {b.name}" in i2i("info", "--model", tmp_path / "run").out
    for number in range(5):  # a name alone may be held out
        draw(a / f"new{number}.png", number)
        draw(b / f"new{number}.png", number)
    assert "new since the run was started, and not used" in i2i("train", "--resume", tmp_path / "run", "--steps", 9).err


def test_test_folders_are_taken_whole(tmp_path: Path, i2i: Run) -> None:
    a, b = named_folders(tmp_path, 5)
    make_set(tmp_path, later=2, earlier=3)
    tests = ("--test-a", tmp_path / "later", "--test-b", tmp_path / "earlier")
    result = i2i(*arguments(tmp_path, "cyclegan", "--a", a, "--b", b, *tests))
    assert result.code == 0
    assert "5 images in A and 5 in B" in result.err
    assert "held out" not in result.err


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["--a", "summer"], "data.b is not"),
        (["--b", "winter"], "data.a is not"),
        (["--a", "summer", "--b", "winter", "--test-a", "later"], "data.test_b is not"),
        (["--data", "summer", "--test-a", "summer", "--test-b", "winter"], "go with data.a and data.b"),
        (["--data", "summer", "--a", "summer", "--b", "winter"], "name the data twice"),
        (["--a", "summer", "--b", "./summer"], "summer or inside it"),
        (["--a", "summer", "--b", "."], "or inside it"),
        (["--a", "summer", "--b", "linked"], "or inside it"),
        (["--a", "summer", "--b", "winter", "--test-a", "summer/deep", "--test-b", "later"], "or inside it"),
        (["--a", "summer", "--b", "nowhere"], "nowhere: no such folder"),
        (["--a", "summer", "--b", "empty"], "empty: no images"),
        (["--a", "summer", "--b", "winter/image00.png"], "is a file"),
    ],
)
def test_what_is_wrong_with_the_folders_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, i2i: Run, given: list[str], expected: str
) -> None:
    named_folders(tmp_path, 2)
    make_set(tmp_path, later=1, **{"summer/deep": 1})
    (tmp_path / "empty").mkdir()
    (tmp_path / "linked").symlink_to(tmp_path / "summer")
    monkeypatch.chdir(tmp_path)
    for command in (["train", "--arch", "cyclegan"], ["data", "check"]):
        options = [part for part in given if part != "--data"] if command[0] == "data" else given
        result = i2i(*command, *options)
        assert (result.code, result.err.count("\n")) == (2, 1), result.err
        assert expected in result.err
    assert not (tmp_path / "runs").exists()


def test_recipes_of_one_domain_name_the_way_out(tmp_path: Path, i2i: Run) -> None:
    a, b = named_folders(tmp_path, 2)
    result = i2i("train", "--arch", "dcgan", "--a", a, "--b", b)
    assert result.code == 2
    assert "learns one domain: give --data" in result.err


def test_folders_without_pairs_are_refused_for_paired_recipes(tmp_path: Path) -> None:
    a, b = named_folders(tmp_path, 2)
    for number, path in enumerate(sorted(b.iterdir())):
        path.rename(b / f"other{number}.png")
    with pytest.raises(DataError, match=r"no file in .*summer has a partner of the same name in .*winter"):
        found(a, b, paired=True)


def test_python_takes_the_same_keys(tmp_path: Path) -> None:
    config = resolve_config("cyclegan", options={"data.a": "x", "data.b": "y"})
    assert (config.data.a, config.data.path, config.data.title) == ("x", "", "x and y")
    again = resolve_config(None, file=config.model_dump(mode="json"))
    assert again == config
    with pytest.raises(ConfigError, match=r"data\.path z and data\.a name the data twice"):
        resolve_config("cyclegan", options={"data.a": "x", "data.b": "y", "data.path": "z"})


def test_data_check_looks_at_two_folders(tmp_path: Path, i2i: Run) -> None:
    a, b = named_folders(tmp_path, 20)
    layout = found(a, b, held_out=0.1)
    result = i2i("data", "check", "--a", a, "--b", b)
    assert result.code == 0, result.err
    assert f"train      {len(layout.train.a)} in A, {len(layout.train.b)} in B" in result.out
    assert f"{len(layout.train.a)} in train by equal names" in result.out
    shutil.copy(layout.train.a[0].path, tmp_path / "leaked.png")
    (tmp_path / "test").mkdir()
    shutil.move(tmp_path / "leaked.png", tmp_path / "test/leaked.png")
    make_set(tmp_path, earlier=1)
    result = i2i("data", "check", "--a", a, "--b", b, "--test-a", tmp_path / "test", "--test-b", tmp_path / "earlier")
    assert result.code == 1
    assert "leaked.png: the same image as" in result.err
