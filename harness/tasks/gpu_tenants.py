"""Whether somebody else works on a GPU."""

from __future__ import annotations

from harness.core import units
from harness.run.ad_hoc import ad_hoc_session
from harness.run.check import Check
from harness.run.device_worker import device_name
from harness.run.progress_events import SILENT
from harness.run.worker_process import default_python

PROBE_S = 2.0
LOST_SHARE = 0.1  # of a GPU's time: clocks that fall under a long load take less


def tenants(kind: str, index: int | None = None, python: str | None = None) -> Check:
    """Whether somebody else works on a GPU, by two seconds of work on it. Raises InterpreterError,
    DeviceError, BusyError."""
    device = device_name(kind, {} if index is None else {kind: index})
    with ad_hoc_session(kind, index, python or default_python(), wait=False, listener=SILENT) as ready:
        seen = ready.tenants(PROBE_S)
    found = f"{units.percent(seen.lost_share)} of the time of {seen.batches} batches was taken"
    if seen.lost_share <= LOST_SHARE:
        return Check(f"{device} tenants", "ok", found)
    return Check(
        f"{device} tenants", "warning", found, "Somebody else works on it: wait, or choose another device."
    )
