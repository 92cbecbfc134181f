"""A suite file read and checked: TOML in, a `Suite` of sweeps out, or every fault of the file at once.

pydantic stands at this door alone; what comes out is cheap. Not here: the values of an axis (`axes`), what
axes multiply to (`points`). A fault names file, sweep and key, says what was found and what is allowed, and
the nearest known name.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tomllib
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, create_model

from harness.core.case import DEFAULTS
from harness.core.errors import ProblemError, SuiteError, UsageError, nearest
from harness.core.gate import Gate
from harness.core.policy import Policy
from harness.core.units import visible
from harness.plan.axes import AXES, PROBLEM_AXES, Value, merge, read_axis, take_placement
from harness.plan.layer_list import read_layers, repeat_of

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 1
SHIPPED = next(
    (
        folder
        for folder in (Path(__file__).parents[1] / "suites", Path(__file__).parents[2] / "suites")
        if folder.is_dir()
    ),
    Path("suites"),
)


@dataclass(frozen=True, slots=True)
class Sweep:
    """One sweep: axes that are multiplied, and rows that are zipped and override them. `x` is the axis that
    its chart runs over."""

    name: str
    x: str | None
    axes: dict[str, tuple[Value, ...]]
    rows: tuple[dict[str, Value], ...] = ({},)


@dataclass(frozen=True, slots=True)
class Suite:
    """What to measure and how much of it. `placement` maps a device type to the index that the file or the
    asker named; `ab` says what the sides of an A/B change, by `base` and `head`, then by axis."""

    name: str
    title: str
    policy: Policy
    sweeps: tuple[Sweep, ...]
    text: str = ""
    source: str = ""
    gate: Gate = field(default_factory=Gate)
    placement: dict[str, int] = field(default_factory=dict)
    ab: dict[str, dict[str, Value]] = field(default_factory=dict)

    @property
    def sha256(self) -> str:
        """Of the file's text."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def shipped_suites() -> list[Path]:
    """The suites that come with the package, and those in ./suites, which win where names are equal; by
    name."""
    found = {
        path.stem: path for folder in (SHIPPED, Path("suites")) for path in sorted(folder.glob("*.toml"))
    }
    return [found[name] for name in sorted(found)]


