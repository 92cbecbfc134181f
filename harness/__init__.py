"""Convscope: what the five kinds of 2-D convolution really cost on a device, and why.

    from harness import Problem, Setting, measure, sweep, load_results

    measure(Problem("depthwise", in_channels=128, size=56))
    sweep("quickstart", axes={"in_channels": (64, 128)}).summary
    ab("regression", head=Side(implementation="mykernels:depthwise")); compare("last").verdicts

The names are loaded when they are first used: the measured interpreter imports this package too, and has neither pandas nor pyarrow.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.api import Measurement, Side, ab, measure, sweep
    from harness.case import Case, Setting
    from harness.comparing import compare
    from harness.comparison import Comparison
    from harness.errors import ConvscopeError
    from harness.problem import KINDS, Problem
    from harness.results import Results, load_results

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
    "compare",
    "load_results",
    "measure",
    "sweep",
]

_HOMES = {
    "KINDS": "problem",
    "Problem": "problem",
    "Case": "case",
    "Setting": "case",
    "ConvscopeError": "errors",
    "Measurement": "api",
    "Comparison": "comparison",
    "Side": "api",
    "ab": "api",
    "compare": "comparing",
    "measure": "api",
    "sweep": "api",
    "Results": "results",
    "load_results": "results",
}


def __getattr__(name: str) -> object:
    if name in _HOMES:
        return getattr(import_module(f"harness.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
