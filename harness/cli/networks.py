"""The commands about whole networks: `trace`, `whatif`. They translate, call and print, as those of `main`
do."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from harness.cli.options import (
    AxisOption,
    install_signal_handlers,
    json_option,
    measuring_options,
    write,
)
from harness.core.errors import CasesFailed, Stopped, UsageError

if TYPE_CHECKING:
    from typing import TextIO, Unpack

    from harness.cli.options import Measuring
    from harness.plan.axes import Value
    from harness.plan.layer_list import Layers


class Shape(click.ParamType[tuple[int, ...]]):
    """`1,3,224,224`."""

    name = "N,C,H,W"

    def convert(
        self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Raises UsageError for what is no shape."""
        try:
            shape = tuple(int(extent) for extent in str(value).split(","))
        except ValueError:
            shape = ()
        if len(shape) != 4 or min(shape) < 1:
            raise UsageError(
                f"{value!r} is no shape of images",
                where="--input",
                hint="Write batch, channels, height, width: 1,3,224,224",
            )
        return shape


@click.command()
@click.argument("model", metavar="MODULE:ATTRIBUTE")
@click.option(
    "--input",
    "shape",
    type=Shape(),
    default="1,3,224,224",
    show_default=True,
    help="Shape of the model's input.",
)
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]"
)
@click.option(
    "--report",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Page to write: MACs and parameters layer by layer, with --measure time too.",
)
@click.option("--measure", "wanted", is_flag=True, help="Measure each layer too; kept in results/.")
@measuring_options()
@json_option
def trace(
    model: str,
    shape: tuple[int, ...],
    out: Path | None,
    page: Path | None,
    wanted: bool,
    as_json: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """List a model's convolutions and how often each runs, as a layer list for suites; show where their
    MACs, parameters and time go.

    MODULE:ATTRIBUTE is a torch module, or a function without arguments that returns one, in the measured
    interpreter. Calls of torch.nn.functional are seen too. Layers that cannot be measured (transposed, 1-D,
    3-D) are listed on stderr. Padding that a layer adds in its own forward is the layer's, uneven too.

    \b
    Examples:  convscope trace mymodels:resnet --out trace.csv
               convscope trace torchvision.models:mobilenet_v2 --report mobilenet.html
               convscope trace mymodels:resnet --measure --report resnet.html
    """
    from harness.output.report import write_model
    from harness.run.worker_process import default_python
    from harness.tasks.trace import trace as trace_model

    found = trace_model(model, shape, measuring["python"] or default_python())
    if wanted:
        _measure(model, found, out, page, as_json=as_json, **measuring)
        return
    if page is not None:
        page = write_model(model, "x".join(map(str, shape)), found, page)
    _show(found, out, as_json=as_json, page=page)


def _measure(
    model: str,
    found: Layers,
    out: Path | None,
    page: Path | None,
    *,
    as_json: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """Measure a layer list as a run, and say what its convolutions take."""
    from harness.output.progress_bar import RunProgress
    from harness.output.report import write_report
    from harness.output.run_answer import run_answer
    from harness.store.results import load_results
    from harness.tasks.sweep import sweep
    from harness.tasks.trace import suite_of

    if out is not None:
        write(out, found.as_csv())
    _say_left(found)
    install_signal_handlers()
    code = 0
    with RunProgress() as progress:
        try:
            done = sweep(suite_of(found, model), listener=progress, **measuring)
        except (CasesFailed, Stopped) as error:
            if progress.run is None:
                raise
            code, done = error.code, load_results(progress.run)
    assert progress.run is not None
    if page is not None:
        page = write_report(done, page)
    if as_json:
        run = {"run_id": done.runs[0]["run_id"], "path": str(progress.run)}
        print(json.dumps(_as_json(found, out, page) | run))
    else:
        run_answer(done, progress.run)
        if page is not None:
            print(f"The page is {page}.")
    sys.exit(code)


@click.command(name="import")
@click.argument("file", type=click.File(encoding="utf-8-sig", errors="replace"))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]"
)
@json_option
def import_lines(file: TextIO, out: Path | None, as_json: bool) -> None:
    """Read convolutions that other tools wrote, as a layer list for suites.

    FILE (- for stdin) holds words or batch files of benchdnn, lines of oneDNN's verbose mode
    (ONEDNN_VERBOSE=1), commands of MIOpenDriver, or a trace of torch's profiler with record_shapes=True.
    Equal convolutions are counted. Whatever is no forward 2-D convolution is listed on stderr.

    \b
    Examples:  ONEDNN_VERBOSE=1 python model.py | convscope import - --out layers.csv
               echo g128mb1ic128ih56oc128kh3ph1 | convscope import -
    """
    from harness.plan.problem_lines import read_problems

    found = read_problems(file.read())
    if not found.rows:
        hint = found.left[0] if found.left else {"name": "It", "why": "is empty."}
        raise UsageError(
            "has no convolution that can be measured", where=file.name, hint=f"{hint['name']}: {hint['why']}"
        )
    _show(found, out, as_json=as_json)


