"""Builds tests/data/npu_on_cpu.cpp, and has torch load it by itself, as it loads others' back ends."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

SOURCE = Path(__file__).with_name("data") / "npu_on_cpu.cpp"
MODULE = '''
import sys
import types

import torch


def load():
    """Called by torch, by its entry point."""
    torch.utils.rename_privateuse1_backend("npu")
    answers = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "manual_seed_all": lambda seed: None,
        "_is_in_bad_fork": lambda: False,
    }
    module = types.ModuleType("torch.npu")
    vars(module).update(answers)
    module.conv = types.SimpleNamespace(allow_hf32=True)  # as Ascend's
    torch._register_device_module("npu", module)
    import npu_on_cpu
'''


def build(folder: Path) -> None:
    """Put it into a folder; interpreters with that folder on PYTHONPATH have the device (half a minute)."""
    from torch.utils.cpp_extension import include_paths, library_paths

    paths = [*include_paths(), sysconfig.get_path("include")]
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-O0", "-std=c++20", "-DTORCH_EXTENSION_NAME=npu_on_cpu", str(SOURCE)]
        + [f"-isystem{path}" for path in paths]
        + [f"-L{path}" for path in library_paths()]
        + ["-ltorch", "-ltorch_cpu", "-ltorch_python", "-lc10", "-o", str(folder / "npu_on_cpu.so")],
        check=True,
    )
    (folder / "npu_on_cpu_loader.py").write_text(MODULE, encoding="utf-8")
    facts = folder / "npu_on_cpu-1.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: npu-on-cpu\nVersion: 1\n", encoding="utf-8")
    entry = "[torch.backends]\nnpu_on_cpu = npu_on_cpu_loader:load\n"
    (facts / "entry_points.txt").write_text(entry, encoding="utf-8")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
