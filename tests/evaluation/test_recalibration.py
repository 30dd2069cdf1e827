"""`recalibrate_batch_norm`: against means of statistics that are computed directly."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from torchslim.evaluation import recalibrate_batch_norm
from torchslim.graph import Graph, build, get_default_graph, placeholder
from torchslim.layers import batch_norm, conv2d, dropout, fully_connected
from torchslim.layers.batch_statistics import BatchNorm


def batches_of(*shape: int, count: int = 3) -> list[tuple[torch.Tensor, torch.Tensor]]:
    return [(torch.randn(size, *shape) * (i + 1) + i, torch.zeros(size)) for i, size in enumerate([6, 6, 4, 5][:count])]


def statistics(batches: list[tuple[torch.Tensor, ...]], correction: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean over batches of the means and variances of channels."""
    channels = [inputs.double().movedim(1, 0).flatten(1) for inputs, *_ in batches]
    means = torch.stack([c.mean(1) for c in channels]).mean(0)
    variances = torch.stack([c.var(1, correction=correction) for c in channels]).mean(0)
    return means.float(), variances.float()


def assert_statistics(layer: Any, batches: list[tuple[torch.Tensor, ...]], correction: int) -> None:
    mean, variance = statistics(batches, correction)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_a_layer_of_pytorch(momentum: float | None) -> None:
    norm, batches = nn.BatchNorm2d(3, momentum=momentum), batches_of(3, 2, 2)
    norm(torch.randn(4, 3, 2, 2))
    assert recalibrate_batch_norm(norm, batches) == 3
    assert_statistics(norm, batches, correction=1)
    assert (norm.momentum, int(norm.num_batches_tracked)) == (momentum, 3)


def test_pytorch_agrees() -> None:
    def net() -> nn.Module:
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3), nn.BatchNorm1d(3))

    ours, theirs, batches = net(), net(), batches_of(4)
    recalibrate_batch_norm(ours, batches)
    torch.optim.swa_utils.update_bn(batches, theirs)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


@pytest.mark.parametrize(
    ("options", "shape", "correction"),
    [
        ({}, (3, 2, 2), 1),
        ({"scale": True, "decay": 0.5}, (3,), 1),
        ({"fused": False}, (3, 2, 2), 0),
        ({}, (3, 4), 0),
        ({"zero_debias_moving_mean": True}, (3, 2, 2), 1),
        ({"updates_collections": "elsewhere"}, (3, 2, 2), 1),
        ({"updates_collections": "elsewhere", "fused": False}, (3, 2, 2), 0),
        ({"adjustment": lambda shape: (2.0, 1.0)}, (3, 2, 2), 0),
    ],
    ids=["fused", "features", "biased", "sequences", "debiased", "waiting", "waiting biased", "adjusted"],
)
def test_layers_of_slim_keep_their_kind_of_variance(
    options: dict[str, Any], shape: tuple[int, ...], correction: int
) -> None:
    model = build(lambda x: batch_norm(x, scope="bn", **options), torch.empty(2, *shape))
    batches = batches_of(*shape)
    before = {name: value for name, value in vars(model.bn).items() if not name.startswith("_")}
    recalibrate_batch_norm(model, batches)
    assert_statistics(model.bn, batches, correction)
    assert {name: value for name, value in vars(model.bn).items() if not name.startswith("_")} == before


def test_a_debiased_mean_goes_on_from_there() -> None:
    model = build(lambda x: batch_norm(x, decay=0.5, zero_debias_moving_mean=True, scope="bn"), torch.empty(2, 3, 2, 2))
    model.train()(torch.randn(4, 3, 2, 2))
    model(torch.randn(4, 3, 2, 2))
    recalibrate_batch_norm(model, batches_of(3, 2, 2))
    mean = model.bn.running_mean.clone()
    new = torch.randn(4, 3, 2, 2)
    model(new)
    # It has seen 2 + 3 + 1 batches; at 0.5 their weights add up to 63/64, of which the last one has a half.
    expected = (mean * 31 / 64 + new.mean((0, 2, 3)) * 32 / 64) / (63 / 64)
    torch.testing.assert_close(model.bn.running_mean, expected)


def test_renormalization_averages_deviations() -> None:
    model = build(lambda x: batch_norm(x, renorm=True, scope="bn"), torch.empty(2, 3, 2, 2))
    batches = batches_of(3, 2, 2)
    recalibrate_batch_norm(model, batches)
    per_batch = [statistics([batch], correction=0) for batch in batches]
    deviation = torch.stack([(variance + 0.001).sqrt() for _, variance in per_batch]).mean(0)
    torch.testing.assert_close(model.bn.running_mean, statistics(batches, 0)[0])
    torch.testing.assert_close(model.bn.renorm_mean, model.bn.running_mean)
    torch.testing.assert_close(model.bn.running_std, deviation)
    torch.testing.assert_close(model.bn.renorm_std, deviation)
    torch.testing.assert_close(model.bn.running_var, deviation.square() - 0.001)
    assert model.bn.renorm


