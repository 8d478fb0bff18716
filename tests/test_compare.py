"""The page that compares models: what is in it, and that it works in a browser."""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from html import escape, unescape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from i2i.data.images import Pixels
from i2i.evaluation.page import Column, Item, Metric, Page, Shown, render
from i2i.inference.load import load_sampler
from i2i.training.start import train

from .browser import Browser
from .conftest import Run, draw, make_set, small_config
from .toys import assert_refused

HOSTILE = "</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&\"'"
PSNR = {0: 20.0, 1: 10.0, 2: 30.0, 3: 15.0}
L1 = {0: 0.2, 1: 0.1, 2: 0.4, 3: 0.3}


def flat(*colour: int, size: tuple[int, int] = (16, 16)) -> Pixels:
    return np.broadcast_to(np.array(colour, np.uint8), (*size, len(colour))).copy()


def two_models(**changes: Any) -> Page:
    """Four items in the columns input, A, B and truth; B is always 1 dB better than A, and lacks its last image."""
    items = []
    for number, psnr in PSNR.items():
        a = Shown(flat(200, 40 * number, 0), {"psnr": psnr, "l1": L1[number]})
        b = None if number == 3 else Shown(flat(0, 40 * number, 200), {"psnr": psnr + 1, "l1": L1[number]})
        copied = Shown(flat(255, 255, 255), {"psnr": 5.0, "l1": 0.5})
        items.append(Item(f"image{number}", [copied, a, b, Shown(flat(0, 0, 0))]))
    columns = [
        Column("input", "input"),
        Column("one", "model", "pix2pix"),
        Column("two", "model"),
        Column("truth", "truth"),
    ]
    metrics = [Metric("psnr", "PSNR", "higher", 2), Metric("l1", "L1", "lower", 4)]
    metrics += [Metric(f"none{number}", f"A long title {number}", "higher") for number in range(3)]
    given = {"title": "two models", "columns": columns, "items": items, "metrics": metrics, "winners": {"psnr": 2}}
    return Page(**(given | changes))


def grids() -> Page:
    items = [Item(f"sample {i}", [Shown(flat(i, 0, 0), caption=f"label {i}"), Shown(flat(0, i, 0))]) for i in range(6)]
    return Page("samples", [Column("one", "model"), Column("two", "model")], items, layout="grids")


