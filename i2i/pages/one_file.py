"""Pages of one file: style, script and images are in it, and the template escapes every name.

Style and script are named by their digests in the page's security policy: the browser takes no other, and loads nothing
from anywhere.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from io import BytesIO
from typing import Any

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from i2i.data.images import Pixels, to_pil
from i2i.version import __version__

QUALITY = 90
"""Of an image that may lose detail."""


def rendered(package: str, template: str, *, title: str, style: str, script: str = "", **shown: Any) -> str:
    """A page as HTML.

    Args:
        package: where the template lies; it begins with ``head``.
        template: its name.
        title: of the page.
        style: what the page adds to the style of all pages.
        script: what the page runs; empty for a page that runs nothing.
        shown: the template's own variables.
    """
    style = text_of("i2i.pages", "look.css") + style
    head = _template("i2i.pages", "head.html").render(
        version=__version__,
        title=title,
        style=Markup(style),
        script=Markup(script),
        style_hash=_digest(style),
        script_hash=_digest(script),
    )
    return _template(package, template).render(head=Markup(head), title=title, **shown)


def text_of(package: str, name: str) -> str:
    """A file of a package."""
    return files(package).joinpath(name).read_text(encoding="utf-8")


def data_uri(pixels: Pixels, *, lossless: bool) -> str:
    """The image (H, W, C), uint8, as WebP in the text of an address."""
    content = BytesIO()
    to_pil(pixels).save(content, "WEBP", lossless=lossless, quality=QUALITY, exact=lossless)
    return "data:image/webp;base64," + b64encode(content.getvalue()).decode()


@cache
def _template(package: str, name: str) -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(text_of(package, name))


def _digest(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
