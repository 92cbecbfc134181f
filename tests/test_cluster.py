"""A suite on a real Ray cluster of this machine: two nodes, stub workers."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.store.results import Results, load_results
from tests.conftest import Stub, environment
from tests.ray_nodes import Nodes, cluster

pytestmark = pytest.mark.cluster

CHANNELS = "in_channels=16:640:16"  # 40 cases of a kind
SWEEP = ("-a", "kind=depthwise,pointwise", "-a", CHANNELS, "-a", "size=14")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    with cluster([2, 2], gpus=2) as running:
        yield running


class Running:
    """The command as a process, in a folder."""

    def __init__(self, folder: Path, nodes: Nodes, *words: str | Path) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "harness", *map(str, words)],
            cwd=folder,
            env=environment(folder) | nodes.variables | {"PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.talk = ""
        self.reading = threading.Thread(target=self._read)
        self.reading.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.talk += line
                self.lines.put(line)
        self.lines.put("")

    def ended(self) -> tuple[int, str, str]:
        assert self.process.stdout is not None
        with self.process.stdout as stream:
            out = stream.read()
        code = self.process.wait()
        self.reading.join()
        assert "Traceback" not in self.talk, self.talk
        return code, out, self.talk

    def after_lines(self, count: int) -> None:
        """Wait until it has told of so many visits."""
        told = 0
        while told < count:
            line = self.lines.get()
            assert line, self.talk
            told += line.startswith("round")

    @property
    def run(self) -> Path:
        (folder,) = (self.folder / "results").iterdir()
        return folder


def rounds_by_case(results: Results) -> dict[str, list[int]]:
    return {
        str(case): sorted(visits["round"])
        for case, visits in results.visits[results.visits["status"] == "ok"].groupby("asked_id")
    }


def test_alike_nodes_share_a_run_and_check_each_other(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    command = Running(tmp_path, nodes, "run", *SWEEP, "--on", nodes.address, "--python", stub(), "--json")
    code, out, err = command.ended()
    assert code == 0, err
    (answer,) = json.loads(out)["runs"]
    assert (answer["state"], answer["cases"]) == ("complete", {"ok": 80})
    results = load_results(command.run)
    members = results.visits.groupby("asked_id")["member"].nunique()
    assert set(members) == {1}, "each case wholly on one device"
    assert results.visits["member"].nunique() == 2
    rounds = rounds_by_case(results)
    assert all(found == list(range(1, len(found) + 1)) for found in rounds.values()), "no visit twice"
    kept = results.runs[0]["cluster"]
    assert sorted(kept["finished"]) == list(range(-(-80 // kept["cases_a_shard"])))
    likeness = kept["likeness"]
    assert {(one["measured"], one["checked"]) for one in likeness} >= {
        tuple(sorted(results.visits["member"].unique()))
    }
    assert sum(one["cases"] for one in likeness) >= 6
    assert all(one["alike"] for one in likeness)


def test_unlike_machines_measure_all_each_in_a_run_of_its_own(
    nodes: Nodes, stub: Stub, tmp_path: Path
) -> None:
    words = ("run", *SWEEP, "--quick", "--on", nodes.address, "--each", "--python", stub(), "--json")
    code, out, err = Running(tmp_path, nodes, *words).ended()
    assert code == 0, err
    answers = json.loads(out)["runs"]
    assert [answer["cases"] for answer in answers] == [{"ok": 80}, {"ok": 80}]
    assert len({answer["run_id"] for answer in answers}) == 2


def test_all_gpus_of_a_machine_measure_side_by_side(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    devices = [{"type": "cpu", "index": None, "name": "stub"}] + [
        {"type": "cuda", "index": index, "name": "stub", "facts": {"name": "stub"}} for index in range(2)
    ]
    words = ("-a", "kind=depthwise", "-a", CHANNELS, "-a", "size=14", "-a", "device=cuda:all")
    python = stub(devices=devices)
    command = Running(tmp_path, nodes, "run", *words, "--quick", "--on", nodes.address, "--python", python)
    code, _, err = command.ended()
    assert code == 0, err
    visits = load_results(command.run).visits
    assert set(visits["member"].str.rpartition("/")[2]) == {"cuda:0", "cuda:1"}
    assert len(visits) == 40


def test_a_driver_outside_of_the_cluster_measures_on_it_too(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    """By Ray's client, which has no generators and no sight of the nodes' files."""
    words = ("run", *SWEEP, "--quick", "--on", nodes.outside, "--python", stub(), "--json")
    code, out, err = Running(tmp_path, nodes, *words).ended()
    assert code == 0, err
    (answer,) = json.loads(out)["runs"]
    assert answer["cases"] == {"ok": 80}
    found = load_results(tmp_path / answer["path"])
    assert set(found.visits["member"]) == {row["name"] for row in found.runs[0]["cluster"]["members"]}


def test_a_worker_has_the_variables_of_its_machine_and_none_of_rays(
    nodes: Nodes, stub: Stub, tmp_path: Path
) -> None:
    """Ray sets OMP_NUM_THREADS by the processors that it reserves, for a task otherwise than for an actor."""
    python, seen = tmp_path / "seeing-python", tmp_path / "seen"
    tell = f'echo "${{OMP_NUM_THREADS-unset}}" >> {seen}'
    python.write_text(f'#!/bin/sh\n{tell}\nexec {stub()} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    words = ("run", "-a", "kind=depthwise", "-a", "in_channels=16,32", "-a", "size=14", "--quick")
    code, _, err = Running(tmp_path, nodes, *words, "--on", nodes.address, "--python", python).ended()
    assert code == 0, err
    assert set(seen.read_text(encoding="utf-8").splitlines()) == {"unset"}


def test_a_driver_that_is_killed_loses_nothing_and_is_resumed(
    nodes: Nodes, stub: Stub, tmp_path: Path
) -> None:
    python = stub({"latency_s": 1e-3})
    command = Running(tmp_path, nodes, "run", *SWEEP, "--on", nodes.address, "--python", python)
    command.after_lines(60)
    command.process.kill()
    command.ended()
    before = load_results(command.run)
    assert before.runs[0]["state"] == "killed"
    assert len(before.visits) >= 60
    resumed = Running(tmp_path, nodes, "run", "--resume", "last", "--on", nodes.address)
    code, _, err = resumed.ended()
    assert code == 0, err
    after = load_results(command.run)
    assert after.runs[0]["state"] == "complete"
    assert set(before.visits["process"]) <= set(after.visits["process"])
    rounds = rounds_by_case(after)
    assert len(rounds) == 80
    assert all(found == list(range(1, len(found) + 1)) for found in rounds.values()), "no visit twice"


def test_a_run_of_a_cluster_goes_on_nowhere_else(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    words = ("run", *SWEEP, "--time-limit", "1", "--on", nodes.address, "--python", stub())
    command = Running(tmp_path, nodes, *words)
    assert command.ended()[0] in (0, 4)
    assert load_results(command.run).runs[0]["state"] == "time_limit"
    code, _, err = Running(tmp_path, nodes, "run", "--resume", "last").ended()
    assert code == 2
    assert f"--on {nodes.address}" in err
    other = stub(environment={"torch": "another"}, name="other")
    other.replace(tmp_path / "stub" / "stub-python")
    code, _, err = Running(tmp_path, nodes, "run", "--resume", "last", "--on", nodes.address).ended()
    assert code == 3, err
    assert "no machine of the cluster is like" in err


def test_what_a_lost_node_had_is_given_to_another(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    nodes.add(cpus=2)
    command = Running(tmp_path, nodes, "run", *SWEEP, "--on", nodes.address, "--python", stub())
    command.after_lines(1)  # a stub measures so fast that the node may soon be done
    nodes.kill(-1)
    code, _, err = command.ended()
    assert code == 0, err
    assert "is lost" in err
    results = load_results(command.run)
    rounds = rounds_by_case(results)
    assert len(rounds) == 80
    assert all(found == list(range(1, len(found) + 1)) for found in rounds.values()), "no visit twice"


def test_an_address_where_no_cluster_is_is_an_error(nodes: Nodes, stub: Stub, tmp_path: Path) -> None:
    words = ("run", *SWEEP, "--on", "127.0.0.1:6399", "--python", stub())
    code, _, err = Running(tmp_path, nodes, *words).ended()
    assert code == 2
    assert "no cluster answers" in err