def data_of(html: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    return dict(json.loads(found[1]))


def test_every_image_is_in_the_page_with_a_text_and_what_is_not_there_is_said() -> None:
    html = render(two_models())
    assert html.count('src="data:image/webp;base64,') == 15
    assert html.count("no image") == 1
    assert 'alt="image2, by two"' in html
    assert 'alt="image2, input"' in html
    assert not re.search(r"""(src|href)=["'](?!data:)""", html)


def test_figures_are_in_the_page_and_their_means_in_its_table() -> None:
    html = render(two_models())
    assert [item["figures"][1] for item in data_of(html)["items"]] == [[PSNR[i], L1[i], None, None, None] for i in PSNR]
    assert data_of(html)["items"][3]["figures"][2] == [None] * 5
    means = re.findall(r'<td class="number( best)?">([\d.]+)', html)
    assert means == [
        ("", "5.00"),
        ("", "0.5000"),
        ("", "18.75"),
        ("", "0.2500"),
        (" best", "21.00"),
        ("", "0.2333"),
    ]


def test_no_name_becomes_markup() -> None:
    items = [Item(HOSTILE, [Shown(flat(1, 2, 3), caption=HOSTILE)])]
    for layout in ("rows", "grids"):
        names: dict[str, Any] = {"title": HOSTILE, "intro": [HOSTILE], "notes": [HOSTILE]}
        columns = [Column(HOSTILE, "model", HOSTILE)]
        html = render(Page(columns=columns, items=items, layout=layout, facts=[(HOSTILE, HOSTILE)], **names))
        assert "<img src=x" not in html
        assert html.count("</script>") == 2
        assert "49" not in re.sub(
            r"base64,[^\"]*|<script>.*?</script>|<style>.*?</style>|sha256-\S*", "", html, flags=re.DOTALL
        )
        assert data_of(html)["items"][0]["name"] == HOSTILE


def test_a_page_of_many_pixels_takes_the_smaller_images(monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    page = Page("noise", [Column("one", "model")], [Item("a", [Shown(noise)])])
    exact = render(page)
    monkeypatch.setattr("i2i.evaluation.page.LOSSLESS_PIXELS", 64 * 64 - 1)
    assert len(render(page)) < len(exact) - 2000


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of pairs by name, of which four are held out; one of them has a name that is markup."""
    data = make_set(tmp_path_factory.mktemp("data") / "pairs", trainA=4, trainB=4, testA=3, testB=3)
    for domain in ("testA", "testB"):
        draw(data / domain / "<b>&amp;.png", 99 if domain == "testA" else 98)
    return data


@pytest.fixture(scope="module")
def runs(pairs: Path, labelled_set: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each recipe."""
    root, made = tmp_path_factory.mktemp("runs"), {}
    for arch in ("cyclegan", "pix2pix", "cgan"):
        data = labelled_set if arch == "cgan" else pairs
        made[arch] = train(small_config(arch, data, "training.steps=1"), root / arch).run.root
    return made


def alternatives(html: str) -> list[str]:
    return [unescape(text) for text in re.findall(r'<img src="data:[^"]*"[^>]*? alt="([^"]*)"', html)]


def test_runs_are_compared_on_the_held_out_images_and_their_truth(
    i2i: Run, runs: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    result = i2i("compare", runs["cyclegan"], runs["pix2pix"], "-o", page, "--device", "cpu")
    assert (result.code, result.out) == (0, f"2 models, 4 images ({page.stat().st_size / 1e6:.1f} MB): {page}\n")
    html = page.read_text(encoding="utf-8")
    names = ["<b>&amp;", "image00", "image01", "image02"]
    roles = ["input", "by cyclegan", "by pix2pix", "truth"]
    assert alternatives(html) == [f"{name}, {role}" for name in names for role in roles]
    assert "<b>" not in html
    assert "all 4 held-out images" in html
    data = data_of(html)
    assert [column["kind"] for column in data["columns"]] == ["input", "model", "model", "truth"]
    l1 = [metric["name"] for metric in data["metrics"]].index("l1")
    output, truth = (decoded(html, f"image01, {role}").astype(float) for role in ("by pix2pix", "truth"))
    assert data["items"][2]["figures"][2][l1] == pytest.approx(np.abs(output - truth).mean() / 255, rel=1e-5)
    assert data["items"][2]["figures"][3] == [None] * len(data["metrics"])
    again = i2i("compare", runs["cyclegan"], "-o", page)
    assert_refused(again, "exists: choose another name")
    assert page.read_text(encoding="utf-8") == html
    assert i2i("compare", runs["cyclegan"], runs["pix2pix"], "-o", page, "--device", "cpu", "--overwrite").code == 0
    assert page.read_text(encoding="utf-8") == html, "the same runs and images give the same page"


def test_the_images_shown_are_spread_and_the_page_says_so(i2i: Run, runs: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert i2i("compare", runs["cyclegan"], "-o", page, "--images", 2, "--unpaired", "--direction", "BtoA").code == 0
    html = page.read_text(encoding="utf-8")
    assert alternatives(html) == [
        f"{name}, {role}" for name in ("<b>&amp;", "image01") for role in ("input", "by cyclegan")
    ]
    assert "2 of 4 held-out images, evenly spread" in html
    assert [metric["name"] for metric in data_of(html)["metrics"]] == ["alignment"]


def test_samples_of_a_seed_stand_beside_real_images(i2i: Run, runs: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert i2i("compare", runs["cgan"], runs["cgan"] / "model.safetensors", "-o", page, "--images", 5).code == 0
    html = page.read_text(encoding="utf-8")
    assert len(alternatives(html)) == 5 + 5 + 3
    assert html.count("<figcaption>red</figcaption>") == 2
    sampled = list(load_sampler(runs["cgan"], device="cpu").sample(5))
    found = [decoded(html, f"sample {number}, by {runs['cgan']}/model.safetensors") for number in range(5)]
    for own, shown in zip(sampled, found, strict=True):
        np.testing.assert_array_equal(np.broadcast_to(own, shown.shape), shown)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["cyclegan", "cgan"], "compare models of one kind"),
        (["cyclegan", "--direction", "up"], "direction up: this model has AtoB, BtoA"),
        (["cyclegan", "pix2pix", "--direction", "BtoA"], "direction BtoA"),
        (["cgan", "--direction", "AtoB"], "leave out --direction"),
        (["cyclegan", "--data", "nowhere"], "no such data folder"),
        (["nowhere"], "no such run folder"),
    ],
)
def test_what_cannot_be_compared_is_said_and_leaves_no_page(
    i2i: Run, runs: dict[str, Path], tmp_path: Path, arguments: list[str], named: str
) -> None:
    page = tmp_path / "page.html"
    assert_refused(i2i("compare", *(runs.get(argument, argument) for argument in arguments), "-o", page), named)
    assert_refused(i2i("compare", runs["cyclegan"], "-o", tmp_path / "page.png"), "end the name in .html")
    assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_read_is_named_and_the_others_are_shown(
    i2i: Run, runs: dict[str, Path], pairs: Path, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(pairs, tmp_path / "pairs"))
    (data / "testA/image01.png").write_text("no image")
    result = i2i("compare", runs["cyclegan"], "--data", data, "-o", tmp_path / "page.html")
    assert result.code == 1
    assert "left out: " in result.err
    assert "image01.png: not an image" in result.err
    assert "image01" not in (tmp_path / "page.html").read_text(encoding="utf-8")


def decoded(html: str, alternative: str) -> Pixels:
    """The pixels of the image with this text."""
    found = re.search(rf'<img src="data:image/webp;base64,([^"]*)"[^>]*? alt="{re.escape(escape(alternative))}"', html)
    assert found is not None
    return np.asarray(Image.open(BytesIO(b64decode(found[1]))))


SCREENS = pytest.mark.parametrize(("width", "height"), [(390, 844), (1400, 900)])
DARK = pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])


