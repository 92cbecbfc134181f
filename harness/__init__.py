"""Convscope: what the five kinds of 2-D convolution really cost on a device, and why.

    from harness import Problem, Setting, measure, sweep, load_results

    measure(Problem("depthwise", in_channels=128, size=56))
    sweep("quickstart", axes={"in_channels": (64, 128)}).summary
    ab("regression", head=Side(implementation="mykernels:depthwise")); compare("last").verdicts
    ranked(versus({"f32": Side(), "bf16": Side(axes={"dtype": "bfloat16"})}, "quickstart"))

The names are loaded when they are first used: the measured interpreter imports this package too, and has
neither pandas nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.analysis.comparison import Comparison
    from harness.core.case import Case, Setting
    from harness.core.errors import ConvscopeError
    from harness.core.problem import KINDS, Problem
    from harness.store.results import Results, load_results
    from harness.tasks.ab import ab
    from harness.tasks.cluster_sweep import cluster_resume, cluster_sweep
    from harness.tasks.compare import compare
    from harness.tasks.measure import Measurement, measure
    from harness.tasks.resume import resume
    from harness.tasks.sides import Side
    from harness.tasks.sweep import sweep
    from harness.tasks.versus import ranked, versus

__version__ = "0.1.0"
__all__ = [
    "KINDS",
    "Case",
    "Comparison",
    "ConvscopeError",
    "Measurement",
    "Problem",
    "Results",
    "Setting",
    "Side",
    "ab",
    "cluster_resume",
    "cluster_sweep",
    "compare",
    "load_results",
    "measure",
    "ranked",
    "resume",
    "sweep",
    "versus",
]

_HOMES = {
    "KINDS": "core.problem",
    "Problem": "core.problem",
    "Case": "core.case",
    "Setting": "core.case",
    "ConvscopeError": "core.errors",
    "Measurement": "tasks.measure",
    "Comparison": "analysis.comparison",
    "Side": "tasks.sides",
    "resume": "tasks.resume",
    "ab": "tasks.ab",
    "cluster_resume": "tasks.cluster_sweep",
    "cluster_sweep": "tasks.cluster_sweep",
    "compare": "tasks.compare",
    "measure": "tasks.measure",
    "sweep": "tasks.sweep",
    "versus": "tasks.versus",
    "ranked": "tasks.versus",
    "Results": "store.results",
    "load_results": "store.results",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"harness.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
