"""`torchslim models`."""

from __future__ import annotations

from pathlib import Path

import pytest

from torchslim import nets
from torchslim.cli import main
from torchslim.nets.nets_factory import networks_map


def test_all_networks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:3] == ["name", "preprocessing", "checkpoint"]
    assert [row[0] for row in rows[1:]] == list(networks_map)
    assert rows[1 + list(networks_map).index("inception_v4")][2:5] == ["inception_v4_2016_09_09.tar.gz", "1,001", "299"]


def test_card_layers_and_drawing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    drawing = tmp_path / "net.svg"
    words = ["models", "mobilenet_v1_025", "--num-classes", "20", "--image-size", "128"]
    assert main([*words, "--draw", str(drawing), "--depth", "1"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(str(nets.card("mobilenet_v1_025")))
    (row,) = [line for line in printed.splitlines() if line.startswith("MobilenetV1/Conv2d_0 ")]
    assert row.split() == ["MobilenetV1/Conv2d_0", "Conv2d", "[None,", "8,", "64,", "64]", "232", f"{8 * 27 * 64**2:,}"]
    assert ">MobilenetV1</text>" in drawing.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("words", "message"),
    [(["vgg16"], "Got 'vgg16'. Did you mean 'vgg_16'?"), (["--draw", "a.svg"], "`--draw` needs the name of a network")],
)
def test_what_is_wrong_is_said(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == 2
    assert message in capsys.readouterr().err
