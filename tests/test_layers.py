"""Layer lists from models: in a real worker, models written with torch alone; counts
against the closed form."""

from __future__ import annotations

import csv
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from harness.core.case import written
from harness.core.problem import FIELDS, Problem
from harness.plan.points import distinct_cases, expand
from harness.plan.suite import read_suite
from harness.run.device_worker import Connection
from harness.run.worker_process import Hello, WorkerProcess
from harness.store.results import load_results
from tests.conftest import Convscope, Stub
from tests.pages import Page

pytestmark = pytest.mark.torch

MODELS = """
import torch
from torch import nn


def block(cin, cout, stride):
    return nn.Sequential(nn.Conv2d(cin, cin, 3, stride, 1, groups=cin, bias=False), nn.Conv2d(cin, cout, 1, bias=False))


def mobilenet():
    early = [(32, 64, 1), (64, 128, 2), (128, 128, 1), (128, 256, 2), (256, 256, 1), (256, 512, 2)]
    widths = [*early, *[(512, 512, 1)] * 5, (512, 1024, 2), (1024, 1024, 1)]
    return nn.Sequential(nn.Conv2d(3, 32, 3, 2, 1, bias=False), *(block(*width) for width in widths))


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.same = nn.Conv2d(3, 8, (3, 5), padding="same", dilation=2)
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.line = nn.Conv1d(4, 4, 3)
        self.round = nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular")

    def forward(self, x):
        x = self.same(self.same(x)[:, :3])
        self.line(torch.zeros(1, 4, 9))
        return self.round(self.up(x))


class Functional(nn.Module):
    def forward(self, x):
        return nn.functional.conv2d(x, torch.zeros(4, 3, 3, 3), stride=2, padding=1)


class Twice(nn.Module):
    def forward(self, x):
        for _ in range(2):
            x = nn.functional.conv2d(x, torch.zeros(3, 3, 3, 3), padding=1)
        return x


class Padding(nn.Conv2d):
    def __init__(self, *arguments, pads, **named):
        super().__init__(*arguments, **named)
        self.pads = pads

    def forward(self, x):
        return super().forward(nn.functional.pad(x, self.pads))


class Same(nn.Conv2d):
    # as TensorFlow pads: to ceil(size / stride), the larger half behind

    def forward(self, x):
        pads = []
        for size, k, s in zip(x.shape[:1:-1], self.kernel_size[::-1], self.stride[::-1]):
            whole = max((-(-size // s) - 1) * s + k - size, 0)
            pads += [whole // 2, whole - whole // 2]
        return super().forward(nn.functional.pad(x, pads))


class Block(nn.Module):
    # expand, depthwise, squeeze and excite, project

    def __init__(self, cin, cout, expand, kernel, stride):
        super().__init__()
        mid, squeezed = cin * expand, max(cin // 4, 1)
        self.expand = Same(cin, mid, 1, bias=False) if expand > 1 else nn.Identity()
        self.depthwise = Same(mid, mid, kernel, stride, groups=mid, bias=False)
        self.excite = nn.Sequential(nn.AdaptiveAvgPool2d(1), Same(mid, squeezed, 1), Same(squeezed, mid, 1))
        self.project = Same(mid, cout, 1, bias=False)

    def forward(self, x):
        x = self.depthwise(self.expand(x))
        return self.project(x * self.excite(x))


def efficientnet_b0():
    plan = [(1, 16, 1, 1, 3), (2, 24, 6, 2, 3), (2, 40, 6, 2, 5), (3, 80, 6, 2, 3), (3, 112, 6, 1, 5),
            (4, 192, 6, 2, 5), (1, 320, 6, 1, 3)]
    layers, cin = [Same(3, 32, 3, 2, bias=False)], 32
    for repeats, cout, expand, stride, kernel in plan:
        for i in range(repeats):
            layers.append(Block(cin, cout, expand, kernel, stride if i == 0 else 1))
            cin = cout
    return nn.Sequential(*layers, Same(cin, 1280, 1, bias=False))


class Large(nn.Module):
    # an image of 1,440 pixels, twice through the same first layer

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, 2, 3)

    def forward(self, x):
        self.stem(x)
        return self.stem(x)


functional, twice, large = Functional(), Twice(), Large()
even = nn.Sequential(Padding(3, 4, 3, pads=(1, 1, 1, 1)))
uneven = nn.Sequential(Padding(3, 4, 3, 2, pads=(0, 1, 0, 1)))
cut = nn.Sequential(Padding(3, 4, 3, pads=(0, 0, 0, -1)))
same_even = nn.Sequential(nn.Conv2d(3, 4, (4, 3), padding="same"))
linear = nn.Linear(8, 8)
mixed = Mixed()
broken = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3))
number = 3
"""  # noqa: E501