def find_suite(name: str) -> Path:
    """The file of a suite, from a path or a name. Raises SuiteError with the nearest names."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():
        return path
    named = {path.stem: path for path in shipped_suites()}
    if name not in named:
        raise SuiteError(name, ["there is no such suite, and no such file"], hint=nearest(name, named))
    return named[name]


def read_suite(path: Path) -> Suite:
    """Read and check a suite file. Raises SuiteError with every fault found."""
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows begin a file with a byte order mark
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text in UTF-8"
        raise SuiteError(
            str(path), [f"cannot be read: {reason}"], hint="`convscope suites` lists those that come along."
        ) from None
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SuiteError(
            str(path),
            [f"is not TOML: {error}"],
            hint="Strings need quotes, and every table's name stands in brackets.",
        ) from None
    except RecursionError:
        raise SuiteError(str(path), ["is nested deeper than any suite"]) from None
    return parse_suite(content, text=text, source=str(path), folder=path.parent)


def parse_suite(
    content: Mapping[str, Any], *, text: str = "", source: str = "suite", folder: Path = Path()
) -> Suite:
    """Check a suite's content. Raises SuiteError with every fault found; `folder` is where layer lists are
    looked for."""
    faults: list[str] = []
    policy = _policy(content.get("policy", {}), faults)
    try:
        checked = _SuiteFile.model_validate(content)
    except ValidationError as error:
        raw = content.get("sweep")
        # layer lists are read all the same, so that their faults are told with the others
        for sweep in raw if isinstance(raw, list) else []:
            if isinstance(sweep, dict) and isinstance(sweep.get("layers"), str):
                read_layers(folder / sweep["layers"], f'sweep "{sweep.get("name", "")}"', faults)
        raise SuiteError(source, [_fault(content, detail) for detail in error.errors()] + faults) from None
    placement: dict[str, int] = {}
    names = Counter(sweep.name for sweep in checked.sweep)
    faults += [
        f'sweep "{name}": {count} sweeps have this name; give each its own'
        for name, count in names.items()
        if count > 1
    ]
    sweeps = [_sweep(checked, sweep, folder, faults, placement) for sweep in checked.sweep]
    gate = _gate(checked.gate, faults)
    if faults:
        raise SuiteError(source, faults)
    sides = {
        side: _single(getattr(checked.ab, side))
        for side in (checked.ab.model_fields_set if checked.ab else ())
    }
    return Suite(
        checked.name,
        visible(checked.title or checked.name),
        policy,
        tuple(sweeps),
        text,
        source,
        gate,
        placement,
        sides,
    )


def _gate(table: _Gate | None, faults: list[str]) -> Gate:
    """The gate that a table states; what is wrong with it is added to `faults`."""
    try:
        return Gate.from_json(table.model_dump(exclude_unset=True)) if table else Gate()
    except UsageError as error:
        faults.append("[gate], " + str(error).replace("\n", ". "))
        return Gate()


def _axis(name: str, *, single: bool = False) -> Any:
    def read(raw: object) -> tuple[Value, ...]:
        try:
            values = read_axis(name, raw)
        except ProblemError as error:
            raise ValueError(f"{error.what}. {error.hint}".strip()) from None
        if single and len(values) != 1:
            raise ValueError("a row holds single values; lists belong to the sweep")
        return values

    return Annotated[tuple[Any, ...] | None, BeforeValidator(read)]


def _chart_axis(raw: object) -> str:
    if raw not in (*AXES, "layer"):
        raise ValueError(f"{raw!r} is no axis. {nearest(str(raw), (*AXES, 'layer'))}")
    return str(raw)


def _suite_name(raw: object) -> str:
    if not isinstance(raw, str) or not re.fullmatch(r"[\w-]+", raw, re.ASCII):
        raise ValueError(f"{raw!r} cannot name a folder of results: use letters, digits, _ and -")
    return raw


def _schema(raw: object) -> object:
    if isinstance(raw, bool):  # true is 1 to Python, and not to people
        raise ValueError(f"{raw!r} is not the number 1")
    return raw


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", arbitrary_types_allowed=True)


_table = partial(create_model, __base__=_Table)
_Problem: Any = _table("_Problem", **{name: (_axis(name), None) for name in PROBLEM_AXES if name != "kind"})
_Setting: Any = _table("_Setting", **{name: (_axis(name), None) for name in DEFAULTS})
_Axes: Any = _table("_Axes", **{name: (_axis(name), None) for name in AXES})
_Row: Any = _table(
    "_Row",
    **{name: (_axis(name, single=True), None) for name in AXES},
    layer=(str | None, None),
    repeat=(Annotated[int, BeforeValidator(repeat_of)] | None, None),
)


_Side: Any = _table("_Side", **{name: (_axis(name, single=True), None) for name in AXES if name != "device"})


class _Ab(_Table):
    base: _Side = Field(default_factory=_Side)
    head: _Side = Field(default_factory=_Side)


class _Sweep(_Axes):  # type: ignore[misc]  # made at run time from the list of axes
    name: str
    x: Annotated[str, BeforeValidator(_chart_axis)] | None = None
    rows: list[_Row] = Field(default_factory=list)
    layers: str | None = None


class _Override(_Table):
    match: dict[str, Any]
    tolerance: dict[str, float]


class _Gate(_Table):
    confirm_pairs: tuple[int, int] = (0, 0)  # what is not stated is left to `Gate`
    inconclusive: str = ""
    tolerance: dict[str, float] = Field(default_factory=dict)
    override: list[_Override] = Field(default_factory=list)


class _SuiteFile(_Table):
    # "schema" is a method of pydantic's models
    version: Annotated[Literal[1], BeforeValidator(_schema)] = Field(alias="schema")
    name: Annotated[str, BeforeValidator(_suite_name)]
    title: str | None = None
    policy: dict[str, Any] = Field(default_factory=dict)
    gate: _Gate | None = None
    ab: _Ab | None = None
    problem: _Problem = Field(default_factory=_Problem)
    setting: _Setting = Field(default_factory=_Setting)
    sweep: list[_Sweep] = Field(min_length=1)


_KEYS: dict[str, list[str]] = {
    "": ["schema", *(name for name in _SuiteFile.model_fields if name != "version")],
    "problem": list(PROBLEM_AXES),
    "setting": list(DEFAULTS),
    "sweep": list(_Sweep.model_fields),
    "rows": list(_Row.model_fields),
    "gate": list(_Gate.model_fields),
    "override": list(_Override.model_fields),
    "ab": list(_Ab.model_fields),
    "base": list(_Side.model_fields),
    "head": list(_Side.model_fields),
}


_WORDS = {  # pydantic's own words name its types and our private ones
    "model_type": "is not a table",
    "dict_type": "is not a table",
    "list_type": "is not a list; tables of a list are written in double brackets, [[sweep]]",
    "too_short": "is empty",
}


def _fault(content: Mapping[str, Any], detail: Mapping[str, Any]) -> str:
    """One of pydantic's errors as a line of ours: where, what was found, what is allowed."""
    place = list(detail["loc"])
    where, table = [], ""
    while place and len(place) > 1 and isinstance(place[0], str) and place[0] in _KEYS:
        table = place.pop(0)
        if place and isinstance(place[0], int):
            index = place.pop(0)
            entry = content.get(table, [{}])[index] if table == "sweep" else {}
            where.append(
                f'sweep "{entry["name"]}"'
                if isinstance(entry, dict) and "name" in entry
                else f"{table} {index + 1}"
            )
        else:
            where.append(f"[{table}]")
    key = ".".join(map(str, place))
    prefix = " ".join(where) + (", " if where and key else "")
    if detail["type"] == "extra_forbidden":
        return f"{prefix}unknown key {key!r}. {nearest(key, _KEYS.get(table, []))}"
    if detail["type"] == "missing":
        return f"{prefix}{key} is not stated"
    what = _WORDS.get(detail["type"]) or detail["msg"].removeprefix("Value error, ")
    found = "" if detail["type"] in ("value_error", *_WORDS) else f"found {detail['input']!r}. "
    return f"{prefix}{key}: {found}{what}"


