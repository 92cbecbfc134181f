"""Numbers as text for people, and how a sentence begins. Inside the program everything is seconds, bytes,
MACs and fractions; text is made here alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from harness.core.interval import Interval

VAGUE = 1.5  # a ratio whose interval spans this much is no number
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))
_COUNTS = ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k"))


def significant(value: float, digits: int = 3) -> str:
    """`value` with so many significant digits and no exponent: 0.0123, 1.23, 12.3, 123, 1,230."""
    if value == 0:
        return "0"
    rounded = float(f"{value:.{digits - 1}e}")
    exponent = int(f"{abs(rounded):e}".partition("e")[2])
    return f"{rounded:,.{max(digits - 1 - exponent, 0)}f}"


def seconds(value: float) -> str:
    """A duration in the unit that keeps it readable: `1.23 ms`."""
    unit = next(((scale, name) for scale, name in _TIMES if abs(value) >= 0.9995 * scale), _TIMES[-1])
    return f"{significant(value / unit[0])} {unit[1]}"


def duration(value: float) -> str:
    """A longer duration as people say it: `45 s`, `2 min 5 s`, `1 h 3 min`."""
    whole = max(round(value), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(value: float) -> str:
    """Bytes in binary units: `1.53 MiB`."""
    for scale, name in _BYTES:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {name}"
    return f"{value:.0f} B"


def count(value: float) -> str:
    """A number of MACs, FLOPs or parameters in decimal units: `231 M`."""
    for scale, name in _COUNTS:
        if abs(value) >= scale:
            return f"{significant(value / scale)} {name}"
    return f"{value:.0f}"


def times(ratio: Interval, what: str = "") -> str:
    """How many times, with its interval: `4.1 times as fast (3.9 to 4.3)`; `more than 15 times as fast` where
    the interval is too wide for a number."""
    value, low, high = (significant(end, 2) for end in (ratio.value, ratio.low, ratio.high))
    if ratio.high < VAGUE * ratio.low:
        return f"{value} times{what} ({low} to {high})"
    return f"more than {low} times{what}"


def percent(fraction: float) -> str:
    """A fraction as percent: `3.4 %`."""
    return f"{significant(100 * fraction, 2)} %"


def capitalized(text: str) -> str:
    """A text as the start of a sentence, the rest as it is."""
    return text[:1].upper() + text[1:]


def visible(text: str) -> str:
    """A stranger's text on one line: characters that move a terminal's cursor, colour it or reverse what
    follows are shown as escapes."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
