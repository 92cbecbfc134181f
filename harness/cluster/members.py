"""The devices of a cluster, and which of them are alike."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from harness.run.device_worker import Interpreter


@dataclass(frozen=True, slots=True)
class Member:
    """A device on a machine of the cluster, and the interpreter that measures on it. `device`: `cpu` or
    `cuda:0`; `cores`: the processors that its worker is bound to, None for all."""

    name: str
    machine: str
    node: str
    device: str
    interpreter: Interpreter
    cores: tuple[int, ...] | None = None

    @property
    def kind(self) -> str:
        """The type of its device."""
        return self.device.partition(":")[0]

    @property
    def placement(self) -> dict[str, int]:
        """Its index, by its type."""
        kind, _, index = self.device.partition(":")
        return {kind: int(index)} if index else {}


def groups(members: Iterable[Member], *, each: bool = False) -> list[list[Member]]:
    """The members whose environments are the same, which share a run, in the order in which they came;
    `each`: every one alone."""
    alike: dict[str, list[Member]] = defaultdict(list)
    for member in members:
        alike[member.name if each else member.interpreter.environment_id].append(member)
    return list(alike.values())


def slices(cores: Sequence[int], parts: int) -> list[tuple[int, ...] | None]:
    """The processors of a machine for so many devices that are measured at once, as many each; all of them,
    which is None, where there is one. Of a few more devices than processors some share one."""
    if parts == 1:
        return [None]
    size = max(len(cores) // parts, 1)
    starts = [number * size % len(cores) for number in range(parts)]
    return [tuple(cores[start : start + size]) for start in starts]
