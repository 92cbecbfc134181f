"""A case as a program of its own: it runs with torch alone, prints a figure, and says what it is."""

from __future__ import annotations

import ast
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.core import stats
from harness.core.case import Case, Setting
from harness.core.errors import UsageError
from harness.core.problem import Problem
from harness.tasks.repro import benchdnn, script
from tests.conftest import Convscope, Stub

SMALL: dict[str, Any] = {"in_channels": 8, "size": 10}


REPEATED = [
    Case(
        Problem("grouped", **SMALL, groups=4, kernel_size="3x5", stride=2, bias=True),
        Setting(threads="1", allocator="default"),
    ),
    Case(Problem("standard", **SMALL, stride=2, padding="same"), Setting(threads="1")),
    Case(Problem("depthwise", **SMALL, dilation=2), Setting(computation="training", dtype="bfloat16")),
    Case(
        Problem("depthwise_separable", **SMALL, out_channels=16, batch=2),
        Setting(computation="forward", fp32_precision="bf16"),
    ),
]
EACH_IN_A_CHILD = """
import os, runpy, sys
import torch
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        runpy.run_path(path, run_name="__main__")
        sys.stdout.flush()
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(path)
assert not [name for name in sys.modules if name.startswith("harness")]
"""


@pytest.mark.torch
def test_the_script_runs_with_torch_alone(tmp_path: Path) -> None:
    """Without this package on its path; each in a process of its own, all of which share one import of
    torch."""
    paths = [tmp_path / f"{case.problem.kind}.py" for case in REPEATED]
    for path, case in zip(paths, REPEATED, strict=True):
        path.write_text(script(case, None, None), encoding="utf-8")
        assert "harness" not in path.read_text(encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "-I", "-c", EACH_IN_A_CHILD, *map(str, paths)],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    told = ended.stdout.splitlines()
    assert len(told) == len(REPEATED)
    for line in told:
        assert re.fullmatch(
            r"[0-9.]+ us per call \(mean of the 10th percentiles of "
            r"4 ways to lie(, at [0-9]+ page faults per call)?\)",
            line,
        )


@pytest.mark.parametrize("allocator", ["retained", "default"])
def test_the_script_has_the_method_of_a_visit_by_its_own_text(allocator: str) -> None:
    case = Case(Problem("depthwise", **SMALL), Setting(allocator=allocator))
    text = script(case, None, None)
    functions = {"place_figures", "low_quantile", "blocks_of"}
    functions |= {"at_mean_faults", "fault_cost_s"} if allocator == "default" else set()
    defined = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    assert functions <= defined
    for name in functions:
        assert inspect.getsource(getattr(stats, name)) in text


def test_onednn_gets_a_line_for_each_half() -> None:
    """In the syntax of its driver: `g`, `mb`, `ic`, `oc`, then height and width, where a dilation of 0 is
    torch's 1."""
    separable = Case(
        Problem("depthwise_separable", in_channels=64, out_channels=128, size=56, stride=2),
        Setting(memory_format="channels_last"),
    )
    depthwise, pointwise = benchdnn(separable)
    assert depthwise.endswith(
        "--dt=f32 --stag=acdb --dtag=acdb g64mb1_ic64oc64_ih56oh28kh3sh2dh0ph1_iw56ow28kw3sw2dw0pw1"
    )
    assert pointwise.endswith("g1mb1_ic64oc128_ih28oh28kh1sh1dh0ph0_iw28ow28kw1sw1dw0pw0")


def test_a_measured_case_carries_its_figure_and_its_environment(convscope: Convscope, stub: Stub) -> None:
    convscope("run", "-a", "kind=depthwise", "-a", "in_channels=8", "-a", "size=14", "--python", stub())
    identity = Case(Problem("depthwise", in_channels=8, size=14), Setting()).case_id
    ended = convscope("repro", identity[:8], "--file", "repro.py", "--json")
    assert ended.code == 0, ended.err
    text = ended.json["script"]
    assert "torch        0.0-stub" in text
    assert re.search(r"measured +1\.0\d ms|measured +99\d µs|measured +9\d\d µs", text)
    assert "torch.set_num_threads(2)" in text
    assert "benchdnn --conv" in text


def test_a_case_that_was_measured_is_explained_in_full(convscope: Convscope, stub: Stub) -> None:
    convscope(
        "run",
        "-a",
        "kind=depthwise",
        "-a",
        "in_channels=8",
        "-a",
        "size=14",
        "-a",
        "allocator=retained,default",
        "--python",
        stub(),
    )
    identity = Case(Problem("depthwise", in_channels=8, size=14), Setting()).case_id
    ended = convscope("explain", identity)
    assert ended.code == 0, ended.err
    assert "every channel is filtered alone" in ended.out
    assert "heap kept" in ended.out
    assert "bottleneck" in ended.out
    assert convscope("explain", identity, "--json").json["measured"]["case_id"] == identity


def test_a_kind_is_explained_and_measured(convscope: Convscope, stub: Stub) -> None:
    ended = convscope("explain", "depthwise", "--in", "8", "--measure", "--python", stub())
    assert ended.code == 0, ended.err
    assert "Time of one call by part:" in ended.out
    assert ended.out.splitlines()[-1].startswith("Next: convscope repro depthwise --in 8")


def test_out_is_the_number_of_channels_here_too(convscope: Convscope, tmp_path: Path) -> None:
    ended = convscope("repro", "standard", "--in", "8", "--out", "24")
    assert "out_channels=24" in ended.out
    assert not (tmp_path / "24").exists()


@pytest.mark.parametrize("command", ["explain", "repro"])
def test_a_case_that_is_nowhere_is_refused(convscope: Convscope, command: str) -> None:
    ended = convscope(command, "0123456789abcdef")
    assert ended.code == 2
    assert "no such case" in ended.err


def test_a_measured_case_takes_no_shape(convscope: Convscope) -> None:
    ended = convscope("explain", "0123456789abcdef", "--in", "64")
    assert ended.code == 2
    assert "already has its shape" in ended.err


@pytest.mark.parametrize(
    "setting", [{"device": "cuda"}, {"implementation": "mine:layer"}, {"cache": "rotating"}]
)
def test_what_a_plain_script_cannot_repeat_is_refused(setting: dict[str, str]) -> None:
    with pytest.raises(UsageError):
        script(Case(Problem("standard", **SMALL), Setting(**setting)), None, None)
