"""What is on disk, and what is read back from it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import harness
from harness import load_results, sweep, testing
from harness.core.columns import COLUMNS, METHOD
from harness.core.errors import StorageError, UsageError
from harness.core.policy import Policy
from harness.store.migrations import to_schema_3
from harness.store.results import as_json_values
from harness.store.run_folder import RunFolder, find_run
from tests.conftest import SUITE, Convscope, Stub, alone
from tests.visits import case, visit


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run."""
    place = tmp_path_factory.mktemp("made")
    (place / "small.toml").write_text(SUITE, encoding="utf-8")
    python = testing.interpreter(place / "stub", {"cases": [{"spread": 0.001}]})
    with alone(place):
        run = sweep(place / "small.toml", python=str(python), results=place / "results")
    return place / "results" / str(run.runs[0]["run_id"])


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    """A finished run, to do with as one likes."""
    return Path(shutil.copytree(made, tmp_path / "results" / made.name))


def test_the_parquet_has_the_columns_of_the_record_with_their_units(folder: Path) -> None:
    schema = pq.read_schema(folder / "measurements.parquet")
    assert schema.names == [column.name for column in COLUMNS]
    assert schema.field("latency_s").metadata[b"unit"] == b"s"
    assert str(schema.field("samples_s").type).startswith("list<")
    assert not schema.field("case_id").nullable


def test_any_reader_finds_one_row_a_visit(folder: Path) -> None:
    table = pq.read_table(folder / "measurements.parquet", columns=["case_id", "latency_s", "samples_s"])
    assert table.num_rows == 18
    assert all(len(samples) == 30 for samples in table.column("samples_s").to_pylist())


def test_the_summary_has_one_row_a_case_with_an_interval_between_visits(folder: Path) -> None:
    summary = load_results(folder).summary
    assert len(summary) == 6
    assert (summary["interval"] == "between").all()
    assert (summary["visits"] == 3).all()
    assert (
        (summary["latency_low_s"] <= summary["latency_s"])
        & (summary["latency_s"] <= summary["latency_high_s"])
    ).all()


