"""Everything that can go wrong, each with the exit code that it ends a command with.

    ConvscopeError                what was found, where it stands, what to do about it
      UsageError           2      the asker can mend it
        ProblemError              a convolution that cannot be, or is not of its kind
        SettingError              a way of executing that is not known
        SuiteError                a suite file, with all its faults at once
        DeviceError               a device that is not there
        InterpreterError          an interpreter that cannot measure
        StorageError              a folder or file that cannot be read or written
        NoBaseline                a name under which nothing is kept
        BusyError        75     another measurement holds the device
      NotComparable        3      two sets of results that do not match
      CasesFailed          4      the run finished, some cases did not
      Stopped              130    Ctrl-C, with everything measured so far kept
      InternalError        70     a fault of convscope itself

Exit code 1 belongs to a regression, which is a verdict and not an error. 141 is what a command ends with
whose output nobody reads any more.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class ConvscopeError(Exception):
    """An error that a person can read: `what` happened, `where`, and `hint`, what to do next."""

    code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.hint = hint

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n{self.hint}" if self.hint else head

    def as_json(self) -> dict[str, object]:
        """The same as an object, for `--json`."""
        return {"code": self.code, "message": self.what, "where": self.where, "hint": self.hint}


class UsageError(ConvscopeError):
    """What was asked cannot be done as asked."""


class ProblemError(UsageError):
    """A convolution that cannot be. `field` names the argument that is wrong."""

    def __init__(self, field: str, what: str, *, hint: str = "") -> None:
        super().__init__(what, where=field, hint=hint)
        self.field = field


class SettingError(ProblemError):
    """A setting whose value is not one of those known."""


class SuiteError(UsageError):
    """A suite that cannot be used. `faults` holds every fault found, a line each."""

    def __init__(self, source: str, faults: list[str], *, hint: str = "") -> None:
        count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
        super().__init__("\n  ".join([count, *faults]), where=source, hint=hint)
        self.faults = faults


class DeviceError(UsageError):
    """A device that was asked for and is not there."""


class InterpreterError(UsageError):
    """An interpreter that does not start, or has no torch."""


class StorageError(UsageError):
    """A file or folder that cannot be read or written."""


class NoBaseline(UsageError):
    """A name that is neither a baseline's nor a run's."""


class BusyError(UsageError):
    """Another measurement holds the device, and waiting was not wanted. Code: EX_TEMPFAIL of sysexits.h."""

    code = 75


class InternalError(ConvscopeError):
    """What should not happen: a fault of convscope itself. Code: EX_SOFTWARE of sysexits.h."""

    code = 70

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            where="internal error",
            hint=(
                "Please report this internal error, with the traceback and the output of "
                "`convscope doctor --json`."
            ),
        )


class NotComparable(ConvscopeError):
    """Two sets of results that must not be set side by side."""

    code = 3


class CasesFailed(ConvscopeError):
    """The run is complete; some of its cases are rows without a figure."""

    code = 4


class Stopped(ConvscopeError):
    """Stopped by Ctrl-C; what was measured is kept."""

    code = 130


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint that names the known words closest to `word`, or all of them where none is close."""
    choices = list(known)
    close = get_close_matches(word, choices, n=3, cutoff=0.5)
    return f"Did you mean {' or '.join(close)}?" if close else f"Known: {', '.join(choices)}."
