"""The five kinds explained: what each is, drawn small, and its shapes and counts for one example.

In: `Problem` alone, no measurement. Out: a `KindRow` a kind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from harness.analysis.labels import kind_name
from harness.core.problem import DEFINITIONS, KINDS, Kind, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable

EXAMPLE_CHANNELS = {
    "standard": (64, 128),
    "grouped": (64, 128),
    "depthwise": (64, 64),
    "pointwise": (64, 128),
    "depthwise_separable": (64, 128),
}
EXAMPLE_GROUPS = 4
EXAMPLE_SIZE = 56
DRAWN = 4  # channels in a diagram


@dataclass(frozen=True, slots=True)
class KindRow:
    """A kind, its definition and diagram, and its example as text."""

    kind: Kind
    name: str
    definition: str
    diagram: Markup
    input: str
    weights: str
    output: str
    parameters: int
    macs: int
    ratio: str


def kind_rows() -> list[KindRow]:
    """The five kinds, in their fixed order."""
    return [_row(kind) for kind in KINDS]


def _row(kind: Kind) -> KindRow:
    in_channels, out_channels = EXAMPLE_CHANNELS[kind]
    groups = EXAMPLE_GROUPS if kind == "grouped" else None
    problem = Problem(
        kind, in_channels=in_channels, out_channels=out_channels, size=EXAMPLE_SIZE, groups=groups
    )
    return KindRow(
        kind=kind,
        name=kind_name(kind),
        definition=DEFINITIONS[kind],
        diagram=diagram(kind),
        input=_shape(problem.input_shape),
        weights=", then ".join(map(_shape, problem.weight_shapes)),
        output=_shape(problem.output_shape),
        parameters=problem.parameters,
        macs=problem.macs,
        ratio="1" if problem.ratio_to_standard == 1 else f"1 / {1 / problem.ratio_to_standard:.3g}",
    )


def _shape(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape))


def diagram(kind: Kind) -> Markup:
    """Which output channels see which input channels: channels are squares, with the pixels that one output
    pixel looks at."""
    stages = ["depthwise", "pointwise"] if kind == "depthwise_separable" else [kind]
    columns = [10 + i * (58 if len(stages) > 1 else 116) for i in range(len(stages) + 1)]
    lines, squares = [], []
    for stage, left, right in zip(stages, columns, columns[1:], strict=False):
        for i in range(DRAWN):
            lines += [
                f'<path d="M{left + 14} {_y(i)}L{right} {_y(o)}"/>'
                for o in range(DRAWN)
                if stage in ("standard", "pointwise") or i == o or (stage == "grouped" and i // 2 == o // 2)
            ]
            squares.append(_square(left, _y(i), pixels=1 if stage == "pointwise" else 3))
    squares += [_square(columns[-1], _y(i), pixels=0) for i in range(DRAWN)]
    label = f"{kind_name(kind)}: {DEFINITIONS[kind]}"
    body = f'<g stroke="currentColor" fill="none" opacity=".55">{"".join(lines)}</g>{"".join(squares)}'
    return Markup(  # noqa: S704
        f'<svg class="diagram" viewBox="0 0 150 84" width="150" height="84" role="img" aria-label="{label}">'
        f"{body}</svg>"
    )  # only our words


def _y(channel: int) -> int:
    return 12 + 20 * channel


def _square(x: int, y: int, pixels: int) -> str:
    fill = ' fill="currentColor"' if pixels == 0 else ' fill="none"'
    square = f'<rect x="{x}" y="{y - 7}" width="14" height="14" rx="2" stroke="currentColor"{fill}/>'
    start = 7 - 4 * (pixels - 1) / 2
    dots = [
        f'<circle cx="{x + start + 4 * i:g}" cy="{y - 7 + start + 4 * j:g}" r="1.3" fill="currentColor"/>'
        for i in range(pixels)
        for j in range(pixels)
    ]
    return square + "".join(dots)
