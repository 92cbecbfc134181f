"""What a run learns of its machine, and what the next one knows from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from harness.store.results import load_results
from tests.conftest import Convscope, Stub


def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "convscope" / "runs-3.json"


def header_of(tmp_path: Path, run: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(tmp_path, run["path"], "run.json").read_text(encoding="utf-8"))
    return found


def test_a_run_knows_from_three_before_it_in_its_environment_by_how_much_runs_differ_here(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    """Each is as much slower than the one before as a noisy machine makes it."""
    for latency_s in (1.0e-3, 1.03e-3, 1.06e-3):
        run = convscope(
            "run", suite, "--python", stub({"spread": 0.001, "latency_s": latency_s}), "--json"
        ).json
        assert header_of(tmp_path, run)["run_spread"] == {}
    last = convscope("run", suite, "--python", stub({"spread": 0.001}), "--json").json
    header = header_of(tmp_path, last)
    assert header["run_spread"] == {header["arms"]["main"]["environment_id"]: pytest.approx(0.03, rel=0.1)}
    other = stub({"spread": 0.001}, environment={"cpu": "another", "torch": "0.0", "threads_available": 2})
    assert header_of(tmp_path, convscope("run", suite, "--python", other, "--json").json)["run_spread"] == {}
    cache(tmp_path).unlink()  # a run reads the same wherever it is loaded
    row = load_results(tmp_path / last["path"]).summary.iloc[0]
    assert (row["latency_high_s"] - row["latency_low_s"]) / (2 * row["latency_s"]) == pytest.approx(
        1.96 * 0.03, rel=0.15
    )


def test_a_broken_cache_is_learned_anew(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    cache(tmp_path).parent.mkdir(parents=True)
    cache(tmp_path).write_text('{"a": {"case": "fast"}}', encoding="utf-8")
    assert convscope("run", suite, "--python", stub({"spread": 0.001})).code == 0
    (known,) = json.loads(cache(tmp_path).read_text(encoding="utf-8")).values()
    assert len(known) == 6


def test_a_rate_once_reached_stays_the_ceiling_and_a_cost_is_the_runs_own(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    for flops_per_s, page_fault_s in ((2e11, 4e-7), (1e11, 9e-7)):
        python = stub(roofs={"flops_per_s_float32": flops_per_s, "page_fault_s": page_fault_s})
        run = convscope("run", suite, "--quick", "--python", python, "--json").json
    (ceilings,) = header_of(tmp_path, run)["ceilings"]
    assert (ceilings["roofs"]["flops_per_s_float32"], ceilings["roofs"]["page_fault_s"]) == (2e11, 9e-7)
    summary = load_results(tmp_path / run["path"]).summary
    assert (summary["attainable_s"] <= summary["latency_s"]).all()
    assert summary["bound"].notna().all()
