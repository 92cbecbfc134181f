"""The window of a convolution as people state it: pairs of height and width, and padding.

In: a number, text or a tuple. Out: a `Pair`, or a `Padding`: (height, width) where both sides of each are
padded alike, as torch.nn.Conv2d takes it, else (left, right, top, bottom), as torch.nn.functional.pad does.
What may surprise: text has the height first, `0+1x2+3` is (2, 3, 0, 1); left out, padding is half the kernel
on both sides whatever the stride, while "same" with a stride is TensorFlow's.
"""

from __future__ import annotations

import re
from typing import TypeGuard

from harness.core.errors import ProblemError

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]  # left, right, top, bottom
Padding = Pair | Sides

SIDE = re.compile(r"\s*(\d+)\s*(?:\+\s*(\d+)\s*)?")  # 1, or 0+1: before and after


def is_whole(value: object) -> TypeGuard[int]:
    """Whether a value is an int that is no bool."""
    return isinstance(value, int) and not isinstance(value, bool)


def parse_pair(field: str, value: int | str | Pair) -> Pair:
    """`3`, `"3x5"` or `(3, 5)` as (height, width). Raises ProblemError."""
    if isinstance(value, str):
        parts = value.lower().split("x")
        if len(parts) in (1, 2) and all(part.strip().isdecimal() for part in parts):
            numbers = [int(part) for part in parts]
            return (numbers[0], numbers[-1])
    elif is_whole(value):
        return (value, value)
    elif isinstance(value, (tuple, list)) and len(value) == 2 and all(map(is_whole, value)):
        return (value[0], value[1])
    raise ProblemError(
        field,
        f"{value!r} is neither a whole number nor a pair",
        hint="Write 3, or 3x5 for height 3 and width 5.",
    )


def parse_padding(value: int | str | Padding) -> Padding:
    """As `parse_pair`; and `"0+1"` or `"0+1x2"`, before and after, or (left, right, top, bottom). Raises
    ProblemError."""
    if isinstance(value, (tuple, list)) and len(value) == 4 and all(map(is_whole, value)):
        return folded((value[0], value[1], value[2], value[3]))
    if not isinstance(value, str) or "+" not in value:
        return parse_pair("padding", value)  # type: ignore[arg-type]  # which refuses what it does not know
    found = [match for part in value.lower().split("x") if (match := SIDE.fullmatch(part))]
    if len(found) != value.lower().count("x") + 1 or len(found) > 2:
        raise ProblemError(
            "padding",
            f"{value!r} is no padding",
            hint="Write 0+1 for 0 before and 1 after, 0+1x2 for that in the height and 2 left and right.",
        )
    (top, bottom), (left, right) = ((int(one[1]), int(one[2] or one[1])) for one in (found[0], found[-1]))
    return folded((left, right, top, bottom))


def folded(sides: Sides) -> Padding:
    """(height, width) where that says it all."""
    left, right, top, bottom = sides
    return (top, left) if (left, top) == (right, bottom) else sides


def unfolded(padding: Padding) -> Sides:
    """(left, right, top, bottom) in any case."""
    if len(padding) == 4:
        return padding
    height, width = padding
    return (width, width, height, height)


def padding_text(padding: Padding) -> str:
    """`1x1`, and `0+1x1` where it differs before and after."""
    left, right, top, bottom = unfolded(padding)
    sides = ((top, bottom), (left, right))
    return "x".join(f"{before}" if before == after else f"{before}+{after}" for before, after in sides)


def short_text(text: str) -> str:
    """`3` for `3x3`."""
    height, _, width = text.partition("x")
    return height if height == width else text


def centred_padding(kernel_size: Pair, dilation: Pair) -> Pair:
    """dilation * (k - 1) / 2, rounded down: with an even kernel the output is one pixel smaller."""
    return (dilation[0] * (kernel_size[0] - 1) // 2, dilation[1] * (kernel_size[1] - 1) // 2)


def default_padding(kernel_size: Pair, dilation: Pair) -> Pair:
    """dilation * (k - 1) / 2 on each side, which at stride 1 keeps height and width. Raises ProblemError for
    even kernels."""
    if any(k % 2 == 0 for k in kernel_size):
        raise ProblemError(
            "padding",
            f"must be stated for an even kernel, kernel_size is {padding_text(kernel_size)}",
            hint="State it: same, 1, or 1+2 for 1 before and 2 after.",
        )
    return centred_padding(kernel_size, dilation)


def same_padding(size: Pair, kernel_size: Pair, stride: Pair, dilation: Pair) -> Padding:
    """What "same" is: ceil(size / stride) pixels come out, of an odd total of zeros the extra one is after.
    As torch's own at stride 1, TensorFlow's `SAME` (tf.nn, "Notes on padding") and timm's Conv2dSame."""
    (top, bottom), (left, right) = (
        (total // 2, total - total // 2)
        for pixels, k, s, d in zip(size, kernel_size, stride, dilation, strict=True)
        for total in [max((-(-pixels // s) - 1) * s + d * (k - 1) + 1 - pixels, 0)]
    )
    return folded((left, right, top, bottom))
