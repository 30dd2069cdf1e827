"""One training step, against PyTorch's own autograd and optimizers."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import torchslim as slim
from torchslim.learning import TrainOp, create_train_op
from torchslim.learning.numerics import NumericsCheck

SGD = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
BATCH = torch.randn(4, 3), torch.randn(4, 2)
CPU = torch.device("cpu")


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


class NoSynchronisation(TorchDispatchMode):
    """Fails at whatever would have to wait for an accelerator."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = str(function)
        assert not any(word in name for word in ("_local_scalar_dense", "nonzero", "is_nonzero", "equal.")), name
        return function(*args, **(kwargs or {}))


# Numbers


def test_steps_equal_a_hand_written_loop_bit_for_bit() -> None:
    ours, theirs = (module := mlp()), copy.deepcopy(module)
    train_op, optimizer = op_of(ours), SGD(theirs.parameters(), fused=True)
    for _ in range(5):
        optimizer.zero_grad()
        loss = (theirs(BATCH[0]) - BATCH[1]).square().mean()
        loss.backward()
        optimizer.step()
        assert train_op(*BATCH).equal(loss.detach())
    assert all(a.equal(b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize("kwargs", [{}, {"clip_gradient_norm": 0.05}, {"gradient_multipliers": {"fc1/weights": 3.0}}])
def test_l2_equals_autograd(kwargs: dict[str, Any]) -> None:
    """The same graph once with the L2 terms taken out, once with all left to autograd."""
    losses = []
    for hidden in (False, True):
        torch.manual_seed(1)
        with slim.Graph() as graph:
            total, _ = symbol_loss()
            train_op = create_train_op(total * 1 if hidden else total, SGD, **kwargs)
        assert len(train_op.objective.l2) == (0 if hidden else 2)
        losses.append([train_op(*BATCH) for _ in range(5)])
        losses[-1] += [variable.tensor.detach() for variable in slim.get_trainable_variables(module=graph)]
    for a, b in zip(*losses, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)


def test_step_fn_leaves_the_value_of_l2_out() -> None:
    total, graph = symbol_loss()
    train_op = create_train_op(total, SGD)
    train_op.prepare()
    weights = [v.tensor.detach().clone() for v in slim.get_variables(suffix="weights")]
    expected = sum(scale * w.square().sum() / 2 for scale, w in zip((0.1, 0.3), weights, strict=True))
    torch.testing.assert_close(train_op.l2_value(), expected)
    whole = graph.run(total, dict(zip(train_op.objective.inputs, BATCH, strict=True)))
    torch.testing.assert_close(train_op.step_fn(*BATCH) + expected, whole)


def test_l1_goes_through_autograd() -> None:
    total, graph = symbol_loss(regularizer=slim.l1_regularizer)
    train_op = create_train_op(total, SGD)
    assert train_op.objective.l2 == []
    train_op.prepare()
    whole = graph.run(total, dict(zip(train_op.objective.inputs, BATCH, strict=True)))
    torch.testing.assert_close(train_op(*BATCH), whole)


def test_l2_of_a_frozen_variable_has_a_value_and_no_gradient() -> None:
    total, graph = symbol_loss()
    train_op = create_train_op(total, SGD, variables_to_train=["fc2/weights"])
    train_op.prepare()
    before = {v.op.name: v.tensor.detach().clone() for v in slim.get_trainable_variables()}
    whole = graph.run(total, dict(zip(train_op.objective.inputs, BATCH, strict=True)))
    torch.testing.assert_close(train_op(*BATCH), whole)
    changed = [v.op.name for v in slim.get_trainable_variables() if not v.tensor.equal(before[v.op.name])]
    assert changed == ["fc2/weights"]


def test_l2_of_a_weight_that_the_data_terms_do_not_reach() -> None:
    x = slim.placeholder((None, 3), name="x")
    slim.fully_connected(x, 2, weights_regularizer=slim.l2_regularizer(0.5), scope="aside")
    slim.losses.add_loss(slim.fully_connected(x, 2, scope="used").square().mean())
    train_op = create_train_op(slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=1.0))
    train_op.prepare()
    aside = slim.get_unique_variable("aside/weights").tensor
    before = aside.detach().clone()
    train_op(torch.ones(4, 3))
    torch.testing.assert_close(aside.detach(), before * 0.5)


def test_one_weight_with_two_l2_terms() -> None:
    x = slim.placeholder((None, 3), name="x")
    net = slim.fully_connected(x, 2, weights_regularizer=slim.l2_regularizer(0.25), scope="fc")
    slim.losses.add_loss(net.sum() * 0)
    penalty = slim.get_default_graph().get_collection("regularization_losses")[0]
    train_op = create_train_op(
        slim.losses.add_n(net.sum() * 0, penalty, penalty), functools.partial(torch.optim.SGD, lr=1.0)
    )
    weights = slim.get_unique_variable("fc/weights").tensor
    before = weights.detach().clone()
    torch.testing.assert_close(train_op(torch.zeros(1, 3)), before.square().sum() * 0.25)
    torch.testing.assert_close(weights.detach(), before * 0.5)


@pytest.mark.parametrize("scale", [2.0, torch.tensor([1.0, 2.0, 3.0])])
def test_multipliers_and_clipping_come_in_this_order(scale: Any) -> None:
    module = nn.Linear(3, 1, bias=False)
    x = torch.randn(4, 3)
    train_op = create_train_op(
        lambda batch: module(batch).sum(),
        functools.partial(torch.optim.SGD, lr=1.0),
        module=module,
        gradient_multipliers={"weights": scale},
        clip_gradient_norm=1.0,
    )
    before, gradient = module.weight.detach().clone(), x.sum(0) * scale
    train_op(x)
    torch.testing.assert_close(module.weight.detach(), before - gradient / max(gradient.norm(), 1.0))


def test_fused_optimizers_walk_in_the_layout_of_the_kernels() -> None:
    """PyTorch's fused CPU kernels pair up wrong elements where a state lies otherwise than its parameter."""
    results = []
    for channels_last in (False, True):
        torch.manual_seed(0)
        module = nn.Conv2d(3, 4, 3)
        train_op = create_train_op(lambda x: module(x).square().mean(), SGD, module=module)  # noqa: B023
        train_op.prepare(channels_last=channels_last)
        x = torch.randn(2, 3, 8, 8)
        for _ in range(3):
            train_op(x)
            state = dict(train_op.state_dict()["optimizer"])
            state["state"] = {
                i: {name: value.clone(memory_format=torch.contiguous_format) for name, value in slots.items()}
                for i, slots in state["state"].items()
            }
            train_op.load_state_dict({**train_op.state_dict(), "optimizer": state}, train_op.global_step)
        assert train_op.optimizer.defaults["fused"]
        results.append(module.weight.detach())
    assert results[1].is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(*results)


def test_layout_may_change_between_steps() -> None:
    results = []
    for later in (False, True):
        torch.manual_seed(0)
        module = nn.Conv2d(3, 4, 3)
        train_op = create_train_op(lambda x: module(x).square().mean(), SGD, module=module)  # noqa: B023
        x = torch.randn(2, 3, 8, 8)
        train_op(x)
        train_op.prepare(channels_last=later)
        train_op(x)
        results.append(module.weight.detach())
    torch.testing.assert_close(*results)


def test_bf16_computes_in_bf16_and_keeps_float32() -> None:
    seen = []
    module = mlp()
    module[0].register_forward_hook(lambda *args: seen.append(args[2].dtype))
    train_op = op_of(module)
    train_op.prepare(torch.device("cpu"), torch.bfloat16)
    loss = train_op(*BATCH)
    assert seen == [torch.bfloat16]
    assert {p.dtype for p in module.parameters()} == {p.grad.dtype for p in module.parameters()} == {torch.float32}
    assert loss.dtype == torch.float32


def test_compiled_step_equals_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager", fullgraph=True))
    results = []
    for compiled in (False, True):
        torch.manual_seed(3)
        with slim.Graph():
            total, _ = symbol_loss()
            train_op = create_train_op(total, SGD, variables_to_train=["fc2/weights"])
        train_op.prepare(compile=compiled)
        results.append(torch.stack([train_op(*BATCH) for _ in range(3)]))
    torch.testing.assert_close(*results)


# Not finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_loss_that_is_not_finite_stops_before_the_update(bad: float) -> None:
    module = mlp()
    train_op = op_of(module)
    train_op(*BATCH)
    before = copy.deepcopy(module.state_dict())
    with pytest.raises(FloatingPointError, match="input '1' is not finite at step 1, nor are the loss"):
        train_op(BATCH[0], BATCH[1] + bad)
    assert all(value.equal(before[name]) for name, value in module.state_dict().items())
    unchecked = op_of(mlp(), check_numerics=False)
    assert not unchecked(BATCH[0], BATCH[1] + bad).isfinite()


@pytest.fixture
def like_on_cuda() -> Iterator[TrainOp]:
    """A prepared train op with everything on, that takes its tensors for those of an accelerator."""
    total, _ = symbol_loss()
    train_op = create_train_op(total, SGD, clip_gradient_norm=1.0, gradient_multipliers={"fc1/weights": 2.0})
    train_op.prepare()
    train_op._numerics = NumericsCheck(["fc1/weights", "fc1/biases", "fc2/weights", "fc2/biases"], CPU, at_once=False)
    return train_op


def test_elsewhere_the_flag_waits_and_names_the_first_bad_step(like_on_cuda: TrainOp) -> None:
    like_on_cuda.step_fn(*BATCH)
    like_on_cuda.check_finite()
    like_on_cuda.step_fn(BATCH[0] * float("nan"), BATCH[1])
    like_on_cuda.step_fn(*BATCH)
    with pytest.raises(FloatingPointError, match="input '0' is not finite at step 1, nor are the loss"):
        like_on_cuda.check_finite()


def test_a_step_does_not_wait_for_the_device(like_on_cuda: TrainOp) -> None:
    with NoSynchronisation():
        like_on_cuda.step_fn(*BATCH)
        like_on_cuda.l2_value()


def test_step_on_meta_tensors() -> None:
    """`meta` tensors have no values: whatever reads one, or makes a tensor on the host, fails."""
    total, _ = symbol_loss()
    train_op = create_train_op(total, SGD, clip_gradient_norm=1.0, gradient_multipliers={"fc1/weights": 2.0})
    train_op.prepare(torch.device("meta"))
    loss = train_op(*(tensor.to("meta") for tensor in BATCH))
    assert loss.is_meta
    assert all(variable.is_meta for variable in train_op.trained)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_step_on_cuda(dtype: torch.dtype) -> None:
    total, _ = symbol_loss()
    train_op = create_train_op(total, functools.partial(SGD, fused=True))  # else fp16 waits for the scaler's flag
    train_op.prepare(torch.device("cuda"), dtype)
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = [tensor.cuda(non_blocking=True) for tensor in BATCH]
        losses = [train_op.step_fn(*batch) for _ in range(20)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert losses[-1] < losses[0]


def test_channels_last_leaves_dense_layers_that_are_convolutions_alone() -> None:
    images = slim.placeholder((None, 3, 8, 8), name="images")
    net = slim.conv2d(images, 4, 3, scope="conv")
    net = slim.conv2d(net, 5, 8, padding="VALID", scope="fc")
    train_op = slim.learning.create_train_op(net.square().mean(), functools.partial(torch.optim.SGD, lr=0.1))
    train_op.prepare(channels_last=True)
    train_op(torch.randn(2, 3, 8, 8))
    layout = torch.channels_last
    assert slim.get_unique_variable("conv/weights").tensor.is_contiguous(memory_format=layout)
    assert not slim.get_unique_variable("fc/weights").tensor.is_contiguous(memory_format=layout)


# Several batches a step, averages, frozen parts


def test_accumulated_batches_equal_one_large_one() -> None:
    ours, theirs = (module := mlp()), copy.deepcopy(module)
    arguments: dict[str, Any] = {"clip_gradient_norm": 0.3, "gradient_multipliers": {"0/weights": 2.0}}
    accumulated, whole = op_of(ours, accumulate_steps=2, **arguments), op_of(theirs, **arguments)
    for _ in range(3):
        first = accumulated(BATCH[0][:2], BATCH[1][:2])
        assert (accumulated.accumulated, accumulated.global_step) == (1, whole.global_step)
        second = accumulated(BATCH[0][2:], BATCH[1][2:])
        assert accumulated.accumulated == 0
        torch.testing.assert_close(second, whole(*BATCH))
        assert first != second
    assert accumulated.global_step == 3
    for name, value in ours.state_dict().items():
        torch.testing.assert_close(value, theirs.state_dict()[name])


def test_accumulated_with_l2_and_averages() -> None:
    results = []
    for accumulate in (1, 2):
        with slim.Graph():
            torch.manual_seed(3)
            total, _ = symbol_loss()
            train_op = create_train_op(total, SGD, accumulate_steps=accumulate, ema_decay=0.5)
            for _ in range(2):
                for part in (BATCH,) if accumulate == 1 else ([t[:2] for t in BATCH], [t[2:] for t in BATCH]):
                    train_op(*part)
            results.append({**train_op.tensors(), **{f"ema/{k}": v for k, v in train_op.ema.averages.items()}})
    assert len(results[0]) == 9
    for name, value in results[0].items():
        torch.testing.assert_close(value, results[1][name], msg=name)


def test_a_failed_step_begins_anew() -> None:
    train_op = op_of(mlp(), accumulate_steps=2)
    train_op(*BATCH)
    with pytest.raises(FloatingPointError, match="step 0"):
        train_op(BATCH[0] * float("nan"), BATCH[1])
    assert (train_op.accumulated, train_op.global_step) == (0, 0)


def test_gradients_are_transformed_last() -> None:
    seen = []

    def halved(pairs: Any) -> Any:
        seen.append([(gradient.norm().item(), variable.op.name) for gradient, variable in pairs])
        return [(gradient / 2, variable) for gradient, variable in pairs]

    ours, theirs = (module := mlp()), copy.deepcopy(module)
    plain = functools.partial(torch.optim.SGD, lr=0.1)
    train_op, reference = op_of(ours, plain, transform_grads_fn=halved, clip_gradient_norm=0.1), op_of(theirs, plain)
    train_op(*BATCH)
    reference(*BATCH)
    assert [name for _, name in seen[0]] == ["0/weights", "0/biases", "2/weights", "2/biases"]
    assert max(norm for norm, _ in seen[0]) == pytest.approx(0.1)
    moved = (module[2].bias - train_op.trained[3].tensor).norm()
    assert moved == 0  # the module itself was trained


def test_trainable_scopes_freeze_everything_else_bit_for_bit() -> None:
    with slim.Graph():
        x, y = slim.placeholder((None, 3, 8, 8), name="x"), slim.placeholder((None, 2), name="y")
        with slim.arg_scope([slim.conv2d], normalizer_fn=slim.batch_norm, normalizer_params={"decay": 0.5}):
            net = slim.conv2d(x, 4, 3, scope="net/conv1")
            net = slim.conv2d(net, 4, 3, scope="net/conv2")
        slim.losses.mean_squared_error(slim.fully_connected(net, 2, scope="net/fc"), y)
        train_op = create_train_op(slim.losses.get_total_loss(), SGD, trainable_scopes=["conv2", "net/fc"])
        train_op.prepare()
        before = {name: value.clone() for name, value in train_op.tensors().items()}
        for _ in range(2):
            train_op(torch.randn(4, 3, 8, 8), torch.randn(4, 2))
    changed = {name for name, value in train_op.tensors().items() if not value.equal(before[name])} - {"global_step"}
    assert changed == {name for name in before if "conv2" in name or "fc" in name}
    assert len(changed) == 6
    assert "4 of 6 variables" in repr(train_op)
    assert "the statistics of 1 layers stand still" in repr(train_op)


def test_frozen_statistics_are_a_choice() -> None:
    module = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.Linear(5, 2))
    train_op = op_of(module, trainable_scopes="2", freeze_batch_norm=False)
    train_op(*BATCH)
    assert module[1].running_mean.abs().sum() > 0
    assert [variable.op.name for variable in train_op.trained] == ["2/weights", "2/biases"]


def test_unknown_trainable_scope() -> None:
    with pytest.raises(ValueError, match=r"`trainable_scopes`.*'classifier'"):
        op_of(mlp(), trainable_scopes=["classifier"])
    with pytest.raises(ValueError, match="Got both, '2' and 1 variables"):
        op_of(mlp(), trainable_scopes="2", variables_to_train=["2/weights"])
    with pytest.raises(ValueError, match=r"`accumulate_steps` must be at least 1\. Got 0"):
        op_of(mlp(), accumulate_steps=0)
