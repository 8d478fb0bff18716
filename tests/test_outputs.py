"""What a command writes replaces nothing that is not its own; a translation that was interrupted goes on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from i2i.data.images import Pixels, encode_image, read_image
from i2i.inference.outputs import LOCK, read_with_digest
from i2i.storage.lock import locked
from i2i.training.start import train

from .conftest import Run, draw, no_space_beyond, small_config
from .toys import assert_refused

LAUNCHER = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--", "i2i"]


@pytest.fixture(scope="module")
def run(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(
        small_config("cyclegan", toy_set, "training.steps=1"), tmp_path_factory.mktemp("runs") / "run"
    ).run.root


@pytest.fixture(scope="module")
def generative(toy_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = small_config("wgan-gp", toy_set / "trainA", "training.steps=1")
    return train(config, tmp_path_factory.mktemp("runs") / "generative").run.root


def photos(folder: Path, count: int) -> Path:
    for number in range(count):
        draw(folder / f"{number:03}.png", number)
    return folder


def report_of(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return content


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.png")}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.png")}


def assert_clean(folder: Path) -> None:
    assert not list(folder.rglob(".*"))


def test_a_single_output_replaces_nothing_unless_asked(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "x.png", 0)
    for name, output in (("x-translated.png", ()), ("a.png", ("a.png",)), ("own/x.png", ("own",))):
        own = draw(tmp_path / name, 5)
        before = own.read_bytes()
        arguments = ["translate", source, "--model", run, *(part for o in output for part in ("-o", tmp_path / o))]
        assert_refused(i2i(*arguments), f"{name} exists", "--overwrite")
        assert own.read_bytes() == before
        assert i2i(*arguments, "--overwrite").code == 0
        assert own.read_bytes() != before


def test_a_report_of_somebody_opens_no_folder(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = photos(tmp_path / "in", 2)
    for number, text in enumerate(('{"my": "annual report"}', "[]", "no json", '{"format": "i2i translations 1"}')):
        own = tmp_path / f"own{number}"
        image = draw(own / "000.png", 9)
        (own / "report.json").write_text(text)
        for _ in ("with an image", "with the report alone"):
            before = {path.name: path.read_bytes() for path in own.iterdir()}
            result = i2i("translate", source, "-o", own, "--model", run)
            assert_refused(result, "report.json exists and is not the report of a translation", "--overwrite")
            assert {path.name: path.read_bytes() for path in own.iterdir()} == before
            image.unlink(missing_ok=True)
    assert i2i("translate", source, "-o", own, "--model", run, "--overwrite").code == 0
    assert report_of(own)["translated"] == 2


def test_an_image_put_among_outputs_is_not_replaced(tmp_path: Path, run: Path, i2i: Run) -> None:
    out = tmp_path / "out"
    assert i2i("translate", photos(tmp_path / "in", 2), "-o", out, "--model", run).code == 0
    mine = draw(out / "mine.png", 7)
    edited = out / "001.png"
    for other, name, own in (("other", "mine.png", mine), ("in", "001.png", edited)):
        draw(tmp_path / other / name, 8)
        draw(own, 70)  # also one that was an output, and has been edited
        before = own.read_bytes()
        result = i2i("translate", tmp_path / other, "-o", out, "--model", run)
        assert_refused(result, f"{name} exists and was not written by a translation")
        assert own.read_bytes() == before
        assert_clean(out)
    assert i2i("translate", tmp_path / "in", "-o", out, "--model", run, "--overwrite").code == 0
    assert edited.read_bytes() != before
    assert i2i("translate", tmp_path / "in", "-o", out, "--model", run).code == 0


def test_an_image_that_comes_during_a_translation_is_not_replaced(
    tmp_path: Path, run: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, out = photos(tmp_path / "in", 3), tmp_path / "out"
    command = ("translate", source, "-o", out, "--model", run)

    def meanwhile(target: Path, pixels: Pixels, *options: Any) -> bytes:
        if target.name == "001.png":
            draw(target, 70)
        return encode_image(target, pixels, *options)

    monkeypatch.setattr("i2i.inference.writing.encode_image", meanwhile)
    result = i2i(*command)
    assert (result.code, result.err.count("skipped: ")) == (1, 1), result.err
    assert f"{out / '001.png'} exists and was not written by a translation" in result.err
    assert "translated 2 of 3" in result.out
    assert (out / "001.png").read_bytes() == draw(tmp_path / "same.png", 70).read_bytes()
    assert_refused(i2i(*command), "001.png exists and was not written by a translation")
    assert i2i(*command, "--overwrite").code == 0
    assert_clean(out)


def test_outputs_stay_known_after_other_translations_into_their_folder(tmp_path: Path, run: Path, i2i: Run) -> None:
    out = tmp_path / "out"
    photos(tmp_path / "one", 2)
    draw(tmp_path / "two/b.png", 4)
    arguments = ("-o", out, "--model", run)
    for source in ("one", "two"):
        assert i2i("translate", tmp_path / source, *arguments).code == 0
    first = contents(out)
    assert {entry["output"] for entry in report_of(out)["earlier"]} == {"000.png", "001.png"}
    assert i2i("translate", tmp_path / "one", *arguments, "--direction", "BtoA").code == 0
    second = contents(out)
    assert [first[name] != second[name] for name in ("000.png", "001.png", "b.png")] == [True, True, False]
    moved = out.rename(tmp_path / "moved")
    assert i2i("translate", tmp_path / "two", "-o", moved, "--model", run).code == 0


def test_what_is_done_is_not_done_again_unless_something_has_changed(
    tmp_path: Path, toy_set: Path, run: Path, i2i: Run
) -> None:
    source, out = photos(tmp_path / "in", 3), tmp_path / "out"
    arguments = ("translate", source, "-o", out, "--model", run)
    assert i2i(*arguments).code == 0
    before = times(out)
    result = i2i(*arguments)
    assert (result.code, times(out)) == (0, before)
    assert "3 of 3 were translated before" in result.err
    assert "translated 3 of 3" in result.out
    draw(source / "001.png", 50)
    (out / "002.png").write_bytes(b"")  # renamed before a power cut, and never written
    assert i2i(*arguments).code == 0
    assert [times(out)[name] == before[name] for name in sorted(before)] == [True, False, False]
    before = times(out)
    assert i2i(*arguments, "--direction", "BtoA").code == 0
    assert not set(times(out).values()) & set(before.values())
    before = times(out)
    other = train(small_config("cyclegan", toy_set, "training.steps=1", "training.seed=5"), tmp_path / "run").run.root
    assert i2i("translate", source, "-o", out, "--model", other, "--direction", "BtoA").code == 0
    assert not set(times(out).values()) & set(before.values())


def test_alpha_is_taken_over_where_it_is_asked_for(tmp_path: Path, run: Path, i2i: Run) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    alpha = np.random.default_rng(0).integers(0, 256, (20, 24), np.uint8)
    alpha[:10] = 0  # where WebP would drop the colours
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for name, mode in (("colours.png", "RGB"), ("grey.tiff", "L"), ("turned.webp", "RGB")):
        with Image.open(draw(source / name, 1, mode=mode)) as image:
            image.putalpha(Image.fromarray(alpha))
        image.save(source / name, exif=turned if name == "turned.webp" else b"")
    draw(source / "opaque.png", 2)
    with Image.open(draw(source / "palette.png", 3, mode="P")) as image:
        index = np.asarray(image)
        image.save(source / "palette.png", transparency=int(index[0, 0]))
    expected = {"colours": alpha, "grey": alpha, "turned": np.rot90(alpha, -1), "palette": 255 * (index != index[0, 0])}
    arguments = ("translate", source, "-o", out, "--model", run)
    assert i2i(*arguments).code == 0
    opaque = {path.stem: read_image(path).astype(int) for path in out.glob("*.png")}
    for suffix, tile in (("png", 16), ("webp", "auto"), ("tiff", "auto"), ("npy", "auto")):
        result = i2i(*arguments, "--alpha", "--format", suffix, "--tile", tile)
        assert result.code == 0, result.err
        assert "were translated before" not in result.err
        for stem, without in opaque.items():
            made = read_array(out / f"{stem}.{suffix}")
            assert np.abs(made[..., :3] - without).max() <= 1, (stem, suffix)  # tiles differ by rounding
            assert made.shape[2] == (4 if stem in expected else 3), (stem, suffix)
            assert stem not in expected or np.array_equal(made[..., 3], expected[stem]), (stem, suffix)
    before = times(out)
    assert "5 of 5 were translated before" in i2i(*arguments, "--alpha").err
    assert times(out) == before
    assert i2i(*arguments).code == 0
    assert {path.stem: read_array(path).shape[2] for path in out.glob("*.png")} == dict.fromkeys(opaque, 3)


def read_array(path: Path) -> Pixels:
    """What a file holds, as it is."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path))
    with Image.open(path) as image:
        return np.asarray(image)