def _policy(table: object, faults: list[str]) -> Policy:
    """The policy that a table states; what is wrong with it is added to `faults`."""
    stated = dict(table) if isinstance(table, dict) else {}
    known = list(Policy().as_message())
    for name in sorted(stated.keys() - known):
        faults.append(f"[policy], unknown key {name!r}. {nearest(name, known)}")
        del stated[name]
    return _right_part(stated, faults, frozenset())


def _right_part(stated: Mapping[str, Any], faults: list[str], told: frozenset[str]) -> Policy:
    """The policy without its wrong values, each of which is told once."""
    try:
        return Policy(**stated)
    except ProblemError as error:
        if error.field not in told:
            faults.append("[policy], " + str(error).replace("\n", ". "))
        if error.field not in stated:
            return Policy()
        return _right_part(
            {name: value for name, value in stated.items() if name != error.field},
            faults,
            told | {error.field},
        )


def _stated(table: BaseModel) -> dict[str, Any]:
    return {name: getattr(table, name) for name in table.model_fields_set if name in AXES}


def _single(table: BaseModel) -> dict[str, Value]:
    return {name: values[0] for name, values in _stated(table).items()}


def _sweep(file: _SuiteFile, sweep: Any, folder: Path, faults: list[str], placement: dict[str, int]) -> Sweep:
    """One sweep with what it inherits; what is wrong with it is added to `faults`, indices of devices to
    `placement`."""
    label = f'sweep "{sweep.name}"'
    axes = merge(merge(_stated(file.problem), _stated(file.setting)), _stated(sweep))
    try:
        take_placement(axes, placement)
    except ValueError as error:
        faults.append(f"{label}, device: {error}")
    rows: list[dict[str, Value]] = [_single(row) | _extras(row) for row in sweep.rows]
    if sweep.layers is not None:
        rows += read_layers(folder / sweep.layers, label, faults)
    unnamed = [row for row in rows if "layer" not in row] if rows or sweep.layers else [{}]
    if sweep.x == "layer" and unnamed:
        faults.append(f'{label}, x: "layer" needs rows that each name their layer, or a layer list')
    x = "layer" if sweep.x is None and sweep.layers is not None else sweep.x
    return Sweep(sweep.name, x, axes, tuple(rows) or ({},))


def _extras(row: Any) -> dict[str, Value]:
    return {name: value for name in ("layer", "repeat") if (value := getattr(row, name)) is not None}
