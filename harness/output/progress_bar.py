"""How far a run is, drawn on a terminal, or a line per case where there is none."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Column

from harness.core import units
from harness.run.progress_events import ProgressListener

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from harness.core.case import Case


LINES_APART = 20  # cases of a survey, where there is no bar
SLOWER = 2.0  # times as slow as one that was told of: told as well


class RunProgress(ProgressListener):
    """A listener that draws: a bar with the case, its latest figure and the time left, or a line a visit.

    It draws when it is told something and never by itself: between two tidings someone measures.
    """

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._drawn = self._console.is_terminal and not self._console.is_dumb_terminal
        columns = (
            TextColumn("{task.fields[stage]:<9}"),
            BarColumn(16),
            TextColumn("{task.fields[left]}", style="dim", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[figure]}", table_column=Column(no_wrap=True)),
            # the label last, and cut where the line ends: the rest is what a glance is for
            TextColumn(
                "{task.fields[case]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
        )
        self._progress = Progress(
            *columns,
            expand=True,
            console=self._console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task("run", total=1, stage="survey", case="", figure="", left="")
        self._began = time.monotonic()
        self._disturbed = 0
        self._slowest_s = 0.0
        self.runs: list[Path] = []

    @property
    def run(self) -> Path | None:
        """The folder of the run; of several, the last."""
        return self.runs[-1] if self.runs else None

    def __enter__(self) -> RunProgress:
        if self._drawn:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def waiting(self, device: str) -> None:
        """Another measurement holds the device."""
        self.say(f"Another convscope run is using {device}; waiting. Use --no-wait to fail instead.")

    def started(self, run: Path) -> None:
        """The run's folder is there; on a cluster there may be several."""
        self.runs.append(run)

    def begin(self, cases: int, estimated_s: float, then: str) -> None:
        """Say how long it will take before it starts."""
        self._began = time.monotonic()
        kept = " Ctrl-C stops and keeps finished measurements." if self.runs else ""
        self.say(f"{cases} case{'s' * (cases > 1)}, about {units.duration(estimated_s)}; {then}.{kept}")

    def surveying(self, case: Case, number: int, of: int) -> None:
        """A case is looked at before any timing."""
        self._show(
            stage="survey", case=case.label, figure=f"{number} of {of}", left="", completed=number, total=of
        )
        if not self._drawn and (number - 1) % LINES_APART == 0:
            self.say(f"survey {number} of {of}  {case.label}")

    def slow(self, case: Case, call_s: float, backend: str | None, seconds: float) -> None:
        """Calls of a case are so slow that fewer are measured; said of the first, and of much slower ones."""
        if call_s > SLOWER * self._slowest_s:
            self._slowest_s = call_s
            below = f" in {backend}" if backend else ""
            self.say(
                f"{case.label}: a call takes about {units.seconds(call_s)}{below}, so fewer calls are "
                f"measured, in about {units.duration(seconds)}."
            )

    def unsurveyed(self, cases: int, of: int) -> None:
        """The survey's share of a time limit is over."""
        self.say(
            f"{cases} of {of} cases are measured without a survey, "
            "because its share of the time limit is used up; their memory and primitives stay unknown."
        )

    def confirming(self, cases: int, undecided: int, lacking_s: float) -> None:
        """The screening of an A/B is over."""
        lacking = (
            f"; measuring all of them well enough would take {units.duration(lacking_s)} more"
            if lacking_s
            else ""
        )
        self.say(
            f"{undecided} cases are inconclusive so far; {cases} of them are measured again in fresh pairs"
            f"{lacking}."
        )

    def visiting(self, case: Case, stage: str, left_s: float) -> None:
        """A visit begins."""
        self._show(stage=stage, case=case.label, figure="", **self._so_far(left_s))

    def turned(self, cases: Sequence[Case], stage: str, turn: int, of: int, left_s: float) -> None:
        """Cases that are measured together have done one more block each."""
        self._show(
            stage=stage,
            case=f"{len(cases)} cases",
            figure=f"block {turn} of {of}",
            **self._so_far(left_s),
        )

    def _so_far(self, left_s: float) -> dict[str, Any]:
        """How far it is, by the time that has passed and what the run says is left now: where repetitions are
        disturbed and measured again, that is longer than it said at first."""
        passed_s = time.monotonic() - self._began
        again = f", {self._disturbed} disturbed by other load so far" if self._disturbed else ""
        left = f"{units.duration(left_s)} left{again}"
        return {"left": left, "completed": passed_s, "total": passed_s + left_s}

    def progress(self, case: Case, latency_s: float) -> None:
        """The latest figure of the visit that is going on."""
        self._show(case=case.label, figure=units.seconds(latency_s))

    def visited(self, case: Case, row: dict[str, Any]) -> None:
        """A visit is over."""
        arm = "" if row["arm"] == "main" else f"{row['arm']}  "
        self._disturbed += row["trust"] == "invalid"
        if row["status"] != "ok":
            self.say(f"{arm}{case.label}: {row['status']}, {row['message']}")
        elif not self._drawn:
            self.say(
                f"round {row['round']}  {arm}{case.label}: {units.seconds(row['latency_s'])}  {row['trust']}"
            )

    def lost(self, member: str, why: str, cases: int) -> None:
        """A device of a cluster answers no more."""
        self.say(f"{member} is lost ({why}); its {cases} cases are given to others.")

    def say_machine(self) -> None:
        """One line on whether this machine is fit to measure on."""
        from harness.run.doctor import examine, in_short

        self.say(f"Machine check: {in_short(examine())}. Run `convscope doctor` for details.")

    def say(self, text: str) -> None:
        """A line of talk, above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def _show(self, **fields: Any) -> None:
        if self._drawn:
            self._progress.update(self._task, **fields, refresh=True)
