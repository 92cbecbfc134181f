"""Suites made of a few sweeps, and what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from harness.core.errors import SuiteError
from harness.plan.points import expand
from harness.plan.suite import parse_suite

if TYPE_CHECKING:
    from pathlib import Path

    from harness.plan.points import Point
    from harness.plan.suite import Suite

HEAD: dict[str, Any] = {"schema": 1, "name": "tried"}
SMALL: dict[str, Any] = {"size": 8, "in_channels": 8}


def suite_of(
    *sweeps: dict[str, Any], problem: dict[str, Any] | None = None, folder: Path | None = None, **tables: Any
) -> Suite:
    """A suite of these sweeps, over 8 channels of 8x8 unless told otherwise."""
    named = [{"name": f"s{number}"} | sweep for number, sweep in enumerate(sweeps, 1)]
    content = HEAD | {"problem": SMALL if problem is None else problem, "sweep": named} | tables
    return (
        parse_suite(content, source="tried.toml", folder=folder)
        if folder
        else parse_suite(content, source="tried.toml")
    )


def faults_of(*sweeps: dict[str, Any], **tables: Any) -> list[str]:
    """What a suite of these sweeps is told."""
    with pytest.raises(SuiteError) as raised:
        suite_of(*sweeps, **tables)
    return raised.value.faults


def points_of(*sweeps: dict[str, Any], **tables: Any) -> list[Point]:
    """The points of such a suite."""
    return expand(suite_of(*sweeps, **tables))


def ids(points: list[Point]) -> list[str]:
    """The case of each point that has one."""
    return [point.case.case_id for point in points if point.case]
