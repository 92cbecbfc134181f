"""The axes that a suite may sweep, and the values that each may take, from a file or from the command line.

In: raw values. Out: checked ones, or an error that says what is allowed. Not here: the shape of a suite file
(`suite`), what axes multiply to (`points`).
"""

from __future__ import annotations

import ast
import warnings
from typing import TYPE_CHECKING, Any

from harness.core.case import ALLOWED, DEFAULTS, Setting
from harness.core.errors import ProblemError, UsageError, nearest
from harness.core.problem import FIELDS, KINDS, PAIR_FIELDS
from harness.core.window import padding_text, parse_padding, parse_pair

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Value = int | bool | str
_SIZE_AT = FIELDS.index("height")
PROBLEM_AXES = (*FIELDS[:_SIZE_AT], "size", *FIELDS[_SIZE_AT:])  # size is height and width at once
AXES = ("kind", *PROBLEM_AXES, *DEFAULTS)
MOST_VALUES = 100_000
LONGEST_EXPRESSION = 200  # characters; what is longer was not written by anybody
EXPRESSION_AXES = ("in_channels", "out_channels", "groups")


def read_axis(name: str, raw: object) -> tuple[Value, ...]:
    """The values of an axis: a scalar, a list, a range, powers of two or an expression. Raises ValueError
    that says what is allowed."""
    if isinstance(raw, dict):
        values: Iterable[object] = _generated(raw)
    else:
        values = raw if isinstance(raw, (list, tuple)) else [raw]
    read = tuple(_value(name, value) for value in values)
    if not read:
        raise ValueError("has no values")
    return read


def parse_single(text: str, option: str) -> tuple[str, Value]:
    """`axis=value` from the command line, given to an option. Raises UsageError."""
    name, values = parse_override(text, option)
    if len(values) != 1:
        raise UsageError(f"{text!r} has several values", where=option, hint="A side has one value.")
    return name, values[0]


def parse_override(text: str, option: str = "-a") -> tuple[str, tuple[Value, ...]]:
    """`axis=values` from the command line: `64,128`, `32:512:32` or `32:512:x2`, both ends included. Raises
    UsageError."""
    name, equals, values = text.partition("=")
    if not equals or name not in AXES:
        hint = (
            nearest(name, AXES)
            if equals
            else "Write an axis, an equals sign and its values: in_channels=64,128"
        )
        raise UsageError(f"{text!r} is no axis with values", where=option, hint=hint)
    raw: list[object] = []
    try:
        for part in values.split(","):
            raw += (
                _stepped(part)
                if part.count(":") == 2 and name not in ("device", "implementation")
                else [_scalar(part)]
            )
        return name, read_axis(name, raw)
    except ProblemError as error:
        raise UsageError(error.what, where=f"{option} {name}", hint=error.hint) from None
    except ValueError as error:
        raise UsageError(str(error), where=f"{option} {name}") from None


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """`upper` over `lower`; a size above replaces a height and width below, and both of these a size."""
    replaced = (
        {"height", "width"} if "size" in upper else {"size"} if {"height", "width"} <= upper.keys() else set()
    )
    return {name: value for name, value in lower.items() if name not in replaced} | dict(upper)


ALL = -1  # in place of an index: every device of a type


def take_placement(axes: dict[str, tuple[Value, ...]], placement: dict[str, int]) -> None:
    """Take the indices out of an axis of devices ("cuda:1" is cuda, placed on 1; "cuda:all" on `ALL`). Raises
    ValueError for two indices of one type."""
    types = []
    for value in axes.get("device", ()):
        kind, _, index = str(value).partition(":")
        types.append(kind)
        place = ALL if index == "all" else int(index or 0)
        if index and placement.setdefault(kind, place) != place:
            other = "all" if placement[kind] == ALL else placement[kind]
            raise ValueError(
                f"{value!r} and {kind}:{other} in one suite: one index a device type can be measured in a run"
            )
    if types:
        axes["device"] = tuple(dict.fromkeys(types))


def evaluated(asked: Mapping[str, Value]) -> dict[str, Value]:
    """Expressions replaced by their values; each may stand on others. Raises ProblemError for one that stands
    on itself or on nothing."""
    known: dict[str, Value] = dict(asked)
    pending = [name for name in EXPRESSION_AXES if isinstance(known.get(name), str)]
    # what is not stated is as many as go in
    absent = {} if "out_channels" in known else {"out_channels": "in_channels"}
    while pending:
        ready = [
            name
            for name in pending
            if {absent.get(other, other) for other in _names(str(known[name]))}.isdisjoint(pending)
        ]
        if not ready:
            raise ProblemError(pending[0], f"{known[pending[0]]!r} stands on itself")
        for name in ready:
            known[name] = _evaluate(name, check_expression(str(known[name])).body, known)
            if int(known[name]) < 1:
                raise ProblemError(name, f"{asked[name]!r} is {known[name]} here, below 1")
            pending.remove(name)
    return known


