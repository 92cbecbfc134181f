"""Generated problems and settings, for hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from harness.core.case import ALLOWED, Setting
from harness.core.problem import KINDS, Problem

sizes = st.integers(1, 40)
pairs = st.tuples(st.integers(1, 5), st.integers(1, 5))
borders = st.integers(0, 3)


@st.composite
def problems(draw: st.DrawFn) -> Problem:
    """Any problem of any kind that has an output."""
    kind = draw(st.sampled_from(KINDS))
    groups = draw(st.integers(2, 6))
    in_channels = draw(st.integers(1, 6)) * (groups if kind == "grouped" else 1)
    kernel = (1, 1) if kind == "pointwise" else draw(pairs)
    dilation = (1, 1) if kind == "pointwise" else draw(pairs)
    out_channels = draw(st.integers(1, 6)) * (groups if kind == "grouped" else 1)
    if kind == "depthwise":
        in_channels += 1
        out_channels = in_channels * draw(st.integers(1, 3))
    if kind == "grouped" and groups == in_channels:
        in_channels *= 2
    if kind == "standard" and kernel == (1, 1):
        kernel = (3, 1)
    padding = draw(st.tuples(borders, borders) | st.tuples(borders, borders, borders, borders))
    height, width = (draw(sizes) + d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    return Problem(
        kind,
        in_channels=in_channels,
        out_channels=out_channels,
        height=height,
        width=width,
        batch=draw(st.integers(1, 3)),
        kernel_size=kernel,
        stride=draw(pairs),
        padding=padding,
        dilation=dilation,
        groups=groups if kind == "grouped" else None,
        bias=draw(st.booleans()),
    )


settings = st.builds(
    Setting,
    **{name: st.sampled_from(values) for name, values in ALLOWED.items()},  # type: ignore[arg-type]
    threads=st.sampled_from(["all", "1", "2"]),
    autotune=st.booleans(),
)
