"""Learning rates, moving averages and transforms of gradients in a train op, and that they resume exactly."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

import torchslim as slim
from torchslim.learning import TrainOp, create_train_op, train

DATA = TensorDataset(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), torch.ones(20, 2))
BATCH = DATA[:4]
QUIET: dict[str, Any] = {"log_every_n_steps": 0, "save_summaries_secs": 0, "device": "cpu", "precision": "fp32"}
SCHEDULE = slim.optimizers.warmup(slim.optimizers.exponential_decay(0.2, 3, 0.5, staircase=True), 2, 0.05)
FORMULAS = {
    "GradientDescent": {},
    "Momentum": {"momentum": 0.9, "use_nesterov": True},
    "Adam": {"epsilon": 0.1},
    "RMSProp": {"momentum": 0.5, "centered": True},
    "Adagrad": {},
    "Adadelta": {},
    "Ftrl": {"l1_regularization_strength": 0.01},
}


def new_op(optimizer: Any, **kwargs: Any) -> TrainOp:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
    return create_train_op(lambda x, y: (net(x) - y).square().mean(), optimizer, module=net, **kwargs)


def rates_of(train_op: TrainOp, steps: int) -> list[float]:
    rates = []
    for _ in range(steps):
        train_op(*BATCH)
        rates.append(float(train_op.optimizer.param_groups[0]["lr"]))
    return rates


def assert_resumes(make: Any, logdir: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Twelve steps straight equal twelve steps with two stops, and nothing is warned of."""

    def run(train_op: TrainOp, steps: int, where: Path | None) -> TrainOp:
        train(train_op, where, number_of_steps=steps, batches=DataLoader(DATA, batch_size=6, shuffle=True), **QUIET)
        return train_op

    straight = run(make(), 12, None)
    for steps in (4, 9, 12):
        resumed = run(make(), steps, logdir)
    assert [name for name, value in resumed.tensors().items() if not value.equal(straight.tensors()[name])] == []
    ours, theirs = resumed.state_dict(), straight.state_dict()
    assert str(ours["optimizer"]["state"]) == str(theirs["optimizer"]["state"])
    assert ours["optimizer"]["param_groups"] == theirs["optimizer"]["param_groups"]
    assert str(ours["ema"]) == str(theirs["ema"])
    assert str(ours["transforms"]) == str(theirs["transforms"])
    assert caplog.messages == []