def check_expression(text: str) -> ast.Expression:
    """Parse an expression over a point's fields: names, whole numbers, + - * // and parentheses. Raises
    ValueError."""
    names = [name for name in FIELDS if name not in PAIR_FIELDS and name != "bias"]
    if len(text) > LONGEST_EXPRESSION:
        raise ValueError(f"'{text[:20]}...' is longer than {LONGEST_EXPRESSION} characters")
    try:
        with warnings.catch_warnings(action="ignore"):  # Python's, of the text of a user
            tree = ast.parse(text, mode="eval")
    except SyntaxError:
        raise ValueError(f'{text!r} is not an expression such as "2 * in_channels"') from None
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id not in names:
            raise ValueError(f"{text!r} names {node.id}, which is no field. {nearest(node.id, names)}")
        allowed = (
            ast.Expression,
            ast.BinOp,
            ast.Name,
            ast.Load,
            ast.Constant,
            ast.Add,
            ast.Sub,
            ast.Mult,
            ast.FloorDiv,
        )
        if not isinstance(node, allowed) or (isinstance(node, ast.Constant) and type(node.value) is not int):
            raise ValueError(f"{text!r} may hold fields, whole numbers, + - * // and parentheses only")
    return tree


def _names(expression: str) -> set[str]:
    return {node.id for node in ast.walk(check_expression(expression)) if isinstance(node, ast.Name)}


def _evaluate(axis: str, node: ast.expr, known: Mapping[str, Value]) -> int:
    if isinstance(node, ast.Constant):
        return int(node.value)  # type: ignore[arg-type]  # check_expression let only integers through
    if isinstance(node, ast.Name):
        if node.id not in known and node.id == "out_channels":
            return _evaluate(axis, ast.Name("in_channels"), known)
        if node.id not in known:
            raise ProblemError(axis, f"stands on {node.id}, which is not stated")
        return int(known[node.id])
    assert isinstance(node, ast.BinOp)
    left, right = _evaluate(axis, node.left, known), _evaluate(axis, node.right, known)
    if isinstance(node.op, ast.FloorDiv):
        if right == 0:
            raise ProblemError(axis, "divides by 0")
        return left // right
    return (
        left + right
        if isinstance(node.op, ast.Add)
        else left - right
        if isinstance(node.op, ast.Sub)
        else left * right
    )


def _value(name: str, value: object) -> Value:
    """One value of an axis, checked as far as it can be alone."""
    if name == "padding":
        return "same" if value == "same" else padding_text(parse_padding(value))  # type: ignore[arg-type]  # as parse_pair
    if name in PAIR_FIELDS:
        return "x".join(map(str, parse_pair(name, value)))  # type: ignore[arg-type]  # parse_pair refuses what it does not know
    if name == "kind":
        return _one_of(value, KINDS)
    if name == "device":
        kind, colon, index = str(value).partition(":")
        _one_of(kind, ALLOWED["device"])
        if colon and index != "all" and not index.isdecimal():
            raise ValueError(f"{value!r} is no device: write cpu, cuda, cuda:1 or cuda:all")
        return str(value)
    if name in ALLOWED:
        return _one_of(value, ALLOWED[name])
    if name in ("bias", "autotune"):
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        raise ValueError(f"{value!r} is neither true nor false")
    if name in ("threads", "implementation"):
        Setting(**{name: str(value)})  # type: ignore[arg-type]  # both are text
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if value < 1:
            raise ValueError(f"{value} is below 1")
        return value
    if isinstance(value, str) and name in EXPRESSION_AXES:
        check_expression(value)
        return value
    raise ValueError(
        f"{value!r} is not a whole number" + (", nor an expression" if name in EXPRESSION_AXES else "")
    )


def _generated(raw: Mapping[str, Any]) -> list[int]:
    """`{ range = [first, last, step] }` and `{ powers_of_two = [first, last] }`, both ends included."""
    ((name, numbers),) = raw.items() if len(raw) == 1 else [("", None)]
    whole = isinstance(numbers, list) and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)
    match name, numbers:
        case "range", [first, last, step] if whole and step > 0:
            return _limited(range(first, last + 1, step))
        case "powers_of_two", [first, last] if whole:
            return [2**i for i in range(64) if first <= 2**i <= last]
    raise ValueError(
        f"{dict(raw)} is neither {{ range = [first, last, step] }} nor {{ powers_of_two = [first, last] }}"
    )


def _limited(values: range) -> list[int]:
    if values[MOST_VALUES:]:
        count = 1 + (values[-1] - values[0]) // values.step  # more than `len` may tell
        raise ValueError(f"{count:,} values are more than the {MOST_VALUES:,} that an axis may have")
    return list(values)


def _one_of(value: object, allowed: Sequence[str]) -> str:
    if value not in allowed:
        raise ValueError(f"{value!r} is not known. {nearest(str(value), allowed)}")
    return str(value)


def _scalar(text: str) -> object:
    words = {"true": True, "false": False}
    stripped = text.strip()
    return int(stripped) if stripped.removeprefix("-").isdecimal() else words.get(stripped, stripped)


def _stepped(text: str) -> list[int]:
    """`first:last:step` or `first:last:xfactor`, both ends included. Raises ValueError."""
    first, last, step = (part.strip() for part in text.split(":"))
    factor = step.removeprefix("x")
    if not (first.isdecimal() and last.isdecimal() and factor.isdecimal() and int(factor) > (step != factor)):
        raise ValueError(f"{text!r} is neither first:last:step nor first:last:xfactor")
    if step == factor:
        return _limited(range(int(first), int(last) + 1, int(step)))
    values, current = [], int(first)
    while 0 < current <= int(last):
        values.append(current)
        current *= int(factor)
    return values