def test_all_calls_of_shared_statistics_count() -> None:
    def net(x: Any) -> Any:
        first = batch_norm(x, center=False, scope="bn")
        return batch_norm(first * 3 + 1, center=False, reuse=True, scope="bn")

    model = build(net, torch.empty(2, 3, 2, 2))
    batches = batches_of(3, 2, 2)
    recalibrate_batch_norm(model, batches)
    seconds = [(nn.functional.batch_norm(x, None, None, training=True, eps=0.001) * 3 + 1,) for x, _ in batches]
    assert_statistics(model.bn, [*batches, *seconds], correction=1)


def test_what_is_pinned_to_inference_is_left_alone() -> None:
    model = build(
        lambda x: batch_norm(batch_norm(x, is_training=False, scope="pinned"), scope="bn"), torch.empty(2, 3, 2, 2)
    )
    model.pinned.running_mean.fill_(5)
    recalibrate_batch_norm(model, batches_of(3, 2, 2))
    assert model.pinned.running_mean.tolist() == [5, 5, 5]
    assert model.bn.running_mean.abs().sum() > 0


class Odd(nn.Module):
    """Has parts in different modes, a branch that is not run, and notes the modes it is run in."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(4).eval()
        self.unused = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.5)
        self.without = nn.BatchNorm1d(4, track_running_stats=False)
        self.modes: list[bool] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.modes += [self.training, self.drop.training, self.norm.training, torch.is_grad_enabled()]
        return self.without(self.drop(self.norm(x)))


def test_only_norms_train_and_all_modes_come_back() -> None:
    odd, batches = Odd(), batches_of(4)
    odd.unused.running_mean.fill_(5)
    recalibrate_batch_norm(odd, batches, num_batches=2)
    assert odd.modes == [False, False, True, False] * 2
    assert [part.training for part in (odd, odd.norm, odd.unused, odd.drop)] == [True, False, True, True]
    assert_statistics(odd.norm, batches[:2], correction=1)
    assert odd.unused.running_mean.tolist() == [5] * 4
    assert not odd.norm._forward_hooks


def test_an_error_leaves_the_layer_as_it_was() -> None:
    norm = nn.BatchNorm1d(4, momentum=0.2).eval()
    with pytest.raises(RuntimeError, match=r"5|running_mean"):
        recalibrate_batch_norm(norm, [(torch.ones(3, 5), None)])
    assert (norm.momentum, norm.training, len(norm._forward_hooks)) == (0.2, False, 0)


def test_a_graph() -> None:
    images, labels = placeholder((None, 3, 4, 4), name="images"), placeholder((None,), name="labels")
    data = [(torch.randn(size, 3, 4, 4), torch.zeros(size)) for size in (5, 3)]
    get_default_graph().add_feed(data, [images, labels])
    net = conv2d(images, 2, [3, 3], normalizer_fn=batch_norm, normalizer_params={"scale": True}, scope="conv1")
    net = dropout(batch_norm(net, scope="bn"), 0.5)
    logits = fully_connected(net.flatten(1), 2, scope="fc")
    model = get_default_graph().module(logits)
    before = model.conv1.weight.clone()
    assert recalibrate_batch_norm(get_default_graph()) == 2
    assert torch.equal(model.conv1.weight, before)
    convolved = [(nn.functional.conv2d(x, before, padding=1),) for x, _ in data]
    assert_statistics(model.conv1.BatchNorm, convolved, correction=1)
    layers = [part for part in model.modules() if isinstance(part, BatchNorm)]
    second = layers[-1].running_mean.clone()
    assert recalibrate_batch_norm(model, data) == 2  # a built model takes as many items as it has inputs
    torch.testing.assert_close(layers[-1].running_mean, second)


def test_a_step_of_ones_own() -> None:
    norm, data = nn.BatchNorm1d(2), torch.randn(4, 2)
    recalibrate_batch_norm(norm, [{"x": data}], step=lambda module, batch, _: module(batch["x"]))
    assert_statistics(norm, [(data,)], correction=1)
    recalibrate_batch_norm(norm, [data * 2])  # a batch that is one tensor
    assert_statistics(norm, [(data * 2,)], correction=1)


def test_what_cannot_be_recalibrated() -> None:
    with pytest.raises(ValueError, match="Got a Linear without one"):
        recalibrate_batch_norm(nn.Linear(2, 2), [(torch.ones(2, 2), None)])
    with pytest.raises(ValueError, match="Got a Graph without one"):
        recalibrate_batch_norm(Graph())
    with pytest.raises(ValueError, match=r"must have at least one batch\. Got 0"):
        recalibrate_batch_norm(nn.BatchNorm1d(2), [])
    with pytest.raises(ValueError, match="Got 0"):
        recalibrate_batch_norm(nn.BatchNorm1d(2), [], num_batches=0)
    with pytest.raises(ValueError, match=r"`batches` must be given for a module\. Got None"):
        recalibrate_batch_norm(nn.BatchNorm1d(2))
