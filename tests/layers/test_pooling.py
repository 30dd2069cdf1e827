"""Pools: hand-worked numbers, names, what is refused. Their padding is tested with that of convolutions."""

from __future__ import annotations

import pytest
import torch

import torchslim as slim


def volume(*sizes: int | None) -> slim.Symbol:
    return slim.placeholder((None, 3, *(sizes or (8, 8))))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: slim.max_pool2d(volume(8), 2), r"max_pool2d: .*rank 4. Got shape \(None, 3, 8\)"),
        (lambda: slim.max_pool3d(volume(), 2), r"max_pool3d: .*rank 5. Got shape \(None, 3, 8, 8\)"),
        (lambda: slim.avg_pool3d(volume(4, 4, 4), [2, 2]), r"avg_pool3d: `kernel_size` .* 3 of them. Got \[2, 2\]"),
        (lambda: slim.avg_pool3d(volume(4, 4, 4), 5), r"avg_pool3d: .*`kernel_size` \[5, 5, 5\]"),
        (lambda: slim.max_pool3d(volume(4, 4, 4), 2, padding="FULL"), "max_pool3d: .* Got 'FULL'"),
        (lambda: slim.max_pool3d(volume(4, 4, 4), 2, data_format="NWC"), "max_pool3d: `data_format` .* Got 'NWC'"),
        (lambda: slim.pool(volume(), 2, "max"), "pool: `pooling_type` must be one of 'MAX', 'AVG'. Got 'max'"),
        (lambda: slim.pool(volume(), 2, "MAX", stride=2, dilation_rate=2), "`stride` and `dilation_rate` .*2 and 2"),
        (lambda: slim.pool(volume(), 2, "MAX", dilation_rate=0), "pool: `dilation_rate` must be .* Got 0"),
        (lambda: slim.pool(volume(), 2, "MAX", padding="SAME", dilation_rate=2), "`dilation_rate` of 1. Got 2"),
        (lambda: slim.pool(volume(), [2, 3], "MAX", stride=3), r"must not be larger.* Got 3 and \[2, 3\]"),
        (lambda: slim.pool(volume(), 5, "AVG", dilation_rate=2), r"pool: .*must fit.*\(rate \[2, 2\]\)"),
        (lambda: slim.pool(slim.placeholder((None, 3)), 2, "AVG"), r"rank 3 or 4 or 5. Got shape \(None, 3\)"),
        (lambda: slim.pool(3, 2, "AVG"), "pool: .*`kernel_size` must have one number a dimension.* Got 2"),
        (lambda: slim.pool("images", 2, "AVG"), "pool: `inputs` is a Symbol.* Got 'images'"),
    ],
)
def test_bad_arguments(call, message: str) -> None:
    with slim.Graph(), pytest.raises((ValueError, TypeError), match=message):
        call()


def test_default_names() -> None:
    with slim.Graph() as graph:
        with slim.arg_scope([slim.pool, slim.max_pool3d, slim.avg_pool3d], outputs_collections="ends"):
            slim.pool(volume(), 2, "MAX")
            slim.pool(volume(), 2, "AVG")
            slim.pool(volume(), 2, "MAX")
            slim.max_pool3d(volume(4, 4, 4), 2)
            slim.avg_pool3d(volume(4, 4, 4), 2, scope="named")
        names = list(slim.utils.convert_collection_to_dict("ends"))
        assert names == ["max_pool", "avg_pool", "max_pool_1", "MaxPool3D", "named"]
        assert names == list(graph.end_points)


def test_pool_by_hand() -> None:
    x = torch.tensor([4.0, 1.0, 3.0, 2.0, 5.0]).reshape(1, 1, 5)
    assert slim.pool(x, 2, "MAX").flatten().tolist() == [4.0, 3.0, 3.0, 5.0]
    assert slim.pool(x, 2, "MAX", dilation_rate=2).flatten().tolist() == [4.0, 2.0, 5.0]
    assert slim.pool(x, 2, "AVG", dilation_rate=2).flatten().tolist() == [3.5, 1.5, 4.0]
    assert slim.pool(x, 3, "AVG", "SAME", stride=2).flatten().tolist() == [2.5, 2.0, 3.5]


def test_a_chain_of_pools() -> None:
    chain = slim.repeat(3, 2, slim.pool, [2, 2], "AVG", stride=2)
    assert chain(torch.zeros(1, 3, 8, 8)).shape == (1, 3, 2, 2)
    assert [name for name, _ in chain.named_children()] == ["pool_1", "pool_2"]


@pytest.mark.parametrize("layer", [slim.max_pool2d, slim.avg_pool2d])
@pytest.mark.parametrize(
    ("kernel", "stride", "copies"),
    [(3, 2, False), (2, 2, False), ([3, 2], [1, 2], False), (3, 1, False), (2, 1, True)],
)
def test_only_what_pytorch_cannot_pad_is_copied(layer, kernel, stride, copies: bool, monkeypatch) -> None:
    padded = []

    def pad(net: torch.Tensor, pads, value: float = 0.0) -> torch.Tensor:
        padded.append(pads)
        return net

    monkeypatch.setattr("torchslim.layers.pooling.pad", pad)
    for size in (8, 9):
        layer(3, kernel, stride, padding="SAME")(torch.zeros(1, 3, size, size))
    assert bool(padded) is copies