def test_alpha_is_refused_where_outputs_cannot_have_it(tmp_path: Path, run: Path, i2i: Run) -> None:
    source = draw(tmp_path / "in/a.png", 0, mode="RGBA")
    for form in ("jpg", "bmp"):
        arguments = ("translate", source.parent, "-o", tmp_path / "out", "--model", run)
        assert_refused(i2i(*arguments, "--alpha", "--format", form), f"alpha: {form} has no transparency")
    assert not (tmp_path / "out").exists()
    (tmp_path / "clip.mp4").touch()
    video = i2i("translate", tmp_path / "clip.mp4", "--model", run, "--alpha")
    assert (video.code, "no --alpha" in video.err) == (2, True)


def interrupted(arguments: list[object], out: Path, number: signal.Signals, at: int) -> tuple[int, str]:
    """Starts a translation, sends it ``number`` when ``at`` outputs are there; its code and what it said."""
    command = [sys.executable, "-m", "i2i", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while len(list(out.glob("*.png"))) < at and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, said = process.communicate()
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_translation_goes_on(tmp_path: Path, run: Path, i2i: Run, number: signal.Signals) -> None:
    source, out, count = photos(tmp_path / "in", 400), tmp_path / "out", 400
    (source / "100.png").write_text("no image")
    arguments: list[object] = ["translate", source, "-o", out, "--model", run, "--device", "cpu"]
    code, said = interrupted(arguments, out, number, 5)
    there = times(out)
    assert 5 <= len(there) < count - 1, "it was not interrupted"
    for path in out.glob("*.png"):
        with Image.open(path) as image:
            image.load()
    if number != signal.SIGKILL:
        assert code == 128 + number
        assert said.splitlines()[-1] == "error: interrupted: repeat the command to continue"
        report = report_of(out)
        assert (report["translated"], report["complete"]) == (len(there), False)
        assert report["translated"] + report["skipped"] + report["pending"] == count
        assert {entry["output"] for entry in report["files"] if entry["error"] is None} == set(there)
        assert {path.name for path in out.iterdir()} - set(there) <= {"report.json", ".i2i-part-00000.jsonl"}
    result = i2i(*arguments)
    assert result.code == 1
    assert f"translated {count - 1} of {count}" in result.out
    now = times(out)
    assert {name: now[name] for name in there} == there
    assert_clean(out)
    report = report_of(out)
    assert (report["translated"], report["skipped"], report["pending"], report["complete"]) == (count - 1, 1, 0, True)
    at_once = tmp_path / "at-once"
    assert i2i("translate", source, "-o", at_once, "--model", run, "--device", "cpu").code == 1
    assert contents(at_once) == contents(out)


def test_the_report_is_written_while_the_translation_goes_on(
    tmp_path: Path, run: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, int]] = []
    replace = os.replace

    def look(old: Path, new: Path) -> None:
        replace(old, new)
        if new.name == "report.json":
            seen.append((report_of(new.parent)["translated"], len(list(new.parent.glob("*.png")))))

    monkeypatch.setattr("i2i.inference.outputs.SECONDS", 0.0)
    monkeypatch.setattr("os.replace", look)
    assert i2i("translate", photos(tmp_path / "in", 60), "-o", tmp_path / "out", "--model", run).code == 0
    assert seen[0] == (0, 0)
    assert seen[-1] == (60, 60)
    assert len({told for told, _ in seen}) > 2


