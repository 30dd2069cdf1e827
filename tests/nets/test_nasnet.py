"""The arguments of NASNet and PNASNet and what they are made of; names and numbers are in test_nets_goldens.py."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import torchslim as slim
from torchslim.nets.nasnet import nasnet, nasnet_utils, paths, pnasnet


def small(config: Any, **numbers: Any) -> Any:
    """A config of few cells and channels."""
    for name, number in {"num_cells": 3, "num_conv_filters": 8, **numbers}.items():
        assert hasattr(config, name)
        setattr(config, name, number)
    return config


def on_meta(function: Any, *shape: int | None, **kwargs: Any) -> slim.Model:
    with torch.device("meta"), slim.arg_scope(nasnet.nasnet_mobile_arg_scope()):
        return slim.build(function, slim.InputSpec((None, *shape)), **kwargs)


MOBILE = [
    (nasnet.build_nasnet_mobile, nasnet.mobile_imagenet_config),
    (pnasnet.build_pnasnet_mobile, pnasnet.mobile_imagenet_config),
]


def test_factorized_reduction_sees_the_pixels_that_a_stride_skips() -> None:
    images = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    scope = slim.arg_scope([slim.conv2d], weights_initializer=slim.ones_initializer(), activation_fn=None)
    with scope, slim.Graph():
        model = slim.build(nasnet_utils.factorized_reduction, images, output_filters=2, stride=2)
    reduced = model.eval()(images)[0] * 1.001**0.5
    expected = [[[1, 3, 5], [11, 13, 15], [21, 23, 25]], [[7, 9, 0], [17, 19, 0], [0, 0, 0]]]
    torch.testing.assert_close(reduced, torch.tensor(expected, dtype=torch.float32))


def test_drop_path_drops_whole_examples() -> None:
    features = torch.ones(1000, 2, 3, 3)
    with slim.Graph():
        progress = torch.tensor(0.5)
        model = slim.build(lambda x, p: nasnet_utils.drop_path(x, 0.5, progress=p), features, progress).train()
    torch.manual_seed(0)
    dropped = model(features, progress)  # half-way: 0.75 are kept
    first = dropped[:, 0, 0, 0]
    assert torch.equal(dropped, first[:, None, None, None].expand_as(dropped))
    assert sorted(set(first.tolist())) == pytest.approx([0, 4 / 3])
    assert float((first > 0).float().mean()) == pytest.approx(0.75, abs=0.05)
    assert torch.equal(model(features, torch.tensor(0.0)), features)
    assert torch.equal(model.eval()(features, progress), features)
    assert torch.equal(nasnet_utils.drop_path(features, 0.5, is_training=False), features)
    with pytest.raises(ValueError, match=r"`keep_prob` must be in \(0, 1\]. Got 0"):
        nasnet_utils.drop_path(features, 0)


def test_paths_are_dropped_by_depth_and_step() -> None:
    config = small(nasnet.cifar_config(), drop_path_keep_prob=0.4, total_training_steps=10)

    def keep_probs(**kwargs: Any) -> list[float]:
        with slim.Graph():
            model = on_meta(nasnet.build_nasnet_cifar, 3, 16, 16, num_classes=5, config=config, **kwargs)
        return [module.keep_prob for module in model.modules() if isinstance(module, paths.DropPath)]

    # Paths of the first to the last of 3 cells and 2 that halve the image.
    for step, lost in ((20, 0.6), (5, 0.3)):
        assert sorted(set(keep_probs(current_step=step))) == pytest.approx([1 - lost * n / 5 for n in range(5, 0, -1)])
    assert keep_probs(current_step=5, is_training=False) == []


def test_the_global_step_is_looked_at_when_it_runs() -> None:
    config = small(nasnet.cifar_config(), drop_path_keep_prob=0.01, total_training_steps=1)
    images = torch.randn(8, 3, 16, 16)
    with slim.Graph(), slim.arg_scope([slim.batch_norm], is_training=False):
        model = slim.build(nasnet.build_nasnet_cifar, images, num_classes=None, config=config, is_training=None)
        step = slim.get_variables("global_step", module=model)[0]
    for module in model.train().modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.eval()
    assert torch.equal(model(images), model(images))
    step.assign(torch.tensor(1))
    assert not torch.equal(model(images), model(images))


@pytest.mark.parametrize(("function", "config"), MOBILE)
def test_every_end_point_can_be_the_last(function: Any, config: Any) -> None:
    whole = on_meta(function, 3, 64, 64, num_classes=5, config=small(config()), is_training=False)
    ends = list(whole.end_points)
    for last in ("Stem", "Cell_1", "global_pool", "Logits"):
        model = on_meta(
            function, 3, 64, 64, num_classes=5, config=small(config()), is_training=False, final_endpoint=last
        )
        assert list(model.end_points) == ends[: ends.index(last) + 1]
    features = whole.end_points["global_pool"].shape[1]
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, features)  # those in front of the predictions
    with pytest.raises(ValueError, match=r"`final_endpoint` must be one of Stem, .* Got 'Cell_77'"):
        on_meta(function, 3, 64, 64, num_classes=5, config=small(config()), final_endpoint="Cell_77", is_training=False)


@pytest.mark.parametrize(("function", "config"), MOBILE)
@pytest.mark.parametrize("skip", [0, 1])
def test_both_sources_of_a_cell_and_both_heads(function: Any, config: Any, skip: int) -> None:
    numbers = {"skip_reduction_layer_input": skip, "num_cells": 5}
    model = on_meta(function, 3, 97, 64, num_classes=skip or None, config=small(config(), **numbers), is_training=False)
    assert ("Logits" in model.end_points) == skip
    assert model.end_points["global_pool"].shape == (None, model.end_points["Cell_4"].shape[1])


@pytest.mark.parametrize(("function", "config"), MOBILE)
def test_the_second_classifier_is_there_while_training(function: Any, config: Any) -> None:
    for is_training, use, there in ((None, 1, True), (False, 1, False), (True, 0, False)):
        numbers = {"use_aux_head": use}
        options = {"num_classes": 5, "is_training": is_training}
        model = on_meta(function, 3, 160, 160, config=small(config(), **numbers), **options)
        assert ("AuxLogits" in model.end_points) == there
    (weights,) = slim.get_variables("final_layer/FC/weights", module=model)
    assert weights.regularizer == slim.l2_regularizer(4e-5)


@pytest.mark.parametrize(("function", "config"), MOBILE)
def test_bounded_activations(function: Any, config: Any) -> None:
    images = 100 * torch.randn(2, 3, 64, 64)
    numbers = small(config(), use_bounded_activation=True)
    with slim.arg_scope(nasnet.nasnet_mobile_arg_scope()), slim.Graph():
        model = slim.build(function, images, num_classes=5, config=numbers, is_training=False)
    states = 6 if function is nasnet.build_nasnet_mobile else 5
    for cell in model.extract("Cell_0", "Cell_2")(images):
        sums = cell.detach().unflatten(1, (states, -1))[:, -5:]  # in front of them may be what another cell gave
        assert float(sums.min()) == 0
        assert float(sums.max()) == 6


@pytest.mark.parametrize("images", ["NCHW", "NHWC"])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_the_layout_to_compute_in(images: str, layout: str) -> None:
    shape = (3, 64, 48) if images == "NCHW" else (64, 48, 3)
    config = small(nasnet.mobile_imagenet_config(), data_format=layout)
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format=images):
        model = on_meta(nasnet.build_nasnet_mobile, *shape, num_classes=5, config=config, is_training=False)
    assert model.end_points["Stem"].shape == ((None, 16, 8, 6) if layout == "NCHW" else (None, 8, 6, 16))


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"height and width of `images` must be fixed.* Got shape \(None, 3, None"):
        on_meta(nasnet.build_nasnet_mobile, 3, None, None, num_classes=5)
    with pytest.raises(ValueError, match=r"`operations` are .* Got 'separable_5x3_2'"):
        nasnet_utils.NasNetABaseCell(8, ["separable_5x3_2", "none"], [1, 1, 0], [0, 1], 1.0, 20, 1000)
    with pytest.raises(ValueError, match=r"get_channel_dim: `shape` must be of rank 4. Got \(None, 3\)"):
        nasnet_utils.get_channel_dim((None, 3))


def test_default_image_sizes() -> None:
    functions = (nasnet.build_nasnet_cifar, nasnet.build_nasnet_mobile, nasnet.build_nasnet_large,
                 pnasnet.build_pnasnet_mobile, pnasnet.build_pnasnet_large)  # fmt: skip
    assert [function.default_image_size for function in functions] == [32, 224, 331, 224, 331]  # type: ignore
