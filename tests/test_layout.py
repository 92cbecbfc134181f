"""What each room may import from outside: read from the code itself, so that a new module cannot be
forgotten."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

HARNESS = Path(__file__).parents[1] / "harness"
# the last two where they are there: a function of the worker asks first
MEASURED = {"torch", "fvcore", "pynvml"}
# a runtime's file is imported where that runtime is asked for
RUNTIMES = {"onnxruntime": {"onnx", "onnxruntime"}, "openvino": {"openvino"}}


def imported(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found - sys.stdlib_module_names - {"harness"}


@pytest.mark.parametrize("path", sorted((HARNESS / "core").glob("*.py")), ids=lambda path: path.stem)
def test_core_needs_the_standard_library_alone(path: Path) -> None:
    assert imported(path) == set()


@pytest.mark.parametrize("path", sorted((HARNESS / "worker").rglob("*.py")), ids=lambda path: path.stem)
def test_the_worker_needs_the_standard_library_and_torch_alone(path: Path) -> None:
    own = RUNTIMES.get(path.stem, set()) if path.parent.name == "runtimes" else set()
    assert imported(path) <= MEASURED | own
