"""Convolutions as other tools write them, read into a layer list.

In: text. benchdnn's words and batch files, lines of oneDNN's verbose mode (ONEDNN_VERBOSE=1), commands of
MIOpenDriver, a trace of torch's profiler with shapes. Out: `Layers`; whatever is no forward 2-D convolution
is among those left out, with the reason.
What may surprise: a word of benchdnn has no padding behind, which follows from the output. Of several that
lead to this output it is the one before, or else the least.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from typing import TYPE_CHECKING, Any

from harness.core.case import written
from harness.core.errors import ProblemError
from harness.core.problem import FIELDS, Problem, kind_of
from harness.core.window import same_padding
from harness.plan.layer_list import Layers, distinct

if TYPE_CHECKING:
    from collections.abc import Iterator

WORD = re.compile(r'_?(?P<name>mb|g|[iokspd][cdhw])(?P<number>\d+)|_?n(?:"(?P<title>[^"]*)"|(?P<bare>\S+)$)')
BENCHDNN_BATCH = 2  # where a word states none
VERBOSE = ("onednn_verbose", "dnnl_verbose")
MIOPEN = {  # short and long options of MIOpenDriver, whose defaults are its own
    "in_channels": ("c", "in_channels", 3),
    "out_channels": ("k", "out_channels", 32),
    "height": ("H", "in_h", 32),
    "width": ("W", "in_w", 32),
    "batch": ("n", "batchsize", 100),
    "kernel_height": ("y", "fil_h", 3),
    "kernel_width": ("x", "fil_w", 3),
    "stride_height": ("u", "conv_stride_h", 1),
    "stride_width": ("v", "conv_stride_w", 1),
    "padding_height": ("p", "pad_h", 0),
    "padding_width": ("q", "pad_w", 0),
    "dilation_height": ("l", "dilation_h", 1),
    "dilation_width": ("j", "dilation_w", 1),
    "groups": ("g", "group_count", 1),
    "bias": ("b", "bias", 0),
}
CONVOLUTION = re.compile(r"aten::(_convolution|convolution|conv2d)$")
TORN = (
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    ZeroDivisionError,
)  # of a line that ends too early, or lies


class NotMeasured(Exception):
    """Why a line is none of the convolutions that are measured here."""


def read_problems(text: str) -> Layers:
    """The convolutions that a text states, equal ones once with how often they are there."""
    executed, left = list[dict[str, Any]](), Counter[tuple[str, str]]()
    for name, asked in _stated(text):
        row = asked if isinstance(asked, NotMeasured) else _row(asked)
        if isinstance(row, NotMeasured):
            left[name, str(row)] += 1
        else:
            executed.append({"name": name, **row})
    return Layers(distinct(executed), _counted(left))


def _counted(found: Counter[tuple[str, str]]) -> list[dict[str, str]]:
    return [
        {"name": name, "why": f"{why} ({count} times)" if count > 1 else why}
        for (name, why), count in found.items()
    ]


def _stated(text: str) -> Iterator[tuple[str, dict[str, Any] | NotMeasured]]:
    """Name and fields of each convolution, or why there is none, in order."""
    if text.lstrip().startswith(("{", "[")):
        yield from _profiled(text)
        return
    direction = ""  # of a batch file, from where it stands on
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].strip()
        if words.startswith("--") and " " not in words:
            direction = words if words.startswith("--dir=") else direction
            continue
        try:
            if words:
                yield from _of_line(words, f"line {number}", direction)
        except NotMeasured as why:
            yield (words if len(words) < 40 else f"line {number}"), why
        except TORN:
            yield f"line {number}", NotMeasured("is torn, or has a number that cannot be")


def _of_line(line: str, name: str, direction: str) -> Iterator[tuple[str, dict[str, Any] | NotMeasured]]:
    if line.startswith(VERBOSE):
        yield from _verbose(line, name)
    elif "MIOpenDriver" in line:
        yield name, _miopen(line)
    else:
        words = [word for word in line.split() if not word.startswith("-") and _parts(word)]
        if not words:
            raise NotMeasured("neither a word of benchdnn, a line of oneDNN, nor a command of MIOpenDriver")
        direction = next((word for word in line.split() if word.startswith("--dir=")), direction)
        if "BWD" in direction:
            raise NotMeasured("the backward pass is not measured alone")
        for word in words:
            yield _benchdnn(word, name, bias=direction.endswith("FWD_B"))


def _verbose(line: str, name: str) -> Iterator[tuple[str, dict[str, Any] | NotMeasured]]:
    """An execution by oneDNN; what it creates or says of itself is passed over."""
    fields = line.split(",")
    if "exec" not in fields:
        return
    place = fields.index("exec") + 2
    kind, direction, word = fields[place], fields[place + 2], fields[-2]
    if kind != "convolution":
        yield kind, NotMeasured("is no convolution")
        return
    if not direction.startswith("forward"):
        yield kind, NotMeasured("the backward pass is not measured alone")
        return
    described = re.search(r"\bbia[:_]\S*", line)
    found, asked = _benchdnn(word, name, bias=bool(described) and "undef" not in described[0])  # type: ignore[index]
    yield found, asked


def _parts(word: str) -> list[re.Match[str]]:
    """The parts of one of benchdnn's words; none where it is something else."""
    found, at = list[re.Match[str]](), 0
    while at < len(word):
        part = WORD.match(word, at)
        if not part:
            return []
        found.append(part)
        at = part.end()
    return found if {"ic", "ih", "iw"} & {part["name"] for part in found} else []


