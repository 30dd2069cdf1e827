"""Conversion without a model: what a model saves and restores says what must come out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.checkpoints import convert, open_checkpoint, restore, save, save_tf

GOLDENS = Path(__file__).parents[1] / "goldens" / "checkpoints"


def net(images: slim.Symbol) -> slim.Symbol:
    """Every kind of layer that can be converted."""
    normal = {"normalizer_fn": slim.batch_norm, "normalizer_params": {"scale": True}}
    net = slim.conv2d(images, 4, [3, 2], scope="block/conv", **normal)
    net = slim.separable_conv2d(net, None, [3, 2], 2, scope="depthwise_only")
    net = slim.separable_conv2d(net, 6, [3, 2], 3, scope="separable")
    net = slim.layer_norm(slim.conv2d_transpose(net, 5, [3, 2], scope="up"), scope="LayerNorm")
    net = slim.fully_connected(net.mean((2, 3)), 7, scope="fc1")
    return slim.fully_connected(net, 3, activation_fn=None, scope="fc2")


def build(function: Any = net) -> torch.nn.Module:
    return slim.build(function, slim.InputSpec((None, 3, 4, 6)))


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in found.items())


@pytest.mark.parametrize("name", ["a.safetensors", "a.pt", "a.pth"])
def test_from_tensorflow_to_the_state_dict_of_the_model(name: str, tmp_path: Path) -> None:
    model, other = build(), build()
    prefix = save_tf(model, tmp_path / "model.ckpt", global_step=3)
    assert convert(prefix, tmp_path / name) == ["global_step"]
    found = {key: stored.read() for key, stored in open_checkpoint(tmp_path / name).items()}
    wanted = {key: tensor for key, tensor in model.state_dict().items() if "num_batches" not in key}
    assert_same(found, wanted)
    assert other.load_state_dict(found, strict=False).unexpected_keys == []
    restore(build(), tmp_path / name)


def test_to_tensorflow_and_back(tmp_path: Path) -> None:
    def dense(images: slim.Symbol) -> slim.Symbol:
        net = slim.conv2d(images, 4, [3, 2], scope="conv", normalizer_fn=slim.batch_norm)
        net = slim.layer_norm(slim.conv2d_transpose(net, 5, [3, 2], scope="up"), scope="LayerNorm", scale=False)
        net = slim.fully_connected(net.mean((2, 3)), 7, scope="fc1")
        return slim.bias_add(slim.fully_connected(net, 3, scope="fc2"), scope="offset")

    model = build(dense)
    save(tmp_path / "a.safetensors", model.state_dict())
    convert(tmp_path / "a.safetensors", tmp_path / "theirs.ckpt")
    save_tf(model, tmp_path / "ours.ckpt")
    theirs, ours = open_checkpoint(tmp_path / "theirs.ckpt"), open_checkpoint(tmp_path / "ours.ckpt")
    assert_same({name: theirs[name].read() for name in theirs}, {name: ours[name].read() for name in ours})
    convert(tmp_path / "theirs.ckpt", tmp_path / "b.safetensors")
    back = open_checkpoint(tmp_path / "b.safetensors")
    wanted = {key: tensor for key, tensor in model.state_dict().items() if "num_batches" not in key}
    assert_same({name: back[name].read() for name in back}, wanted)


def test_a_file_remembers_its_layout(tmp_path: Path) -> None:
    model = build()
    prefix = save_tf(model, tmp_path / "model.ckpt")
    convert(prefix, tmp_path / "a.safetensors", layout="tf")
    assert open_checkpoint(tmp_path / "a.safetensors").layout == "tf"
    other = build()
    restore(other, tmp_path / "a.safetensors")
    assert_same(dict(other.state_dict()), dict(model.state_dict()))
    assert convert(tmp_path / "a.safetensors", tmp_path / "again.ckpt") == []
    assert set(open_checkpoint(tmp_path / "again.ckpt")) == set(open_checkpoint(prefix))


def test_slots_averages_and_strings_stay_behind(tmp_path: Path) -> None:
    left_out = convert(GOLDENS / "mini_vgg_adam_v2", tmp_path / "a.safetensors")
    assert len(left_out) + len(open_checkpoint(tmp_path / "a.safetensors")) == 59
    assert {"beta1_power", "global_step", "mini_vgg/fc8/biases/Adam_1"} < set(left_out)
    strings = {"s", "scalar/s", "empty/s"}
    assert set(convert(GOLDENS / "dtypes_v2", tmp_path / "a.pt", layout="tf")) == strings
    assert convert(GOLDENS / "dtypes_v2", tmp_path / "a.ckpt") == []


def test_names(tmp_path: Path) -> None:
    source = {"a.b.weight": torch.ones(2, 3, 1, 1), "a.bias": torch.ones(1), "ab": torch.ones(1)}
    convert(source, tmp_path / "a.pt", names={"a.b": "x.y", "a": "z"})
    assert set(open_checkpoint(tmp_path / "a.pt")) == {"x.y.weight", "z.bias", "ab"}
    convert(source, tmp_path / "b.pt", names={"a": ""})
    assert set(open_checkpoint(tmp_path / "b.pt")) == {"b.weight", "bias", "ab"}
    with pytest.raises(ValueError, match=r"`names` must name scopes of the given mapping\. Got 'c'"):
        convert(source, tmp_path / "c.pt", names={"c": "d"})


def image(rows: int) -> dict[str, torch.Tensor]:
    return {"conv/weights": torch.ones(3, 3, 1, 5), "fc/weights": torch.ones(rows, 7)}


@pytest.mark.parametrize(
    ("source", "layout", "message"),
    [
        (image(60), "tf", r"'fc/weights', \[60, 7\], may follow an image: no other layer has 60 outputs"),
        ({**image(7), "fc/biases": torch.ones(7)}, "tf", r"no other layer has 7 outputs"),  # its own are no other's
        ({"w/.ATTRIBUTES/VARIABLE_VALUE": torch.ones(1)}, "tf", "belongs to an object of TensorFlow 2"),
        ({"fc.weight": torch.ones(7, 60)}, "torch", r"'fc\.weight', \[7, 60\], may follow an image"),
        ({"c.weight": torch.ones(7, 1, 3, 3)}, "torch", r"may be of one channel, or of each of 7 by itself"),
    ],
)
def test_what_only_the_model_knows(source: Any, layout: str, message: str, tmp_path: Path) -> None:
    save(tmp_path / "source.safetensors", source, {"torchslim.layout": layout})
    output = tmp_path / ("out.pt" if layout == "tf" else "out.ckpt")
    with pytest.raises(ValueError, match=f"convert: .*{message}.*Only the model knows.*layout={layout!r}"):
        convert(tmp_path / "source.safetensors", output)
    assert [path.name for path in tmp_path.iterdir()] == ["source.safetensors"]
    convert(tmp_path / "source.safetensors", tmp_path / "kept.pt", layout=layout)
    assert set(open_checkpoint(tmp_path / "kept.pt")) == set(source)


def test_a_matrix_on_features_is_transposed(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", image(5), {"torchslim.layout": "tf"})
    convert(tmp_path / "a.safetensors", tmp_path / "a.pt")
    assert open_checkpoint(tmp_path / "a.pt").get_variable_to_shape_map() == {
        "conv.weight": [5, 1, 3, 3],
        "fc.weight": [7, 5],
    }


@pytest.mark.parametrize(
    ("name", "layout", "message"),
    [
        ("a.npz", None, r"`path` must end in .*Got '.*a\.npz'"),
        ("a.pt", "nhwc", "`layout` must be one of .*Got 'nhwc'"),
        ("a.ckpt", "torch", "'tf' for a TensorFlow checkpoint. Got 'torch'"),
    ],
)
def test_other_formats(name: str, layout: str | None, message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        convert({"w": torch.ones(1)}, tmp_path / name, layout=layout)


def test_types_that_the_format_lacks(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"have no torch\.complex128\. Got it in 'w': use \.pt"):
        convert({"w": torch.ones(1, dtype=torch.complex128)}, tmp_path / "a.safetensors")
