"""The statistics of a batch that several processes have, where each of two has the same one."""

from __future__ import annotations

import pytest
import torch
from torch import distributed, nn
from torch.nn import functional

from torchslim.layers.synchronized import moments_over_processes, normalize, synchronize_batch_norm


@pytest.fixture(autouse=True)
def _twins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "all_reduce", lambda tensor: tensor.mul_(2))


def double(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2 + 1


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (2, 3, 4, 2)])
def test_values_and_gradients_are_those_of_batch_norm(shape: tuple[int, ...], affine: bool) -> None:
    net = double(*shape).requires_grad_()
    weight, bias = (double(3).requires_grad_(), double(3).requires_grad_()) if affine else (None, None)
    moments = moments_over_processes(net, [axis for axis in range(len(shape)) if axis != 1])
    ours = normalize(net, moments, weight, bias, 0.1)
    theirs = functional.batch_norm(net, None, None, weight, bias, True, 0.0, 0.1)
    torch.testing.assert_close(ours, theirs)
    wanted = [tensor for tensor in (net, weight, bias) if tensor is not None]
    seed = double(*shape) ** 2
    torch.testing.assert_close(torch.autograd.grad(ours, wanted, seed), torch.autograd.grad(theirs, wanted, seed))


def test_moments_count_all_values() -> None:
    net = double(4, 3)
    moments = moments_over_processes(net, [0])
    twice = net.repeat(2, 1)
    assert moments.number.item() == 8
    torch.testing.assert_close(moments.mean, twice.mean(0))
    torch.testing.assert_close(moments.variance, twice.var(0, correction=0))
    torch.testing.assert_close(moments.unbiased_variance, twice.var(0))


def test_half_precision_is_summed_in_single() -> None:
    """In bfloat16 the mean of 1000 values near 100 would be off by up to a half, and their spread would be lost."""
    net = (100 + double(1000, 2)).to(torch.bfloat16)
    moments = moments_over_processes(net, [0])
    assert moments.mean.dtype == torch.float32
    torch.testing.assert_close(moments.mean, net.float().mean(0))
    torch.testing.assert_close(moments.variance, net.float().var(0, correction=0), rtol=1e-3, atol=0)
    assert normalize(net, moments, None, None, 0.1).dtype == torch.bfloat16


def test_pytorchs_own_are_put_back() -> None:
    net = nn.Sequential(nn.BatchNorm1d(3), nn.InstanceNorm1d(3), nn.SyncBatchNorm(3))
    synchronize_batch_norm(net, True)
    assert ["forward" in vars(layer) for layer in net] == [True, False, False]
    synchronize_batch_norm(net, False)
    assert not any("forward" in vars(layer) for layer in net)


def test_unknown_kinds_are_refused() -> None:
    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(ValueError, match=r"Got a Own at '1': have it synchronize itself"):
        synchronize_batch_norm(nn.Sequential(nn.ReLU(), Own(3)), True)
    synchronize_batch_norm(nn.Sequential(Own(3)), False)
