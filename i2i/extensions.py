"""Packages outside of i2i whose methods, networks or metrics take part in every command.

Such a package names the module that defines them as an entry point of the group ``i2i``.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from i2i.display import warn

_begun = False


def load_extensions() -> None:
    """Imports the modules that installed packages name, once; one that fails is reported and skipped."""
    global _begun
    if _begun:  # also by a module that asks i2i for something while it is imported
        return
    _begun = True
    for entry in entry_points(group="i2i"):
        try:
            entry.load()
        except Exception as error:  # whatever a module of somebody else raises
            reason = " ".join(str(error).split()) or type(error).__name__
            what = f"{entry.name} cannot be imported ({entry.value}: {reason})"
            warn(f"the extension {what}; what it defines may be missing")
