"""The roofs of a device, as a worker sends them and run.json keeps them.

They have a device, device_index, threads_used and roofs. The latter are `flops_per_s_DTYPE`, `bytes_per_s_N`
of a copy that touches N bytes, and `page_fault_s`, which is null where it cannot be measured.
"""

from __future__ import annotations

from harness.core.columns import fits

COPY = "bytes_per_s_"


def are_roofs(found: object) -> bool:
    """Whether this is what the module describes."""
    if not isinstance(found, dict) or not isinstance(found.get("roofs"), dict):
        return False
    names = {"device": "string", "device_index": "int16?", "threads_used": "int16?"}
    roofs = found["roofs"]
    return (
        {"device", "threads_used"} <= found.keys()
        and all(fits(kind, found.get(name)) for name, kind in names.items())
        and "page_fault_s" in roofs
        and all(fits("double?", rate) and (rate is None or rate >= 0) for rate in roofs.values())
        and all(name[len(COPY) :].isdecimal() for name in roofs if name.startswith(COPY))
    )