def _benchdnn(word: str, name: str, *, bias: bool) -> tuple[str, dict[str, Any]]:
    """A word of its convolution driver: a width that is missing is the height, an output that is missing
    follows from the padding, and a padding that is missing from the output. It counts the gaps of a dilated
    kernel."""
    parts = _parts(word)
    numbers = {part["name"]: int(part["number"]) for part in parts if part["name"]}
    title = next((part["title"] or part["bare"] for part in parts if not part["name"]), None) or name
    if any(letter + "d" in numbers for letter in "iok"):
        raise NotMeasured("has three dimensions")
    if "g" in numbers:  # a group a channel, where it says no more
        numbers = {"ic": numbers["g"], "oc": numbers["g"]} | numbers
    if not {"ic", "oc"} <= numbers.keys() or not {"ih", "iw"} & numbers.keys():
        raise NotMeasured("states no channels or no size")
    sides = {side: _side(numbers, side) for side in "hw"}
    asked: dict[str, Any] = {
        "batch": numbers.get("mb", BENCHDNN_BATCH),
        "in_channels": numbers["ic"],
        "out_channels": numbers["oc"],
        "groups": numbers.get("g", 1),
        "bias": bias,
        "padding": (sides["w"]["p"], sides["w"]["behind"], sides["h"]["p"], sides["h"]["behind"]),
        "height": sides["h"]["i"],
        "width": sides["w"]["i"],
    }
    for field, letter in (("kernel_size", "k"), ("stride", "s"), ("dilation", "d")):
        asked[field] = tuple(side[letter] + (letter == "d") for side in sides.values())
    return title, asked


