"""Older files read as this version writes them: a function a schema, applied when a run is loaded. Nothing on
disk is changed.

to_schema_2    place_figures_s from the figures of blocks, which is as near as a file without samples comes;
reference probes are dropped
to_schema_3    asked_id: the base's case_id, whoever implements it in the head
"""

from __future__ import annotations

import re
from collections import Counter

import pyarrow as pa

from harness.core.stats import PLACES

IMPLEMENTATION = re.compile(r";implementation=[^;|]+")
RETIRED = ("reference_copy_s", "reference_compute_s", "reference_time_s")


def migrated(table: pa.Table) -> pa.Table:
    """Visits of any schema up to this one."""
    return to_schema_3(to_schema_2(table))


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


def to_schema_3(table: pa.Table) -> pa.Table:
    """In an A/B the sides could differ by their implementations, and were asked for the base's, unless one
    side had a case by two of them."""
    if table.column("asked_id").null_count == 0:
        return table
    names = ["arm", "descriptor", "case_id"]
    rows = list(zip(*(table.column(name).to_pylist() for name in names), strict=True))
    shared = {descriptor: IMPLEMENTATION.sub("", descriptor) for _, descriptor, _ in rows}
    alike = Counter((arm, shared[descriptor]) for arm, descriptor in {row[:2] for row in rows})
    if max(alike.values()) > 1:
        shared = {descriptor: descriptor for descriptor in shared}
    asked = {shared[descriptor]: identity for arm, descriptor, identity in rows if arm != "head"}
    filled = [asked.get(shared[descriptor], identity) for _, descriptor, identity in rows]
    field = table.schema.field("asked_id")
    return table.set_column(table.column_names.index("asked_id"), field, pa.array(filled).cast(field.type))


def _lowest(blocks: list[float]) -> list[float]:
    return [min(blocks[place::PLACES]) for place in range(min(PLACES, len(blocks)))]
