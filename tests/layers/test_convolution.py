"""Convolutions: hand-worked numbers, names and keys, sharing, collections, what is refused."""

from __future__ import annotations

import pickle

import pytest
import torch
from torch import nn

import torchslim as slim


def volume(*sizes: int | None) -> slim.Symbol:
    return slim.placeholder((None, 3, *(sizes or (8, 8))))


BAD = [
    (lambda: slim.convolution(volume(8, 8, 8, 8), 4, 3), r"convolution: .*rank 3 or 4 or 5. Got shape \(None, 3, 8"),
    (lambda: slim.convolution(volume(), 4, 3, conv_dims=3), r"convolution: .*rank 5. Got shape \(None, 3, 8, 8\)"),
    (lambda: slim.convolution(volume(), 4, 3, conv_dims=4), "`conv_dims` must be one of 1, 2, 3. Got 4"),
    (lambda: slim.convolution(3, 4, 3), "convolution: .*`kernel_size` must have one number a dimension.* Got 3"),
    (lambda: slim.convolution(volume(), 4, 3, data_format="NXC"), "convolution: `data_format` must be .* Got 'NXC'"),
    (lambda: slim.conv1d(volume(), 4, 3), r"conv1d: .*rank 3. Got shape \(None, 3, 8, 8\)"),
    (lambda: slim.conv1d(volume(8), 4, [3, 3]), r"conv1d: `kernel_size` must be a positive integer. Got \[3, 3\]"),
    (lambda: slim.conv1d(volume(8), 4, 9, padding="VALID"), r"conv1d: .*must fit.*`kernel_size` \[9\]"),
    (lambda: slim.conv1d(volume(8), 4, 5, padding="VALID", rate=2), r"`kernel_size` \[5\] \(rate \[2\]\)"),
    (lambda: slim.conv3d(volume(), 4, 3), r"conv3d: .*rank 5. Got shape \(None, 3, 8, 8\)"),
    (lambda: slim.conv3d(volume(8, 8, 8), 4, 3, padding=2), "conv3d: `padding` must be one of 'SAME', 'VALID'. Got 2"),
    (lambda: slim.conv3d(volume(8, 8, 8), 4, 3, [1, 2, 0]), r"`stride` must be a .* or 3 of them. Got \[1, 2, 0\]"),
    (lambda: slim.conv3d(volume(8, 8, 8), 4, 3, 2, rate=2), "conv3d: `stride` and `rate` .* Got 2 and 2"),
    (lambda: slim.conv2d(slim.placeholder((None, 0, 8, 8)), 4, 3), r"Got shape \(None, 0, 8, 8\)"),
    (lambda: slim.conv2d(volume(), 4, 3, weights_regularizer=0.1), "weights_regularizer.* Got 0.1"),
    (lambda: slim.conv2d(volume(), 4, 3, biases_regularizer="l2"), "biases_regularizer.* Got 'l2'"),
    (lambda: slim.conv2d_transpose(volume(8), 4, 3), r"conv2d_transpose: .*rank 4. Got shape \(None, 3, 8\)"),
    (lambda: slim.conv2d_transpose(volume(), 0, 3), "conv2d_transpose: `num_outputs` must be a pos.* Got 0"),
    (lambda: slim.conv2d_transpose(volume(), 4, 0), "conv2d_transpose: `kernel_size` must be .* Got 0"),
    (lambda: slim.conv2d_transpose(volume(), 4, 3, data_format="NCDHW"), "Got 'NCDHW'"),
    (lambda: slim.conv3d_transpose(volume(), 4, 3), r"conv3d_transpose: .*rank 5. Got shape \(None, 3, 8, 8\)"),
    (lambda: slim.conv3d_transpose(volume(8, 8, 8), 4, 3, padding="FULL"), "conv3d_transpose: .*Got 'FULL'"),
    (lambda: slim.separable_conv2d(volume(8), 4, 3), r"separable_conv2d: .*rank 4. Got shape \(None, 3, 8\)"),
    (lambda: slim.separable_conv2d(volume(), 0, 3), "separable_conv2d: `num_outputs` must be a pos.* Got 0"),
    (lambda: slim.separable_conv2d(volume(), 4, 3, 0), "`depth_multiplier` must be a positive integer. Got 0"),
    (lambda: slim.separable_conv2d(volume(), 4, 3, 1, 2, rate=2), "separable_conv2d: `stride` and `rate`.*2 and 2"),
    (lambda: slim.separable_conv2d(volume(), 4, 9, padding="VALID"), r"separable_conv2d: .*`kernel_size` \[9, 9\]"),
    (lambda: slim.conv2d_in_plane(volume(), [2, -1]), r"conv2d_in_plane: `kernel_size` must be .* Got \[2, -1\]"),
    (lambda: slim.conv2d_in_plane(volume(8), 2), r"conv2d_in_plane: .*rank 4. Got shape \(None, 3, 8\)"),
    (lambda: slim.conv2d_in_plane(volume(), 9, padding="VALID"), r"conv2d_in_plane: .*`kernel_size` \[9, 9\]"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), BAD)
