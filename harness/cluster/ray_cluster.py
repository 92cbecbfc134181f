"""The engine: a Ray cluster, its machines, and an actor for each device. The one place that knows Ray.

In: an address, `local` for a cluster of this machine alone. Out: members, and the events of those that
measure. An actor is asked for what has happened again and again, in place of a generator, which Ray's client
(ray://) does not carry. Ray reserves the device and its share of the processors for an actor, so a processor
and the GPUs of its machine are measured one after the other.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness.cluster import LOCAL
from harness.cluster.agent import SPEAKS, Agent, look
from harness.cluster.members import Member, slices
from harness.core.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from harness.cluster.agent import Event, Order

CONNECT_LIMIT_S = 10.0
ASK_S = 10.0  # an agent answers at once where something happened, else after so long
LOOK_LIMIT_S = 600.0  # to have an environment made ready and torch imported, on every machine
VARIABLES = {
    "RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES": "1",  # a device is named by its index on its machine
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    # as its machine has it, or empty: else Ray sets it by the processors that it reserves, in each call anew
    "OMP_NUM_THREADS": "${OMP_NUM_THREADS}",
}


class Lost(Exception):
    """A member that answers no more; the text says why."""


@dataclass
class _Acting:
    """The actor of a member, and the question that it has not answered."""

    actor: Any
    question: Any = None


class RayCluster:
    """A connection to a cluster. A context manager: leaving it ends every worker."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._acting: dict[str, _Acting] = {}
        self._members: dict[str, Member] = {}

    def __enter__(self) -> RayCluster:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        try:
            import ray
        except ImportError:
            raise UsageError(
                "many machines need Ray, which is not installed",
                where="--on",
                hint="pip install 'convscope[ray]'",
            ) from None
        self._ray: Any = ray
        _require_listening(self._address)
        alone = {"include_dashboard": False} if self._address == LOCAL else {}
        try:
            self._ray.init(self._address, log_to_driver=False, logging_level=logging.ERROR, **alone)
        except Exception as error:  # Ray has no error of its own for an address where no cluster is
            raise _no_cluster(self._address, str(error).strip().splitlines()[0]) from None
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._acting):
            self.release(name)
        self._ray.shutdown()

    def members(
        self, kinds: Collection[str], placement: Mapping[str, int], python: str | None = None
    ) -> list[Member]:
        """Every device of these types, of an index where one is placed, on every machine. Raises UsageError
        where a machine has no interpreter, or another version of ours; DeviceError where there is no such
        device."""
        nodes = [node for node in self._ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        seen = self._look([(node["NodeID"], python, None) for node in nodes])
        names = _names(seen)
        wanted = [
            (node["NodeID"], name, facts, device, cores)
            for node, name, facts in zip(nodes, names, seen, strict=True)
            for device, cores in _devices(facts, kinds, placement)
        ]
        if not wanted:
            raise DeviceError(
                f"no machine of the cluster has {' or '.join(sorted(kinds))}",
                where=self._address,
                hint=f"It has {len(nodes)} machines: {', '.join(names)}.",
            )
        bound = [(node, facts["interpreter"].python, cores) for node, _, facts, _, cores in wanted if cores]
        again = iter(self._look(bound))  # fewer processors are another environment
        found = [
            _member(node, name, next(again) if cores else facts, device, cores)
            for node, name, facts, device, cores in wanted
        ]
        self._members = {member.name: member for member in found}
        return found

    def begin(self, name: str, order: Order) -> None:
        """Have a member measure a shard; its actor is made when it is first needed."""
        if name not in self._acting:
            self._acting[name] = _Acting(self._actor(self._members[name]))
        acting = self._acting[name]
        acting.actor.begin.remote(order)
        acting.question = acting.actor.events.remote(ASK_S)

    def wait(self, limit_s: float) -> Iterator[tuple[str, list[Event] | Lost]]:
        """What members have to tell, as soon as one does, or nothing after the limit."""
        asked = {
            acting.question: name for name, acting in self._acting.items() if acting.question is not None
        }
        if not asked:
            return
        ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=limit_s)
        for question in ready:
            name = asked[question]
            acting = self._acting[name]
            try:
                events = self._ray.get(question)
            except self._ray.exceptions.RayError as error:
                del self._acting[name]
                yield name, Lost(_reason(error))
                continue
            ended = any(word in ("end", "error") for word, _ in events)
            acting.question = None if ended else acting.actor.events.remote(ASK_S)
            yield name, events

    def release(self, name: str) -> None:
        """End a member's actor and worker: what they reserve is free for others."""
        acting = self._acting.pop(name, None)
        if acting is not None:
            self._ray.kill(acting.actor)

    def _actor(self, member: Member) -> Any:
        """The actor of a device: with all of its machine's processors, or its own, and a GPU where it is
        one."""
        node = next(node for node in self._ray.nodes() if node["NodeID"] == member.node)
        cpus = node["Resources"]["CPU"]
        return (
            self._ray.remote(Agent)
            .options(
                num_cpus=cpus if member.cores is None else min(len(member.cores), cpus),
                num_gpus=int(member.kind == "cuda"),
                max_concurrency=2,
                max_restarts=0,
                scheduling_strategy=self._on(member.node),
                runtime_env={"env_vars": VARIABLES},
            )
            .remote(member.device, member.interpreter.python, member.cores)
        )

    def _look(self, wanted: list[tuple[str, str | None, Any]]) -> list[dict[str, Any]]:
        """What machines say of themselves, by their node, interpreter and processors. Raises UsageError."""
        remote = self._ray.remote(look)
        asked = [
            remote.options(
                num_cpus=0, scheduling_strategy=self._on(node), runtime_env={"env_vars": VARIABLES}
            ).remote(python, cores)
            for node, python, cores in wanted
        ]
        try:
            seen: list[dict[str, Any]] = self._ray.get(asked, timeout=LOOK_LIMIT_S)
        except self._ray.exceptions.RayError as error:
            raise UsageError(
                f"a machine cannot be asked: {_reason(error)}",
                where=self._address,
                hint="Install convscope[ray] of this version on every machine of the cluster.",
            ) from None
        for facts in seen:
            _require_usable(facts)
        return seen

    def _on(self, node: str) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=False)


