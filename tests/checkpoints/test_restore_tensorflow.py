"""Nets in slim syntax, restored from TensorFlow's own files, compute what TensorFlow computed with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import CheckpointError, open_checkpoint, restore

GOLDENS = Path(__file__).parents[1] / "goldens" / "checkpoints"
WEIGHTS = Path(__file__).parents[2].parent / "shared" / "weights"

needs_weights = pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no pretrained weights at {WEIGHTS}")

# The nets, as their authors wrote them.


def mini_vgg(images: slim.Symbol) -> slim.Symbol:
    with slim.variable_scope("mini_vgg"):
        net = slim.repeat(images, 2, slim.conv2d, 8, [3, 3], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        net = slim.repeat(net, 2, slim.conv2d, 16, [3, 3], scope="conv2")
        net = slim.max_pool2d(net, [2, 2], scope="pool2")
        normal = {"normalizer_fn": slim.batch_norm, "normalizer_params": {"scale": True, "is_training": False}}
        net = slim.conv2d(net, 24, [3, 3], padding="VALID", scope="fc6", **normal)
        net = slim.conv2d(net, 5, [1, 1], activation_fn=None, scope="fc8")
        return net.mean((2, 3))


def lenet(images: slim.Symbol) -> slim.Symbol:
    with slim.variable_scope("LeNet"):
        net = slim.conv2d(images, 32, [5, 5], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], 2, scope="pool1")
        net = slim.conv2d(net, 64, [5, 5], scope="conv2")
        net = slim.flatten(slim.max_pool2d(net, [2, 2], 2, scope="pool2"))
        net = slim.fully_connected(net, 1024, scope="fc3")
        return slim.fully_connected(net, 10, activation_fn=None, scope="fc4")


def cifarnet(images: slim.Symbol) -> slim.Symbol:
    def normalized(net: slim.Symbol) -> slim.Symbol:
        return torch.nn.functional.local_response_norm(net, 9, alpha=0.001, beta=0.75, k=1.0)

    with slim.variable_scope("CifarNet"):
        net = slim.conv2d(images, 64, [5, 5], scope="conv1")
        net = normalized(slim.max_pool2d(net, [2, 2], 2, scope="pool1"))
        net = normalized(slim.conv2d(net, 64, [5, 5], scope="conv2"))
        net = slim.flatten(slim.max_pool2d(net, [2, 2], 2, scope="pool2"))
        net = slim.fully_connected(net, 384, scope="fc3")
        net = slim.fully_connected(net, 192, scope="fc4")
        return slim.fully_connected(net, 10, activation_fn=None, scope="logits")


MOBILENET = [
    *[(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)],
    *[(512, 1)] * 5,
    *[(1024, 2), (1024, 1)],
]


def mobilenet_v1_025(images: slim.Symbol, num_classes: int) -> slim.Symbol:
    def depth(channels: int) -> int:
        return max(channels // 4, 8)

    normal = {"is_training": False, "center": True, "scale": True}
    with (
        slim.variable_scope("MobilenetV1"),
        slim.arg_scope(
            [slim.conv2d, slim.separable_conv2d],
            activation_fn=torch.nn.functional.relu6,
            normalizer_fn=slim.batch_norm,
            normalizer_params=normal,
        ),
    ):
        net = slim.conv2d(images, depth(32), [3, 3], stride=2, scope="Conv2d_0")
        for i, (channels, stride) in enumerate(MOBILENET, 1):
            net = slim.separable_conv2d(net, None, [3, 3], 1, stride=stride, scope=f"Conv2d_{i}_depthwise")
            net = slim.conv2d(net, depth(channels), [1, 1], scope=f"Conv2d_{i}_pointwise")
        net = net.mean((2, 3), keepdim=True)
        with slim.variable_scope("Logits"):
            net = slim.conv2d(net, num_classes, [1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_1c_1x1")
        return net.mean((2, 3))


def build(net: Callable[..., Any], shape: tuple[int | None, ...], device: str = "meta", **kwargs: Any) -> Any:
    """The model, for images `shape`, NHWC."""
    *space, channels = shape[1:]
    with torch.device(device):
        return slim.build(net, slim.InputSpec((None, channels, *space)), **kwargs)


def run(model: torch.nn.Module, images: np.ndarray) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(torch.from_numpy(images).permute(0, 3, 1, 2))


def expected(name: str) -> dict[str, Any]:
    return json.loads((GOLDENS / name / "expected.json").read_text())["forward"]


def images_of(forward: dict[str, Any]) -> np.ndarray:
    return np.random.RandomState(forward["input_seed"]).uniform(-1, 1, forward["input_shape"]).astype(np.float32)


def assert_logits(found: torch.Tensor, wanted: list[float]) -> None:
    torch.testing.assert_close(found, torch.tensor(wanted).reshape(found.shape), rtol=1e-4, atol=1e-5)


# The goldens.


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize(
    ("name", "net"),
    [
        ("lenet_v1", lenet),
        ("lenet_v2", lenet),
        ("cifarnet_v2", cifarnet),
        ("mobilenet_v1_025_c20_v2", mobilenet_v1_025),
    ],
)
def test_nets_compute_what_tensorflow_computed(name: str, net: Callable[..., Any], device: str) -> None:
    forward = expected(name)
    kwargs = {"num_classes": 20} if net is mobilenet_v1_025 else {}
    model = build(net, forward["input_shape"], device, **kwargs)
    report = restore(model, GOLDENS / name)
    assert (report.missing, report.mismatched, report.initialized) == ([], [], [])
    assert set(report.unused) <= {"global_step"}
    assert_logits(run(model, images_of(forward)), forward["logits"])


@pytest.mark.parametrize("name", ["mini_vgg_v1", "mini_vgg_v2", "mini_vgg_adam_v2", "mini_vgg_adadelta_v1"])
def test_trained_nets_and_their_averages(name: str) -> None:
    forward = expected(name)
    images = images_of(forward)
    for kind, preferences in (("raw", [False]), ("ema", [True, "auto"])):
        for prefer_ema in preferences if kind in forward["logits"] else []:
            model = build(mini_vgg, forward["input_shape"])
            report = restore(model, GOLDENS / name, prefer_ema=prefer_ema)
            assert_logits(run(model, images), forward["logits"][kind])
            assert bool(report.averaged) == (kind == "ema")
            assert report.unused == ["global_step"]
    if "ema" not in forward["logits"]:
        model = build(mini_vgg, forward["input_shape"])
        assert restore(model, GOLDENS / name, prefer_ema="auto").averaged == []
        assert_logits(run(model, images), forward["logits"]["raw"])


def test_the_report_counts_slots_and_averages() -> None:
    report = restore(build(mini_vgg, (None, 16, 16, 3)), GOLDENS / "mini_vgg_adam_v2")
    known = json.loads((GOLDENS / "mini_vgg_adam_v2" / "expected.json").read_text())["tensors"]
    names = [tensor["name"] for tensor in known]
    slots = [name for name in names if "Adam" in name or name.endswith("_power")]
    averages = [name for name in names if name.endswith("/ExponentialMovingAverage")]
    assert (sorted(report.optimizer_slots), sorted(report.averages)) == (sorted(slots), sorted(averages))
    assert str(report).splitlines()[1:] == [
        "  unused in the checkpoint (1): global_step",
        f"  moving averages, not taken ({len(averages)}): prefer_ema=True restores them",
        f"  optimizer slots ({len(slots)})",
    ]


def test_init_fn_takes_such_files() -> None:
    forward = expected("mini_vgg_v1")
    with slim.Graph() as graph:
        logits = mini_vgg(slim.placeholder((None, 3, 16, 16)))
        init_fn = slim.assign_from_checkpoint_fn(
            GOLDENS / "mini_vgg_v1" / "model.ckpt-4", slim.get_variables_to_restore(), ignore_missing_vars=False
        )
        init_fn()
    assert_logits(run(graph.module(logits), images_of(forward)), forward["logits"]["raw"])


def test_objects_of_tensorflow_2_by_their_names() -> None:
    """A Keras model: convolution, batch normalization, depthwise convolution, dense layer on the image."""
    forward = expected("object_keras_seq")

    def net(images: slim.Symbol) -> slim.Symbol:
        net = slim.conv2d(images, 6, [3, 3], activation_fn=None, scope="conv_a")
        return slim.batch_norm(net, is_training=False, scale=True, scope="bn_a")

    names = {"weights": "kernel", "biases": "bias"}

    def named(variable: slim.Variable) -> str:
        scope, _, leaf = variable.op.name.rpartition("/")
        return f"{scope}/{names.get(leaf, leaf)}"

    model = build(net, forward["input_shape"])
    report = restore(model, GOLDENS / "object_keras_seq", names=named)
    values = np.load(GOLDENS / "object_keras_seq" / "expected.npz")
    kernel = values["model/layer_with_weights-0/kernel/.ATTRIBUTES/VARIABLE_VALUE"]
    assert torch.equal(model.conv_a.weight, torch.from_numpy(kernel).permute(3, 2, 0, 1))
    assert not any("layer_with_weights-0" in name or "layer_with_weights-1" in name for name in report.unused)


# All or nothing, and little memory.


def test_a_damaged_tensor_changes_nothing(tmp_path: Path) -> None:
    for file in (GOLDENS / "lenet_v2").glob("model.ckpt*"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    data = tmp_path / "model.ckpt.data-00000-of-00001"
    damaged = bytearray(data.read_bytes())
    damaged[-1] ^= 1
    data.write_bytes(damaged)
    for device in ("cpu", "meta"):
        model = build(lenet, (None, 4, 4, 1), device)
        before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
        with pytest.raises(CheckpointError, match="LeNet/fc4/weights"):
            restore(model, tmp_path / "model.ckpt")
        for name, tensor in model.state_dict().items():
            assert tensor.is_meta == (device == "meta")
            assert tensor.is_meta or torch.equal(tensor, before[name])


# The real thing.


@needs_weights
@pytest.mark.parametrize("form", ["v1.ckpt", "v2.ckpt", "bncal_v1.ckpt", "bncal_v2.ckpt"])
def test_the_pretrained_mobilenet(form: str) -> None:
    model = build(mobilenet_v1_025, (None, 224, 224, 3), num_classes=1001)
    report = restore(model, WEIGHTS / f"mobilenet_v1_0.25_224_{form}")
    assert report.unused == ["global_step"]
    known = np.load(WEIGHTS / "reference_io.npz")
    photographs = known["photos_uint8"].astype(np.float32) / 127.5 - 1
    logits = run(model, photographs)
    torch.testing.assert_close(logits, torch.from_numpy(known["logits_photos"]), rtol=0, atol=2e-3)
    noise = np.random.RandomState(0).uniform(-1, 1, (4, 224, 224, 3)).astype(np.float32)
    torch.testing.assert_close(run(model, noise), torch.from_numpy(known["logits_random"]), rtol=0, atol=2e-3)
    labels = (WEIGHTS / "source" / "imagenet_labels_1001.txt").read_text().splitlines()
    named = {str(name): labels[i] for name, i in zip(known["names"], logits.argmax(1).tolist(), strict=True)}
    for name, label in (("burger", "cheeseburger"), ("grace_hopper", "suit"), ("cats_and_dogs", "Chihuahua")):
        assert label in next(found for file, found in named.items() if file.startswith(name))


@needs_weights
@pytest.mark.parametrize(
    "name", ["regression.ckpt", "simple.ckpt", "simple_older.ckpt", "softmax-1000.ckpt", "regression_v2.ckpt"]
)
def test_files_of_the_first_tensorflow(name: str) -> None:
    checkpoint = open_checkpoint(WEIGHTS / "genuine_ckpt" / "sugyan_v1" / name)
    assert sorted(stored.shape for stored in checkpoint.values())[-1] == (784, 10)
    assert all(np.isfinite(checkpoint.get_tensor(key)).all() for key in checkpoint)