def test_bad_arguments(call, message: str) -> None:
    with slim.Graph(), slim.variable_scope("here"), pytest.raises((ValueError, TypeError), match=message) as caught:
        call()
    assert not isinstance(caught.value.args[0], tuple)


def test_errors_name_the_scope() -> None:
    with slim.Graph(), slim.variable_scope("net"), pytest.raises(ValueError, match="Got 0") as caught:
        slim.conv1d(volume(8), 0, 3, scope="here")
    assert caught.value.__notes__ == ["while building 'net/here'"]


def test_conv1d_by_hand() -> None:
    x = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    kernel = torch.tensor([1.0, 10.0, 100.0]).reshape(3, 1, 1)
    same = slim.conv1d(x, 1, 3, weights_initializer=kernel, scope="by_hand_same")
    assert same.tolist() == [[[210.0, 321.0, 432.0, 43.0]]]
    strided = slim.conv1d(x, 1, 3, 2, weights_initializer=kernel, scope="by_hand_strided")
    assert strided.tolist() == [[[321.0, 43.0]]]  # nothing before, one zero behind


def test_transposed_by_hand() -> None:
    x = torch.tensor([1.0, 2.0]).reshape(1, 1, 1, 2)
    kernel = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    valid = slim.conv2d_transpose(x, 1, [1, 3], [1, 2], "VALID", weights_initializer=kernel, scope="by_hand_valid")
    assert valid.tolist() == [[[[1.0, 10.0, 102.0, 20.0, 200.0]]]]
    same = slim.conv2d_transpose(x, 1, [1, 3], [1, 2], "SAME", weights_initializer=kernel, scope="by_hand_cut")
    assert same.tolist() == [[[[1.0, 10.0, 102.0, 20.0]]]]


def test_depthwise_channels_of_one_input_are_neighbours() -> None:
    x = torch.tensor([1.0, 10.0]).reshape(1, 2, 1, 1)
    kernel = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    y = slim.separable_conv2d(x, None, 1, 2, weights_initializer=kernel, scope="neighbours")
    assert y.flatten().tolist() == [1.0, 2.0, 30.0, 40.0]


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (lambda n: slim.conv1d(n, 4, 3), nn.Conv1d),
        (lambda n: slim.conv2d(n, 4, 3), nn.Conv2d),
        (lambda n: slim.conv3d(n, 4, 3), nn.Conv3d),
        (lambda n: slim.convolution(n, 4, [3, 3, 3]), nn.Conv3d),
        (lambda n: slim.conv2d_transpose(n, 4, 3), nn.ConvTranspose2d),
        (lambda n: slim.conv3d_transpose(n, 4, 3), nn.ConvTranspose3d),
        (lambda n: slim.conv2d_in_plane(n, 3), nn.Conv2d),
        (lambda n: slim.separable_conv2d(n, 4, 3).depthwise, nn.Conv2d),
    ],
)
def test_modules_are_those_of_pytorch(layer, kind: type) -> None:
    module = layer(3)
    assert isinstance(module, kind)
    assert module.in_channels == 3


