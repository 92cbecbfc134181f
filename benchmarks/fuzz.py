"""What reads other people's files, under coverage-guided mutation by atheris: nothing but our own errors, and
no input that takes long or much memory.

    python benchmarks/fuzz.py suite --seconds 60     a suite, planned
    python benchmarks/fuzz.py layers                 a layer list
    python benchmarks/fuzz.py lines                  what `import` reads: words of benchdnn, traces
    python benchmarks/fuzz.py header                 run.json
    python benchmarks/fuzz.py answer                 a line of a worker
    python benchmarks/fuzz.py axis                   the text of -a

In: seeds that come along, or are made here. Out: exit code 0 after so many seconds; else the input that broke
it, in a file that is named, with libFuzzer's exit code.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris
import tomllib

with atheris.instrument_imports(include=["harness"]):
    from harness.core.errors import ConvscopeError
    from harness.core.protocol import NotAMessage, parsed
    from harness.core.protocol import checked as checked_answer
    from harness.plan.axes import parse_override
    from harness.plan.layer_list import read_layers
    from harness.plan.points import expand
    from harness.plan.problem_lines import read_problems
    from harness.plan.suite import parse_suite, shipped_suites
    from harness.store.run_header import checked

LONGEST_S, MOST_MB = 10, 1024  # of one input
LONGEST_BYTES = 4096
FOLDER = Path(tempfile.gettempdir(), "convscope-fuzz")  # made anew each time


def suite(data: bytes) -> None:
    """As `convscope plan FILE`."""
    with contextlib.suppress(UnicodeDecodeError, tomllib.TOMLDecodeError, ConvscopeError):
        text = data.decode()
        expand(parse_suite(tomllib.loads(text), text=text, folder=FOLDER))


def layers(data: bytes) -> None:
    """As the table of a suite's `layers`."""
    path = FOLDER / "layers.csv"
    path.write_bytes(data)
    with contextlib.suppress(ConvscopeError):
        read_layers(path, "layers.csv", [])


def lines(data: bytes) -> None:
    """As `convscope import FILE`."""
    with contextlib.suppress(ConvscopeError):
        read_problems(data.decode(errors="replace"))


def header(data: bytes) -> None:
    """As whoever loads a run."""
    with contextlib.suppress(NotAMessage, ValueError):
        checked(parsed(data))


def answer(data: bytes) -> None:
    """As the planner hears a worker."""
    with contextlib.suppress(NotAMessage, ConvscopeError):
        checked_answer(parsed(data))


def axis(data: bytes) -> None:
    """As `convscope run -a TEXT`."""
    with contextlib.suppress(ConvscopeError):
        parse_override(data.decode(errors="replace"))


def _suites() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in shipped_suites()]


def _layers() -> list[str]:
    home = shipped_suites()[0].parent
    return [path.read_text(encoding="utf-8")[:LONGEST_BYTES] for path in home.rglob("*.csv")]


LINES = [
    "g128ic128ih56oc128oh27kh4sh2ph0",
    "--dir=FWD_B --dt=bf16 mb8ic16ih112oc32oh106kh7dh1ph0n'name'",
    "onednn_verbose,v1,primitive,exec,cpu,convolution,jit:avx512_core,forward_inference,"
    "src:f32::blocked:abcd::f0 wei:f32::blocked:abcd::f0,,alg:convolution_direct,"
    "mb1_ic64oc128_ih56oh56kh1sh1dh0ph0_iw56ow56kw1sw1dw0pw0,0.5",
    "MIOpenDriver convfp16 -n 8 -c 64 -H 56 -W 56 -k 128 -y 3 -x 3 -p 1 -q 1 -u 1 -v 1 -l 1 -j 1 -g 1 -F 1",
    '{"traceEvents": [{"name": "aten::conv2d", "ts": 1.0, "args": '
    '{"Input Dims": [[1, 3, 8, 8], [4, 3, 3, 3]],'
    ' "Concrete Inputs": ["", "", "", "[1, 1]", "[1, 1]", "[1, 1]", "1"]}}]}',
]
HEADER = {
    "schema": 3,
    "run_id": "20261124T095503-made-4f1c",
    "state": "complete",
    "quick": False,
    "suite": {"name": "made"},
    "arms": {"main": {"environment_id": "e"}},
    "environments": {"e": {"torch": "2.13.0", "threads_available": 2}},
    "devices": [{"type": "cpu", "index": None, "name": "made"}],
    "policy": {},
    "gate": {"inconclusive": "pass"},
    "ceilings": [{"device": "cpu", "threads_used": 2, "roofs": {"flops_per_s_float32": 1e9}}],
}
TARGETS: dict[str, tuple[Callable[[bytes], None], Callable[[], list[str]]]] = {
    "suite": (suite, _suites),
    "layers": (layers, _layers),
    "lines": (lines, lambda: LINES),
    "header": (header, lambda: [json.dumps(HEADER)]),
    "answer": (answer, lambda: ['{"is": "done", "id": 1, "status": "ok", "values": {"latency_s": 1e-3}}']),
    "axis": (axis, lambda: ["in_channels=32:512:x2", "kernel_size=3x5,7", "groups=1,in_channels//8"]),
}


def main() -> None:
    """Ends the process: libFuzzer does."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    target, seeds = TARGETS[asked.what]
    shutil.rmtree(FOLDER, ignore_errors=True)
    corpus = FOLDER / "seeds"
    corpus.mkdir(parents=True)
    for number, text in enumerate(seeds()):
        (corpus / f"{number:03d}").write_text(text, encoding="utf-8")
    sys.stdout.flush()
    limits = [f"-timeout={LONGEST_S}", f"-rss_limit_mb={MOST_MB}", f"-max_len={LONGEST_BYTES}"]
    atheris.Setup(
        ["fuzz", *limits, f"-max_total_time={asked.seconds}", f"-artifact_prefix={FOLDER}/", str(corpus)],
        target,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
