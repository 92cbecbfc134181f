"""The commands about whole networks: `trace`. They translate, call and print, as those of `cli` do."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from harness.errors import UsageError
from harness.options import json_option, python_option, write


class Shape(click.ParamType[tuple[int, ...]]):
    """`1,3,224,224`."""

    name = "N,C,H,W"

    def convert(self, value: Any, _param: click.Parameter | None, _ctx: click.Context | None) -> tuple[int, ...]:
        """Raises UsageError for what is no shape."""
        try:
            shape = tuple(int(extent) for extent in str(value).split(","))
        except ValueError:
            shape = ()
        if len(shape) != 4 or min(shape) < 1:
            raise UsageError(f"{value!r} is no shape of images", where="--input", hint="Write batch, channels, height, width: 1,3,224,224")
        return shape


@click.command()
@click.argument("model", metavar="MODULE:ATTRIBUTE")
@click.option("--input", "shape", type=Shape(), default="1,3,224,224", show_default=True, help="Shape of the model's input.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.  [default: stdout]")
@python_option
@json_option
def trace(model: str, shape: tuple[int, ...], out: Path | None, python: str | None, as_json: bool) -> None:
    """List a model's convolutions, with how often each runs, as a layer list that suites take.

    MODULE:ATTRIBUTE is a module of torch, or a function without arguments that returns one, in the measured interpreter. What cannot be
    measured (transposed, 1-D, 3-D) is listed on stderr. Only modules are seen, not calls of torch.nn.functional.

    \b
    Examples:  convscope trace mymodels:resnet --out layers.csv
               convscope trace torchvision.models:mobilenet_v2 --input 1,3,224,224
    """
    from harness import api, layers

    found = layers.trace(model, shape, python or api.default_python())
    if out is not None:
        write(out, found.as_csv())
    if as_json:
        print(json.dumps({"layers": found.rows, "left": found.left, "path": None if out is None else str(out)}))
        return
    for left in found.left:
        print(f"left out: {left['name']}: {left['why']}", file=sys.stderr)
    if out is None:
        print(found.as_csv(), end="")
        return
    executed = sum(row["repeat"] for row in found.rows)
    print(f'{executed} convolutions, {len(found.rows)} of them different, in {out}.\nNext: a suite with layers = "{out.name}" beside it.')
