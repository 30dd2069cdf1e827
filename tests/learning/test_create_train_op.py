"""What `create_train_op` trains, counts, warns of and refuses."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch
from torch import nn

import torchslim as slim
from torchslim.learning import TrainOp, create_train_op

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
BATCH = torch.randn(4, 3), torch.randn(4, 2)


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 2))


def op_of(module: nn.Module, optimizer: Any = SGD, **kwargs: Any) -> TrainOp:
    return create_train_op(lambda x, y: (module(x) - y).square().mean(), optimizer, module=module, **kwargs)


def symbol_loss(
    scales: tuple[float, float] = (0.1, 0.3), regularizer: Any = slim.l2_regularizer, **kwargs: Any
) -> tuple[slim.Symbol, slim.Graph]:
    """A net of two layers with a regularizer each, in the current graph."""
    x, y = slim.placeholder((None, 3), name="x"), slim.placeholder((None, 2), name="y")
    net = slim.fully_connected(x, 5, activation_fn=torch.tanh, weights_regularizer=regularizer(scales[0]), scope="fc1")
    net = slim.fully_connected(net, 2, activation_fn=None, weights_regularizer=regularizer(scales[1]), scope="fc2")
    slim.losses.mean_squared_error(net, y)
    return slim.losses.get_total_loss(**kwargs), slim.get_default_graph()


# What is trained


def test_others_are_frozen_during_the_step_only() -> None:
    module = mlp()
    seen = []
    module[0].register_forward_hook(lambda *args: seen.append(module[0].weight.requires_grad))
    train_op = op_of(module, variables_to_train=["2/weights"])
    before = copy.deepcopy(module.state_dict())
    train_op(*BATCH)
    assert seen == [False]
    assert all(parameter.requires_grad for parameter in module.parameters())
    assert [name for name, value in module.state_dict().items() if not value.equal(before[name])] == ["2.weight"]


def test_two_train_ops_take_turns_on_one_module() -> None:
    module = mlp()
    first, second = op_of(module, variables_to_train=["0/weights"]), op_of(module, variables_to_train=["2/weights"])
    for train_op, key in ((first, "0.weight"), (second, "2.weight"), (first, "0.weight")):
        before = copy.deepcopy(module.state_dict())
        train_op(*BATCH)
        assert [name for name, value in module.state_dict().items() if not value.equal(before[name])] == [key]


def test_variables_may_be_given_as_variables_names_or_keys() -> None:
    total, _ = symbol_loss()
    variable = slim.get_unique_variable("fc1/biases")
    train_op = create_train_op(total, SGD, variables_to_train=[variable, "fc2/biases:0", "fc2.weight"])
    assert [v.op.name for v in train_op.trained] == ["fc1/biases", "fc2/biases", "fc2/weights"]


def test_only_what_the_loss_depends_on_is_trained() -> None:
    total, _ = symbol_loss()
    slim.fully_connected(slim.placeholder((None, 3), name="z"), 2, scope="elsewhere")
    names = [v.op.name for v in create_train_op(total, SGD).trained]
    assert names == ["fc1/weights", "fc1/biases", "fc2/weights", "fc2/biases"]


def test_ready_optimizer() -> None:
    module = mlp()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    train_op = op_of(module, optimizer, variables_to_train=["2/weights"])
    train_op(*BATCH)
    assert train_op.optimizer is optimizer
    head_only = torch.optim.SGD(module[2].parameters(), lr=0.1)
    with pytest.raises(ValueError, match=r"Got one that lacks \['0/weights', '0/biases'\]"):
        op_of(module, head_only)(*BATCH)


@pytest.mark.parametrize(
    ("optimizer", "fused"),
    [
        (SGD, True),
        (torch.optim.Adam, True),
        (functools.partial(torch.optim.SGD, lr=0.1, fused=False), False),
        (functools.partial(torch.optim.SGD, lr=0.1, foreach=True), None),
        (lambda parameters: torch.optim.SGD(parameters, lr=0.1), None),
        (functools.partial(torch.optim.Adam, differentiable=True), None),
    ],
)
def test_fused_unless_chosen_otherwise(optimizer: Any, fused: bool | None) -> None:
    train_op = op_of(mlp(), optimizer)
    train_op.prepare()
    assert train_op.optimizer.defaults["fused"] is fused


def test_module_in_eval_mode_is_put_into_train_mode() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).eval()
    op_of(module)(*BATCH)
    assert module[1].training
    module[1].eval()  # what the user freezes within a module in train mode stays so
    op_of(module)(*BATCH)
    assert not module[1].training


def test_update_ops_are_computed_in_every_step() -> None:
    total, graph = symbol_loss()
    calls = []

    class Count(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if not x.is_meta:
                calls.append(len(x))
            return x.sum()

    update = graph.call_module("count", Count(), slim.placeholder((None, 3), name="z"))
    graph.add_to_collection("update_ops", update)
    train_op = create_train_op(total, SGD)
    assert [symbol.name for symbol in train_op.objective.inputs] == ["x", "y", "z"]
    train_op(*BATCH, torch.ones(7, 3))
    assert calls == [7]
    assert len(create_train_op(total, SGD, update_ops=[]).objective.inputs) == 2


# The global step


def test_global_step_is_kept_in_step() -> None:
    total, _ = symbol_loss()
    step = slim.get_or_create_global_step()
    step.assign(torch.tensor(5))
    train_op = create_train_op(total, SGD)
    train_op(*BATCH)
    train_op(*BATCH)
    assert int(step.tensor) == train_op.global_step == 7


def test_no_global_step_variable() -> None:
    total, _ = symbol_loss()
    train_op = create_train_op(total, SGD, global_step=None)
    train_op(*BATCH)
    assert slim.get_global_step() is None
    assert train_op.global_step == 1
    with pytest.raises(TypeError, match="fc1/weights"):
        create_train_op(total, SGD, global_step=slim.get_unique_variable("fc1/weights"))


# Regularizers that would be forgotten


def test_regularizers_left_out_of_the_loss_are_named() -> None:
    total, _ = symbol_loss(add_regularization_losses=False)
    with pytest.warns(UserWarning, match="2 variables are not in the loss that is trained: fc1/weights, fc2/weights"):
        assert create_train_op(total, SGD).objective.l2 == []
    assert create_train_op(total, SGD, add_regularization_losses=False).objective.l2 == []
    added = create_train_op(total, SGD, add_regularization_losses=True)
    assert [(v.op.name, scale) for v, scale in added.objective.l2] == [("fc1/weights", 0.1), ("fc2/weights", 0.3)]


def test_hand_made_sum_with_one_regularizer() -> None:
    symbol_loss()
    first, _ = slim.losses.get_regularization_losses()
    with pytest.warns(UserWarning, match="1 variables are not in the loss that is trained: fc2/weights"):
        create_train_op(slim.losses.get_losses()[0] + first, SGD)


@pytest.mark.parametrize("regularizer", [slim.l1_regularizer, slim.l2_regularizer])
def test_regularizers_of_a_module(regularizer: Any) -> None:
    module = slim.fully_connected(3, 2, activation_fn=None, weights_regularizer=regularizer(0.5), scope="fc")

    def loss_fn(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return (module(x) - y).square().mean()

    with pytest.warns(UserWarning, match="weights"):
        create_train_op(loss_fn, SGD, module=module)
    expected = loss_fn(*BATCH) + sum(slim.losses.get_regularization_losses(module=module))
    gradients = torch.autograd.grad(expected, list(module.parameters()))
    before = [parameter.detach().clone() for parameter in module.parameters()]
    train_op = create_train_op(
        loss_fn, functools.partial(torch.optim.SGD, lr=1.0), module=module, add_regularization_losses=True
    )
    torch.testing.assert_close(train_op(*BATCH), expected.detach())
    for parameter, start, gradient in zip(module.parameters(), before, gradients, strict=True):
        torch.testing.assert_close(parameter.detach(), start - gradient)


def test_regularizer_of_scale_zero_is_none() -> None:
    module = slim.fully_connected(3, 2, weights_regularizer=slim.l2_regularizer(0.0), scope="fc")
    create_train_op(lambda x: module(x).sum(), SGD, module=module)


# What is refused


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"gate_gradients": 1}, "`gate_gradients` belongs to TensorFlow's sessions. Got 1"),
        ({"aggregation_method": 2}, "`aggregation_method` belongs to TensorFlow's sessions. Got 2"),
        ({"colocate_gradients_with_ops": True}, "Instead: nothing: gradients live"),
        ({"clip_gradient_norms": 1.0}, "no argument `clip_gradient_norms`. Got 1.0. Did you mean 'clip_gradient_norm'"),
    ],
)
def test_arguments_that_are_not_taken(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        op_of(mlp(), **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"clip_gradient_norm": -1.0}, "`clip_gradient_norm` must be 0 .off. or above. Got -1.0"),
        ({"variables_to_train": []}, r"`variables_to_train` must name at least one variable. Got \[\]"),
        ({"variables_to_train": ["0/weight"]}, "Got '0/weight'. Did you mean '0/weights'"),
        ({"gradient_multipliers": {"fc9/weights": 2.0}}, "`gradient_multipliers` must name .* Got 'fc9/weights'"),
        (
            {"variables_to_train": ["0/weights"], "gradient_multipliers": {"2/weights": 2.0}},
            "`gradient_multipliers` must name .* Got '2/weights'",
        ),
    ],
)
def test_values_that_are_not_taken(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        op_of(mlp(), **kwargs)


def test_fixed_variables_cannot_be_trained() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(ValueError, match=r"must be trainable. Got \['1/moving_mean'\]"):
        op_of(module, variables_to_train=["1/moving_mean"])


def test_losses_that_are_not_taken() -> None:
    x = slim.placeholder((None, 3), name="x")
    net = slim.fully_connected(x, 2)
    with pytest.raises(ValueError, match=r"must be a scalar. Got shape \(None, 2\)"):
        create_train_op(net, SGD)
    with pytest.raises(TypeError, match=r"`module` goes with a Python loss function.* Got Linear"):
        create_train_op(net.sum(), SGD, module=nn.Linear(1, 1))
    with pytest.raises(TypeError, match="module=None"):
        create_train_op(lambda batch: batch, SGD)
    with pytest.raises(TypeError, match="Got 'sgd'"):
        create_train_op(net.sum(), "sgd").prepare()
    with pytest.raises(TypeError, match=r"Got \[\]"):
        create_train_op(net.sum(), lambda parameters: []).prepare()


def test_a_module_may_be_the_loss() -> None:
    class Loss(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            return (self.net(x) - y).square().mean()

    train_op = create_train_op(Loss(), SGD)
    assert train_op(*BATCH) > train_op(*BATCH)
    assert list(train_op.tensors()) == ["net.weight", "net.bias"]
