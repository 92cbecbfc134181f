"""What run.json may hold, for whoever reads it: each key has its type, so that a file that was damaged or
written by hand is refused in one place, with the key that is wrong.

In: what JSON says. Out: the same, or ValueError. What may be missing is so in runs of older versions.
"""

from __future__ import annotations

from typing import Any

from harness.core.errors import ConvscopeError
from harness.core.gate import Gate
from harness.core.policy import Policy
from harness.core.roofs import are_roofs
from harness.core.shapes import ANY, DEVICE, EACH, ENVIRONMENT, faults

RUN_FILE = "run.json"  # a folder without it is no run
HEADER: dict[str, Any] = {
    "schema": "int16",
    "run_id": "string",
    "state": "string",
    "quick": "bool",
    "suite": {
        "name": "string",
        "title?": "string",
        "text?": "string",
        "sha256?": "string",
        "source?": "string",
    },
    "arms": {EACH: {"python?": "string", "environment_id": "string", "changes?": {EACH: ANY}}},
    "environments": {EACH: ENVIRONMENT},
    "devices": [DEVICE],
    "policy?": {EACH: ANY},
    "gate?": {EACH: ANY},
    "ceilings?": [{EACH: ANY}],
    "method?": "int16",
    "run_spread?": {EACH: "double"},
    "seed?": "int64",
    "git?": {
        EACH: ANY,
        "commit?": "string",
        "committed_at?": "string",
        "tag?": "string",
        "branch?": "string",
    },
    "version?": "string",
    "wall_s?": "double",
    "timed_s?": "double",
    "visits?": "int64",
    "placement?": {EACH: "int16"},
    "resumed_at?": ["string"],
    "comparison?": "string",
    "order?": "string",
    "pairs?": "int32",
    "confirming?": {
        "pairs": {EACH: "int32"},
        "short": ["string"],
        "left": ["string"],
        "lacking_s?": "double",
    },
    "cluster?": {
        "address": "string",
        "members": [{"name": "string", "machine": "string", "device": "string"}],
        "cases_a_shard": "int32",
        "finished": ["int32"],
        "likeness?": [
            {
                "measured": "string",
                "checked": "string",
                "cases": "int32",
                "ratio": "double",
                "apart": "int32",
                "alike": "bool",
            }
        ],
    },
    "merged?": ["string"],
}


def checked(header: object) -> dict[str, Any]:
    """A header that all of convscope can read. Raises ValueError with the first key that is wrong."""
    for fault in faults(HEADER, header):
        raise ValueError(fault)
    assert isinstance(header, dict)
    for name, arm in header["arms"].items():
        if arm["environment_id"] not in header["environments"]:
            raise ValueError(f"the environment of {name} is missing")
    if not all(map(are_roofs, header.get("ceilings") or ())):
        raise ValueError("its ceilings are no roofs")
    try:
        policy = header.get("policy") or {}
        usual = Policy().as_message()
        Policy(**{name: policy.get(name, value) for name, value in usual.items()})
        Gate.from_json(header.get("gate") or {})
    except (ConvscopeError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"its policy or gate: {error}") from None
    # the first versions did not say all of it
    return {"method": 1, "git": None, **header, "policy": usual | policy}