@pytest.mark.parametrize("name", FORMULAS)
def test_formulas_with_a_schedule_resume(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    formula = getattr(slim.optimizers, name)(learning_rate=SCHEDULE, **FORMULAS[name])
    assert_resumes(lambda: new_op(formula, ema_decay=0.9, ema_num_updates=True), tmp_path, caplog)


@pytest.mark.parametrize(
    "scheduler",
    [
        SCHEDULE,
        functools.partial(lr_scheduler.StepLR, step_size=3, gamma=0.5),
        functools.partial(lr_scheduler.MultiStepLR, milestones=[3, 6], gamma=0.5),
        functools.partial(lr_scheduler.CosineAnnealingWarmRestarts, T_0=5),
        functools.partial(lr_scheduler.OneCycleLR, max_lr=0.3, total_steps=20),
        lambda optimizer: lr_scheduler.SequentialLR(
            optimizer,
            [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=3), lr_scheduler.ExponentialLR(optimizer, 0.9)],
            milestones=[3],
        ),
    ],
)
@pytest.mark.parametrize(
    "optimizer", [functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9), slim.optimizers.Momentum(0.1, 0.9)]
)
def test_schedulers_resume(optimizer: Any, scheduler: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_resumes(lambda: new_op(optimizer, scheduler=scheduler), tmp_path, caplog)


def test_transforms_resume(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert_resumes(
        lambda: new_op(slim.optimizers.Momentum(0.1, 0.9), transform_grads_fn=slim.adaptive_clipping_fn(0.1, 0.5)),
        tmp_path,
        caplog,
    )


def test_the_schedule_is_asked_with_the_global_step_before_the_update() -> None:
    expected = [SCHEDULE(step) for step in range(8)]
    assert rates_of(new_op(slim.optimizers.Momentum(SCHEDULE, 0.9)), 8) == expected
    assert rates_of(new_op(functools.partial(torch.optim.SGD, lr=1.0), scheduler=SCHEDULE), 8) == expected
    rate = torch.tensor(1.0)
    assert rates_of(new_op(slim.optimizers.Adam(rate), scheduler=SCHEDULE), 8) == pytest.approx(expected)
    assert rate.item() == pytest.approx(expected[-1])


def test_the_schedule_follows_a_global_step_that_was_there() -> None:
    with slim.Graph():
        x = slim.placeholder((None, 3), name="x")
        loss = slim.fully_connected(x, 2, activation_fn=None).square().mean()
        train_op = create_train_op(loss, slim.optimizers.GradientDescent(SCHEDULE))
        step = slim.get_global_step()
    assert step is not None
    step.assign(torch.tensor(5))
    train_op(BATCH[0])
    assert train_op.optimizer.param_groups[0]["lr"] == SCHEDULE(5)


def test_a_scheduler_of_pytorch_steps_after_each_update() -> None:
    factory = functools.partial(lr_scheduler.StepLR, step_size=2, gamma=0.5)
    train_op = new_op(functools.partial(torch.optim.SGD, lr=0.8), scheduler=factory)
    assert rates_of(train_op, 4) == pytest.approx([0.8, 0.4, 0.4, 0.2])  # read after the step


@pytest.mark.parametrize("counts", [False, True])
def test_averages_follow_the_trained_variables(counts: bool) -> None:
    train_op = new_op(
        slim.optimizers.Momentum(0.3, 0.9),
        ema_decay=0.5,
        ema_num_updates=counts,
        variables_to_train=["2/weights", "2/biases"],
    )
    train_op.prepare()
    assert train_op.ema is not None
    assert set(train_op.ema.averages) == {"2.weight", "2.bias"}
    weight = train_op.objective.module[2].weight  # type: ignore[index]
    average = weight.detach().clone()
    for step in range(1, 6):
        train_op(*BATCH)
        decay = min(0.5, (1 + step) / (10 + step)) if counts else 0.5
        average = decay * average + (1 - decay) * weight.detach()
    torch.testing.assert_close(train_op.ema.averages["2.weight"], average)


def test_averages_can_be_put_into_the_model() -> None:
    train_op = new_op(slim.optimizers.Momentum(0.3, 0.9), ema_decay=0.5)
    for _ in range(3):
        train_op(*BATCH)
    assert train_op.ema is not None
    module = train_op.objective.module
    slim.restore(module, train_op.ema.averages)
    assert module[2].weight.equal(train_op.ema.averages["2.weight"])  # type: ignore[index]


def test_averages_begin_where_a_checkpoint_without_them_ends(tmp_path: Path) -> None:
    batches = [BATCH]
    train(new_op(slim.optimizers.Momentum(0.1, 0.9)), tmp_path, number_of_steps=3, batches=batches, **QUIET)
    train_op = new_op(slim.optimizers.Momentum(0.1, 0.9), ema_decay=1.0)
    train(train_op, tmp_path, number_of_steps=5, batches=batches, **QUIET)
    at_three = slim.checkpoints.load_checkpoint(tmp_path / "model.ckpt-3.safetensors")["model"]
    assert train_op.ema is not None
    assert train_op.ema.averages["2.bias"].equal(at_three["2.bias"])


def test_transforms_come_after_multipliers_and_clipping() -> None:
    seen: list[float] = []

    def look(pairs: list[Any]) -> list[Any]:
        seen.extend(gradient.norm().item() for gradient, variable in pairs if variable.op.name == "2/weights")
        return [(gradient, variable) for gradient, variable in pairs if variable.op.name != "0/weights"]

    train_op = new_op(
        slim.optimizers.GradientDescent(0.1),
        gradient_multipliers={"2/weights": 1e6},
        clip_gradient_norm=2.0,
        transform_grads_fn=look,
    )
    first = train_op.objective.module[0].weight.detach().clone()  # type: ignore[index]
    train_op(*BATCH)
    assert seen == pytest.approx([2.0])
    assert train_op.objective.module[0].weight.equal(first)  # type: ignore[index]


def test_a_rate_that_is_no_schedule_comes_from_the_checkpoint(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train(new_op(slim.optimizers.Momentum(0.1, 0.9)), tmp_path, number_of_steps=1, batches=[BATCH], **QUIET)
    train_op = new_op(slim.optimizers.Momentum(0.5, 0.9))
    train(train_op, tmp_path, number_of_steps=2, batches=[BATCH], **QUIET)
    assert "goes on with lr=0.1 from the checkpoint, not with lr=0.5;" in caplog.text


def test_state_of_another_formula(tmp_path: Path) -> None:
    train(new_op(slim.optimizers.Momentum(0.1, 0.9)), tmp_path, number_of_steps=1, batches=[BATCH], **QUIET)
    with pytest.raises(ValueError, match=r"the state of Momentum over .*Got Adagrad over"):
        train(new_op(slim.optimizers.Adagrad(0.1)), tmp_path, number_of_steps=2, batches=[BATCH], **QUIET)


@pytest.mark.parametrize(
    ("optimizer", "kwargs", "error", "message"),
    [
        (
            slim.optimizers.Momentum(SCHEDULE, 0.9),
            {"scheduler": slim.optimizers.fixed(0.1)},
            ValueError,
            r"not from both. Got fixed\(learning_rate=0.1\) and warmup\(",
        ),
        (slim.optimizers.Adam(), {"scheduler": 0.1}, TypeError, "`scheduler` must be a schedule .* Got 0.1"),
        (slim.optimizers.Adam(), {"scheduler": lambda optimizer: 0.5}, TypeError, "Got <function"),
        (
            slim.optimizers.Adam(),
            {"scheduler": lr_scheduler.ReduceLROnPlateau},
            TypeError,
            "needs no metric .* Got <class 'torch.optim.lr_scheduler.ReduceLROnPlateau'>",
        ),
        (slim.optimizers.Adam(), {"ema_decay": 1.5}, ValueError, "`ema_decay` must be from 0 to 1. Got 1.5"),
    ],
)
def test_what_does_not_fit(optimizer: Any, kwargs: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        new_op(optimizer, **kwargs).prepare()
