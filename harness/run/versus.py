"""Several arms that take turns: as many pairs of every case as are asked for.

In: two arms or more, cases, a number of pairs. Out: rows, one an arm and pair (`paired_run`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.run.paired_run import PairedRun

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from harness.core.case import Case
    from harness.run.arm import Arm

# pairs of a case under the same workers, which take longer to start than a pair takes; where no process is
# forked for a visit, one
IN_A_ROUND = 4


class VersusRun(PairedRun):
    """The state of such a run."""

    def __init__(self, arms: Mapping[str, Arm], cases: Sequence[Case], pairs: int) -> None:
        super().__init__(arms, cases, "turns")
        self.pairs = pairs

    def go(self) -> str:
        """Do all of it; why it ended: `complete` or `time_limit`."""
        self.listener.begin(
            len(self.cases),
            self.pairs * sum(self.pair_s.values()),
            f"{len(self.arms)} arms take turns, {self.pairs} times",
        )
        self.stage = "rank"
        self.survey()
        wanted = {case.case_id: self.pairs for case in self.cases}
        forked = all(case.setting.device == "cpu" for case in self.cases)
        return "complete" if self.measure(wanted, IN_A_ROUND if forked else 1) else "time_limit"