@pytest.fixture
def shown(browser: Browser, tmp_path: Path, width: int, height: int, dark: bool) -> Iterator[Browser]:
    """The page of two models; whatever the console was told while it was used fails the test."""
    path = tmp_path / "page.html"
    path.write_text(render(two_models(title=HOSTILE)), encoding="utf-8")
    browser.open(path, width, height, dark=dark, touch=width < 500)
    yield browser
    assert browser.problems == []


def order(browser: Browser) -> list[int]:
    return list(browser.ask("[...document.querySelectorAll('#items > li')].map(item => Number(item.dataset.item))"))


def text(browser: Browser, selector: str) -> str:
    return str(browser.ask(f"document.querySelector({json.dumps(selector)}).innerText"))


def brightness(browser: Browser) -> int:
    return int(browser.ask("Number(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"))


@SCREENS
@DARK
def test_the_page_fits_its_screen_and_follows_the_system_and_the_reader(shown: Browser, width: int, dark: bool) -> None:
    assert shown.ask("document.documentElement.scrollWidth") <= width
    table = "document.querySelector('.summary .scrolls')"
    assert width < 500 or shown.ask(f"{table}.scrollWidth <= {table}.clientWidth"), "the table fits a wide screen"
    assert (brightness(shown) < 128) == dark
    assert shown.ask("document.title") == HOSTILE
    images = "[...document.querySelectorAll('main img')]"
    assert shown.ask(f"Promise.all({images}.map(image => image.decode())).then(all => all.length)") == 15
    shown.click("#theme")
    assert (text(shown, "#theme"), brightness(shown) > 128) == ("Theme: light", True)
    shown.click("#theme")
    assert (text(shown, "#theme"), brightness(shown) < 128) == ("Theme: dark", True)
    for _ in range(20):  # the browser keeps it a little later
        shown.reload()
        if text(shown, "#theme") == "Theme: dark":
            break
    assert (text(shown, "#theme"), brightness(shown) < 128) == ("Theme: dark", True)


@SCREENS
@DARK
def test_items_are_sorted_by_figure_or_name_the_worst_first(shown: Browser) -> None:
    assert order(shown) == [1, 3, 0, 2]
    assert text(shown, "#said") == "4 images, by PSNR of A, worst first"
    shown.click("#order")
    assert order(shown) == [2, 0, 3, 1]
    shown.choose("#key", "1")
    assert order(shown) == [2, 3, 0, 1], "a lower L1 is better"
    assert shown.ask("document.querySelector('#items > li [data-column=\"1\"].figure').textContent") == "L1 0.4000"
    shown.choose("#whose", "2")
    assert order(shown) == [2, 0, 1, 3], "what was not measured comes last"
    shown.choose("#whose", "between")
    assert order(shown)[-1] == 3
    shown.choose("#key", "")
    assert order(shown) == [0, 1, 2, 3]
    shown.click("#order")
    assert order(shown) == [3, 2, 1, 0]


