"""Where made cases stand under made roofs, by arithmetic that can be done by hand."""

from __future__ import annotations

from typing import Any

import pytest

from harness.analysis import roofline
from harness.analysis.roofline import Roofs

ROOFS = Roofs(flops_per_s=100e9, bytes_per_s={1_000_000: 40e9, 100_000_000: 10e9}, page_fault_s=0.5e-6)


def row(**values: Any) -> dict[str, Any]:
    usual = {
        "kind": "standard",
        "device": "cpu",
        "mode": "eager",
        "flops": 1e8,
        "minimum_bytes": 400_000,
        "cache": "hot",
        "latency_s": 2e-3,
        "primitives": None,
        "explained_share": 1.0,
        "minor_faults_per_call": 0.0,
    }
    return usual | values


def test_the_slower_of_two_roofs_holds() -> None:
    computes = roofline.standing(row(), ROOFS)
    assert (computes.roof, computes.attainable_s, computes.fraction) == (
        "compute",
        pytest.approx(1e-3),
        pytest.approx(0.5),
    )
    moves = roofline.standing(row(flops=1e6, minimum_bytes=20_000_000), ROOFS)
    assert (moves.roof, moves.attainable_s) == ("memory", pytest.approx(2e-3))


@pytest.mark.parametrize(
    ("values", "attainable_s"),
    [
        ({"flops": 0.0, "minimum_bytes": 400_000}, 1e-5),
        ({"flops": 0.0, "minimum_bytes": 400_000, "cache": "rotating"}, 4e-5),
        ({"flops": 0.0, "minimum_bytes": 4_000_000}, 4e-4),
    ],
)
def test_what_fits_the_cache_and_stays_there_moves_at_the_caches_speed(
    values: dict[str, Any], attainable_s: float
) -> None:
    assert roofline.standing(row(**values), ROOFS).attainable_s == pytest.approx(attainable_s)


def test_parts_that_come_to_more_than_the_latency_are_scaled_to_it() -> None:
    parts = split(row(primitives=primitives(convolution=3e-3, reorder_source=1e-3)))
    assert (parts["convolution"], parts["reorder_source"], parts["dispatch"]) == (
        pytest.approx(1.5e-3),
        pytest.approx(0.5e-3),
        0,
    )


def test_what_primitives_leave_of_a_call_is_dispatch() -> None:
    seen = row(
        latency_s=12e-6,
        flops=1e4,
        minimum_bytes=4000,
        primitives=primitives(convolution=6e-6),
        explained_share=0.5,
    )
    assert split(seen) == pytest.approx(
        dict.fromkeys(roofline.PARTS, 0.0) | {"convolution": 6e-6, "dispatch": 6e-6}
    )


@pytest.mark.parametrize("explained_share", [None, float("nan")])
def test_torchs_own_operators_share_out_all_of_a_call(explained_share: float | None) -> None:
    """A profiler has no clock beside its own: what it costs is in their times."""
    seen = row(primitives=primitives(convolution=3e-3, other=1e-3), explained_share=explained_share)
    assert (split(seen)["convolution"], split(seen)["other"]) == (
        pytest.approx(1.5e-3),
        pytest.approx(0.5e-3),
    )


def test_what_a_gpu_does_not_compute_is_dispatch_and_in_a_graph_there_is_none() -> None:
    launched = row(
        device="cuda", latency_s=20e-6, primitives=primitives(convolution=3e-6), explained_share=None
    )
    assert (split(launched)["convolution"], split(launched)["dispatch"]) == (
        pytest.approx(3e-6),
        pytest.approx(17e-6),
    )
    assert split(launched | {"mode": "cuda_graph"})["other"] == pytest.approx(17e-6)
    assert split(launched | {"latency_s": 2e-6})["convolution"] == pytest.approx(2e-6)


def test_primitives_that_come_to_more_than_their_call_make_no_split_and_no_cause() -> None:
    seen = row(flops=1e6, primitives=primitives(convolution=1e-3), explained_share=1.2)
    assert roofline.split(seen, ROOFS) is None
    assert roofline.bound(roofline.standing(seen, ROOFS), None, seen["latency_s"]) is None
    assert roofline.bound(roofline.standing(row(), ROOFS), None, 2e-3) == "compute"


@pytest.mark.parametrize(
    ("dtype", "fp32_precision", "known"),
    [("float32", "ieee", True), ("float32", "bf16", False), ("float16", "ieee", False)],
)
def test_arithmetic_of_another_kind_has_no_roof(dtype: str, fp32_precision: str, known: bool) -> None:
    ceilings = [
        {
            "device": "cpu",
            "threads_used": 2,
            "roofs": {"flops_per_s_float32": 1e11, "bytes_per_s_1000": 1e10, "page_fault_s": None},
        }
    ]
    asked = row(device="cpu", threads_used=2, dtype=dtype, fp32_precision=fp32_precision)
    assert (roofline.roofs_of(asked, ceilings) is not None) is known


def primitives(**seconds: float) -> list[dict[str, Any]]:
    return [{"name": "any", "role": role, "calls": 1, "time_s": time_s} for role, time_s in seconds.items()]


def split(seen: dict[str, Any]) -> dict[str, float]:
    found = roofline.split(seen, ROOFS)
    assert found is not None
    return found


def test_the_parts_of_a_call_add_up_to_it() -> None:
    seen = row(
        primitives=primitives(convolution=1e-3, reorder_weights=0.2e-3),
        explained_share=0.8,
        minor_faults_per_call=1000.0,
    )
    parts = split(seen)
    named = {"convolution": 1e-3, "reorder_weights": 0.2e-3, "page_faults": 0.5e-3, "dispatch": 0.3e-3}
    assert parts == pytest.approx(dict.fromkeys(roofline.PARTS, 0.0) | named)
    assert sum(parts.values()) == pytest.approx(seen["latency_s"])


def test_where_onednn_has_no_part_the_rest_is_the_convolution() -> None:
    assert split(row())["convolution"] == pytest.approx(2e-3)


@pytest.mark.parametrize(
    ("values", "bound"),
    [
        ({"flops": 1.2e8}, "compute"),
        ({"flops": 1e6, "minimum_bytes": 15_000_000}, "memory"),
        (
            {
                "flops": 1e6,
                "primitives": primitives(
                    convolution=0.9e-3, reorder_source=0.5e-3, reorder_destination=0.5e-3
                ),
            },
            "layout",
        ),
        ({"flops": 1e6, "minor_faults_per_call": 2000.0}, "allocation"),
        (
            {
                "flops": 1e4,
                "latency_s": 12e-6,
                "minimum_bytes": 4000,
                "primitives": primitives(convolution=6e-6),
                "explained_share": 0.5,
            },
            "launch",
        ),
        ({"flops": 1e6}, "implementation"),
    ],
)
def test_what_binds_is_the_roof_or_the_largest_part_beside_the_convolution(
    values: dict[str, Any], bound: str
) -> None:
    seen = row(**values)
    at = roofline.standing(seen, ROOFS)
    assert roofline.bound(at, roofline.split(seen, ROOFS), seen["latency_s"]) == bound
