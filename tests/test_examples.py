"""The examples, for a step or two; `make demo` runs the main one in full."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import torchslim as slim

ROOT = Path(__file__).parent.parent
WEIGHTS = ROOT / "torchslim" / "nets" / "weights" / "small_vgg_shapes.safetensors"
SHARED = ROOT.parent / "shared"
MOBILENET = SHARED / "weights" / "mobilenet_v1_0.25_224_bncal_v2.ckpt"
PHOTOGRAPHS = SHARED / "data" / "voc"
needs_the_real_thing = pytest.mark.skipif(
    not (MOBILENET.with_name(f"{MOBILENET.name}.index").is_file() and PHOTOGRAPHS.is_dir()),
    reason="no MobileNet at ../shared/weights, or no photographs at ../shared/data/voc",
)


@pytest.fixture
def small_vgg(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("small_vgg").small_vgg


def run(script: str, *words: str, folder: Path) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_small_vgg_takes_pictures_of_any_size(small_vgg) -> None:
    model = slim.build(small_vgg, torch.empty(1, 3, 96, 96), num_classes=5).eval()
    assert model(torch.zeros(2, 3, 96, 96)).shape == (2, 5)
    assert model(torch.zeros(1, 3, 128, 160)).shape == (1, 5)
    features = slim.build(small_vgg, torch.empty(1, 3, 96, 96), num_classes=None)
    assert features(torch.zeros(1, 3, 96, 96)).shape == (1, 192, 3, 3)


def test_the_shipped_weights_are_the_convolutions_of_small_vgg(small_vgg) -> None:
    assert WEIGHTS.stat().st_size < 4 * 2**20
    model = slim.build(small_vgg, torch.empty(1, 3, 96, 96))
    report = slim.restore(model, WEIGHTS, exclude=["fc6", "fc7"], names={"shapes": "small_vgg"})
    assert len(report.restored) == 50
    assert report.unused == []
    # They are fit to use: the features of two pictures differ, and none of the last layer's is dead everywhere.
    features = model.extract("small_vgg/conv5/conv5_2").eval()
    with torch.no_grad():
        maps = features(torch.rand(4, 3, 96, 96) * 200 - 100)
    assert maps.isfinite().all()
    assert maps.std(0).mean() > 0.01


def test_pretrain(tmp_path: Path) -> None:
    words = ["--steps", "1", "--batch-size", "4", "--forms", "1", "--held-out", "4", "--workers", "0"]
    printed = run("pretrain.py", *words, "--logdir", "run", "--output", "weights.safetensors", folder=tmp_path)
    assert "8 classes" in printed
    shipped, made = (slim.checkpoints.open_checkpoint(path) for path in (WEIGHTS, tmp_path / "weights.safetensors"))
    assert {name: stored.shape for name, stored in made.items()} == {name: s.shape for name, s in shipped.items()}


@pytest.mark.slow
def test_the_demo(tmp_path: Path) -> None:
    printed = run("finetune_voc.py", "--steps", "2", folder=tmp_path)
    assert "after without the restored weights" in printed
    left = tmp_path / "runs" / "demo" / "restored"
    assert (left / "predictions.png").is_file()
    assert (left / "model.ckpt-2.safetensors").is_file()
    assert list(left.glob("events*"))


@needs_the_real_thing
@pytest.mark.nightly
def test_real_weights_are_worth_something_on_real_photographs(tmp_path: Path) -> None:
    """Better than from scratch on 97.5% of all draws of photographs, by a margin."""
    words = [str(MOBILENET), str(PHOTOGRAPHS), "--seeds", "0", "--steps", "40", "--draws", "200"]
    printed = run("finetune_mobilenet_voc.py", *words, folder=tmp_path)
    (lowest,) = re.findall(r"difference .* in (\S+) to", printed)
    assert float(lowest) > 4
    restored, scratch = (float(found) for found in re.findall(r"(?:restored|from scratch) +(\S+): ", printed))
    assert restored > scratch + 8
