"""Shapes of what JSON says: which keys an object has, and of which types.

A shape is a type of `core/columns`, `ANY`, an object by its keys, `EACH` for any other key, or a list of one
shape. A key with `?` may be missing or null. In: a shape and a value. Out: what does not fit, each with its
place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.core.columns import fits

if TYPE_CHECKING:
    from collections.abc import Iterator

EACH = "*"
ANY = "any"  # a value that is shown as it is
DEVICE = {"type": "string", "index?": "int16", "name?": "string", "facts?": {EACH: ANY}, EACH: ANY}
ENVIRONMENT = {
    EACH: ANY,
    "threads_available?": "int32",
    "memory_bytes?": "int64",
    "variables?": {EACH: "string"},
}


def faults(shape: Any, value: object, where: str = "") -> Iterator[str]:
    """What a value has that its shape has not, each with its place."""
    if shape == ANY:
        return
    if isinstance(shape, str):
        if not fits(shape, value):
            yield f"{where} is {str(value)[:40]!r}, which is no {shape}"
    elif isinstance(shape, list):
        if not isinstance(value, list):
            yield f"{where} is no list"
            return
        for one in value:
            yield from faults(shape[0], one, where)
    elif not isinstance(value, dict):
        yield f"{where or 'it'} is no object"
    else:
        yield from _faults_of_keys(shape, value, where)


def _faults_of_keys(shape: dict[str, Any], value: dict[str, Any], where: str) -> Iterator[str]:
    named = {key.removesuffix("?"): key for key in shape if key != EACH}
    for name, key in named.items():
        if value.get(name) is not None:
            yield from faults(shape[key], value[name], f"{where}.{name}".removeprefix("."))
        elif not key.endswith("?"):
            yield f"{name} is missing"
    if EACH in shape:
        for name in value.keys() - named.keys():
            yield from faults(shape[EACH], value[name], f"{where}.{name}".removeprefix("."))
