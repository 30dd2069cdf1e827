"""`--net`: each network of the zoo can be fine-tuned by its name, from a checkpoint for other classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import torchslim as slim
from torchslim import nets
from torchslim.cli import finetune, main
from torchslim.cli.arguments import make_parser
from torchslim.cli.run import Run
from torchslim.datasets import sample_voc
from torchslim.nets.nets_factory import networks_map

FOR_VIDEO = ("i3d", "s3dg")
# The smallest of each family; the others are for a nightly run.
DAILY = (
    *("alexnet_v2", "cifarnet", "overfeat", "vgg_a", "lenet", "inception_v1", "inception_v3"),
    *("resnet_v1_50", "resnet_v2_50", "mobilenet_v1_025", "mobilenet_v2_035", "mobilenet_v3_small"),
)
WITH_AUXILIARY = re.compile("nasnet|inception_(v3|v4|resnet)")

NETS = """
import torchslim as slim

def plain(images, num_classes=20, is_training=None):
    with slim.variable_scope('net'):
        net = slim.conv2d(images, 4, [3, 3], stride=4, scope='conv1', normalizer_fn=slim.batch_norm)
        return slim.fully_connected(net.mean((2, 3)), num_classes, activation_fn=None, scope='fc2'), {}

def with_auxiliary(images, num_classes=20, is_training=None):
    logits, _ = plain(images, num_classes)
    return logits, {'AuxLogits': logits}