@pytest.fixture
def trace(
    convscope: Convscope, worker: WorkerProcess, implementations: Path, monkeypatch: pytest.MonkeyPatch
) -> Convscope:
    """Traces by the worker that is there, instead of one that is started each time: a model runs in a child
    of its own."""
    (implementations / "models.py").write_text(MODELS, encoding="utf-8")
    connection = Connection(worker.python, worker, Hello({}, []))
    monkeypatch.setattr("harness.tasks.trace.connect", lambda python: nullcontext(connection))
    return partial(convscope, "trace")


def test_a_networks_layers_are_listed_with_how_often_they_run(convscope: Convscope, tmp_path: Path) -> None:
    """By a worker of its own, which finds the model in the current folder."""
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    ended = convscope("trace", "models:mobilenet", "--out", "layers.csv")
    assert ended.code == 0, ended.err
    rows = csv.DictReader((tmp_path / "layers.csv").read_text(encoding="utf-8").splitlines())
    assert sum(int(row["repeat"]) for row in rows) == 27
    assert "27 convolutions" in ended.out


def test_a_suite_of_them_counts_the_networks_macs(trace: Convscope, tmp_path: Path) -> None:
    """568,740,352 multiply-adds: MobileNetV1 (Howard et al. 2017, table 4) without its last layer of
    1,024,000, by the closed form."""
    trace("models:mobilenet", "--out", "layers.csv")
    (tmp_path / "net.toml").write_text(
        'schema = 1\nname = "net"\n[[sweep]]\nname = "net"\nx = "layer"\nlayers = "layers.csv"\n',
        encoding="utf-8",
    )
    points = expand(read_suite(tmp_path / "net.toml"))
    assert sum(point.repeat * point.case.problem.macs for point in points if point.case) == 567_716_352
    assert {case.problem.kind for case in distinct_cases(points)} == {"standard", "depthwise", "pointwise"}


def test_what_cannot_be_measured_is_told_and_not_dropped(trace: Convscope) -> None:
    ended = trace("models:mixed", "--input", "1,3,20,30", "--json")
    why = {left["name"]: left["why"].split()[0] for left in ended.json["left"]}
    assert why == {"up": "is", "line": "has"}
    layers = [
        [layer[name] for name in ("repeat", "kernel_size", "padding", "dilation", "height", "width")]
        for layer in ended.json["layers"]
    ]
    assert layers == [[2, "3x5", "2x4", "2", 20, 30], [1, "3", "0", "1", 42, 62]]
    assert ended.json["notes"] == [
        {"name": "round", "why": "listed with the 42x62 pixels that it makes of 40x60"}
    ]


@pytest.mark.parametrize(
    ("model", "layer", "noted"),
    [
        ("functional", ["forward", "3", "1", "2", 8, 8], False),
        ("twice", ["forward", "3", "1", "1", 8, 8], False),
        ("even", ["0", "3", "1", "1", 8, 8], False),
        ("uneven", ["0", "3", "0+1", "2", 8, 8], False),
        ("same_even", ["0", "4x3", "1+2x1", "1", 8, 8], False),
        ("cut", ["0", "3", "0", "1", 7, 8], True),
    ],
)
def test_what_reaches_the_convolution_is_listed(
    trace: Convscope, model: str, layer: list[object], noted: bool
) -> None:
    ended = trace(f"models:{model}", "--input", "1,3,8,8", "--json")
    (found,) = ended.json["layers"]
    assert [found[name] for name in ("name", "kernel_size", "padding", "stride", "height", "width")] == layer
    assert bool(ended.json["notes"]) == noted


def test_a_model_without_a_convolution_is_said_to_have_none(trace: Convscope) -> None:
    ended = trace("models:linear", "--input", "1,3,8,8")
    assert ended.code == 2
    assert "runs no 2-D convolution" in ended.err