def test_a_chain_passes_the_channels_on() -> None:
    chain = slim.repeat(3, 2, slim.separable_conv2d, None, 3, depth_multiplier=2)
    assert chain(torch.zeros(1, 3, 5, 5)).shape == (1, 12, 5, 5)
    assert slim.repeat(3, 2, slim.conv2d_in_plane, 3)(torch.zeros(1, 3, 5, 5)).shape == (1, 3, 5, 5)


def test_keys_and_names_of_a_separable_convolution() -> None:
    def net(x: slim.Symbol) -> slim.Symbol:
        return slim.separable_conv2d(x, 5, [3, 2], 2, normalizer_fn=slim.batch_norm, scope="block/sep")

    model = slim.build(net, torch.empty(2, 3, 6, 6))
    names = {v.key: (v.op.name, v.shape, v.tf_shape) for v in slim.get_variables(module=model)}
    assert names["block.sep.depthwise.weight"] == ("block/sep/depthwise_weights", (6, 1, 3, 2), (3, 2, 3, 2))
    assert names["block.sep.pointwise.weight"] == ("block/sep/pointwise_weights", (5, 6, 1, 1), (1, 1, 6, 5))
    assert names.keys() == model.state_dict().keys()
    assert [name for name, *_ in names.values()][2:] == [
        "block/sep/BatchNorm/beta", "block/sep/BatchNorm/moving_mean", "block/sep/BatchNorm/moving_variance",
    ]  # fmt: skip
    assert pickle.loads(pickle.dumps(model)).state_dict().keys() == names.keys()
    values = {name: torch.randn(shape) for name, _, shape in names.values()}
    slim.restore(model, values, layout="tf")
    depthwise = values["block/sep/depthwise_weights"]
    assert torch.equal(model.state_dict()["block.sep.depthwise.weight"][2 * 2 + 1, 0], depthwise[:, :, 2, 1])


def test_sharing_a_separable_convolution() -> None:
    def siamese(a: slim.Symbol, b: slim.Symbol) -> tuple[slim.Symbol, ...]:
        first = slim.separable_conv2d(a, 4, 3, scope="s", weights_regularizer=slim.l2_regularizer(0.1))
        same = slim.separable_conv2d(b, 4, 3, scope="s", reuse=True)
        return first, same, slim.separable_conv2d(b, 4, 3, activation_fn=None, scope="s", reuse=slim.AUTO_REUSE)

    with slim.Graph() as graph:
        a, b = volume(), volume()
        outputs = siamese(a, b)
        model = graph.module(outputs, [a, b])
        assert len(slim.losses.get_regularization_losses()) == 2
    assert list(model.state_dict()) == ["s.depthwise.weight", "s.pointwise.weight", "s.pointwise.bias"]
    x = torch.randn(2, 3, 8, 8)
    first, same, linear = model(x, x)
    assert torch.equal(first, same)
    assert torch.equal(first, linear.relu())


def test_the_initializer_of_the_pointwise_kernel() -> None:
    def values(**initializers) -> set[float]:
        module = slim.separable_conv2d(3, 4, 3, **initializers)
        return {value for part in (module.depthwise, module.pointwise) for value in part.weight.flatten().tolist()}

    one, two = slim.constant_initializer(1.0), slim.constant_initializer(2.0)
    assert values(weights_initializer=one) == {1.0}
    assert values(weights_initializer=one, pointwise_initializer=two) == {1.0, 2.0}


@pytest.mark.parametrize("collections", ["all", ["all"], {"weights": ["all"], "biases": ["all"]}])
def test_variables_collections(collections) -> None:
    with slim.Graph() as graph:
        slim.separable_conv2d(volume(), 4, 3, variables_collections=collections, scope="s")
        slim.conv2d_transpose(volume(), 4, 3, variables_collections=collections, scope="t")
        found = [variable.op.name for variable in graph.get_collection("all")]
    assert found == ["s/depthwise_weights", "s/pointwise_weights", "s/biases", "t/weights", "t/biases"]