@SCREENS
@DARK
def test_an_image_opens_large_and_keys_lead_to_the_others(shown: Browser, width: int, height: int) -> None:
    shown.click(".shot[data-item='3'][data-column='1']")
    assert shown.ask("document.querySelector('#viewer').open")
    assert (text(shown, "#viewer-name"), text(shown, "#viewer-place")) == ("image3", "2 of 4")
    left, top, wide, high = shown.box("#frame")
    assert wide == high >= 256
    assert wide % 16 == 0
    assert 0 <= left <= left + wide <= width
    assert 0 <= top <= top + high <= height
    shown.press("ArrowRight")
    assert text(shown, "#viewer-name") == "image0", "the next in the order of the page"
    shown.press("ArrowDown")
    assert shown.ask("document.querySelector('#left').alt") == "image0, by two"
    shown.press("ArrowLeft")
    assert shown.ask("document.querySelector('#left').alt") == "image3, input", "there is no image by two"
    shown.press("ArrowUp")
    assert shown.ask("document.querySelector('#left').alt") == "image3, truth"
    assert "A · one\t15.00\t0.3000\t" in text(shown, "#viewer-figures")
    rendering = "getComputedStyle(document.querySelector('#left')).imageRendering"
    assert shown.ask(rendering) == "pixelated"
    shown.press("s")
    assert shown.ask(rendering) == "auto"
    shown.click("#viewer .pixels")
    assert shown.ask(rendering) == "pixelated"
    shown.press("Escape")
    assert not shown.ask("document.querySelector('#viewer').open")
    shown.until('document.activeElement === document.querySelector(\'.shot[data-item="3"][data-column="3"]\')')


@SCREENS
@DARK
def test_a_slider_shows_two_images_in_one_place(shown: Browser) -> None:
    def tags() -> tuple[str, str]:
        return text(shown, "#left-tag"), text(shown, "#right-tag")

    def edge() -> str:
        return str(shown.ask("document.querySelector('#left').style.clipPath"))

    shown.click(".slide[data-item='0']")
    assert tags() == ("A · one", "B · two")
    assert edge() == "inset(0px 50% 0px 0px)"
    shown.drag("#frame", 0.5, 0.3, 0.25)
    assert edge() == "inset(0px 75% 0px 0px)"
    shown.ask("document.querySelector('#wipe').focus()")
    shown.press("ArrowRight")
    assert edge() == "inset(0px 74% 0px 0px)", "on the slider, arrows move the slider"
    assert text(shown, "#viewer-name") == "image0"
    shown.choose("#against", "3")
    shown.click("#tabs [data-column='0']")
    assert tags() == ("input", "truth")
    shown.click("#next")
    assert (text(shown, "#viewer-name"), *tags()) == ("image2", "input", "truth")
    shown.press("c")
    assert edge() == "none"
    shown.click("#close")
    assert not shown.ask("document.querySelector('#viewer').open")


@SCREENS
def test_samples_of_the_same_seed_are_marked_in_every_grid(
    browser: Browser, tmp_path: Path, width: int, height: int
) -> None:
    path = tmp_path / "samples.html"
    path.write_text(render(grids()), encoding="utf-8")
    browser.open(path, width, height)
    browser.ask("document.querySelector(\".shot[data-item='4']\").focus()")
    marked = "[...document.querySelectorAll('.same')].map(shot => shot.dataset.item + shot.dataset.column)"
    assert browser.ask(marked) == ["40", "41"]
    browser.click(".shot[data-item='2'][data-column='1']")
    assert browser.ask("document.querySelector('#left').alt") == "sample 2, by two"
    browser.press("ArrowRight")
    assert text(browser, "#viewer-name") == "sample 3"
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.problems == []


def test_the_console_and_the_network_of_a_page_are_watched(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<script>console.error('bad'); nothing();</script><img src='http://127.0.0.1:9/x.png'>")
    browser.open(path, 800, 600)
    seen = " ".join(browser.problems)
    browser.problems.clear()
    assert "bad" in seen
    assert "nothing is not defined" in seen
    assert "asked for http://127.0.0.1:9/x.png" in seen