def _require_listening(address: str) -> None:
    """Raises UsageError for a host and port where nobody listens: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), CONNECT_LIMIT_S).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, str(error)) from None


def _no_cluster(address: str, why: str) -> UsageError:
    return UsageError(
        f"no cluster answers: {why}",
        where=address,
        hint="Start one with `ray start --head`, or give --on local for this machine alone.",
    )


def _require_usable(facts: Mapping[str, Any]) -> None:
    if facts["speaks"] != SPEAKS:
        raise UsageError(
            "has another version of convscope",
            where=facts["machine"],
            hint="Install the same version on every machine.",
        )
    if "error" in facts:
        error = facts["error"]
        raise UsageError(error["message"], where=f"{facts['machine']}: {error['where']}", hint=error["hint"])


def _devices(
    facts: Mapping[str, Any], kinds: Collection[str], placement: Mapping[str, int]
) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """The devices of a machine that are asked for, each with the processors that its worker is bound to."""
    for kind in sorted(kinds):
        indices = [device["index"] for device in facts["interpreter"].devices if device["type"] == kind]
        if kind in placement:
            indices = [index for index in indices if index == placement[kind]]
        if kind == "cpu":
            yield from (("cpu", None) for _ in indices)
            continue
        yield from zip(
            (f"{kind}:{index}" for index in indices), slices(facts["cores"], len(indices) or 1), strict=False
        )


def _member(
    node: str, name: str, facts: Mapping[str, Any], device: str, cores: tuple[int, ...] | None
) -> Member:
    return Member(
        name=f"{name}/{device}",
        machine=name,
        node=node,
        device=device,
        interpreter=facts["interpreter"],
        cores=cores,
    )


def _names(seen: list[dict[str, Any]]) -> list[str]:
    """A name for each machine: its host's, with a number where several nodes share it."""
    counts, met, names = Counter(facts["machine"] for facts in seen), Counter[str](), []
    for facts in seen:
        host = facts["machine"]
        met[host] += 1
        names.append(host if counts[host] == 1 else f"{host}-{met[host]}")
    return names


def _reason(error: Exception) -> str:
    """The first line of what Ray says that is no traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines and "Traceback" in str(error) else lines[0] if lines else type(error).__name__
