"""`optimize_loss`: its forms of optimizers, noise, multipliers, clipping, summaries and errors."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from torch import nn

import torchslim as slim
from torchslim.learning import TrainOp
from torchslim.learning.gradients import add_gradient_noise

BATCH = torch.ones(4, 3), torch.full((4, 2), 5.0)


def total_loss() -> slim.Symbol:
    x, y = slim.placeholder((None, 3), name="x"), slim.placeholder((None, 2), name="y")
    net = slim.fully_connected(x, 2, activation_fn=None, weights_initializer=slim.ones_initializer(), scope="fc")
    slim.losses.mean_squared_error(net, y)
    return slim.losses.get_total_loss()


def optimize(learning_rate: Any = 0.1, optimizer: Any = "SGD", **kwargs: Any) -> TrainOp:
    return slim.optimize_loss(total_loss(), slim.get_or_create_global_step(), learning_rate, optimizer, **kwargs)


def change(train_op: TrainOp) -> dict[str, torch.Tensor]:
    """What one step subtracts from the variables."""
    train_op.prepare()
    before = {variable.op.name: variable.tensor.detach().clone() for variable in train_op.trained}
    train_op(*BATCH)
    return {variable.op.name: before[variable.op.name] - variable.tensor.detach() for variable in train_op.trained}


def gradients() -> dict[str, torch.Tensor]:
    """Those of `total_loss` on `BATCH`: each output is 3 and should be 5."""
    return {"fc/weights": torch.full((2, 3), -2.0), "fc/biases": torch.full((2,), -2.0)}


def test_gradients_are_as_worked_out_by_hand() -> None:
    for name, value in change(optimize(1.0)).items():
        torch.testing.assert_close(value, gradients()[name])


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("SGD", slim.optimizers.GradientDescent(0.1)),
        ("Momentum", slim.optimizers.Momentum(0.1, momentum=0.9)),
        ("Adam", slim.optimizers.Adam(0.1)),
        ("RMSProp", slim.optimizers.RMSProp(0.1)),
        ("Adagrad", slim.optimizers.Adagrad(0.1)),
        ("Adadelta", slim.optimizers.Adadelta(0.1)),
        ("Ftrl", slim.optimizers.Ftrl(0.1)),
    ],
)
def test_names_of_optimizers(name: str, formula: slim.optimizers.Formula) -> None:
    train_op = optimize(0.1, name)
    train_op.prepare()
    assert train_op.optimizer.formula == formula  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("learning_rate", "optimizer"),
    [
        (0.25, slim.optimizers.GradientDescent),
        (torch.tensor(0.25), "SGD"),
        (slim.optimizers.fixed(0.25), "SGD"),
        (slim.optimizers.fixed(0.25), torch.optim.SGD),
        (None, slim.optimizers.GradientDescent(0.25)),
        (None, functools.partial(torch.optim.SGD, lr=0.25)),
        (None, lambda: slim.optimizers.GradientDescent(0.25)),
        (0.25, lambda rate: slim.optimizers.GradientDescent(rate)),
        (0.5, lambda rate: functools.partial(torch.optim.SGD, lr=rate / 2)),
        (0.25, torch.optim.SGD),
    ],
)
def test_forms_of_optimizers(learning_rate: Any, optimizer: Any) -> None:
    for name, value in change(optimize(learning_rate, optimizer)).items():
        torch.testing.assert_close(value, 0.25 * gradients()[name])


@pytest.mark.parametrize(
    "optimizer", ["SGD", torch.optim.SGD, lambda rate: functools.partial(torch.optim.SGD, lr=rate)]
)
def test_decay_of_the_learning_rate(optimizer: Any) -> None:
    train_op = optimize(0.8, optimizer, learning_rate_decay_fn=lambda rate, step: rate * 0.5**step)
    rates = []
    for _ in range(3):
        train_op(*BATCH)
        rates.append(train_op.optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.8, 0.4, 0.2])


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_is_by_the_norm_of_all_after_the_multipliers(limit: float) -> None:
    factors = {"fc/weights:0": 3.0, "fc/biases": torch.tensor([0.0, 1.0])}
    scaled = {"fc/weights": torch.full((2, 3), -6.0), "fc/biases": torch.tensor([0.0, -2.0])}
    norm = torch.linalg.vector_norm(torch.cat([value.flatten() for value in scaled.values()]))
    for name, value in change(optimize(1.0, clip_gradients=limit, gradient_multipliers=factors)).items():
        torch.testing.assert_close(value, scaled[name] * min(1.0, limit / norm))


def test_clipping_by_a_function() -> None:
    train_op = optimize(1.0, clip_gradients=lambda pairs: [(torch.ones_like(g), variable) for g, variable in pairs])
    assert all(value.sub(1).abs().max() < 1e-6 for value in change(train_op).values())


def test_noise_is_cut_off_normal() -> None:
    """TensorFlow's is: its deviation is 0.8796 of the scale, and nothing is beyond twice the scale."""
    ((noise, _), (missing, _)) = add_gradient_noise([(torch.zeros(100_000), "w"), (None, "b")], 0.5)
    assert missing is None
    assert noise is not None
    assert noise.abs().max() <= 1.0
    assert noise.std().item() == pytest.approx(0.8796 * 0.5, rel=0.02)
    assert noise.mean().item() == pytest.approx(0.0, abs=0.01)