def test_fewer_than_three_visits_are_shown_with_the_interval_within(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    ended = convscope("run", suite, "--python", stub(), "--quick", "--json")
    summary = load_results(tmp_path / ended.json["path"]).summary
    assert (summary["interval"] == "within").all()
    assert (summary["visits"] == 1).all()


OLD = Path(__file__).parents[1] / "results" / "reference" / "nvidia-h200" / "papers"  # of schema 1


def test_an_old_run_is_read_with_figures_that_lie_within_its_blocks() -> None:
    run = load_results(OLD)
    assert (run.runs[0]["schema"], run.runs[0]["method"]) == (1, 1)
    assert not {name for name in run.visits.columns if name.startswith("reference_")}
    assert run.visits["place_figures_s"].map(len).eq(4).all()
    for _, visits in run.visits.groupby("case_id"):
        figure = run.summary.set_index("case_id").loc[visits["case_id"].iloc[0], "latency_s"]
        assert (
            min(map(min, visits["block_figures_s"])) * 0.999
            <= figure
            <= max(map(max, visits["block_figures_s"]))
        )


def test_an_old_ab_is_judged_by_its_base_cases() -> None:
    run = load_results(OLD.parent / "turns")
    assert run.is_ab
    assert run.visits["asked_id"].notna().all()
    assert (run.visits["asked_id"] == run.visits["case_id"]).all()
    assert sum(harness.compare(OLD.parent / "turns").counts.values()) == 20


def test_an_old_ab_of_implementations_was_asked_for_the_bases_cases() -> None:
    mine, torch = case(implementation="mine:layer"), case()
    rows = [visit(arm, of, 0, [1.0]) for arm, of in (("base", torch), ("head", mine))]
    both = [*rows, visit("head", torch, 1, [1.0])]
    for asked, expected in ((rows, [torch.case_id] * 2), (both, [one["case_id"] for one in both])):
        names = ["arm", "descriptor", "case_id"]
        table = pa.table({name: [row[name] for row in asked] for name in names})
        empty = pa.array([None] * len(asked), pa.dictionary(pa.int32(), pa.string()))
        found = to_schema_3(table.append_column("asked_id", empty))
        assert found.column("asked_id").to_pylist() == expected


def test_runs_of_another_method_are_compared_by_force_alone(
    convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path
) -> None:
    paths = [
        convscope("run", suite, "--python", stub({"spread": 0.001}), "--json").json["path"] for _ in range(2)
    ]
    header = tmp_path / paths[0] / "run.json"
    header.write_text(
        json.dumps(json.loads(header.read_text(encoding="utf-8")) | {"method": 1}), encoding="utf-8"
    )
    refused = convscope("compare", *paths)
    assert refused.code == 3
    assert f"method 1 -> {METHOD}" in refused.err
    forced = convscope("compare", *paths, "--force")
    assert forced.code == 0
    assert "different settings" in forced.out


def test_points_lead_to_cases_and_keep_what_was_asked(folder: Path) -> None:
    points = load_results(folder).points
    assert points["series"].value_counts().to_dict() == {"standard": 2, "depthwise": 2, "pointwise": 2}
    assert points["x"].eq("in_channels").all()
    assert set(points["in_channels"]) == {"8", "16"}
    assert points.loc[points["series"] == "pointwise", "kernel_size"].isna().all()


def test_a_torn_last_line_costs_one_visit(folder: Path) -> None:
    visits = pq.read_table(folder / "measurements.parquet").to_pylist()
    (folder / "measurements.parquet").unlink()
    lines = [json.dumps(row, default=str) + "\n" for row in visits]
    (folder / "journal.jsonl").write_text("".join(lines)[:-40], encoding="utf-8")
    assert len(load_results(folder).visits) == 17


def test_a_fold_that_was_cut_off_doubles_no_visit(folder: Path) -> None:
    """Killed after the parquet was written and before the journal was emptied."""
    visits = pq.read_table(folder / "measurements.parquet").to_pylist()
    (folder / "journal.jsonl").write_text(
        "".join(json.dumps(row, default=str) + "\n" for row in visits), encoding="utf-8"
    )
    assert len(load_results(folder).visits) == 18


def test_the_last_of_two_runs_that_began_in_one_second_is_the_later(tmp_path: Path) -> None:
    for identity in ("20261124T090000-made-ffff", "20261124T090000-made-0000"):
        RunFolder(tmp_path, {"run_id": identity}, []).close()
    assert find_run("last", tmp_path).name.endswith("0000")


def test_several_runs_load_together(convscope: Convscope, suite: Path, stub: Stub, tmp_path: Path) -> None:
    python = stub({"spread": 0})
    paths = [
        tmp_path / str(convscope("run", suite, "--python", python, "--json").json["path"]) for _ in range(2)
    ]
    loaded = load_results(*paths)
    assert loaded.summary["run_id"].nunique() == 2
    assert len(loaded.summary) == 12
    assert len(load_results(results=tmp_path / "results").runs) == 2
    assert all(run["run_id"] in repr(loaded) for run in loaded.runs)


def test_a_run_is_found_by_id_by_prefix_and_as_last(folder: Path) -> None:
    for name in (folder.name, folder.name[:15], "last", str(folder)):
        assert load_results(name, results=folder.parent).runs[0]["run_id"] == folder.name


def test_a_run_that_is_not_there_is_an_error_with_the_nearest_names(folder: Path) -> None:
    with pytest.raises(UsageError, match="no such run"):
        load_results("2019", results=folder.parent)
    with pytest.raises(UsageError, match="no run yet"):
        load_results("last", results=folder.parent / "none")


def test_a_run_of_a_newer_schema_is_refused(folder: Path) -> None:
    header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(header | {"schema": 99}), encoding="utf-8")
    with pytest.raises(StorageError, match="schema 99"):
        load_results(folder)


