"""Layer lists from models: in a real worker, models written with torch alone; counts
against the closed form."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from harness.plan.points import distinct_cases, expand
from harness.plan.suite import read_suite
from tests.conftest import Convscope

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


mixed = Mixed()
broken = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(3, 8, 3))
number = 3
"""  # noqa: E501


@pytest.fixture
def models(tmp_path: Path) -> Path:
    (tmp_path / "models.py").write_text(MODELS, encoding="utf-8")
    return tmp_path


def test_a_networks_layers_are_listed_with_how_often_they_run(convscope: Convscope, models: Path) -> None:
    ended = convscope("trace", "models:mobilenet", "--out", "layers.csv")
    assert ended.code == 0, ended.err
    rows = csv.DictReader((models / "layers.csv").read_text(encoding="utf-8").splitlines())
    assert sum(int(row["repeat"]) for row in rows) == 27
    assert "27 convolutions" in ended.out


def test_a_suite_of_them_counts_the_networks_macs(convscope: Convscope, models: Path) -> None:
    """568,740,352 multiply-adds: MobileNetV1 (Howard et al. 2017, table 4) without its last layer of
    1,024,000, by the closed form."""
    convscope("trace", "models:mobilenet", "--out", "layers.csv")
    (models / "net.toml").write_text(
        'schema = 1\nname = "net"\n[[sweep]]\nname = "net"\nx = "layer"\nlayers = "layers.csv"\n',
        encoding="utf-8",
    )
    points = expand(read_suite(models / "net.toml"))
    assert sum(point.repeat * point.case.problem.macs for point in points if point.case) == 567_716_352
    assert {case.problem.kind for case in distinct_cases(points)} == {"standard", "depthwise", "pointwise"}


def test_what_cannot_be_measured_is_told_and_not_dropped(convscope: Convscope, models: Path) -> None:
    ended = convscope("trace", "models:mixed", "--input", "1,3,20,30", "--json")
    why = {left["name"]: left["why"].split()[0] for left in ended.json["left"]}
    assert why == {"up": "ConvTranspose2d", "line": "Conv1d", "round": "padding_mode"}
    (layer,) = ended.json["layers"]
    stated = [layer[name] for name in ("repeat", "kernel_size", "padding", "dilation", "height", "width")]
    assert stated == [2, "3x5", "2x4", "2", 20, 30]


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
    convscope: Convscope, models: Path, arguments: tuple[str, ...], said: str
) -> None:
    ended = convscope("trace", *arguments, cwd=models)
    assert ended.code == 2
    assert said in ended.err
