"""The cases of several runs as places on machines, for `analysis/machines`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.analysis.machines import places
from harness.output.views.points import run_names, summary_of

if TYPE_CHECKING:
    import pandas as pd

    from harness.analysis.machines import Place
    from harness.store.results import Results


USUAL = {"dtype": "float32", "computation": "inference"}


def machines(results: Results) -> list[Place]:
    """The layers that several devices measured; none where two runs are of one device, which are compared, or
    where a run has several arms."""
    measured = results.summary[results.summary["latency_s"].notna()]
    runs = measured.groupby("device_name", observed=True)["run_id"].nunique()
    if len(runs) < 2 or (runs > 1).any() or any(set(run["arms"]) != {"main"} for run in results.runs):
        return []
    return places(on_machines(results))


def on_machines(results: Results) -> pd.DataFrame:
    """A row a case that has a latency, with `machine`, the name of its device, with the run where several
    runs have it, and `place`, its layer whatever the kind. A pointwise kernel is no other layer, unless
    several other kernels were measured."""
    summary = summary_of(results)
    measured = summary[summary["latency_s"].notna()]
    runs = measured.groupby("device_name", observed=True)["run_id"].nunique()
    letters = run_names(results)
    kernels = measured.loc[measured["kind"] != "pointwise", ["kernel_height", "kernel_width"]]
    several = len(kernels.drop_duplicates()) > 1
    rows = measured.to_dict("records")
    return measured.assign(
        machine=[
            f"{row['device_name']}, run {letters[row['run_id']]}"
            if runs[row["device_name"]] > 1
            else row["device_name"]
            for row in rows
        ],
        place=[_place(row, several_kernels=several) for row in rows],
    )


def _place(row: dict[Any, Any], *, several_kernels: bool) -> str:
    """`64->128 at 56x56, stride 2, batch 8, bfloat16`."""
    words = [f"{row['in_channels']}->{row['out_channels']} at {row['height']}x{row['width']}"]
    if several_kernels:
        words.append(f"kernel {row['kernel_height']}x{row['kernel_width']}")
    if (row["stride_height"], row["stride_width"]) != (1, 1):
        words.append(f"stride {row['stride_height']}x{row['stride_width']}")
    if row["batch"] != 1:
        words.append(f"batch {row['batch']}")
    words += [str(row[name]) for name, usual in USUAL.items() if row[name] != usual]
    return ", ".join(words)