def test_one_broken_run_does_not_hide_the_others(folder: Path, convscope: Convscope) -> None:
    broken = folder.parent / "broken"
    broken.mkdir()
    (broken / "run.json").write_text("{", encoding="utf-8")
    listed = convscope("results", "--json").json
    assert [run["state"].partition(":")[0] for run in listed] == ["complete", "unreadable"]


def test_a_parquet_that_is_broken_is_named(folder: Path) -> None:
    (folder / "measurements.parquet").write_bytes(b"PAR1 no more")
    with pytest.raises(StorageError, match=r"measurements\.parquet"):
        load_results(folder)


@pytest.mark.parametrize("latency_s", [-1e-3, 0.0, float("nan"), 1e12])
def test_a_latency_that_no_call_takes_is_refused_with_its_file(folder: Path, latency_s: float) -> None:
    """As somebody else's program may write it: the file itself is whole."""
    path = folder / "measurements.parquet"
    table = pq.read_table(path)
    values = pa.array([latency_s, *table["latency_s"].to_pylist()[1:]])
    pq.write_table(table.set_column(table.schema.get_field_index("latency_s"), "latency_s", values), path)
    with pytest.raises(StorageError, match=r"a latency is not above 0") as raised:
        load_results(folder)
    assert "measurements.parquet" in str(raised.value.where)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run_id": 7}, "run_id is '7', which is no string"),
        ({"quick": None}, "quick is missing"),
        ({"arms": {"main": {"environment_id": "another"}}}, "the environment of main is missing"),
        ({"arms": {"main": []}}, "arms.main is no object"),
        ({"devices": [None]}, "devices is no object"),
        ({"policy": {"target_width": "wide"}}, "its policy or gate: target_width"),
        ({"gate": {"tolerance": {"latency_s": "x"}}}, "its policy or gate: "),
        ({"wall_s": "long"}, "wall_s is 'long', which is no double"),
        ({"git": {"commit": 5}}, "git.commit is '5', which is no string"),
        ({"ceilings": [{}]}, "its ceilings are no roofs"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_header_with_a_value_of_another_type_is_refused_by_its_key(
    folder: Path, convscope: Convscope, changes: dict[str, object], said: str
) -> None:
    header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    (folder / "run.json").write_text(json.dumps(header | changes), encoding="utf-8")
    ended = convscope("report", folder)
    assert ended.code == 2
    assert said in ended.err


def test_a_policy_that_lacks_a_key_has_the_usual_value(folder: Path) -> None:
    """As in runs of older versions."""
    header = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del header["policy"]["target_width"]
    (folder / "run.json").write_text(json.dumps(header), encoding="utf-8")
    assert load_results(folder).runs[0]["policy"]["target_width"] == Policy().target_width


@pytest.mark.parametrize("name", ["latency_s", "latency_low_s", "latency_high_s", "latency_median_s"])
def test_a_line_of_the_journal_without_its_latency_is_none(folder: Path, name: str) -> None:
    rows = pq.read_table(folder / "measurements.parquet").to_pylist()
    (folder / "measurements.parquet").unlink()
    rows[0][name] = None
    lines = [json.dumps(row, default=str) + "\n" for row in rows]
    (folder / "journal.jsonl").write_text("".join(lines), encoding="utf-8")
    loaded = load_results(folder)
    assert len(loaded.summary) == 6
    assert "Lines of journal.jsonl that cannot be read: 1." in loaded.runs[0]["lost"]


def test_values_for_json_have_no_nan() -> None:
    assert as_json_values({"a": float("nan"), "b": [1.0, float("nan")], "c": "x"}) == {
        "a": None,
        "b": [1.0, None],
        "c": "x",
    }


def test_a_byte_that_a_disk_has_changed_is_told_and_not_read_as_a_figure(folder: Path) -> None:
    path = folder / "measurements.parquet"
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    (samples,) = (one for one in columns if one.path_in_schema.startswith("samples_s"))
    at = samples.data_page_offset + samples.total_compressed_size // 2
    whole = path.read_bytes()
    path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(StorageError, match=r"cannot be read.*CRC"):
        load_results(folder)
