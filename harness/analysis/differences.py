"""Whether two latencies differ: by their intervals, and by enough to be spoken of.

In: rows of the summary. Not here: verdicts. A difference beyond the intervals is worth a look; whether a
change is real is for `compare` to say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    Row = Mapping[Any, Any] | pd.Series[Any]

NOTABLE = 1.10  # a ratio below this is not spoken of, however narrow its interval


def clearly_slower(slow: Row, fast: Row) -> bool:
    """Whether a case is slower than another beyond both intervals and by more than 10 %; never with an
    interval from within one process."""
    return bool(fast["interval"] == slow["interval"] == "between" and beyond_intervals(slow, fast))


def beyond_intervals(slow: Row, fast: Row) -> bool:
    """The same, whatever the intervals are of."""
    return bool(
        slow["latency_low_s"] > fast["latency_high_s"] and slow["latency_s"] > NOTABLE * fast["latency_s"]
    )
