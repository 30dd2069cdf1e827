"""The three nets of MTCNN, of the examples: the names are those of the checkpoints, the numbers TensorFlow's."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import torchslim as slim

ROOT = Path(__file__).parents[2]
FOLDER = ROOT.parent / "shared" / "weights" / "genuine_ckpt" / "mtcnn_slim"
# The names of the variables in each checkpoint, and their shapes in TensorFlow's layout.
VARIABLES = {
    "PNet-18": {
        "conv1/weights": (3, 3, 3, 10), "conv1/biases": (10,), "conv1/alphas": (10,),
        "conv2/weights": (3, 3, 10, 16), "conv2/biases": (16,), "conv2/alphas": (16,),
        "conv3/weights": (3, 3, 16, 32), "conv3/biases": (32,), "conv3/alphas": (32,),
        "conv4_1/weights": (1, 1, 32, 2), "conv4_1/biases": (2,),
        "conv4_2/weights": (1, 1, 32, 4), "conv4_2/biases": (4,),
        "conv4_3/weights": (1, 1, 32, 10), "conv4_3/biases": (10,),
    },
    "RNet-14": {
        "conv1/weights": (3, 3, 3, 28), "conv1/biases": (28,), "conv1/alphas": (28,),
        "conv2/weights": (3, 3, 28, 48), "conv2/biases": (48,), "conv2/alphas": (48,),
        "conv3/weights": (2, 2, 48, 64), "conv3/biases": (64,), "conv3/alphas": (64,),
        "fc1/weights": (576, 128), "fc1/biases": (128,),
        "cls_fc/weights": (128, 2), "cls_fc/biases": (2,),
        "bbox_fc/weights": (128, 4), "bbox_fc/biases": (4,),
        "landmark_fc/weights": (128, 10), "landmark_fc/biases": (10,),
    },
    "ONet-16": {
        "conv1/weights": (3, 3, 3, 32), "conv1/biases": (32,), "conv1/alphas": (32,),
        "conv2/weights": (3, 3, 32, 64), "conv2/biases": (64,), "conv2/alphas": (64,),
        "conv3/weights": (3, 3, 64, 64), "conv3/biases": (64,), "conv3/alphas": (64,),
        "conv4/weights": (2, 2, 64, 128), "conv4/biases": (128,), "conv4/alphas": (128,),
        "fc1/weights": (1152, 256), "fc1/biases": (256,),
        "cls_fc/weights": (256, 2), "cls_fc/biases": (2,),
        "bbox_fc/weights": (256, 4), "bbox_fc/biases": (4,),
        "landmark_fc/weights": (256, 10), "landmark_fc/biases": (10,),
    },
}  # fmt: skip
SIDES = {"PNet-18": 12, "RNet-14": 24, "ONet-16": 48}
needs_weights = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the published weights in ../shared")


@pytest.fixture
def mtcnn(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    return importlib.import_module("mtcnn")


def on_meta(mtcnn: ModuleType, name: str) -> slim.Model:
    net, side = mtcnn.NETS[name]
    with torch.device("meta"):
        return slim.build(net, slim.InputSpec((None, 3, side, side))).eval()


@pytest.mark.parametrize("name", VARIABLES)
def test_names_and_shapes(name: str, mtcnn: ModuleType) -> None:
    model = on_meta(mtcnn, name)
    assert {v.op.name: v.tf_shape for v in slim.get_variables(module=model)} == VARIABLES[name]
    outputs = model(torch.empty(5, 3, SIDES[name], SIDES[name], device="meta"))
    place = (1, 1) if name == "PNet-18" else ()
    assert [tuple(output.shape) for output in outputs] == [(5, 2, *place), (5, 4, *place), (5, 10, *place)]


def test_the_first_net_looks_everywhere(mtcnn: ModuleType) -> None:
    """A picture gives a map of answers, one for each second 12x12."""
    model = slim.build(mtcnn.pnet, slim.InputSpec((None, 3, None, None))).eval()
    picture = torch.randn(1, 3, 20, 30)
    with torch.no_grad():
        face, box, _ = model(picture)
        part, part_of_box, _ = model(picture[:, :, 4:16, 10:22])
    assert face.shape == (1, 2, 5, 10)
    torch.testing.assert_close(part[..., 0, 0], face[..., 2, 5])
    torch.testing.assert_close(part_of_box[..., 0, 0], box[..., 2, 5])


@needs_weights
@pytest.mark.parametrize("name", VARIABLES)
def test_restored_nets_compute_what_tensorflow_did(name: str, mtcnn: ModuleType) -> None:
    known = np.load(FOLDER / "reference_io.npz")
    model = on_meta(mtcnn, name)
    report = slim.restore(model, FOLDER / name)
    assert set(report.restored) == set(VARIABLES[name])
    assert {slot.removesuffix("/Momentum") for slot in report.optimizer_slots} == set(VARIABLES[name])
    assert (report.missing, report.unused) == ([], ["Variable"])  # a counter of steps
    with torch.inference_mode():
        outputs = model(torch.from_numpy(known[f"{name}/input"]).permute(0, 3, 1, 2))
    for output, kind in zip(outputs, ("cls", "bbox", "landmark"), strict=True):
        found = output.movedim(1, -1).numpy()
        np.testing.assert_allclose(found, known[f"{name}/{kind}"], rtol=0, atol=1e-5)


@needs_weights
def test_the_example_runs(mtcnn: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    mtcnn.main(FOLDER)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[0] for row in rows] == list(VARIABLES)
    for _, *words in rows:
        found, recorded = ([float(word.strip("()")) for word in words[start::2]] for start in (0, 1))
        assert found == pytest.approx(recorded, abs=1e-4)
        assert found[0] > 0.96  # of four pictures, the first is a face
        assert max(found[1:]) < 0.16