def _show(found: Layers, out: Path | None, *, as_json: bool, page: Path | None = None) -> None:
    """Write or print a layer list, and say what was left out."""
    if out is not None:
        write(out, found.as_csv())
    if as_json:
        print(json.dumps(_as_json(found, out, page)))
        return
    _say_left(found)
    executed = sum(row["repeat"] for row in found.rows)
    if page is not None:
        print(f"{executed} convolutions, {len(found.rows)} of them different: {page}")
    if out is not None:
        print(
            f"{executed} convolutions, {len(found.rows)} of them different, in {out}.\n"
            f'Next: a suite with layers = "{out.name}" beside it.'
        )
    if out is None and page is None:
        print(found.as_csv(), end="")


def _as_json(found: Layers, out: Path | None, page: Path | None) -> dict[str, Any]:
    return {
        "layers": found.rows,
        "left": found.left,
        "notes": found.notes,
        "path": None if out is None else str(out),
        "report": None if page is None else str(page),
    }


def _say_left(found: Layers) -> None:
    """On stderr."""
    for word, listed in (("left out", found.left), ("note", found.notes)):
        for one in listed:
            print(f"{word}: {one['name']}: {one['why']}", file=sys.stderr)


@click.command()
@click.argument("layers", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="LAYERS.csv")
@click.option(
    "--replace",
    "replacements",
    multiple=True,
    required=True,
    metavar="KIND=KIND",
    help="standard=depthwise_separable, standard=grouped:8.",
)
@click.option(
    "-a",
    "--axis",
    "axes",
    multiple=True,
    type=AxisOption(),
    help="Change a setting: memory_format=channels_last.",
)
@measuring_options()
@json_option
def whatif(
    layers: Path,
    replacements: tuple[str, ...],
    axes: tuple[tuple[str, tuple[Value, ...]], ...],
    as_json: bool,
    **measuring: Unpack[Measuring],
) -> None:
    """Measure a network's convolutions before and after replacing kinds; compare total latency, MACs and
    parameters. Kept in results/.

    \b
    Examples:  convscope whatif trace.csv --replace standard=depthwise_separable
               convscope whatif trace.csv --replace standard=grouped:8 -a memory_format=channels_last
    """
    from harness.output import answers
    from harness.output.progress_bar import RunProgress
    from harness.store.results import load_results
    from harness.tasks.sweep import sweep
    from harness.tasks.whatif import networks, parse_replacement, suite_of

    suite, kept = suite_of(layers, dict(map(parse_replacement, replacements)), dict(axes))
    install_signal_handlers()
    code = 0
    with RunProgress() as progress:
        try:
            found = sweep(suite, listener=progress, **measuring)
        except (CasesFailed, Stopped) as error:
            code, found = error.code, load_results(error.where)
    sides = networks(found)
    if as_json:
        run = {"run_id": found.runs[0]["run_id"], "path": str(progress.run)}
        print(
            json.dumps(
                run
                | {
                    "networks": [asdict(side) for side in sides],
                    "kept": [{"layer": layer, "why": why} for layer, why in kept],
                }
            )
        )
    else:
        answers.networks(sides, kept)
        print(f"Next: convscope report {progress.run}")
    sys.exit(code)


COMMANDS = (trace, import_lines, whatif)