def test_efficientnet_that_pads_as_tensorflow_does_has_its_macs(trace: Convscope, tmp_path: Path) -> None:
    """384,534,752 MACs of convolutions in B0 (Tan and Le 2019): 384,534,752 by the sum over its blocks, where
    every layer pads to ceil(size / stride)."""
    trace("models:efficientnet_b0", "--out", "layers.csv")
    (tmp_path / "net.toml").write_text(
        'schema = 1\nname = "net"\n[[sweep]]\nname = "net"\nx = "layer"\nlayers = "layers.csv"\n',
        encoding="utf-8",
    )
    points = expand(read_suite(tmp_path / "net.toml"))
    assert sum(point.repeat for point in points) == 81
    assert sum(point.repeat * point.case.problem.macs for point in points if point.case) == 384_534_752
    problems = {point.layer: point.case.problem for point in points if point.case}
    uneven = [one for one in problems.values() if len(one.padding) == 4]
    assert [written(one.padding) for one in uneven] == ["0+1x0+1", "0+1x0+1", "1+2x1+2", "0+1x0+1", "1+2x1+2"]
    fields = {name: getattr(uneven[0], name) for name in FIELDS}
    assert Problem("standard", **fields | {"padding": "same"}) == uneven[0]


def test_a_layer_that_runs_twice_is_listed_once_and_its_bias_is_in_no_mac(trace: Convscope) -> None:
    """720 x 720 outputs of 32 channels, each of 3 x 7 x 7 products: 2,438,553,600."""
    (layer,) = trace("models:large", "--input", "1,3,1440,1440", "--json").json["layers"]
    assert (layer["repeat"], layer["bias"]) == (2, 1)
    fields = {name: layer[name] for name in FIELDS} | {"bias": True}
    assert Problem("standard", **fields).macs == 720 * 720 * 32 * 3 * 7 * 7 == 2_438_553_600


def test_where_a_models_macs_and_parameters_are_is_a_page(trace: Convscope, tmp_path: Path) -> None:
    """MobileNetV1's convolutions: 567,716,352 MACs, and 3,185,088 parameters without bias (Howard et al.
    2017: 4.2 M, of which its last layer and batch norm are the rest)."""
    ended = trace("models:mobilenet", "--report", "net.html")
    assert ended.code == 0, ended.err
    page = Page((tmp_path / "net.html").read_text(encoding="utf-8"))
    assert page.headline == "27 convolutions: 568 M MACs, 3.19 M parameters"
    heading, *rows = page.tables[-1]
    layers = [dict(zip(heading, row, strict=True)) for row in rows]
    assert sum(int(layer["Parameters"].replace(",", "")) for layer in layers) == 3_185_088
    assert sum(float(layer["MACs (%)"]) for layer in layers) == pytest.approx(100, abs=0.2)
    assert layers[0]["Convolution"] == "3\N{RIGHTWARDS ARROW}32 3\N{MULTIPLICATION SIGN}3 /2"


def test_a_model_is_measured_layer_by_layer_and_kept_as_a_run(
    trace: Convscope, stub: Stub, tmp_path: Path
) -> None:
    """Traced for real, and measured by a stub."""
    ended = trace(
        *("models:twice", "--input", "1,3,8,8", "--measure", "--quick", "--python", stub()),
        *("--report", "net.html", "--json"),
    )
    assert ended.json["layers"][0]["repeat"] == 2
    found = load_results(tmp_path / ended.json["path"])
    assert found.points[["layer", "repeat"]].to_dict("records") == [{"layer": "forward", "repeat": 2}]
    assert (tmp_path / "net.html").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("models:nothing",), "AttributeError"),
        (("nowhere:model",), "ModuleNotFoundError"),
        (("models:number",), "TypeError"),
        (("models:broken",), "RuntimeError"),
        (("models",), "module:attribute"),
        (("models:mixed", "--input", "3,224,224"), "1,3,224,224"),
    ],
)
def test_a_model_that_does_not_run_is_an_error_that_says_why(
    trace: Convscope, arguments: tuple[str, ...], said: str
) -> None:
    ended = trace(*arguments)
    assert ended.code == 2
    assert said in ended.err