@pytest.mark.parametrize("layer", [slim.conv2d, slim.conv2d_transpose, slim.separable_conv2d])
def test_the_normalizer_takes_over_the_layout(layer) -> None:
    with slim.Graph():
        x = torch.randn(2, 5, 6, 3)
        y = layer(x, 4, 3, data_format="NHWC", normalizer_fn=slim.batch_norm, activation_fn=None)
        torch.testing.assert_close(y.mean((0, 1, 2)), torch.zeros(4), atol=1e-5, rtol=0)
        with slim.arg_scope([slim.batch_norm], data_format="NCHW"):  # said by the user, so it stands
            y = layer(x, 4, 3, normalizer_fn=slim.batch_norm, data_format="NHWC", activation_fn=None)
        torch.testing.assert_close(y.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)


def test_any_layout_name_says_where_the_channels_are() -> None:
    with slim.Graph():
        for data_format in ("NWC", "NHWC", "NDHWC"):
            assert slim.conv1d(torch.zeros(1, 9, 3), 4, 3, data_format=data_format).shape == (1, 9, 4)
            assert slim.conv3d(torch.zeros(1, 5, 5, 5, 3), 4, 3, data_format=data_format).shape == (1, 5, 5, 5, 4)


def test_not_trainable() -> None:
    for module in (slim.separable_conv2d(3, 4, 3, trainable=False), slim.conv3d_transpose(3, 4, 3, trainable=False)):
        assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize(
    ("kernel", "size", "copies"), [(3, 9, False), (7, 9, False), (1, 8, False), (4, 8, False), (3, 8, True)]
)
def test_only_asymmetric_padding_copies(kernel: int, size: int, copies: bool, monkeypatch) -> None:
    padded = []
    monkeypatch.setattr("torchslim.layers.conv_modules.pad", lambda net, pads: padded.append(pads) or net)
    slim.conv2d(3, 4, kernel, 2)(torch.zeros(1, 3, size, size))
    assert bool(padded) is copies


@pytest.mark.parametrize("sizes", [(6,), (4, 6), (2, 4, 6)])
def test_a_dense_layer_behind_any_convolution_takes_the_rows_of_tensorflow(sizes: tuple[int, ...]) -> None:
    def net(x: slim.Symbol) -> slim.Symbol:
        x = slim.convolution(x, 5, 3, normalizer_fn=slim.batch_norm, scope="conv")
        x = slim.pool(x, 2, "MAX", stride=2)
        return slim.fully_connected(slim.flatten(x), 4, activation_fn=None, scope="fc")

    x = torch.randn(2, 3, *sizes)
    first = slim.build(net, x).eval()
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
        last = slim.build(net, x.movedim(1, -1)).eval()
    values = {v.op.name: v.to_tf(v.tensor) for v in slim.get_variables(module=last)}
    slim.restore(first, values, layout="tf")
    torch.testing.assert_close(first(x), last(x.movedim(1, -1)))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(5, 4), (8, 9)])
def test_a_window_that_covers_the_image_is_a_convolution(
    memory_format: torch.memory_format, size: tuple[int, int]
) -> None:
    layer = slim.conv2d(3, 7, [5, 4], padding="VALID", activation_fn=None).double().to(memory_format=memory_format)
    x = torch.randn(2, 3, *size).double().to(memory_format=memory_format).requires_grad_()
    ours, theirs = layer(x), torch.nn.functional.conv2d(x, layer.weight, layer.bias)
    torch.testing.assert_close(ours, theirs)
    for a, b in zip(*(torch.autograd.grad(y.sin().sum(), (x, layer.weight)) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(a, b)


def test_a_model_exported_for_any_image_size_keeps_its_convolution() -> None:
    model = slim.build(lambda x: slim.conv2d(x, 7, 5, padding="VALID"), slim.InputSpec((None, 3, None, None)))
    sizes = {0: torch.export.Dim("batch"), 2: torch.export.Dim("height", min=6), 3: torch.export.Dim("width", min=6)}
    exported = torch.export.export(model, (torch.randn(2, 3, 9, 8),), dynamic_shapes=(sizes,)).module()
    for size in ((6, 6), (12, 7)):
        x = torch.randn(3, 3, *size)
        torch.testing.assert_close(exported(x), model(x))
