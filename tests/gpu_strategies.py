"""Generated GPUs in virtual time, for hypothesis; launches, gaps and kernels take nanoseconds."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st

from tests.model_gpu import SECOND_NS, Gpu, Sm

quick = settings(max_examples=60, deadline=None)
few = settings(max_examples=20, deadline=None)
launches = st.integers(500, 60_000)  # ns; a convolution of eager torch takes some 10,000
kernels = st.floats(500, 500_000)
gaps = st.floats(300, 3_000)
moments = st.integers(0, SECOND_NS)  # events are rounded down, so it matters when they come
clocks_hz = st.floats(0.3e9, 2.5e9)


@st.composite
def gpus(draw: st.DrawFn) -> Gpu:
    """Any with a steady clock."""
    hz = draw(clocks_hz)
    sm = Sm(default_hz=hz, boost_hz=hz)
    return Gpu(
        launch_ns=draw(launches),
        gap_ns=draw(gaps),
        record_ns=draw(st.integers(100, 1_000)),
        now_ns=draw(moments),
        sm=sm,
    )
