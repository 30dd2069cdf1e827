"""TensorFlow's padding against a direct computation, for every combination of window, stride, rate and size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.layers.padding import output_size, same_pads

CONVOLUTIONS = {1: slim.conv1d, 2: slim.conv2d, 3: slim.conv3d}
TRANSPOSED = {2: slim.conv2d_transpose, 3: slim.conv3d_transpose}
POOLS = {2: {"MAX": slim.max_pool2d, "AVG": slim.avg_pool2d}, 3: {"MAX": slim.max_pool3d, "AVG": slim.avg_pool3d}}


def taps(sizes, kernel, stride, rate, padding: str) -> list[np.ndarray]:
    """For each dimension `[windows, taps]`: where they are in the input. Written from TensorFlow's definition."""
    positions = []
    for size, window, step, gap in zip(sizes, kernel, stride, rate, strict=True):
        reach = (window - 1) * gap + 1
        if padding == "SAME":
            count = -(-size // step)
            first = -(max((count - 1) * step + reach - size, 0) // 2)
        else:
            count, first = (size - reach) // step + 1, 0
        positions.append(np.add.outer(first + step * np.arange(count), gap * np.arange(window)))
    return positions


def windows(image: np.ndarray, kernel, stride, rate, padding: str) -> np.ndarray:
    """`[C, windows of each dimension, taps of each dimension]`; NaN beyond the image."""
    dims, beyond = image.ndim - 1, 22
    big = np.pad(image, [(0, 0)] + [(beyond, beyond)] * dims, constant_values=np.nan)
    index = [
        np.expand_dims(where + beyond, [axis for axis in range(2 * dims) if axis not in (d, d + dims)])
        for d, where in enumerate(taps(image.shape[1:], kernel, stride, rate, padding))
    ]
    return big[(slice(None), *index)]


def convolve(image: np.ndarray, weights: np.ndarray, stride, rate, padding: str) -> np.ndarray:
    """`weights`: kernel + [in, out]."""
    dims = image.ndim - 1
    seen = np.nan_to_num(windows(image, weights.shape[:dims], stride, rate, padding))
    return np.moveaxis(np.tensordot(seen, weights, ([0, *range(dims + 1, 2 * dims + 1)], [dims, *range(dims)])), -1, 0)


def convolve_transposed(image: np.ndarray, weights: np.ndarray, stride, padding: str) -> np.ndarray:
    """The gradient of the convolution of the output's size. `weights`: kernel + [out, in]."""
    kernel = weights.shape[:-2]
    larger = zip(image.shape[1:], kernel, stride, strict=True)
    sizes = [n * s + (max(k - s, 0) if padding == "VALID" else 0) for n, k, s in larger]
    positions = taps(sizes, kernel, stride, [1] * len(kernel), padding)
    assert tuple(len(where) for where in positions) == image.shape[1:]
    result = np.zeros((weights.shape[-2], *[size + 16 for size in sizes]))
    for tap in itertools.product(*map(range, kernel)):
        at = np.ix_(range(len(result)), *(where[:, t] + 8 for where, t in zip(positions, tap, strict=True)))
        result[at] += np.tensordot(weights[tap], image, 1)
    return result[(slice(None), *(slice(8, 8 + size) for size in sizes))]


def assert_computes(layer, image: np.ndarray, weights: list[np.ndarray], expected: np.ndarray, **arguments) -> None:
    """In both layouts, as a module and on a Symbol of known size."""
    x = torch.from_numpy(image)[None]
    with slim.Graph():
        arguments["activation_fn"] = None
        module = layer(len(image), **arguments).double()
        for variable, value in zip(slim.get_variables(module=module), weights, strict=False):
            variable.assign(variable.from_tf(value))
        np.testing.assert_allclose(module(x)[0].detach(), expected, atol=1e-10)
        last = layer(len(image), data_format="NHWC", **arguments).double()
        last.load_state_dict(module.state_dict())
        got = last(x.movedim(1, -1))[0].detach().movedim(-1, 0)
        np.testing.assert_allclose(got, expected, atol=1e-10)
        assert layer(slim.placeholder((None, *image.shape)), **arguments).shape == (None, *expected.shape)


CASES = [
    (kernel, stride, rate, padding)
    for kernel, stride, rate, padding in itertools.product(range(1, 8), range(1, 4), range(1, 4), ("SAME", "VALID"))
    if stride == 1 or rate == 1
]


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "rate", "padding"), CASES)
def test_convolution(dims: int, kernel: int, stride: int, rate: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    weights = rng.randn(*[kernel] * dims, 3, 2)
    for sizes in ((19, 22), (20, 21)):
        image = rng.randn(3, *sizes[:dims])
        expected = convolve(image, weights, [stride] * dims, [rate] * dims, padding)
        arguments = {"num_outputs": 2, "kernel_size": kernel, "stride": stride, "padding": padding, "rate": rate}
        assert_computes(CONVOLUTIONS[dims], image, [weights], expected, **arguments)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(
    ("kernel", "stride", "rate"),
    [((1, 2, 3), (1, 1, 1), (1, 1, 1)), ((3, 3, 3), (2, 2, 2), (1, 1, 1)), ((2, 3, 1), (1, 2, 3), (1, 1, 1)),
     ((3, 2, 3), (1, 1, 1), (2, 1, 3)), ((4, 1, 2), (3, 3, 1), (1, 1, 1))],
)  # fmt: skip
def test_convolution_3d(kernel, stride, rate, padding: str) -> None:
    rng = np.random.RandomState(3)
    weights = rng.randn(*kernel, 3, 2)
    for sizes in ((7, 8, 9), (8, 9, 10)):
        image = rng.randn(3, *sizes)
        expected = convolve(image, weights, stride, rate, padding)
        arguments = {"num_outputs": 2, "kernel_size": kernel, "stride": stride, "padding": padding, "rate": rate}
        assert_computes(slim.conv3d, image, [weights], expected, **arguments)
        assert_computes(slim.convolution, image, [weights], expected, **arguments)


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(k, s, p) for k, s, r, p in CASES if r == 1])
def test_transposed(kernel: int, stride: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    arguments = {"num_outputs": 2, "kernel_size": kernel, "stride": stride, "padding": padding}
    for sizes in ((5, 6), (1, 4), (2, 3, 1)):
        weights = rng.randn(*[kernel] * len(sizes), 2, 3)
        image = rng.randn(3, *sizes)
        expected = convolve_transposed(image, weights, [stride] * len(sizes), padding)
        assert_computes(TRANSPOSED[len(sizes)], image, [weights], expected, **arguments)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("kernel", "stride"), [((3, 2), (2, 3)), ((1, 4), (2, 2)), ((5, 3), (1, 2))])
