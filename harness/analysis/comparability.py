"""Which facts of two environments must be equal for figures to be set side by side, and which are only worth
knowing.

In: headers of runs (run.json) and an arm of each. Out: the fields that differ, with both values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.stats import RUN_SPREAD

if TYPE_CHECKING:
    from collections.abc import Mapping

    Header = Mapping[str, Any]

# another machine's figures are another thing
MUST_MATCH = ("machine", "cpu", "instruction_set", "threads_available")
# another definition, or another amount of it, is another figure
HOW_MEASURED = ("method", "warm_up_s", "visit_time_s", "min_samples")
INFORM = (
    "torch",
    "torch_git",
    "onednn",
    "cuda",
    "cudnn",
    "driver",
    "system",
    "kernel",
    "libc",
    "python",
    "transparent_hugepages",
    "variables",
)
Differences = dict[str, tuple[Any, Any]]


def facts(header: Header, arm: str) -> dict[str, Any]:
    """The environment of an arm of a run."""
    found: dict[str, Any] = header["environments"][header["arms"][arm]["environment_id"]]
    return found


def run_spread(header: Header, environment_id: str) -> float:
    """By how much runs of this environment differ beyond their visits, as it was known when the run began: a
    standard deviation of logarithms."""
    return float((header.get("run_spread") or {}).get(environment_id, RUN_SPREAD))


def likeness(header: Header, arm: str) -> dict[str, Any]:
    """What must be equal, by name, for the figures of two runs to be set side by side. Devices and threads
    are a case's: `Results.visits`."""
    environment, policy = facts(header, arm), header.get("policy") or {}
    how = {"method": header.get("method"), **policy}
    return {name: environment.get(name) for name in MUST_MATCH} | {
        name: how.get(name) for name in HOW_MEASURED
    }


def differing(base: Mapping[str, Any], head: Mapping[str, Any]) -> Differences:
    """The names whose values differ, with both values."""
    return {
        name: (base.get(name), head.get(name))
        for name in dict.fromkeys([*base, *head])
        if base.get(name) != head.get(name)
    }


def informative(base: Mapping[str, Any], head: Mapping[str, Any]) -> Differences:
    """Of two environments' facts, those that are worth knowing where they differ."""
    return {name: values for name, values in differing(base, head).items() if name in (*MUST_MATCH, *INFORM)}


def in_words(differences: Differences) -> str:
    """`torch 2.12.0 -> 2.13.0, kernel 6.1 -> 6.6`."""
    return ", ".join(f"{name} {_shown(base)} -> {_shown(head)}" for name, (base, head) in differences.items())


def _shown(value: Any) -> str:
    if value is None or value != value:
        return "unknown"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
