"""One thing that was looked at, before anything is measured: what `doctor` and its looks at GPUs give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "warning", "unknown"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at: its state, what was found, and what to do about it (empty where it is ok)."""

    name: str
    state: State
    found: str
    advice: str = ""
