"""Implementations that come along, a file each, and those that installed packages add.

In: an implementation's name. Out: a factory that takes problem and setting and returns a module. A package
adds one by an entry point of the group `convscope.implementations`.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from harness.core.case import RUNTIMES

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from harness.core.case import Setting
    from harness.core.problem import Problem

    Factory = Callable[[Problem, Setting], nn.Module]

GROUP = "convscope.implementations"


def factory_of(implementation: str) -> Factory:
    """Of `module:attribute`, of one that comes along, or of one that a package adds. Raises ValueError for a
    name that nobody has, ImportError where its library is missing."""
    name, colon, attribute = implementation.partition(":")
    if colon:
        return getattr(import_module(name), attribute)  # type: ignore[no-any-return]  # whatever the user names
    if name in RUNTIMES:
        return import_module(f"harness.worker.runtimes.{name}").layer  # type: ignore[no-any-return]
    added = {entry.name: entry for entry in entry_points(group=GROUP)}
    if name not in added:
        known = ", ".join([*RUNTIMES, *added])
        raise ValueError(f"there is no implementation {name!r} in this interpreter; it has {known}")
    return added[name].load()  # type: ignore[no-any-return]
