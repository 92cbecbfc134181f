"""Two sides of a suite, measured in pairs and kept in results/.

ab("regression", Side("old/bin/python"), Side())                two interpreters
ab("regression", head=Side(implementation="mykernels:conv"))    two implementations
ab("regression", head=Side(axes={"dtype": "bfloat16"}))         two values of an axis

What came of it, as verdicts: `tasks.compare`.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from harness.core.errors import UsageError, nearest
from harness.core.gate import ORDERS
from harness.plan.changes import shared
from harness.plan.points import narrowed, prepare
from harness.run.ab import AbRun
from harness.run.progress_events import SILENT, ProgressListener
from harness.tasks.sides import Side, measured

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from harness.plan.axes import Value
    from harness.plan.suite import Suite
    from harness.run.ab import Confirming
    from harness.store.results import Results
    from harness.tasks.sides import Ready


HERE = Side()


def ab(
    suite: str | Path | Suite = "",
    base: Side = HERE,
    head: Side = HERE,
    *,
    how: str = "turns",
    axes: Mapping[str, tuple[Value, ...]] | None = None,
    results: str | Path = "results",
    quick: bool = False,
    time_limit_s: float | None = None,
    wait: bool = True,
    listener: ProgressListener = SILENT,
) -> Results:
    """Measure a suite on two sides, as pairs in one run; `tasks.compare` judges what came of it.

    `how` is one of `gate.ORDERS`. An axis that one side alone has stays for the other as the suite says; a
    suite's own `[ab]` holds where neither side states any. Raises what `sweep` raises.
    """
    if how not in ORDERS:
        raise UsageError(f"{how!r} is no order", where="how", hint=nearest(how, ORDERS))
    axes, sides = dict(axes or {}), {"base": base, "head": head}
    both = shared({name: side.changes for name, side in sides.items()}, axes)
    asked = prepare(suite, axes | both, quick=quick, time_limit_s=time_limit_s)
    if not any(side.changes for side in sides.values()):
        sides = {name: replace(side, axes=asked.ab.get(name, {})) for name, side in sides.items()}
        both = shared({name: side.changes for name, side in sides.items()}, axes)
        asked = narrowed(asked, both) if both else asked

    def make(made: Ready) -> AbRun:
        def tell(confirming: Confirming) -> None:
            made.folder.write_header(confirming=asdict(confirming))

        return AbRun(made.arms, made.cases, asked.gate, how, quick=quick, tell=tell)

    return measured(
        asked,
        sides,
        {"comparison": "ab", "order": how, "confirming": None},
        make,
        named="device" in axes,
        results=results,
        quick=quick,
        wait=wait,
        listener=listener,
    )