def test_a_second_translation_into_a_folder_is_refused(tmp_path: Path, run: Path, i2i: Run) -> None:
    source, out = photos(tmp_path / "in", 3), tmp_path / "out"
    arguments = ("translate", source, "-o", out, "--model", run)
    assert i2i(*arguments).code == 0
    draw(source / "more.png", 40)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with locked(out / LOCK, "it"):
        assert_refused(i2i(*arguments), f"the output folder {out} is in use by process {os.getpid()}")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert i2i(*arguments).code == 0


def test_two_translations_at_once_do_not_harm_each_other(tmp_path: Path, run: Path) -> None:
    source, out = photos(tmp_path / "in", 300), tmp_path / "out"
    command = [sys.executable, "-m", "i2i", "translate", str(source), "-o", str(out), "--model", str(run)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate()[1] for process in both]
    codes = sorted(process.returncode for process in both)
    assert codes in ([0, 2], [0, 0]), said  # the second found the folder in use, or everything done
    assert len(contents(out)) == 300
    report = report_of(out)
    assert (report["translated"], report["complete"]) == (300, True)
    assert_clean(out)


def test_a_full_disk_leaves_whole_outputs_and_a_line_for_each_file(tmp_path: Path, run: Path, i2i: Run) -> None:
    source, out = photos(tmp_path / "in", 4), tmp_path / "out"
    noise = np.random.default_rng(0).integers(0, 256, (90, 90, 3), np.uint8)
    Image.fromarray(noise).save(source / "large.png")
    arguments = ("translate", source, "-o", out, "--model", run)
    with no_space_beyond(8000):
        result = i2i(*arguments)
    assert (result.code, result.err.count("cannot write")) == (1, 1), result.err
    assert "large.png" in result.err
    assert len(contents(out)) == 4
    assert_clean(out)
    with no_space_beyond(300):  # not even the report
        result = i2i(*arguments)
    assert_refused(result, "cannot write", "report.json")
    assert_clean(out)
    assert i2i(*arguments).code == 0
    assert len(contents(out)) == 5
    with no_space_beyond(300):
        result = i2i("translate", source / "large.png", "-o", tmp_path / "one.png", "--model", run)
    assert result.code == 1
    assert "cannot write" in result.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_full_disk_under_samples_and_imports_leaves_nothing(
    tmp_path: Path, run: Path, generative: Path, i2i: Run
) -> None:
    state = tmp_path / "state.pth"
    assert i2i("export-state", run, "-o", state).code == 0
    commands: tuple[tuple[object, ...], ...] = (
        ("sample", "--model", generative, "-o", tmp_path / "sheet.png"),
        ("sample", "--model", generative, "-o", tmp_path / "walk.png", "--walk", 3),
        ("import", state, "-o", tmp_path / "theirs"),
        ("export-state", run, "-o", tmp_path / "again.pth"),
        ("sample", "--model", generative, "-o", tmp_path / "folder", "--count", 3),
    )
    before = {path.name for path in tmp_path.iterdir()}
    for command in commands:
        with no_space_beyond(100):
            result = i2i(*command)
        assert_refused(result, "cannot write")
        assert {path.name for path in tmp_path.iterdir()} - {"folder"} == before
        assert_clean(tmp_path)
        assert i2i(*command).code == 0
        before = {path.name for path in tmp_path.iterdir()}


