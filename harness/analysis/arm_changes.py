"""What each arm of a run changes in the cases that are asked for, from the run's header (run.json)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.case import written

if TYPE_CHECKING:
    from collections.abc import Mapping

    Header = Mapping[str, Any]


def changes_of(header: Header, arm: str) -> dict[str, Any]:
    """Values by axis. Runs before schema 3 could change the implementation alone."""
    told = header["arms"][arm]
    if "changes" in told:
        return dict(told["changes"])
    return {"implementation": told["implementation"]} if told.get("implementation") else {}


def changed_axes(header: Header) -> list[str]:
    """The axes that any arm changes."""
    return list(dict.fromkeys(axis for arm in header["arms"] for axis in changes_of(header, arm)))


def arm_name(header: Header, arm: str) -> str:
    """An arm with what it changes: `head (memory_format=channels_last)`."""
    said = ", ".join(
        str(value) if axis == "implementation" else f"{axis}={written(value)}"
        for axis, value in changes_of(header, arm).items()
    )
    return f"{arm} ({said})" if said else arm