def test_noise_comes_before_the_multipliers() -> None:
    train_op = optimize(1.0, gradient_noise_scale=100.0, gradient_multipliers={"fc/weights": 0.0})
    changes = change(train_op)
    assert not changes["fc/weights"].any()
    assert changes["fc/biases"].sub(gradients()["fc/biases"]).abs().max() > 0.1


def test_variables_and_global_step() -> None:
    train_op = optimize(variables=["fc/biases"], increment_global_step=False)
    step = slim.get_global_step()
    assert step is not None
    assert set(change(train_op)) == {"fc/biases"}
    assert (int(step.tensor), train_op.global_step) == (0, 1)


def test_the_graph_is_asked_for_the_global_step() -> None:
    loss = total_loss()
    train_op = slim.optimize_loss(loss, None, 0.1, "SGD")
    train_op(*BATCH)
    assert slim.get_global_step() is None
    step = slim.create_global_step()
    slim.optimize_loss(loss, None, 0.1, "SGD")(*BATCH)
    assert int(step.tensor) == 1


def test_a_python_loss() -> None:
    net = nn.Linear(3, 2)
    start = net.bias.detach().clone()
    train_op = slim.optimize_loss(lambda x, y: net(x).sum(), None, 0.5, "SGD", module=net)
    train_op(*BATCH)
    torch.testing.assert_close(net.bias.detach(), start - 0.5 * 4)


@pytest.mark.parametrize(
    ("kwargs", "tags"),
    [
        ({}, ["OptimizeLoss/global_norm/gradient_norm"]),
        ({"name": "head", "summaries": ["loss", "learning_rate"]}, []),
        (
            {"clip_gradients": 1.0, "name": "head"},
            ["head/global_norm/clipped_gradient_norm", "head/global_norm/gradient_norm"],
        ),
        (
            {"summaries": ["gradients", "gradient_norm"]},
            [
                "OptimizeLoss/fc/weights/gradient",
                "OptimizeLoss/fc/weights/gradient_norm",
                "OptimizeLoss/fc/biases/gradient",
                "OptimizeLoss/fc/biases/gradient_norm",
            ],
        ),
        ({"summaries": ["gradient_norm"], "variables": ["fc/biases"]}, ["OptimizeLoss/fc/biases/gradient_norm"]),
    ],
)
def test_summaries(kwargs: dict[str, Any], tags: list[str]) -> None:
    train_op = optimize(**kwargs)
    train_op(*BATCH)
    found = {summary.tag: summary.value for summary in train_op.gradient_summaries()}
    assert list(found) == tags
    expected = {"gradient_norm": 32**0.5, "clipped_gradient_norm": 1.0}  # eight gradients of -2
    for tag, value in found.items():
        if "global_norm" in tag:
            assert value.item() == pytest.approx(expected[tag.rsplit("/", 1)[1]])


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"learning_rate": -0.1}, ValueError, r"`learning_rate` must be 0 or above. Got -0.1"),
        ({"learning_rate": "fast"}, TypeError, r"`learning_rate` must be a number, .* Got 'fast'"),
        ({"learning_rate": None}, ValueError, "`learning_rate` must be given for SGD. Got None"),
        ({"learning_rate": None, "optimizer": slim.optimizers.Adam}, ValueError, "must be given for Adam"),
        ({"optimizer": "Foo"}, ValueError, r"must be one of \['Adadelta', .*\]. Got 'Foo'"),
        ({"optimizer": 3}, TypeError, r"`optimizer` must be a name, .* Got 3"),
        ({"optimizer": lambda rate: 3}, TypeError, r"must return what makes an optimizer .* Got 3"),
        ({"optimizer": slim.optimizers.Adam(0.5)}, ValueError, r"has its own. Got 0.1 and Adam\(learning_rate=0.5"),
        ({"optimizer": functools.partial(torch.optim.SGD, lr=0.5)}, ValueError, r"has its own. Got 0.1 and functools"),
        ({"clip_gradients": "1"}, TypeError, r"`clip_gradients` must be a number, .* Got '1'"),
        ({"clip_gradients": 0.0}, ValueError, r"`clip_gradients` must be above 0. Got 0.0"),
        ({"gradient_noise_scale": -1.0}, ValueError, r"`gradient_noise_scale` must be 0 or above. Got -1.0"),
        ({"gradient_multipliers": {"fc/wieghts": 2.0}}, ValueError, r"Got 'fc/wieghts'.*fc/weights"),
        ({"summaries": ["loss", "weights"]}, ValueError, r"`summaries` must be among .* Got \['weights'\]"),
        ({"colocate_gradients_with_ops": True}, ValueError, r"must be False: .* Got True"),
        (
            {"learning_rate": None, "optimizer": slim.optimizers.Adam(), "learning_rate_decay_fn": min},
            ValueError,
            r"`learning_rate_decay_fn` needs a `learning_rate`. Got None",
        ),
    ],
)
def test_what_does_not_fit(kwargs: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        optimize(**kwargs)


def test_what_the_loss_must_have() -> None:
    with pytest.raises(ValueError, match=r"needs a `global_step`. Got None"):
        slim.optimize_loss(total_loss(), None, 0.1, "SGD", learning_rate_decay_fn=lambda rate, step: rate)
    with pytest.raises(ValueError, match=r"must be a scalar. Got shape \(None, 3\)"):
        slim.optimize_loss(slim.placeholder((None, 3)), None, 0.1, "SGD")