def test_samples_and_experiments_replace_nothing_unless_asked(tmp_path: Path, generative: Path, i2i: Run) -> None:
    photo, gif = draw(tmp_path / "photo.png", 0), tmp_path / "mine.gif"
    gif.write_bytes(b"mine")
    folder = draw(tmp_path / "folder/00000.png", 0)
    lab = draw(tmp_path / "lab/nash.png", 0)
    assert_refused(i2i("lab", "nash", "-o", lab.parent), "nash.png exists", "--overwrite")
    sample = ("sample", "--model", generative)
    for command, own in (
        ((*sample, "--count", 2, "-o", photo), photo),
        ((*sample, "-o", tmp_path / "mine.png", "--walk", 2), gif),
        ((*sample, "--count", 2, "-o", folder.parent), folder),
    ):
        before = own.read_bytes()
        assert_refused(i2i(*command), "exists", "--overwrite")
        assert own.read_bytes() == before
        assert not (tmp_path / "mine.png").exists()
        assert i2i(*command, "--overwrite").code == 0
        assert own.read_bytes() != before
        (tmp_path / "mine.png").unlink(missing_ok=True)


def launched(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*LAUNCHER, *map(str, arguments)], capture_output=True, text=True)


def test_two_processes_share_the_files_and_give_what_one_gives(
    tmp_path: Path, run: Path, generative: Path, i2i: Run
) -> None:
    source = photos(tmp_path / "in", 9)
    for number in (3, 4):  # one of each process
        (source / f"{number:03}.png").write_text("no image")
    arguments = ("translate", source, "--model", run, "--device", "cpu")
    assert i2i(*arguments, "-o", tmp_path / "one").code == 1
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    for name in ("005.png", "006.png", "007.png"):  # the two go on where another call stopped
        (tmp_path / "two" / name).unlink()
    kept = times(tmp_path / "two")
    result = launched(*arguments, "-o", tmp_path / "two")
    assert result.returncode == 1, result.stderr
    assert result.stdout.count("translated 7 of 9") == 1
    assert result.stderr.count("skipped: ") == 2
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    assert {name: times(tmp_path / "two")[name] for name in kept} == kept
    one, two = (report_of(tmp_path / name) for name in ("one", "two"))
    assert two == one | {"earlier": two["earlier"]}
    assert_clean(tmp_path / "two")
    sample = ("sample", "--model", generative, "--count", 5, "--device", "cpu")
    assert i2i(*sample, "-o", tmp_path / "drawn").code == 0
    result = launched(*sample, "-o", tmp_path / "drawn-by-two")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("generated 5 images") == 1
    assert contents(tmp_path / "drawn-by-two") == contents(tmp_path / "drawn")


def test_a_process_whose_partner_has_been_killed_says_so(tmp_path: Path, run: Path, i2i: Run) -> None:
    """Also where no launcher ends it with the other."""
    command = ["translate", str(photos(tmp_path / "in", 40)), "--model", str(run), "-o", str(tmp_path / "out")]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
    place = os.environ | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    first, second = (
        subprocess.Popen([sys.executable, "-m", "i2i", *command], env=place | {"RANK": rank}, stderr=subprocess.PIPE)
        for rank in "01"
    )
    while not (tmp_path / "out" / LOCK).exists() and first.poll() is None:
        time.sleep(0.002)
    first.kill()
    first.communicate()
    said = second.communicate(timeout=120)[1].decode()
    assert second.returncode == 2, said
    assert said.splitlines()[-1] == "error: another process of this command has ended: repeat the command to continue"
    assert "Traceback" not in said
    assert i2i(*command).code == 0


def test_a_digest_is_of_what_was_read(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"0")
    contents = iter([b"1", b"2", b"2"])  # what a training writes while it is read

    def read() -> bytes:
        content = file.read_bytes()
        file.write_bytes(next(contents))
        return content

    assert read_with_digest(file, read) == (b"2", hashlib.sha256(b"2").hexdigest())
