"""legacy_fully_connected and its aliases, and bias_add."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim


def test_legacy_layer_acts_on_the_last_dimension() -> None:
    x = torch.randn(2, 5, 3)
    with slim.Graph():
        got = slim.legacy_relu(x, 4, bias_init=slim.constant_initializer(0.5))
        weights, bias = slim.get_variables()
    assert (weights.op.name, bias.op.name) == ("fully_connected/weights", "fully_connected/bias")
    assert weights.tf_shape == (3, 4)
    torch.testing.assert_close(got, torch.relu(x @ weights.to_tf(weights.tensor) + 0.5))


def test_legacy_collections_names_and_regularizers() -> None:
    with slim.Graph() as graph:
        x = slim.placeholder((None, 3))
        y = slim.legacy_linear(
            x, 4, name="leg", weight_regularizer=slim.l2_regularizer(0.1), output_collections=["mine"]
        )
        slim.legacy_fully_connected(x, 4, bias_init=None, trainable=False)
        assert slim.get_model_variables() == []
        assert [v.op.name for v in slim.get_trainable_variables()] == ["leg/weights", "leg/bias"]
        assert [v.op.name for v in graph.get_collection("weights")] == ["leg/weights", "fully_connected/weights"]
        assert [v.op.name for v in graph.get_collection("biases")] == ["leg/bias"]
        assert graph.get_collection("mine")[0].node is y.node
        assert len(graph.get_collection("activations")) == 2
        assert len(slim.losses.get_regularization_losses()) == 1


def test_legacy_layer_behind_a_flattened_image_knows_tensorflows_order() -> None:
    image = torch.randn(2, 3, 4, 5)
    with slim.Graph() as graph:
        x = slim.placeholder((None, 3, 4, 5))
        y = slim.legacy_fully_connected(slim.flatten(x), 2, bias_init=None)
        (weights,) = slim.get_variables()
        kernel = torch.randn(weights.tf_shape)
        weights.assign(weights.from_tf(kernel))
        got = graph.run(y, {x: image})
    torch.testing.assert_close(got, image.permute(0, 2, 3, 1).flatten(1) @ kernel)


@pytest.mark.parametrize(("x", "units", "given"), [
    (torch.zeros(3), 2, r"Got shape \(3,\)"), (torch.zeros(2, 3), 0, "Got 0"), (torch.zeros(2, 3), 2.0, "Got 2.0"),
])  # fmt: skip
def test_legacy_layer_refuses(x, units, given) -> None:
    with slim.Graph(), pytest.raises(ValueError, match=given):
        slim.legacy_fully_connected(x, units)


@pytest.mark.parametrize(("shape", "data_format"), [
    ((2, 3), "NCHW"), ((2, 3), "NHWC"), ((2, 3, 4), "NCHW"), ((2, 4, 3), "NHWC"), ((2, 3, 4, 5), "NCHW"),
    ((2, 4, 5, 3), "NHWC"),
])  # fmt: skip
def test_bias_add(shape, data_format) -> None:
    x = torch.randn(shape)
    with slim.Graph():
        got = slim.bias_add(x, initializer=[1.0, 2.0, 3.0], activation_fn=torch.tanh, data_format=data_format)
        (biases,) = slim.get_model_variables()
    axis = 1 if data_format == "NCHW" else -1
    expected = torch.stack([part + i + 1 for i, part in enumerate(x.unbind(axis))], axis).tanh()
    torch.testing.assert_close(got, expected)
    assert biases.op.name == "BiasAdd/biases"


def test_bias_add_as_a_normalizer_and_shared() -> None:
    with slim.Graph():
        x = slim.placeholder((None, 3, 4, 4))
        slim.conv2d(x, 5, 3, normalizer_fn=slim.bias_add, normalizer_params={"regularizer": slim.l1_regularizer(0.1)})
        slim.bias_add(x, scope="b", variables_collections={"biases": ["mine"]}, trainable=False)
        slim.bias_add(x, scope="b", reuse=True)
        assert [v.op.name for v in slim.get_variables()] == ["Conv/weights", "Conv/BiasAdd/biases", "b/biases"]
        assert len(slim.losses.get_regularization_losses()) == 1
        assert [v.op.name for v in slim.get_default_graph().get_collection("mine")] == ["b/biases"]
        assert "b/biases" not in [v.op.name for v in slim.get_trainable_variables()]


def test_bias_add_refuses() -> None:
    with pytest.raises(ValueError, match=r"`data_format` must be one of 'NHWC', 'NCHW'. Got 'NCDHW'"):
        slim.bias_add(torch.zeros(2, 3), data_format="NCDHW")
    with slim.Graph(), pytest.raises(ValueError, match=r"must be fixed.* Got shape \(None, None, 4, 4\)"):
        slim.bias_add(slim.placeholder((None, None, 4, 4)))