def test_transposed_with_unequal_sides(kernel, stride, padding: str) -> None:
    rng = np.random.RandomState(1)
    weights, image = rng.randn(*kernel, 2, 3), rng.randn(3, 4, 5)
    expected = convolve_transposed(image, weights, stride, padding)
    arguments = {"num_outputs": 2, "kernel_size": kernel, "stride": stride, "padding": padding}
    assert_computes(slim.conv2d_transpose, image, [weights], expected, **arguments)


@pytest.mark.parametrize(("kernel", "stride", "rate", "padding"), [case for case in CASES if case[0] < 5])
def test_separable_and_in_plane(kernel: int, stride: int, rate: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    depthwise, pointwise = rng.randn(kernel, kernel, 3, 2), rng.randn(1, 1, 6, 4)
    image = rng.randn(3, 12, 13)
    seen = np.nan_to_num(windows(image, [kernel] * 2, [stride] * 2, [rate] * 2, padding))
    apart = np.einsum("chwij,ijcm->cmhw", seen, depthwise)
    apart = apart.reshape(6, *apart.shape[2:])
    arguments = {"kernel_size": kernel, "stride": stride, "padding": padding}
    separable = {**arguments, "depth_multiplier": 2, "rate": rate}
    both = [depthwise, pointwise]
    mixed = np.einsum("chw,co->ohw", apart, pointwise[0, 0])
    assert_computes(slim.separable_conv2d, image, both, mixed, num_outputs=4, **separable)
    assert_computes(slim.separable_conv2d, image, [depthwise], apart, num_outputs=None, **separable)
    if rate == 1:
        plane = depthwise[:, :, :1, :1]
        expected = np.einsum("chwij,ij->chw", seen, plane[:, :, 0, 0])
        assert_computes(slim.conv2d_in_plane, image, [plane], expected, **arguments)


def assert_pools(layer, image: np.ndarray, expected: np.ndarray, *arguments) -> None:
    module = layer(len(image), *arguments)
    np.testing.assert_allclose(module(torch.from_numpy(image)[None])[0], expected)
    assert layer(slim.placeholder((None, *image.shape)), *arguments).shape == (None, *expected.shape)


REDUCE = {"MAX": np.nanmax, "AVG": np.nanmean}


@pytest.mark.parametrize("kind", ["MAX", "AVG"])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(k, s, p) for k, s, r, p in CASES if r == 1])
def test_pools(kind: str, kernel: int, stride: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    for sizes in ((19, 22), (20, 21), (7, 8), (7, 8, 9)):
        dims = len(sizes)
        image = rng.randn(3, *sizes) - 5  # negative: a zero that pads would win the maximum
        seen = windows(image, [kernel] * dims, [stride] * dims, [1] * dims, padding)
        expected = REDUCE[kind](seen, axis=tuple(range(dims + 1, 2 * dims + 1)))
        assert_pools(POOLS[dims][kind], image, expected, kernel, stride, padding)


@pytest.mark.parametrize("kind", ["MAX", "AVG"])
@pytest.mark.parametrize(
    ("sizes", "kernel", "stride", "rate", "padding"),
    [
        ((9,), (3,), (2,), (1,), "SAME"),
        ((10,), (2,), (1,), (1,), "SAME"),
        ((9,), (2,), (1,), (3,), "VALID"),
        ((7, 8), (3, 4), (2, 3), (1, 1), "SAME"),
        ((7, 8), (3, 2), (2, 1), (1, 1), "SAME"),
        ((7, 8), (3, 2), (1, 1), (2, 3), "VALID"),
        ((5, 6, 7), (2, 1, 3), (1, 1, 2), (1, 1, 1), "SAME"),
        ((5, 6, 7), (2, 1, 3), (1, 1, 1), (2, 1, 3), "VALID"),
    ],
)
def test_pool_of_any_dimension(kind: str, sizes, kernel, stride, rate, padding: str) -> None:
    dims = len(sizes)
    image = np.random.RandomState(dims).randn(3, *sizes) - 5
    seen = windows(image, kernel, stride, rate, padding)
    expected = REDUCE[kind](seen, axis=tuple(range(dims + 1, 2 * dims + 1)))
    assert_pools(slim.pool, image, expected, kernel, kind, padding, None, rate, stride)


def test_same_pads_put_the_odd_one_behind() -> None:
    assert same_pads([5, 6], [3, 3], [2, 2], [1, 1]) == [(1, 1), (0, 1)]


@pytest.mark.parametrize(("kernel", "stride", "rate", "padding"), CASES)
def test_output_size_counts_the_windows(kernel: int, stride: int, rate: int, padding: str) -> None:
    (positions,) = taps([20], [kernel], [stride], [rate], padding)
    assert output_size(20, kernel, stride, rate, padding) == len(positions)
