"""Older files read as this version writes them: a function a schema, applied when a run is loaded. Nothing on
disk is changed.

to_schema_2    place_figures_s from the figures of blocks, which is as near as a file without samples comes;
reference probes are dropped
"""

from __future__ import annotations

import pyarrow as pa

from harness.core.stats import PLACES

RETIRED = ("reference_copy_s", "reference_compute_s", "reference_time_s")


def migrated(table: pa.Table) -> pa.Table:
    """Visits of any schema up to this one."""
    return to_schema_2(table)


def to_schema_2(table: pa.Table) -> pa.Table:
    """What is there already is left as it is. Of three blocks that lie alike the lowest figure stands for the
    low quantile of their samples."""
    table = table.drop_columns([name for name in RETIRED if name in table.column_names])
    places, blocks = (table.column(name).to_pylist() for name in ("place_figures_s", "block_figures_s"))
    if all(place is not None or block is None for place, block in zip(places, blocks, strict=True)):
        return table
    filled = [
        place if place is not None or not block else _lowest(block)
        for place, block in zip(places, blocks, strict=True)
    ]
    index = table.column_names.index("place_figures_s")
    return table.set_column(index, "place_figures_s", pa.array(filled, pa.list_(pa.float64())))


def _lowest(blocks: list[float]) -> list[float]:
    return [min(blocks[place::PLACES]) for place in range(min(PLACES, len(blocks)))]
