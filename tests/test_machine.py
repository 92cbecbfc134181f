"""What a run learns of its machine, and what the next one knows from it."""

from __future__ import annotations

import json
from pathlib import Path

from harness.results import load_results
from tests.conftest import Convscope, Stub

QUIET = {"reference_copy_s": 5e-5, "reference_compute_s": 9e-5}
SLOW = {"reference_copy_s": 5e-5, "reference_compute_s": 10e-5}


def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "convscope" / "quiet.json"


def test_a_run_of_few_visits_knows_a_noisy_hour_from_the_runs_before_it(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    first = convscope("run", suite, "--python", stub({"spread": 0.2, "values": QUIET}), "--json").json
    assert json.loads(Path(tmp_path, first["path"], "run.json").read_text())["quiet"] == {}
    second = convscope("run", suite, "--python", stub({"spread": 0.01, "values": SLOW}), "--quick", "--json").json
    header = json.loads(Path(tmp_path, second["path"], "run.json").read_text())
    assert header["quiet"] == {header["arms"]["main"]["environment_id"]: {"2": QUIET}}
    cache(tmp_path).unlink()  # a run reads the same wherever it is loaded
    visits = load_results(tmp_path / second["path"]).visits
    assert len(visits) == 6
    assert visits["trust_reasons"].map(lambda reasons: list(reasons) == ["neighbours"]).all()


def test_a_single_measurement_knows_it_too(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    convscope("run", suite, "--python", stub({"spread": 0.2, "values": QUIET}))
    measured = convscope("measure", "depthwise", "--in", "8", "--python", stub({"values": SLOW}), "--json").json
    assert measured["trust_reasons"] == ["neighbours"]


def test_figures_of_another_environment_do_not_count(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    convscope("run", suite, "--python", stub({"spread": 0.2, "values": QUIET}))
    other = stub({"values": SLOW}, environment={"cpu": "another", "torch": "0.0", "threads_available": 2})
    run = convscope("run", suite, "--python", other, "--quick", "--json").json
    assert (load_results(tmp_path / run["path"]).visits["trust"] == "ok").all()


def test_a_broken_cache_is_learned_anew(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    cache(tmp_path).parent.mkdir(parents=True)
    cache(tmp_path).write_text('{"a": {"2": {"reference_copy_s": "fast"}}}')
    assert convscope("run", suite, "--python", stub({"spread": 0.2, "values": QUIET})).code == 0
    (known,) = json.loads(cache(tmp_path).read_text()).values()
    assert known["2"]["reference_copy_s"] == [5e-5]


def test_a_rate_once_reached_stays_the_ceiling_and_a_cost_is_the_runs_own(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    for flops_per_s, page_fault_s in ((2e11, 4e-7), (1e11, 9e-7)):
        python = stub(roofs={"flops_per_s_float32": flops_per_s, "page_fault_s": page_fault_s})
        run = convscope("run", suite, "--quick", "--python", python, "--json").json
    (ceilings,) = json.loads(Path(tmp_path, run["path"], "run.json").read_text())["ceilings"]
    assert (ceilings["roofs"]["flops_per_s_float32"], ceilings["roofs"]["page_fault_s"]) == (2e11, 9e-7)
    summary = load_results(tmp_path / run["path"]).summary
    assert (summary["attainable_s"] <= summary["latency_s"]).all()
    assert summary["bound"].notna().all()
