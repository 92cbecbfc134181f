"""The programs of benchmarks/: each can be imported, and says how it is used where it has options. What they
measure, nox sessions assert."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "benchmarks"
# peers, which are installed where they are measured
OPTIONAL = {"pyperf", "pytest_benchmark", "triton", "cuda", "atheris"}


@pytest.mark.torch
@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_a_program_says_how_it_is_used(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setattr("sys.argv", [path.name, "--help"])
    spec = spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec
    assert spec.loader
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        assert error.name in OPTIONAL
        return
    if hasattr(module, "argparse"):
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 0
        assert "usage" in capsys.readouterr().out