plain.default_image_size = with_auxiliary.default_image_size = 32
"""


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_voc.create(tmp_path_factory.mktemp("voc"), num_images=20)


def words(net: str, voc: Path, logdir: Path, *others: str) -> list[str]:
    data = ["--dataset", "pascal_voc", "--data-dir", str(voc), "--batch-size", "4"]
    return ["finetune", "--net", net, *data, "--logdir", str(logdir), *others]


@pytest.mark.parametrize(
    "name",
    [
        name if name in DAILY else pytest.param(name, marks=pytest.mark.nightly)
        for name in networks_map
        if name not in FOR_VIDEO
    ],
)
def test_each_network_is_restored_but_for_its_classifiers(name: str, voc: Path, tmp_path: Path) -> None:
    card = nets.card(name)
    run = Run.start(make_parser().parse_args(words(name, voc, tmp_path)))
    assert (run.image_size, run.preprocessing) == (card.image_size, card.preprocessing)
    assert run.data("train", is_training=True)[0][0].shape == run.picture_shape == card.input_shape
    assert run.data("val")[0][0].shape == card.input_shape
    logits = run.classifiers(slim.placeholder((None, *run.picture_shape)))
    assert [tuple(each.shape) for each in logits] == [(None, 20)] * (2 if WITH_AUXILIARY.search(name) else 1)

    variables = slim.get_model_variables()
    afresh = finetune.starting_afresh(run, variables)
    with torch.device("meta"):
        published = nets.get(name, 1001)
    theirs = {variable.op.name: variable.shape for variable in slim.get_model_variables(module=published)}
    assert {variable.op.name for variable in variables if variable.shape != theirs[variable.op.name]} == set(afresh)
    assert len(afresh) == 2 * len(logits)
    assert bool(slim.losses.get_regularization_losses()) == (name != "lenet")  # whose arg_scope has a decay of 0


@pytest.mark.parametrize(
    ("name", "size"),
    [("alexnet_v2", 320), ("overfeat", 300), ("vgg_16", 320), ("inception_v1", 320), ("mobilenet_v1_025", 160)],
)
def test_pictures_of_other_sizes(name: str, size: int, voc: Path, tmp_path: Path) -> None:
    run = Run.start(make_parser().parse_args(words(name, voc, tmp_path, "--image-size", str(size))))
    (logits,) = run.classifiers(slim.placeholder((None, *run.picture_shape)))
    assert (run.image_size, logits.shape) == (size, (None, 20))


@pytest.mark.parametrize(
    ("name", "size", "ending"),
    [("mobilenet_v1_025", 32, ".ckpt"), ("cifarnet", 32, ".safetensors"), ("lenet", 28, ".pth")],
)
def test_fine_tuning_from_other_classes(
    name: str, size: int, ending: str, voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pretrained = nets.get(name, 1001, image_size=size)
    path = tmp_path / f"pretrained{ending}"
    if ending == ".ckpt":
        slim.checkpoints.save_tf(pretrained, path)
    elif ending == ".pth":
        torch.save(pretrained.state_dict(), path)
    else:
        save_file(pretrained.state_dict(), path)
    run = tmp_path / "run"
    assert main(words(name, voc, run, "--image-size", str(size), "--weights", str(path), "--steps", "2")) == 0
    assert json.loads((run / "options.json").read_text())["net"] == name
    begun, pretrained = load_file(run / "model.ckpt-0.safetensors"), pretrained.state_dict()
    same = {key for key, value in pretrained.items() if torch.equal(value, begun[f"model/{key}"])}
    assert len(pretrained) - len(same) == 2
    assert main(["evaluate", "--logdir", str(run)]) == 0
    assert main(["predict", "--logdir", str(run), "--count", "2"]) == 0
    assert "mAP" in capsys.readouterr().out


def test_averages_are_restored_where_there_are_some(voc: Path, tmp_path: Path) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    weights = {
        f"net/conv1/{name}{ending}": torch.full(shape, value)
        for name, shape in {"weights": (4, 3, 3, 3), "BatchNorm/beta": (4,)}.items()
        for ending, value in {"": 1.0, "/ExponentialMovingAverage": 2.0}.items()
    }
    weights |= {f"net/conv1/BatchNorm/moving_{name}": torch.ones(4) for name in ("mean", "variance")}
    torch.save(weights, tmp_path / "averaged.pt")
    run = tmp_path / "run"
    restore = ["--weights", f"{tmp_path}/averaged.pt", "--steps", "1"]
    assert main(words(f"{tmp_path}/nets.py:plain", voc, run, *restore)) == 0
    begun = load_file(run / "model.ckpt-0.safetensors")
    assert torch.equal(begun["model/net.conv1.weight"], torch.full((4, 3, 3, 3), 2.0))


def first_loss(net: str, voc: Path, logdir: Path, caplog: pytest.LogCaptureFixture) -> float:
    with caplog.at_level("INFO", "torchslim"):
        assert main(words(net, voc, logdir, "--steps", "1", "--log-every", "1")) == 0
    found = re.findall(r"loss[ =:]+([0-9.]+)", caplog.text)
    caplog.clear()
    return float(found[-1])


def test_auxiliary_classifiers_have_their_weight(voc: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "nets.py").write_text(NETS)
    plain, auxiliary = (
        first_loss(f"{tmp_path}/nets.py:{name}", voc, tmp_path / name, caplog) for name in ("plain", "with_auxiliary")
    )
    assert auxiliary == pytest.approx(1.4 * plain, rel=1e-3)


def test_the_last_step_leaves_statistics_of_the_data(voc: Path, tmp_path: Path) -> None:
    """One step moves averages with a decay of 0.999 by a thousandth; these are what the pictures have."""
    (tmp_path / "nets.py").write_text(NETS)
    run = Run.start(make_parser().parse_args(words(f"{tmp_path}/nets.py:plain", voc, tmp_path)))
    photographs = run.data("train")
    images = torch.stack([photograph for photograph, *_ in photographs])
    whole = ("--steps", "1", "--batch-size", str(len(images)))  # the last pictures would be left out otherwise
    assert main(words(f"{tmp_path}/nets.py:plain", voc, tmp_path / "run", *whole)) == 0
    kernel = load_file(tmp_path / "run" / "model.ckpt-1.safetensors")
    maps = torch.nn.functional.conv2d(images, kernel["model/net.conv1.weight"], stride=4)
    for name, statistic in ("mean", maps.mean((0, 2, 3))), ("var", maps.var((0, 2, 3), correction=0)):
        torch.testing.assert_close(kernel[f"model/net.conv1.BatchNorm.running_{name}"], statistic, rtol=0.02, atol=0.1)


@pytest.mark.parametrize(
    ("net", "message"),
    [
        ("resnet_v1_5O", r"Got 'resnet_v1_5O'\. Did you mean 'resnet_v1_50'.* The networks are alexnet_v2, .*pnasnet"),
        ("i3d", "must take pictures. Got 'i3d', which takes videos"),
    ],
)
def test_networks_that_there_are_not(
    net: str, message: str, voc: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(net, voc, tmp_path / "run")) == 2
    assert re.search(message, capsys.readouterr().err)
