"""``i2i serve``: REST and page against the command line, in a browser, and under hostile requests."""

from __future__ import annotations

import http.client
import io
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from onnx.helper import make_node
from PIL import Image

from i2i.build import build_method
from i2i.needs import missing_packages
from i2i.runtime import IMAGES, TRANSLATED
from i2i.storage.weights import save_weights

from .browser import Browser
from .conftest import Run, draw, make_set
from .graphs import exported
from .toys import assert_refused, prepare

pytestmark = pytest.mark.skipif(bool(missing_packages("gradio")), reason="needs gradio: pip install 'i2i[serve]'")

MOST_BYTES, MOST_PIXELS = 2_000_000, 400_000
CLIENTS = itertools.count()


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def detail(self) -> str:
        return str(json.loads(self.body)["detail"])


class Server(NamedTuple):
    """A server in a process of its own."""

    process: subprocess.Popen[str]
    port: int
    folder: Path
    line: str

    def ask(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        kind: str | None = None,
        headers: dict[str, str] | None = None,
        source: str | None = None,
    ) -> Answer:
        """The answer to a request, by default from one of many clients."""
        source = source or f"127.0.0.{next(CLIENTS) % 250 + 1}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60, source_address=(source, 0))
        try:
            given = dict(headers or {}) | ({} if kind is None else {"Content-Type": kind})
            connection.request(method, path, body or None, given)
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()

    def raw(self, content: bytes) -> Answer:
        """The answer to bytes that need not be HTTP."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            connection.sendall(content)
            response = http.client.HTTPResponse(connection)
            response.begin()
            with response:
                return Answer(response.status, dict(response.getheaders()), response.read())

    @property
    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def memory(self) -> int:
        """Bytes that are resident."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def started(folder: Path, *arguments: object) -> Server:
    folder.mkdir()
    (folder / "tmp").mkdir()
    command = [sys.executable, "-m", "i2i", "serve", *map(str, arguments), "--port", "0"]
    environment = os.environ | {"TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(Path(__file__).parents[1])}
    with (folder / "stderr").open("w") as errors:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert process.stdout is not None
    line = process.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
    assert found is not None, (line, (folder / "stderr").read_text())
    return Server(process, int(found[1]), folder, line)


def untrained(arch: str, data: Path, path: Path, *settings: str) -> Path:
    config, _ = prepare(arch, data, *settings)
    method = build_method(config.model)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_weights(path, method.inference_state(), config.model, 6)
    return path


INVERTING = (make_node("Neg", [IMAGES], [TRANSLATED]),)
HUNGRY = (
    make_node("Constant", [], ["many"], value_ints=[2**40, 1, 1, 1]),
    make_node("Expand", [IMAGES, "many"], ["large"]),
    make_node("ReduceMean", ["large"], ["mean"]),
    make_node("Add", [IMAGES, "mean"], [TRANSLATED]),
)
"""It needs 12 TiB for each pixel: more than a process can address."""


@pytest.fixture(scope="module")
def models(toy_set: Path, labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cycle/model.safetensors, digits.safetensors, deep.safetensors, negative.onnx and hungry.onnx."""
    folder = tmp_path_factory.mktemp("models")
    noise = ("networks.generator.dropout=0.5", "inference.dropout=true")  # so that an image has several translations
    untrained("cyclegan", toy_set, folder / "cycle/model.safetensors", *noise)
    exported(folder / "negative.onnx", INVERTING)
    exported(folder / "hungry.onnx", HUNGRY)
    untrained("cgan", labelled_set, folder / "digits.safetensors")
    deep = make_set(folder / "deep-set", trainA=3, trainB=3)
    for path in deep.glob("*/*.png"):
        grey = np.asarray(Image.open(path).convert("L"), np.uint16)
        Image.fromarray(grey * 200).save(path)
    for path in (deep / "trainB").iterdir():
        np.save(path.with_suffix(".npy"), np.random.default_rng(0).random((20, 24, 5), np.float32))
        path.unlink()
    untrained("cyclegan", deep, folder / "deep.safetensors", "method.identity_weight=0")
    return folder


@pytest.fixture(scope="module")
def server(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    names = ("cycle", "digits.safetensors", "deep.safetensors", "negative.onnx", "hungry.onnx")
    limits = ("--max-bytes", "2MB", "--max-pixels", MOST_PIXELS, "--rate", 60, "--device", "cpu")
    found = started(tmp_path_factory.mktemp("served") / "server", *(models / name for name in names), *limits)
    yield found
    found.process.send_signal(signal.SIGINT)
    assert found.process.wait(60) == 130
    assert found.process.stdout is not None
    found.process.stdout.close()
    assert list((found.folder / "tmp").iterdir()) == []
    assert "Traceback" not in found.log


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    image.save(content, form, **options)
    return content.getvalue()


def form(content: bytes, name: str = "image.png", field: str = "image") -> tuple[bytes, str]:
    head = f'--xyz\r\nContent-Disposition: form-data; name="{field}"; filename="{name}"\r\n'
    return (
        head.encode() + b"Content-Type: image/png\r\n\r\n" + content + b"\r\n--xyz--\r\n",
        "multipart/form-data; boundary=xyz",
    )


def test_the_first_line_says_where_and_what(server: Server, models: Path) -> None:
    assert (
        f"serving at http://127.0.0.1:{server.port} (cycle: cyclegan (6 steps) of {models}/cycle/model" in server.line
    )
    assert "digits: cgan (6 steps)" in server.line


def test_models_are_described(server: Server) -> None:
    found = {each["name"]: each for each in json.loads(server.ask("GET", "/api/models").body)}
    assert list(found) == ["cycle", "digits", "deep", "negative", "hungry"]
    assert [each["name"] for each in found["negative"]["directions"]] == ["AtoB"]
    assert found["cycle"]["kind"] == "translator"
    assert found["cycle"]["image_size"] == 16
    assert [each["name"] for each in found["cycle"]["directions"]] == ["AtoB", "BtoA"]
    assert found["digits"]["kind"] == "sampler"
    assert found["digits"]["labels"] == ["blue", "green", "red"]
    assert found["deep"]["directions"][0]["takes"] == "uint16 values in 1 channel"
    described = json.loads(server.ask("GET", "/openapi.json").body)
    assert set(described["paths"]) == {"/api/health", "/api/models", "/api/translate", "/api/sample"}
    assert "image/png" in described["paths"]["/api/translate"]["post"]["responses"]["200"]["content"]


@pytest.mark.parametrize(
    ("name", "file", "direction"),
    [("cycle", "cycle", "AtoB"), ("cycle", "cycle", "BtoA"), ("negative", "negative.onnx", "AtoB")],
)
def test_a_translation_is_the_file_of_the_command(
    server: Server, models: Path, tmp_path: Path, i2i: Run, name: str, file: str, direction: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation
    image = draw(tmp_path / "photo.png", 3, (45, 30))
    content = encoded(Image.open(image), "JPEG", exif=exif, dpi=(72, 72))
    (tmp_path / "photo.jpg").write_bytes(content)
    result = i2i(
        *("translate", tmp_path / "photo.jpg", "-o", tmp_path / "out.png", "--model", models / file),
        *("--direction", direction, "--device", "cpu"),
    )
    assert result.code == 0, result.err
    sent, kind = form(content)
    query = f"/api/translate?model={name}&direction={direction}"
    for answer in (server.ask("POST", query, content, "image/jpeg"), server.ask("POST", query, sent, kind)):
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"] == "image/png"
        assert answer.body == (tmp_path / "out.png").read_bytes()


def test_transparency_is_taken_over_as_by_the_command(server: Server, models: Path, tmp_path: Path, i2i: Run) -> None:
    with Image.open(draw(tmp_path / "image.png", 3)) as image:
        image.putalpha(image.convert("L"))
    image.save(tmp_path / "image.png")
    given = ("--model", models / "negative.onnx", "--alpha")
    assert i2i("translate", tmp_path / "image.png", "-o", tmp_path / "out.png", *given).code == 0
    ask = partial(server.ask, "POST", body=(tmp_path / "image.png").read_bytes(), kind="image/png")
    assert ask("/api/translate?model=negative&alpha=true").body == (tmp_path / "out.png").read_bytes()
    assert Image.open(io.BytesIO(ask("/api/translate?model=negative").body)).mode == "RGB"
    with Image.open(tmp_path / "out.png") as made:
        assert made.mode == "RGBA"
    refused = ask("/api/translate?model=deep&direction=BtoA&alpha=true")
    assert (refused.status, "alpha: this model is not one of 8-bit images" in refused.detail) == (400, True)


@pytest.mark.parametrize(("direction", "name", "suffix"), [("AtoB", "in.png", ".npy"), ("BtoA", "in.npy", ".png")])
def test_models_of_other_depths_answer_as_the_command_does(
    server: Server, models: Path, tmp_path: Path, i2i: Run, direction: str, name: str, suffix: str
) -> None:
    if suffix == ".npy":
        Image.fromarray(np.random.default_rng(1).integers(0, 50_000, (20, 24), np.uint16)).save(tmp_path / name)
    else:
        np.save(tmp_path / name, np.random.default_rng(1).random((20, 24, 5), np.float32))
    target = tmp_path / f"out{suffix}"
    deep = ("--model", models / "deep.safetensors", "--direction", direction, "--device", "cpu")
    assert i2i("translate", tmp_path / name, "-o", target, *deep).code == 0
    query = f"/api/translate?model=deep&direction={direction}"
    answer = server.ask("POST", query, (tmp_path / name).read_bytes(), "application/octet-stream")
    assert answer.status == 200, answer.body
    assert answer.body == target.read_bytes()


def test_an_image_that_does_not_fit_into_memory_is_too_large(server: Server, tmp_path: Path) -> None:
    image = draw(tmp_path / "image.png", 3)
    answer = server.ask("POST", "/api/translate?model=hungry", image.read_bytes(), "image/png")
    assert (answer.status, answer.detail) == (413, "not enough memory for 24x20 pixels: use a smaller image")


def test_samples_are_those_of_the_command(server: Server, models: Path, tmp_path: Path, i2i: Run) -> None:
    one = ("--model", models / "digits.safetensors", "--device", "cpu", "--label", "green", "--seed", 5)
    assert i2i("sample", "-o", tmp_path / "sheet.png", "--count", 12, *one).code == 0
    assert i2i("sample", "-o", tmp_path / "walk.png", "--walk", 3, *one).code == 0
    sheet = server.ask("POST", "/api/sample?count=12&label=green&seed=5")
    walk = server.ask("POST", "/api/sample?walk=3&label=green&seed=5")
    assert sheet.body == (tmp_path / "sheet.png").read_bytes()
    assert walk.body == (tmp_path / "walk.gif").read_bytes()
    assert (sheet.headers["content-type"], walk.headers["content-type"]) == ("image/png", "image/gif")


def test_who_asks_too_often_is_told_when_to_come_back(server: Server) -> None:
    empty = partial(server.ask, "POST", "/api/translate", source="127.0.0.254")
    answers = [empty() for _ in range(80)]
    assert {answer.status for answer in answers} == {415, 429}
    assert all(int(answer.headers["retry-after"]) >= 1 for answer in answers if answer.status == 429)
    assert server.ask("POST", "/api/translate").status == 415  # another client


def test_a_full_queue_is_refused(models: Path, tmp_path: Path) -> None:
    from i2i.serve.engine import Engine
    from i2i.serve.refused import Refused

    engine, begun, go = Engine({}, waiting=2, folder=tmp_path), threading.Event(), threading.Event()

    def wait() -> bool:
        begun.set()
        return go.wait()

    first = engine.submit(wait)
    begun.wait()
    others = [engine.submit(lambda: 7) for _ in range(2)]
    with pytest.raises(Refused, match="2 requests are waiting already") as refused:
        engine.submit(lambda: 7)
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (503, "1")
    go.set()
    assert [first.result(), *(other.result() for other in others)] == [True, 7, 7]
    assert engine.submit(lambda: 8).result() == 8
    engine.close()


def test_rates_fill_again() -> None:
    from i2i.serve.limits import Rate, client_of

    now = [0.0]
    rate = Rate(2, lambda: now[0])
    assert [rate.seconds_to_wait("one") for _ in range(3)] == [0, 0, 30]
    assert rate.seconds_to_wait("two") == 0
    now[0] = 30.0
    assert [rate.seconds_to_wait("one") for _ in range(2)] == [0, 30]
    assert client_of("2001:db8::1") == client_of("2001:db8::ffff") != client_of("2001:db8:0:1::1")


def test_old_images_go_first(tmp_path: Path) -> None:
    from i2i.serve.folder import put, tidy

    files = [put(tmp_path, f"{number}.png", b"x" * 100) for number in range(4)]
    for age, path in zip((5000, 300, 200, 100), files, strict=True):
        os.utime(path, (path.stat().st_mtime - age,) * 2)
    tidy(tmp_path, age=3600, most=250)
    assert [path.exists() for path in files] == [False, False, True, True]
    assert len(list(tmp_path.iterdir())) == 2
    os.utime(files[2], (0, 0))
    put(tmp_path, "new.png", b"x")
    assert [path.exists() for path in files] == [False, False, False, True]


def test_mistakes_are_one_line(models: Path, tmp_path: Path, i2i: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(i2i("serve"), "no trained run under runs/")
    assert_refused(i2i("serve", tmp_path / "none"), "no such run folder or weight file")
    assert_refused(i2i("serve", models / "cycle", "--host", "no.such.host.invalid"), "--host no.such.host.invalid")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(i2i("serve", models / "cycle", "--port", port), f"port {port} is taken")
    assert_refused(i2i("serve", models / "negative.onnx", "--port", 0, "--precision", "bf16"), "as it was exported")
    assert_refused(i2i("serve", tmp_path / "none.onnx"), "none.onnx: no such exported file")
    monkeypatch.setattr("i2i.needs.find_spec", lambda name: None)
    assert_refused(i2i("serve", models / "cycle"), "pip install 'i2i[serve]'")


GRADIO_CLOSES = "Method not implemented."
"""What gradio itself says in the console when it has got an answer."""


def open_page(server: Server, browser: Browser, width: int, height: int, *, dark: bool = False) -> None:
    browser.open(f"http://127.0.0.1:{server.port}/", width, height, dark=dark, touch=width < 500)
    browser.until("document.querySelector('#image input[type=file]') !== null")


def compared(browser: Browser, server: Server, *, other_than: Sequence[str] = ()) -> tuple[list[str], list[Any]]:
    """The addresses and the pixels of the images beside the slider."""
    images = "[...document.querySelectorAll('#slider img')]"
    seen = json.dumps(list(other_than)[1:])
    browser.until(f"{images}.length === 2 && {images}.every(i => i.complete) && !{seen}.includes({images}[1].src)")
    found = [str(src) for src in browser.ask(f"{images}.map(image => image.src)")]
    answers = [server.ask("GET", src.removeprefix(f"http://127.0.0.1:{server.port}")) for src in found]
    return found, [np.asarray(Image.open(io.BytesIO(answer.body)).convert("RGB")) for answer in answers]


ANSWER = "document.querySelector('#answer input')"


def problems(browser: Browser) -> list[str]:
    return [problem for problem in browser.problems if GRADIO_CLOSES not in problem]


@pytest.mark.parametrize(("width", "height", "dark"), [(1280, 900, False), (390, 844, True)])
def test_an_image_is_translated_and_compared_in_a_browser(
    server: Server, browser: Browser, tmp_path: Path, width: int, height: int, dark: bool
) -> None:
    path = draw(tmp_path / "image.png", 4, (60, 40), mode="RGBA")
    browser.problems.clear()
    open_page(server, browser, width, height, dark=dark)
    browser.send_file("#image input[type=file]", path)
    first, (before, after) = compared(browser, server)
    assert np.array_equal(before, np.asarray(Image.open(path).convert("RGB")))
    translated = server.ask("POST", "/api/translate", path.read_bytes(), "image/png").body
    assert np.array_equal(after, np.asarray(Image.open(io.BytesIO(translated))))
    browser.ask("[...document.querySelectorAll('label')].find(each => each.innerText.trim() === 'BtoA').click()")
    second, (before, after) = compared(browser, server, other_than=first)
    back = server.ask("POST", "/api/translate?direction=BtoA", path.read_bytes(), "image/png").body
    assert np.array_equal(after, np.asarray(Image.open(io.BytesIO(back))))
    browser.ask(f"{ANSWER}.value = 3, {ANSWER}.dispatchEvent(new Event('input', {{bubbles: true}}))")
    _, (before, after) = compared(browser, server, other_than=second)
    back = server.ask("POST", "/api/translate?direction=BtoA&seed=2", path.read_bytes(), "image/png").body
    assert np.array_equal(after, np.asarray(Image.open(io.BytesIO(back))))
    browser.ask("HTMLAnchorElement.prototype.click = function () { window.saved = this.href }")  # what is downloaded
    browser.click("#download")
    opaque = browser.ask("saved")
    browser.click("#alpha input")
    browser.until(f"(document.querySelector('#download').click(), saved) !== {json.dumps(opaque)}")
    links = (each.removeprefix(f"http://127.0.0.1:{server.port}") for each in (opaque, browser.ask("saved")))
    clear = server.ask("POST", "/api/translate?direction=BtoA&seed=2&alpha=true", path.read_bytes(), "image/png").body
    assert [server.ask("GET", link).body for link in links] == [back, clear]
    assert clear != back
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert problems(browser) == []


def test_the_camera_is_translated_and_noise_is_drawn_in_a_browser(
    server: Server, browser: Browser, tmp_path: Path
) -> None:
    (tmp_path / "none.png").write_bytes(b"no image")
    browser.problems.clear()
    open_page(server, browser, 1280, 900)
    browser.send_file("#image input[type=file]", tmp_path / "none.png")
    browser.until("document.body.innerText.includes('not an image that can be read')")
    browser.ask("document.querySelector('#image button[aria-label=\"Remove Image\"]').click()")
    buttons = "[...document.querySelectorAll('#image button')]"
    for words in ("Capture from camera", "Click to Access Webcam"):
        found = f"{buttons}.find(each => [each.ariaLabel, each.innerText].includes({words!r}))"
        browser.until(f"{found} !== undefined")
        browser.ask(f"{found}.click()")
    browser.until("(document.querySelector('#image video') || {}).videoWidth > 0")
    browser.until("document.querySelector('#image [aria-label=\"capture photo\"]') !== null")
    browser.ask("document.querySelector('#image [aria-label=\"capture photo\"]').click()")
    _, (before, after) = compared(browser, server)
    assert before.std() > 10
    assert before.shape == after.shape
    browser.ask("[...document.querySelectorAll('[role=tab]')].find(tab => tab.innerText === 'Generate images').click()")
    for button, suffix in (("#sheet", "png"), ("#walk", "gif")):
        browser.click(button)
        browser.until(f"(document.querySelector('#samples img') || {{src: ''}}).src.endsWith('.{suffix}')")
    assert problems(browser) == []


# What follows is hostile.


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes) -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def npy(shape: str, kind: str, content: bytes = b"") -> bytes:
    head = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + content


Ask = Callable[[Server], Answer]


class Attack(NamedTuple):
    name: str
    ask: Ask
    statuses: Sequence[int]


def sent(name: str, content: bytes, *statuses: int, kind: str = "image/png", query: str = "") -> Attack:
    return Attack(name, lambda server: server.ask("POST", f"/api/translate{query}", content, kind), statuses)


def at(path: str, *statuses: int, method: str = "GET", body: bytes = b"", **headers: str) -> Attack:
    return Attack(f"{method} {path}", lambda server: server.ask(method, path, body, None, headers), statuses)


def joined(name: str, asked: Any) -> Attack:
    content = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    return Attack(
        f"join: {name}",
        lambda server: server.ask("POST", "/gradio_api/queue/join", content, "application/json"),
        (400, 413),
    )


def raw(name: str, content: bytes, *statuses: int) -> Attack:
    return Attack(name, lambda server: server.raw(content), statuses)


def damaged(image: Image.Image) -> list[Attack]:
    found = []
    for kind in ("PNG", "JPEG", "WEBP", "BMP", "TIFF"):
        content = encoded(image, kind)
        found += [sent(f"{kind} cut to {size}", content[:size], 400) for size in (1, 20, len(content) // 2)]
        found.append(sent(f"{kind} with holes", content[:40] + bytes(60) + content[100:], 200, 400))
    return found


def attacks(image: Image.Image) -> list[Attack]:
    good, (as_form, form_kind) = encoded(image), form(encoded(image))
    big = b"\0" * (MOST_BYTES + 1)
    file = {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}}
    asked = {"fn_index": 1, "session_hash": "abc", "data": ["cycle", "AtoB", file, 1, False]}
    bombs = [
        sent("a bomb of zeros", png(6000, 6000, bytes(6001 * 6000)), 413),
        sent("a header of a billion pixels", png(30_000, 40_000, b""), 413),
        sent("an array that is none", npy("(4, 4)", "|O", b"cos\nsystem\n"), 400),
        sent("an array larger than it is", npy("(400, 400, 3)", "|u1", b"x"), 400),
        sent("an array of a shape below zero", npy("(-4, 4)", "|u1", b"x" * 16), 400),
        sent("a row of a million", png(1_000_000, 1, b""), 413),
        sent("nothing of a size", png(0, 0, b""), 400),
    ]
    others = [
        sent(name, content, 400)
        for name, content in {
            "svg": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",
            "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file\n",
            "gif": encoded(image, "GIF"),
            "zip": b"PK\x03\x04" + bytes(100),
            "a name": b"/etc/passwd",
            "an address": b"http://127.0.0.1/",
            "json": json.dumps(file).encode(),
            "random": random.Random(0).randbytes(5000),
        }.items()
    ]
    kinds = [
        sent(f"as {kind}", good, 415, kind=kind)
        for kind in ("text/plain", "application/json", "application/x-www-form-urlencoded", "", "image", "\t;;;")
    ]
    forms = [
        sent("no boundary", as_form, 400, kind="multipart/form-data"),
        sent("another boundary", as_form, 400, kind="multipart/form-data; boundary=other"),
        sent("a cut form", as_form[:100], 400, kind=form_kind),
        sent("two files", as_form.replace(b"--xyz--", b"") + as_form, 400, kind=form_kind),
        sent("an empty file", form(b"")[0], 400, kind=form_kind),
        sent(
            "fields",
            b"--xyz\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n" * 50 + b"--xyz--\r\n",
            400,
            kind=form_kind,
        ),
        sent("an empty body", b"", 400),
        sent("a file of a name with folders", form(good, "../../../../tmp/stolen.png")[0], 200, kind=form_kind),
    ]
    values = [
        *(
            sent(f"model {name[:20]}", good, status, query=f"?model={name}")
            for name, status in (
                ("nobody", 404),
                ("../../etc/passwd", 404),
                ("%00", 404),
                ("x" * 300, 400),
                ("digits", 404),
            )
        ),
        *(sent(f"direction {name}", good, 404, query=f"?direction={name}") for name in ("CtoD", "..%2f..", "%0a%0d")),
        *(
            sent(f"seed {value}", good, 400, query=f"?seed={value}")
            for value in ("-1", "one", "1e99", str(2**64), "NaN")
        ),
        *(
            at(f"/api/sample?{query}", 400, method="POST")
            for query in (
                "count=0",
                "count=-1",
                "count=101",
                "count=1e9",
                "count=",
                "walk=1",
                "walk=-5",
                "walk=99",
                "label=nobody",
                "label=" + "x" * 300,
                "seed=-7",
            )
        ),
        at("/api/sample?model=cycle", 404, method="POST"),
    ]
    routes = [
        *(at("/api/translate", 405, method=method) for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS")),
        *(at("/api/models", 405, method=method, body=b"x") for method in ("POST", "DELETE")),
        at("/", 405, method="POST", body=b"x"),
        *(at(path, 404) for path in (
            "/docs", "/redoc",
            "/login", "/logout", "/token", "/monitoring", "/dev/reload", "/config", "/gradio_api/info",
            "/api", "/api/", "/api/nothing",
            "/gradio_api/proxy=http://127.0.0.1:1/", "/gradio_api/deep_link?session_hash=x", "/gradio_api/stream/1",
            "/gradio_api/heartbeat/x",
            "/gradio_api/openapi.json", "/custom_component/1/client/x/y.js", "/.env", "/wp-login.php",
        )),
        *(at(f"/gradio_api/{path}", 404, method="POST", body=b"{}") for path in (
            "run/predict", "api/translate", "call/translate", "component_server", "stream/1", "login")),
    ]  # fmt: skip
    names = [
        at(path, 404) for path in (
            "/gradio_api/file=/etc/passwd", "/gradio_api/file=../../../../etc/passwd",
            "/gradio_api/file=%2Fetc%2Fpasswd",
            "/gradio_api/file=http://127.0.0.1:1/", "/gradio_api/file=file:///etc/passwd", "/gradio_api/file=/tmp",
            "/gradio_api/file=" + "a/" * 3000, "/gradio_api/file=%00",
            "/gradio_api/file/etc/passwd", "/file=/etc/passwd",
            "/static/../../../../etc/passwd", "/static/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/static/..%5c..%5cwin.ini",
            "/assets/../routes.py", "/assets//etc/passwd", "/static/nothing.png", "//etc/passwd", "/%2e%2e/etc/passwd",
        )
    ]  # fmt: skip
    joins = [
        joined("a file", asked),
        joined(
            "an address", asked | {"data": ["cycle", "AtoB", file | {"path": "http://127.0.0.1:1/x.png"}, 1, False]}
        ),
        joined("a file in a text", asked | {"data": [file, "AtoB", None, 1, False]}),
        joined("a text in a box", asked | {"data": ["cycle", "AtoB", None, 1, "yes"]}),
        joined("a text as number", asked | {"data": ["cycle", "AtoB", None, "1", False]}),
        joined("an answer below one", asked | {"data": ["cycle", "AtoB", None, 0, False]}),
        joined("too few", asked | {"data": []}),
        joined("too many", asked | {"data": [None] * 1000}),
        joined("no function", asked | {"fn_index": 99}),
        joined("a function below zero", asked | {"fn_index": -1}),
        joined("a list as function", asked | {"fn_index": [1]}),
        joined("no session", asked | {"session_hash": None}),
        joined("a session with folders", asked | {"session_hash": "../../x"}),
        at("/gradio_api/queue/data?session_hash=nobody", 200),
        at("/gradio_api/queue/data", 422),
        joined("nothing", {}),
        joined("no json", b"{"),
        joined("deep json", b"[" * 30_000),
        joined("a large number", b'{"fn_index": 1, "session_hash": "a", "data": [' + b"9" * 20_000 + b"]}"),
        joined("long", b'"' + b"x" * 70_000 + b'"'),
    ]
    post = b"POST /api/translate HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    heads = [
        at("/api/models", 421, Host="elsewhere.example"),
        at("/", 421, Host="elsewhere.example:7860"),
        raw("a long header", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 50_000 + b"\r\n\r\n", 400, 431),
        raw(
            "many headers", b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 8_000 + b"\r\n", 400, 431
        ),
        raw("a length below zero", post + b"Content-Length: -1\r\n\r\n", 400),
        raw("two lengths", post + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400),
        raw("a length that is none", post + b"Content-Length: many\r\n\r\n", 400),
        raw("an enormous length", post + b"Content-Length: 99999999999\r\n\r\n", 413),
        raw("chunks of no size", post + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        raw("no host", b"GET / HTTP/1.1\r\n\r\n", 400),
        raw("no http", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n", 400),
        raw("another version", b"GET / HTTP/9.9\r\nHost: localhost\r\n\r\n", 200, 400),
        sent("too many bytes", big, 413),
        at("/api/translate", 403, method="POST", body=good, Origin="http://evil.example"),
        at("/api/sample", 403, method="POST", Origin="null"),
        Attack("no upload", lambda server: server.ask("POST", "/gradio_api/upload", b"x", "text/plain"), (400,)),
        Attack("a large upload", lambda server: server.ask("POST", "/gradio_api/upload", *form(big)), (413,)),
    ]
    return [*damaged(image), *bombs, *others, *kinds, *forms, *values, *routes, *names, *joins, *heads]


def wishes(image: Image.Image) -> list[Attack]:
    """A hundred requests that are to be answered."""
    kinds = [("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")]
    kinds += [("JPEG", "L"), ("JPEG", "RGB"), ("JPEG", "CMYK"), ("WEBP", "RGB"), ("BMP", "RGB"), ("TIFF", "RGB")]
    images = [sent(f"{kind} {mode}", encoded(image.convert(mode), kind), 200) for kind, mode in kinds]
    for side in (1, 2, 17, 200, 500):
        images.append(sent(f"{side} px", encoded(image.resize((side, side))), 200, query="?direction=BtoA"))
        images.append(sent(f"a form of {side} px", form(encoded(image.resize((side, 3))))[0], 200, kind=form(b"")[1]))
    samples = [at(f"/api/sample?count={count}&seed={count}", 200, method="POST") for count in (1, 2, 30, 100)]
    samples += [at("/api/sample?label=red&count=3", 200, method="POST"), at("/api/sample?walk=2", 200, method="POST")]
    pages = [
        at(path, 200) for path in ("/", "/api/health", "/api/models", "/openapi.json", "/favicon.ico", "/theme.css")
    ]
    some = [*images, *samples, *pages]
    return [some[number % len(some)] for number in range(100)]


def test_a_hundred_wishes_among_more_than_a_hundred_attacks(server: Server, tmp_path: Path) -> None:
    image = Image.open(draw(tmp_path / "image.png", 1, (40, 30)))
    bad, good = attacks(image), wishes(image)
    assert len(bad) >= 100
    for wish in good[:40]:
        assert wish.ask(server).status == 200, wish.name
    before = server.memory
    asked = random.Random(0).sample([*bad, *good], len(bad) + len(good))
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(lambda each: each.ask(server), asked))
    wrong = [
        f"{attack.name}: {answer.status} {answer.body[:100]!r}"
        for attack, answer in zip(asked, answers, strict=True)
        if answer.status not in attack.statuses or b"Traceback" in answer.body or b"root:" in answer.body
    ]
    assert not wrong, "\n".join(wrong)
    details = [
        answer.detail
        for answer in answers
        if answer.headers.get("content-type") == "application/json" and answer.status >= 400
    ]
    assert len(details) > 100
    assert all("\n" not in detail and len(detail) < 500 and "i2i-serve-" not in detail for detail in details)
    assert b'"deep_link_state":"none"' in server.ask("GET", f"/?deep_link={tmp_path}").body
    assert server.ask("GET", "/api/health").status == 200
    assert server.log == ""
    assert server.memory - before < 2**27
    assert sorted(path.name for path in server.folder.iterdir()) == ["stderr", "tmp"]
    assert not list((server.folder / "tmp").glob("*/inbox/*"))


def test_a_body_that_does_not_come_is_not_waited_for(models: Path, tmp_path: Path) -> None:
    import asyncio

    from i2i.serve.guard import Guard, Message
    from i2i.serve.limits import Limits

    sent: list[Message] = []

    async def receive() -> Message:
        await asyncio.sleep(0.01)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def send(message: Message) -> None:
        sent.append(message)

    async def never(*arguments: object) -> None:
        raise AssertionError

    guard = Guard(never, Limits(10**9, 60, body_seconds=0.05), uploads=tmp_path, admit=bytes)
    scope = {"type": "http", "path": "/api/translate", "method": "POST", "headers": [], "client": ("127.0.0.1", 1)}
    asyncio.run(guard(scope, receive, send))
    assert sent[0]["status"] == 408
