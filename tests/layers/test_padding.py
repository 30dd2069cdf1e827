"""TensorFlow's padding against a direct computation, for every combination of window, stride, rate and size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.layers.padding import same_pads


def windows(image: np.ndarray, kernel: int, stride: int, rate: int, padding: str) -> np.ndarray:
    """`[C, H', W', kernel, kernel]`; NaN beyond the image. Written from TensorFlow's definition."""
    _, height, width = image.shape
    reach = (kernel - 1) * rate + 1
    starts = []
    for size in (height, width):
        if padding == "SAME":
            count = -(-size // stride)
            first = -(max((count - 1) * stride + reach - size, 0) // 2)
        else:
            count, first = (size - reach) // stride + 1, 0
        starts.append([first + i * stride for i in range(count)])
    big = np.pad(image, ((0, 0), (50, 50), (50, 50)), constant_values=np.nan)
    taps = np.arange(kernel) * rate
    rows, columns = (np.add.outer(np.array(start, dtype=int) + 50, taps) for start in starts)
    return big[:, rows[:, None, :, None], columns[None, :, None, :]]


CASES = [
    (kernel, stride, rate, padding)
    for kernel, stride, rate, padding in itertools.product(range(1, 8), range(1, 4), range(1, 4), ("SAME", "VALID"))
    if stride == 1 or rate == 1
]


@pytest.mark.parametrize(("kernel", "stride", "rate", "padding"), CASES)
def test_conv2d(kernel: int, stride: int, rate: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    weights = rng.randn(kernel, kernel, 3, 2)
    for height, width in ((19, 22), (20, 21)):
        image = rng.randn(3, height, width)
        expected = np.einsum("chwij,ijco->ohw", np.nan_to_num(windows(image, kernel, stride, rate, padding)), weights)
        with slim.Graph():
            x = torch.from_numpy(image)[None]
            module = slim.conv2d(3, 2, kernel, stride, padding, rate=rate, activation_fn=None).double()
            weight = slim.get_variables(module=module)[0]
            weight.assign(weight.from_tf(weights))
            np.testing.assert_allclose(module(x)[0].detach(), expected, atol=1e-10)
            with slim.arg_scope([slim.conv2d], data_format="NHWC"):
                last = slim.conv2d(3, 2, kernel, stride, padding, rate=rate, activation_fn=None).double()
            last.load_state_dict(module.state_dict())
            np.testing.assert_allclose(last(x.permute(0, 2, 3, 1))[0].detach(), expected.transpose(1, 2, 0), atol=1e-10)


@pytest.mark.parametrize("layer", [slim.max_pool2d, slim.avg_pool2d])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(k, s, p) for k, s, r, p in CASES if r == 1])
def test_pools(layer, kernel: int, stride: int, padding: str) -> None:
    rng = np.random.RandomState(kernel)
    for height, width in ((19, 22), (20, 21), (7, 8)):
        image = rng.randn(3, height, width) - 5  # negative: a zero that pads would win the maximum
        seen = windows(image, kernel, stride, 1, padding)
        expected = (np.nanmax if layer is slim.max_pool2d else np.nanmean)(seen, axis=(3, 4))
        np.testing.assert_allclose(layer(3, kernel, stride, padding)(torch.from_numpy(image)[None])[0], expected)
        symbol = layer(slim.placeholder((None, 3, height, width)), kernel, stride, padding)
        assert symbol.shape == (None, *expected.shape)


def test_same_pads_put_the_odd_one_behind() -> None:
    assert same_pads([5, 6], [3, 3], [2, 2], [1, 1]) == [(1, 1), (0, 1)]