def _side(numbers: dict[str, int], side: str) -> dict[str, int]:
    """What a word says of a height or a width, and the padding `behind` it. Raises NotMeasured for an output
    that no padding leads to."""
    other = "wh"[side == "w"] if f"i{side}" not in numbers else side
    if side == "h" and other == "w":  # a width alone has a height of one pixel
        return {"i": 1, "k": 1, "s": 1, "d": 0, "p": 0, "behind": 0}
    found = {letter: numbers.get(f"{letter}{other}", default) for letter, default in (("s", 1), ("d", 0))}
    found["i"], found["k"] = numbers[f"i{other}"], numbers.get(f"k{other}", 1)
    reach = (found["k"] - 1) * (found["d"] + 1) + 1
    output, before = numbers.get(f"o{other}"), numbers.get(f"p{other}")
    total = 0 if output is None else max((output - 1) * found["s"] + reach - found["i"], 0)
    if before is None:
        before = total // 2

    def leads_there(behind: int) -> bool:
        return output in (None, (found["i"] + before + behind - reach) // found["s"] + 1)

    behind = next(filter(leads_there, (before, max(total - before, 0))), None)
    if behind is None:
        raise NotMeasured(f"has {output} pixels in its output, to which no padding leads")
    return found | {"p": before, "behind": behind}


def _miopen(line: str) -> dict[str, Any]:
    try:
        words = shlex.split(line)
    except ValueError:
        raise NotMeasured("has a quotation mark without another") from None
    driver = next((i for i, word in enumerate(words) if "MIOpenDriver" in word), 0)
    if not re.fullmatch(r"conv(fp16|bfp16)?", words[driver + 1] if len(words) > driver + 1 else ""):
        raise NotMeasured("is no convolution in floating point")
    options = dict(zip(words[driver + 2 :: 2], words[driver + 3 :: 2], strict=False))

    def option(short: str, long: str, default: object) -> str:
        return options.get(f"-{short}", options.get(f"--{long}", str(default)))

    if option("m", "mode", "conv") != "conv":
        raise NotMeasured("is transposed")
    if int(option("_", "spatial_dim", 2)) != 2:
        raise NotMeasured("has other than two dimensions")
    if int(option("F", "forw", 0)) not in (0, 1, 3, 5):
        raise NotMeasured("the backward pass is not measured alone")
    try:
        values = {name: int(option(*words)) for name, words in MIOPEN.items()}
    except ValueError:
        raise NotMeasured("has an option that is no number") from None
    asked: dict[str, Any] = {
        name: values[name] for name in ("batch", "in_channels", "out_channels", "height", "width", "groups")
    }
    for field, column in (("kernel_size", "kernel"), ("stride",) * 2, ("padding",) * 2, ("dilation",) * 2):
        asked[field] = (values[f"{column}_height"], values[f"{column}_width"])
    mode = option("z", "pad_mode", "default")
    if mode == "same" and asked["dilation"] == (1, 1):  # MIOpen asks for no other
        size = (values["height"], values["width"])
        asked["padding"] = same_padding(size, asked["kernel_size"], asked["stride"], asked["dilation"])
    elif mode == "valid":
        asked["padding"] = (0, 0)
    return asked | {"bias": bool(values["bias"])}


def _profiled(text: str) -> Iterator[tuple[str, dict[str, Any] | NotMeasured]]:
    """The outermost convolutions of a trace: one calls another, for the same work."""
    try:
        whole = json.loads(text)
        events = whole["traceEvents"] if isinstance(whole, dict) else whole
        found = [event for event in events if CONVOLUTION.match(str(event.get("name")))]
        found.sort(key=lambda event: float(event["ts"]))
    except (*TORN, AttributeError):
        yield "trace", NotMeasured("is no trace of torch's profiler")
        return
    ends: dict[Any, float] = {}
    for event in found:
        thread, began = (event.get("pid"), event.get("tid")), float(event["ts"])
        if began < ends.get(thread, 0.0):
            continue
        try:
            yield event["name"].removeprefix("aten::"), _of_event(event)
            ends[thread] = began + float(event.get("dur", 0.0))
        except NotMeasured as why:
            yield event["name"], why
        except TORN:
            yield event["name"], NotMeasured("has other arguments than a convolution")


def _of_event(event: dict[str, Any]) -> dict[str, Any]:
    """input, weight, bias, stride, padding, dilation, then groups, or transposed, output_padding, groups."""
    arguments = event.get("args", {})
    shapes, values = arguments.get("Input Dims"), arguments.get("Concrete Inputs")
    if not shapes or not values:
        raise NotMeasured("has no shapes: record the trace with record_shapes=True")
    x, weight = shapes[0], shapes[1]
    if len(x) != 4 or len(weight) != 4:
        raise NotMeasured(f"its input has {len(x)} dimensions")
    stride, padding, dilation, *rest = values[3:]
    if rest and str(rest[0]).lower() == "true":
        raise NotMeasured("is transposed")
    groups = next((int(one) for one in (rest[2:3] or rest[:1]) if str(one).isdecimal()), 1)
    return {
        "batch": x[0],
        "in_channels": x[1],
        "out_channels": weight[0],
        "height": x[2],
        "width": x[3],
        "kernel_size": tuple(weight[2:]),
        "stride": _pair(stride),
        "padding": _pair(padding),
        "dilation": _pair(dilation),
        "groups": groups,
        "bias": bool(shapes[2]),
    }


def _pair(text: str) -> tuple[int, int]:
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if not numbers:
        raise NotMeasured(f"{text!r} is no pair of numbers")
    return numbers[0], numbers[-1]


def _row(asked: dict[str, Any]) -> dict[str, Any] | NotMeasured:
    """As a layer list writes it; why not, for a convolution that cannot be."""
    sizes = {name: asked[name] for name in ("in_channels", "groups", "kernel_size")}
    try:
        problem = Problem(kind_of(**sizes), **asked)
    except ProblemError as error:
        return NotMeasured(error.what)
    return {
        name: int(value) if isinstance(value, bool) else written(value) if isinstance(value, tuple) else value
        for name in FIELDS
        for value in [getattr(problem, name)]
    }
