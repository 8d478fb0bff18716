"""What mkdocs calls: adds files from outside of docs/, and fills in what is generated when the site is built.

A line ``<!-- i2i: NAME ARGUMENTS -->`` of a page stands for the text that the function NAME of ``generated.py`` gives.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import generated
from equations import equation
from links import INCLUDED, ROOT, log, page_of_recipe, relinked
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from i2i.config.resolve import recipe_names

MARK = re.compile(r"^<!-- i2i: ([a-z-]+)(.*?) ?-->$", re.MULTILINE)
ORIGINS = {page: path for path, page in INCLUDED.items() if path.endswith(".md") and path != "README.md"}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Draws fences of the language ``math`` as equations."""
    fence = {"name": "math", "class": "math", "format": equation}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds what lies outside of docs/, and pages that the navigation does not name."""
    for page, path in ORIGINS.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / path)))
    for image in sorted((ROOT / "benchmarks").rglob("*.png")):
        files.append(File.generated(config, image.relative_to(ROOT).as_posix(), abs_src_path=str(image)))
    files.append(File.generated(config, "tour.md", content="<!-- i2i: tour -->\n"))
    for name in recipe_names():
        page = page_of_recipe(name)
        if page not in files.src_uris:
            files.append(File.generated(config, page, content=generated.PLAIN_PAGE.format(name=name)))
    _extend(config, files)
    return files


def _extend(config: MkDocsConfig, files: Files) -> None:
    sections: dict[str, list[Any]] = {
        name: pages for each in config.nav or [] if isinstance(each, dict) for name, pages in each.items()
    }
    named = set(_named(config.nav))
    for file in files.documentation_pages():
        if file.src_uri not in named:
            sections["Methods" if file.src_uri.startswith("methods/") else "Guides"].append(file.src_uri)


def _named(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav) for page in _named(each)]


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with its generated parts, whose links are those of a site."""
    uri = page.file.src_uri
    origin = ORIGINS.get(uri, f"docs/{uri}")
    done, place = [], 0
    for mark in MARK.finditer(markdown):
        done.append(relinked(markdown[place : mark.start()], origin, uri))
        done.append(relinked(_generated(mark[1], mark[2].split(), uri), "README.md", uri))
        place = mark.end()
    return "".join([*done, relinked(markdown[place:], origin, uri)])


def _generated(name: str, arguments: list[str], page: str) -> str:
    make = getattr(generated, name.replace("-", "_"), None)
    if make is None:
        log.warning("%s: nothing generates %s", page, name)
        return ""
    try:
        return str(make(*arguments))
    except LookupError as error:
        log.warning("%s: %s %s: %s", page, name, " ".join(arguments), error)
        return ""


def on_post_build(config: MkDocsConfig) -> None:
    """Refuses pages that load anything from elsewhere."""
    for file in Path(config.site_dir).rglob("*.html"):
        for loaded in re.findall(r'<(?:script|link|img|iframe)\b[^>]*(?:src|href)="(https?:[^"]+)"', file.read_text()):
            log.warning("%s loads %s", file.relative_to(config.site_dir), loaded)
