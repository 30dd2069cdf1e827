"""`slim.nets.get`: names, weights, classes and preprocessing together."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision

import torchslim as slim
from torchslim import nets
from torchslim.preprocessing import inception_preprocessing, torchvision_preprocessing

WEIGHTS = Path(__file__).parents[3] / "shared" / "weights"
PICTURE = torch.randint(0, 256, (3, 60, 80), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
NAME, SIZE = "mobilenet_v1_025", 32


def values(classes: int) -> dict[str, torch.Tensor]:
    """The weights of another model."""
    torch.manual_seed(classes)
    return nets.get(NAME, classes, image_size=SIZE).state_dict()


def test_a_network_of_its_card() -> None:
    with torch.device("meta"):
        model = nets.get(NAME)
        headless = nets.get(NAME, num_classes=0, image_size=SIZE)
        thin = nets.get("mobilenet_v1", depth_multiplier=0.25)
        video = nets.get("i3d", image_size=SIZE)
    assert model.end_points["Predictions"].shape == (None, 1001)
    assert headless.eval()(torch.empty(1, 3, SIZE, SIZE, device="meta")).shape == (1, 256, 1, 1)
    assert model.preprocess(PICTURE).shape == (3, 224, 224)
    assert sum(parameter.numel() for parameter in thin.parameters()) == nets.card(NAME).parameters
    frames = torch.stack([PICTURE, PICTURE.flip(2)], 1)
    prepared = video.preprocess(frames)
    torch.testing.assert_close(prepared[:, 1], inception_preprocessing.preprocess_image(frames[:, 1], SIZE, SIZE))


def test_options_of_training() -> None:
    with torch.device("meta"):
        model = nets.get(NAME, 5, image_size=SIZE, weight_decay=0.5, is_training=False)
    (weights,) = slim.get_variables("MobilenetV1/Conv2d_0/weights", module=model)
    assert weights.regularizer == slim.l2_regularizer(0.5)
    assert not any(module.training for module in model.train().modules() if isinstance(module, torch.nn.BatchNorm2d))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".ckpt"])
def test_checkpoints_of_each_kind(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    wanted = nets.get(NAME, 7, image_size=SIZE).eval()
    path = tmp_path / f"net{suffix}"
    if suffix == ".ckpt":
        slim.checkpoints.save_tf(wanted, path)
    elif suffix == ".pt":
        torch.save(wanted.state_dict(), path)
    else:
        slim.checkpoints.save(path, wanted.state_dict())
    found = nets.get(NAME, 7, path, image_size=SIZE).eval()
    images = wanted.preprocess(PICTURE)[None]
    torch.testing.assert_close(found(images), wanted(images))


def test_background() -> None:
    with pytest.raises(ValueError, match=r"1001 classes and the model 1000: .* with drop_background=True, or leave"):
        nets.get(NAME, 1000, values(1001), image_size=SIZE)
    with pytest.raises(ValueError, match=r"1000 classes and the model 1001: .* Build the model with num_classes=1000"):
        nets.get(NAME, 1001, values(1000), image_size=SIZE)
    with pytest.raises(ValueError, match="nothing in the given mapping has one class more"):
        nets.get(NAME, 1000, values(1000), drop_background=True, image_size=SIZE)
    whole = nets.get(NAME, None, values(1001), image_size=SIZE).eval()
    without = nets.get(NAME, 1000, values(1001), drop_background=True, image_size=SIZE).eval()
    images = whole.preprocess(PICTURE)[None]
    torch.testing.assert_close(without(images), whole(images)[:, 1:])


def test_other_classes() -> None:
    with pytest.raises(ValueError, match=r"exclude=\['MobilenetV1/Logits'\]"):
        nets.get(NAME, 20, values(1001), image_size=SIZE)
    model = nets.get(NAME, 20, values(1001), exclude="MobilenetV1/Logits", image_size=SIZE)
    torch.testing.assert_close(
        model.state_dict()["MobilenetV1.Conv2d_0.weight"], values(1001)["MobilenetV1.Conv2d_0.weight"]
    )
    assert model(torch.zeros(2, 3, SIZE, SIZE)).shape == (2, 20)


def test_weights_of_torchvision_get_its_preprocessing() -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.vgg11(num_classes=5)
    model = nets.get("vgg_a", 5, theirs.state_dict(), names="torchvision/vgg11")
    wanted = torchvision_preprocessing.preprocess_image(PICTURE, 224, 224)
    torch.testing.assert_close(model.preprocess(PICTURE), wanted)


def test_averages_are_what_is_restored() -> None:
    state = values(7)
    averages = {f"{name}/ExponentialMovingAverage": value + 1 for name, value in state.items()}
    key = "MobilenetV1.Conv2d_0.weight"
    found = nets.get(NAME, 7, {**state, **averages}, image_size=SIZE).state_dict()[key]
    torch.testing.assert_close(found, state[key] + 1)


def test_copies_keep_the_preprocessing() -> None:
    with torch.device("meta"):
        model = nets.get(NAME, 7, image_size=SIZE)
    for other in (
        copy.deepcopy(model),
        pickle.loads(pickle.dumps(model)),
        pickle.loads(pickle.dumps(copy.deepcopy(model))),
    ):
        torch.testing.assert_close(other.preprocess(PICTURE), model.preprocess(PICTURE))
        assert str(other.summary()) == str(model.summary())


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="needs the published weights")
@pytest.mark.parametrize("format", ["v1", "v2"])
@pytest.mark.parametrize("statistics", ["", "bncal_"])
def test_published_weights(format: str, statistics: str) -> None:
    """The logits that TensorFlow Lite computes of photographs."""
    known = np.load(WEIGHTS / "reference_io.npz")
    model = nets.get(NAME, pretrained=WEIGHTS / f"mobilenet_v1_0.25_224_{statistics}{format}.ckpt").eval()
    pictures = torch.from_numpy(known["photos_uint8"]).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(pictures / 127.5 - 1).numpy()
    np.testing.assert_allclose(logits, known["logits_photos"], atol=1e-3)
    assert model.preprocess(pictures[0]).shape == (3, 224, 224)
    assert nets.card(NAME).class_names[logits[0].argmax()] == "cheeseburger"
