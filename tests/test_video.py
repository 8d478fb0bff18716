"""Videos: every frame is translated, at its time and beside its sound."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from i2i.inference.load import load_translator
from i2i.training.start import train

from .conftest import Run, draw, make_set, small_config
from .toys import assert_refused

TIMES = (0, 1, 2, 3, 5, 8, 9, 10, 11)
"""When frames begin, in fifteenths of a second: not at equal distances."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("video")
    data = make_set(root / "data", trainA=3, trainB=3, testA=2, testB=2)
    return train(small_config("cyclegan-fast", data, "training.steps=1"), root / "run").run.root


def film(path: Path, size: tuple[int, int] = (32, 24), *, sound: bool = True) -> Path:
    """A grey video that gets lighter beside a black band, of a second and with a tone."""
    with av.open(str(path), "w") as made:
        stream = made.add_stream("libx264", rate=15, options={"crf": "5"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 15)
        tone = made.add_stream("aac", rate=8000) if sound else None
        for time in TIMES:
            grey = np.full((size[1], size[0], 3), 20 * time, np.uint8)
            grey[:, : size[0] // 2] = 0
            frame = av.VideoFrame.from_ndarray(grey, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 15)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
        if tone is not None:
            wave = np.sin(np.arange(8192) / 3, dtype=np.float32)[None]
            heard = av.AudioFrame.from_ndarray(wave, format="fltp", layout="mono")
            heard.sample_rate, heard.pts = 8000, 0
            made.mux(tone.encode(heard))
            made.mux(tone.encode(None))
    return path


def seen(path: Path) -> list[tuple[Fraction, NDArray[Any]]]:
    with av.open(str(path)) as given:
        return [
            (frame.pts * frame.time_base, frame.to_ndarray(format="rgb24"))
            for frame in given.decode(video=0)
            if frame.pts is not None and frame.time_base is not None
        ]


def heard(path: Path) -> list[bytes]:
    with av.open(str(path)) as given:
        return [bytes(packet) for packet in given.demux(audio=0) if packet.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_video_keeps_times_and_sound(run: Path, tmp_path: Path, i2i: Run, suffix: str) -> None:
    source, target = film(tmp_path / f"in{suffix}"), tmp_path / f"out{suffix}"
    result = i2i("translate", source, "-o", target, "--model", run, "--precision", "fp32")
    assert result.code == 0, result.err
    assert "translated 9 frames and 1 of sound as it was" in result.out
    before, after = seen(source), seen(target)
    assert [round(time * 15) for time, _ in after] == list(TIMES)
    assert [time for time, _ in before] == pytest.approx([time for time, _ in after], abs=1e-3)
    assert heard(target) == heard(source)
    translator = load_translator(run)
    for (_, given), (_, made) in zip(before, after, strict=True):
        apart = translator(given).astype(int) - made  # an untrained generator makes noise, of which encoders keep less
        assert np.abs(apart).mean() < 12
        assert np.abs(apart.mean(axis=(0, 1))).max() < 4
    assert_refused(i2i("translate", source, "-o", target, "--model", run), f"{target} exists")


def test_flicker_of_a_video(run: Path, tmp_path: Path, i2i: Run) -> None:
    source = film(tmp_path / "in.mp4", sound=False)
    result = i2i("evaluate", "--model", run, "--metrics", "flicker", "--data", source, "--json", tmp_path / "report")
    assert result.code == 0, result.err
    assert "in.mp4 9 frames" in result.out
    part = json.loads((tmp_path / "report").read_bytes())["directions"][0]
    figure = part["models"][0]["figures"]["flicker"]
    assert 0.3 < figure["details"]["still"] < 0.5
    assert figure["value"] > 0
    assert part["copy"]["flicker"]["value"] < 2 / 255
    (tmp_path / "text.mp4").write_bytes(b"no video")
    broken = i2i("evaluate", "--model", run, "--metrics", "flicker", "--data", tmp_path / "text.mp4")
    assert_refused(broken, "text.mp4: cannot be read as a video")


def test_frames_of_odd_sizes_without_sound(run: Path, tmp_path: Path, i2i: Run) -> None:
    source = film(tmp_path / "in.mp4", (34, 26), sound=False)
    result = i2i("translate", source, "-o", tmp_path / "out.mkv", "--model", run, "--tile", 16)
    assert result.code == 0, result.err
    assert "translated 9 frames with" in result.out
    assert seen(tmp_path / "out.mkv")[0][1].shape == (26, 34, 3)


def test_what_is_no_video_is_refused_in_one_line(run: Path, tmp_path: Path, i2i: Run) -> None:
    (tmp_path / "text.mp4").write_bytes(b"no video")
    assert_refused(i2i("translate", tmp_path / "text.mp4", "--model", run), "text.mp4: cannot be translated as a video")
    source = film(tmp_path / "in.mp4", sound=False)
    (tmp_path / "list.mp4").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{source}\n#EXT-X-ENDLIST\n")
    assert_refused(i2i("translate", tmp_path / "list.mp4", "--model", run), "list.mp4: cannot be translated")
    whole = source.read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    cut = i2i("translate", tmp_path / "cut.mp4", "-o", tmp_path / "cut-out.mp4", "--model", run)
    assert (cut.code, (tmp_path / "cut-out.mp4").exists()) == (2, False)
    assert "Traceback" not in cut.err
    assert_refused(i2i("translate", source, "-o", source, "--model", run), "is the input itself")
    assert_refused(i2i("translate", source, "-o", tmp_path / "out.gif", "--model", run), "mp4, mov, mkv, webm")
    assert_refused(i2i("translate", source, "--model", run, "--max-pixels", 100), "--max-pixels allows more")
    draw(tmp_path / "in.png", 0)
    assert_refused(i2i("translate", source, "--model", run, "--format", "png"), "videos take no --format")


@pytest.mark.parametrize(
    ("codec", "form", "colours", "kept"),
    [("libx264", "yuv420p", (9, 9, 18), (9, 9, 18)), ("libx264rgb", "rgb24", (0, 1, 13), (5, 1, 13))],
)
def test_a_video_keeps_what_its_values_mean(
    run: Path, tmp_path: Path, i2i: Run, codec: str, form: str, colours: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    # Matrix, primaries and transfer: HLG of a telephone, and a recorded screen, whose frames are red, green and blue.
    def meaning(context: Any) -> tuple[int, ...]:
        return int(context.colorspace), int(context.color_primaries), int(context.color_trc)

    source, target = tmp_path / "in.mp4", tmp_path / "out.mp4"
    with av.open(str(source), "w") as made:
        stream: Any = made.add_stream(codec, rate=15)
        stream.width, stream.height, stream.pix_fmt = 32, 24, form
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc = colours
        for time in range(2):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 90, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 15)
            made.mux(stream.encode(frame))
        made.mux(stream.encode(None))
    assert i2i("translate", source, "-o", target, "--model", run).code == 0
    for path, wanted in ((source, colours), (target, kept)):
        with av.open(str(path)) as given:
            assert meaning(given.streams.video[0].codec_context) == wanted
