"""How a convolution is executed, and the name under which it is known for ever.

In: a `Problem` and a `Setting`. Out: a `Case` with its canonical descriptor, its two ids and a label for
people. An id hashes values as asked, never as resolved: `threads=all` is one id on every machine. A field
added later is written only where it differs from its default, so that ids of older results stay what they
were.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from harness.core.errors import SettingError, nearest
from harness.core.problem import FIELDS, PAIR_FIELDS, Problem
from harness.core.window import centred_padding, padding_text, short_text

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

VERSION = "convscope/1"

ELEMENT_BYTES = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2}

ALLOWED: dict[str, tuple[str, ...]] = {
    "device": ("cpu", "cuda", "xpu", "mps", "npu"),  # as torch names them
    "dtype": tuple(ELEMENT_BYTES),
    "memory_format": ("contiguous", "channels_last"),
    "computation": ("inference", "forward", "training"),
    "mode": ("eager", "compile", "cuda_graph"),
    "cache": ("hot", "rotating", "flushed"),
    "fp32_precision": ("ieee", "tf32", "bf16"),
    "allocator": ("retained", "default"),
}

# implementations that come along (`worker/runtimes`), beside torch's own layers
RUNTIMES = ("native", "linear", "unfold", "onnxruntime", "openvino")

# field: how its two columns begin
PAIR_COLUMNS = {"kernel_size": "kernel", "stride": "stride", "dilation": "dilation"}
ALWAYS_WRITTEN = ("device", "dtype")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """How a problem is executed. Raises SettingError, which names the field and the nearest known value.

    `device` is a type, without an index: where a case is placed is no part of what it is. `threads` is a
    number, or "all" that affinity and the container's quota allow. `allocator` is `retained` (glibc keeps
    freed memory) or `default` (default glibc malloc).
    """

    device: str = "cpu"
    dtype: str = "float32"
    memory_format: str = "contiguous"
    computation: str = "inference"
    mode: str = "eager"
    cache: str = "hot"
    threads: str = "all"
    fp32_precision: str = "ieee"
    allocator: str = "retained"
    autotune: bool = False
    implementation: str = "torch"

    def __post_init__(self) -> None:
        for name, allowed in ALLOWED.items():
            value = getattr(self, name)
            if value not in allowed:
                raise SettingError(name, f"{value!r} is not known", hint=nearest(str(value), allowed))
        threads = str(self.threads)
        if threads != "all" and not (threads.isdecimal() and int(threads) > 0):
            raise SettingError(
                "threads",
                f"{self.threads!r} is neither a number of threads nor all",
                hint="Write 1, 2, ... or all.",
            )
        object.__setattr__(self, "threads", threads)
        object.__setattr__(self, "autotune", bool(self.autotune))
        name, colon, attribute = self.implementation.partition(":")
        if not (name and attribute) if colon else not re.fullmatch(r"[a-z][a-z0-9_-]*", name):
            raise SettingError(
                "implementation",
                f"{self.implementation!r} is neither a name nor module:attribute",
                hint=f"For example mykernels:depthwise, or one of torch, {', '.join(RUNTIMES)}.",
            )

    @property
    def element_bytes(self) -> int:
        """Bytes of one element of this dtype."""
        return ELEMENT_BYTES[self.dtype]


DEFAULTS: dict[str, Any] = {field.name: field.default for field in fields(Setting)}


def written(value: object) -> str:
    """A value as the descriptor writes it: pairs as HxW, uneven padding as 0+1x0+1, bool as 0 or 1."""
    if isinstance(value, tuple):
        return padding_text(value) if len(value) == 4 else "x".join(map(str, value))
    return str(int(value)) if isinstance(value, bool) else str(value)


@dataclass(frozen=True)
class Case:
    """A problem and a setting: what is measured, compared and stored under one id."""

    problem: Problem
    setting: Setting

    @cached_property
    def problem_part(self) -> str:
        """All twelve fields of the problem, in their fixed order."""
        return ";".join(f"{name}={written(getattr(self.problem, name))}" for name in ("kind", *FIELDS))

    @cached_property
    def setting_part(self) -> str:
        """Device and dtype, then by name whatever differs from its default."""
        always = [f"{name}={getattr(self.setting, name)}" for name in ALWAYS_WRITTEN]
        others = [
            name
            for name in sorted(DEFAULTS)
            if name not in ALWAYS_WRITTEN and getattr(self.setting, name) != DEFAULTS[name]
        ]
        return ";".join(always + [f"{name}={written(getattr(self.setting, name))}" for name in others])

    @cached_property
    def descriptor(self) -> str:
        """The canonical line that the case's id is the hash of."""
        return f"{VERSION}|{self.problem_part}|{self.setting_part}"

    @cached_property
    def problem_id(self) -> str:
        """First 16 hex digits of SHA-256 over the version and the problem's part."""
        return _digest(f"{VERSION}|{self.problem_part}")

    @cached_property
    def case_id(self) -> str:
        """First 16 hex digits of SHA-256 over the descriptor."""
        return _digest(self.descriptor)

    @cached_property
    def label(self) -> str:
        """A short name for people; what is default is left out."""
        return self.named()

    def named(self, without: Collection[str] = ()) -> str:
        """The label, without the words for these settings."""
        problem = self.problem
        extras = [
            f"{name[0]}{_short(value)}"
            for name, value, default in (
                ("stride", problem.stride, (1, 1)),
                ("dilation", problem.dilation, (1, 1)),
            )
            if value != default
        ]
        if problem.kind == "grouped":
            extras.append(f"g{problem.groups}")
        if problem.padding != centred_padding(problem.kernel_size, problem.dilation):
            extras.append(f"p{_short(problem.padding)}")
        if problem.bias:
            extras.append("bias")
        setting = self.setting
        others = [
            f"{name}={written(getattr(setting, name))}"
            if name in ("threads", "autotune")
            else str(getattr(setting, name))
            for name in DEFAULTS
            if name not in (*ALWAYS_WRITTEN, *without) and getattr(setting, name) != DEFAULTS[name]
        ]
        shape = "x".join(map(str, problem.input_shape))
        words = [
            problem.kind,
            f"{problem.in_channels}->{problem.out_channels}",
            f"k{_short(problem.kernel_size)}",
            *extras,
            shape,
        ]
        return " ".join(
            [
                *words,
                *(getattr(setting, name) for name in ALWAYS_WRITTEN if name not in without),
                *(f"allocator={word}" if word == "default" else word for word in others),
            ]
        )

    def as_message(self) -> dict[str, Any]:
        """The case as it crosses the pipe."""
        return {
            "problem": {name: getattr(self.problem, name) for name in ("kind", *FIELDS)},
            "setting": asdict(self.setting),
        }

    @classmethod
    def from_row(cls, row: Mapping[Any, Any]) -> Case:
        """The case of a row, from its columns; padding from the descriptor, which alone has it where it is
        uneven."""
        values: dict[str, Any] = {
            name: (int(row[f"{short}_height"]), int(row[f"{short}_width"]))
            for name, short in PAIR_COLUMNS.items()
        } | {"padding": padding_of(row["descriptor"])}
        values |= {name: int(row[name]) for name in FIELDS if name not in PAIR_FIELDS and name != "bias"}
        problem = Problem(str(row["kind"]), **values, bias=bool(row["bias"]))
        return cls(problem, Setting(**{name: row[name] for name in DEFAULTS}))

    @classmethod
    def from_message(cls, message: Mapping[str, Any]) -> Case:
        """The inverse of `as_message`."""
        return cls(Problem(**message["problem"]), Setting(**message["setting"]))


def padding_of(descriptor: str) -> str:
    """As a descriptor writes it: `1x1` or `0+1x0+1`."""
    return descriptor.partition(";padding=")[2].partition(";")[0]


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def _short(value: tuple[int, ...]) -> str:
    return short_text(written(value))
