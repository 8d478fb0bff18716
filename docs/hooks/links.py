"""Links between files of the repository as links between pages of the site."""

from __future__ import annotations

import logging
import posixpath
import re
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]
INCLUDED = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks": "benchmarks/README.md",
    "benchmarks/README.md": "benchmarks/README.md",
    "configs": "methods/index.md",
    "datasets": "datasets/README.md",
    "datasets/README.md": "datasets/README.md",
    "docs/tour.ipynb": "tour.md",
}
"""Files and folders that are no pages, and the pages that show them."""
SECTIONS = {
    "commands": "reference/commands.md",
    "python": "reference/python.md",
    "recipes": "methods/index.md",
    "results": "results.md",
    "settings": "reference/settings.md",
}
"""The sections of the README that stand on pages of their own."""
FENCE = re.compile(r"(^ *```.*?^ *```$)", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")

log = logging.getLogger("mkdocs.hooks.i2i")
"""What is warned of here fails a strict build."""


def page_of(path: str) -> str | None:
    """The page, or the image, of the site that shows a file of the repository; None where there is none."""
    if path in INCLUDED:
        return INCLUDED[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.startswith("configs/"):
        return page_of_recipe(Path(path).stem)
    return path if path.endswith(".png") else None


def page_of_recipe(name: str) -> str:
    """The page that shows a recipe: a written one, or one of its name."""
    for page in sorted((ROOT / "docs/methods").glob("*.md")):
        for names in re.findall(r"<!-- i2i: recipe (.*?) -->", page.read_text(encoding="utf-8")):
            if name in names.split():
                return f"methods/{page.name}"
    return f"methods/{name}.md"


def outside_fences(text: str, change: Callable[[str], str]) -> str:
    """``text`` with everything that is not in a fence of code changed."""
    return "".join(part if number % 2 else change(part) for number, part in enumerate(FENCE.split(text)))


def relinked(text: str, origin: str, page: str) -> str:
    """Markdown whose links between files are links between pages.

    Args:
        text: the Markdown.
        origin: the file of the repository that its links start from.
        page: the page of the site that shows it.
    """

    def replaced(link: re.Match[str]) -> str:
        image, title, target = link.groups()
        if re.match(r"[a-z]+:", target):
            return link[0]
        path, _, anchor = target.partition("#")
        named = posixpath.normpath(posixpath.join(posixpath.dirname(origin), path)) if path else origin
        if not (ROOT / named).exists():
            log.warning("%s: a link to %s, which is not there", origin, target)
            return link[0]
        uri = page_of(named)
        if named == "README.md" and anchor in SECTIONS:
            uri, anchor = SECTIONS[anchor], ""
        if uri is None:  # source code, which the site does not show
            return title if "`" in title else f"`{title}`"
        if uri == page and not image:
            return f"[{title}](#{anchor})" if anchor else title
        there = posixpath.relpath(uri, posixpath.dirname(page) or ".")
        return f"{image}[{title}]({there}{f'#{anchor}' if anchor else ''})"

    return outside_fences(text, lambda part: CODE.sub(_of_table, LINK.sub(replaced, part)))


def _of_table(code: re.Match[str]) -> str:
    """Code in a cell of a table: GitHub needs a backslash before a vertical bar there, and Python-Markdown shows it."""
    return code[0].replace("\\|", "|")
