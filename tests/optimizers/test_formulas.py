"""TensorFlow's formulas, compared with a second spelling of them in NumPy and double precision."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import torchslim as slim
from torchslim.optimizers import Formula
from torchslim.optimizers import fused as fused_formulas

Array = Any
# The weight and the slots after the last step; the references take the gradients and learning rates of all steps.
Result = tuple[Array, dict[str, Array]]


def gradient_descent(w: Array, gradients: Sequence[Array], rates: Sequence[float]) -> Result:
    for g, rate in zip(gradients, rates, strict=True):
        w = w - rate * g
    return w, {}


def momentum(
    w: Array, gradients: Sequence[Array], rates: Sequence[float], momentum: float, use_nesterov: bool = False
) -> Result:
    a = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        a = momentum * a + g
        w = w - rate * (g + momentum * a if use_nesterov else a)
    return w, {"momentum": a}


def adam(
    w: Array,
    gradients: Sequence[Array],
    rates: Sequence[float],
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Result:
    m = v = np.zeros_like(w)
    for t, (g, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        w = w - rate * np.sqrt(1 - beta2**t) / (1 - beta1**t) * m / (np.sqrt(v) + epsilon)
    return w, {"m": m, "v": v}


def rmsprop(
    w: Array,
    gradients: Sequence[Array],
    rates: Sequence[float],
    decay: float = 0.9,
    momentum: float = 0.0,
    epsilon: float = 1e-10,
    centered: bool = False,
) -> Result:
    rms, mg, mom = np.ones_like(w), np.zeros_like(w), np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        rms, mg = decay * rms + (1 - decay) * g * g, decay * mg + (1 - decay) * g
        mom = momentum * mom + rate * g / np.sqrt(rms - (mg * mg if centered else 0) + epsilon)
        w = w - mom
    return w, {"rms": rms, **({"mg": mg} if centered else {}), "momentum": mom}


def adagrad(
    w: Array, gradients: Sequence[Array], rates: Sequence[float], initial_accumulator_value: float = 0.1
) -> Result:
    a = np.full_like(w, initial_accumulator_value)
    for g, rate in zip(gradients, rates, strict=True):
        a = a + g * g
        w = w - rate * g / np.sqrt(a)
    return w, {"accumulator": a}


def adadelta(
    w: Array, gradients: Sequence[Array], rates: Sequence[float], rho: float = 0.95, epsilon: float = 1e-8
) -> Result:
    accum = accum_update = np.zeros_like(w)
    for g, rate in zip(gradients, rates, strict=True):
        accum = rho * accum + (1 - rho) * g * g
        u = np.sqrt(accum_update + epsilon) / np.sqrt(accum + epsilon) * g
        accum_update = rho * accum_update + (1 - rho) * u * u
        w = w - rate * u
    return w, {"accum": accum, "accum_update": accum_update}


def ftrl(
    w: Array,
    gradients: Sequence[Array],
    rates: Sequence[float],
    learning_rate_power: float = -0.5,
    initial_accumulator_value: float = 0.1,
    l1_regularization_strength: float = 0.0,
    l2_regularization_strength: float = 0.0,
    l2_shrinkage_regularization_strength: float = 0.0,
    beta: float = 0.0,
) -> Result:
    n, z, l1 = np.full_like(w, initial_accumulator_value), np.zeros_like(w), l1_regularization_strength
    for g, rate in zip(gradients, rates, strict=True):
        l2 = l2_regularization_strength + beta / (2 * rate)
        after = n + g * g
        sigma = (after**-learning_rate_power - n**-learning_rate_power) / rate
        z = z + g + 2 * l2_shrinkage_regularization_strength * w - sigma * w
        n = after
        quadratic = n**-learning_rate_power / rate + 2 * l2
        w = np.where(np.abs(z) > l1, (np.sign(z) * l1 - z) / quadratic, 0.0)
    return w, {"accum": n, "linear": z}


REFERENCES: dict[str, Callable[..., Result]] = {
    "GradientDescent": gradient_descent,
    "Momentum": momentum,
    "Adam": adam,
    "RMSProp": rmsprop,
    "Adagrad": adagrad,
    "Adadelta": adadelta,
    "Ftrl": ftrl,
}

CASES: list[tuple[str, dict[str, Any]]] = [
    ("GradientDescent", {"learning_rate": 0.1}),
    ("Momentum", {"learning_rate": 0.1, "momentum": 0.9}),
    ("Momentum", {"learning_rate": 0.1, "momentum": 0.0}),
    ("Momentum", {"learning_rate": 0.05, "momentum": 0.7, "use_nesterov": True}),
    ("Adam", {}),
    ("Adam", {"learning_rate": 0.1, "beta1": 0.5, "beta2": 0.9, "epsilon": 0.1}),
    ("Adam", {"learning_rate": 0.1, "beta1": 0.0, "beta2": 0.0, "epsilon": 1.0}),
    ("RMSProp", {"learning_rate": 0.1}),
    ("RMSProp", {"learning_rate": 0.1, "decay": 0.8, "momentum": 0.9, "epsilon": 1.0}),
    ("RMSProp", {"learning_rate": 0.1, "decay": 0.5, "momentum": 0.3, "epsilon": 1e-3, "centered": True}),
    ("Adagrad", {"learning_rate": 0.1}),
    ("Adagrad", {"learning_rate": 0.5, "initial_accumulator_value": 2.0}),
    ("Adadelta", {}),
    ("Adadelta", {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-3}),
    ("Ftrl", {"learning_rate": 0.1}),
    ("Ftrl", {"learning_rate": 0.2, "l1_regularization_strength": 1.0, "l2_regularization_strength": 0.3}),
    ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": -0.8, "initial_accumulator_value": 1.0}),
    ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": 0.0, "l1_regularization_strength": 0.1}),
    ("Ftrl", {"learning_rate": 0.1, "l2_shrinkage_regularization_strength": 0.4, "beta": 0.5}),
]
SHAPES = ((3, 4), (5,), (), (2, 3, 2, 2))
STEPS = 6


def case_name(case: Any) -> str:
    return case if isinstance(case, str) else "-".join(f"{name}={value}" for name, value in case.items())


def make(name: str, **arguments: Any) -> Formula:
    return getattr(slim.optimizers, name)(**arguments)


def random_weights(dtype: torch.dtype = torch.float64) -> list[torch.nn.Parameter]:
    """One of them lies channels-last in memory."""
    generator = torch.Generator().manual_seed(1)
    weights = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]
    weights[-1] = weights[-1].to(memory_format=torch.channels_last)
    return [torch.nn.Parameter(weight) for weight in weights]


def random_gradients(steps: int = STEPS, dtype: torch.dtype = torch.float64) -> list[list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [
        [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in SHAPES]
        for _ in range(steps)
    ]


def run(optimizer: torch.optim.Optimizer, weights: list[Any], gradients: list[list[torch.Tensor]]) -> None:
    for step in gradients:
        for weight, gradient in zip(weights, step, strict=True):
            weight.grad = gradient.clone()
        optimizer.step()


def expected(name: str, arguments: dict[str, Any], position: int, rates: list[float] | None = None) -> Result:
    arguments = dict(arguments)
    rate = arguments.pop("learning_rate", 0.001)
    gradients = [step[position].numpy() for step in random_gradients()]
    return REFERENCES[name](
        random_weights()[position].detach().numpy(), gradients, rates or [rate] * len(gradients), **arguments
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_formula(
    name: str, arguments: dict[str, Any], fused: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not fused:
        monkeypatch.setattr(fused_formulas, "fusable", lambda *lists: False)
    weights = random_weights(dtype)
    optimizer = make(name, **arguments)(weights)
    run(optimizer, weights, random_gradients(dtype=dtype))
    tolerance = 1e-10 if dtype == torch.float64 else 2e-4
    for i, weight in enumerate(weights):
        wanted, slots = expected(name, arguments, i)
        np.testing.assert_allclose(weight.detach().numpy(), wanted, rtol=tolerance, atol=tolerance)
        assert optimizer.get_slot_names() == list(slots)
        for slot, value in slots.items():
            np.testing.assert_allclose(optimizer.get_slot(weight, slot).numpy(), value, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_learning_rates_that_change(name: str, arguments: dict[str, Any]) -> None:
    """A schedule, a tensor that somebody fills, and a scheduler of PyTorch."""
    schedule = slim.optimizers.exponential_decay(0.2, 2, 0.5)
    rates = [schedule(step) for step in range(STEPS)]
    rate = torch.tensor(0.2, dtype=torch.float64)
    scheduled, filled, stepped = random_weights(), random_weights(), random_weights()
    run(make(name, **{**arguments, "learning_rate": schedule})(scheduled), scheduled, random_gradients())
    by_tensor = make(name, **{**arguments, "learning_rate": rate})(filled)
    by_torch = make(name, **{**arguments, "learning_rate": 1.0})(stepped)
    scheduler = torch.optim.lr_scheduler.LambdaLR(by_torch, schedule)
    for i, gradients in enumerate(random_gradients()):
        rate.fill_(rates[i])
        run(by_tensor, filled, [gradients])
        run(by_torch, stepped, [gradients])
        scheduler.step()
    for i, weights in enumerate(zip(scheduled, filled, stepped, strict=True)):
        for weight in weights:
            np.testing.assert_allclose(weight.detach().numpy(), expected(name, arguments, i, rates)[0], rtol=1e-10)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_sparse_gradients_change_their_rows(name: str, arguments: dict[str, Any]) -> None:
    """But Adam's moments decay everywhere, as in TensorFlow; rows that occur twice are added up first."""
    start = torch.randn(4, 3, dtype=torch.float64)
    weight, (first, second) = torch.nn.Parameter(start.clone()), torch.randn(2, 3, 3, dtype=torch.float64)
    optimizer = make(name, **arguments)([weight])
    for rows, values in (([0, 2, 0], first), ([2, 1, 1], second)):
        weight.grad = torch.sparse_coo_tensor(torch.tensor([rows]), values, (4, 3), check_invariants=True)
        optimizer.step()
    none = torch.zeros(3, dtype=torch.float64)
    dense = [
        torch.stack([first[0] + first[2], none, first[1], none]),
        torch.stack([none, second[1] + second[2], second[0], none]),
    ]
    seen = [[0], [1], [0, 1], []] if name != "Adam" else [[0, 1]] * 4
    arguments = dict(arguments)
    rate = arguments.pop("learning_rate", 0.001)
    for row in range(4):
        gradients = [dense[step][row].numpy() for step in seen[row]]
        wanted, _ = REFERENCES[name](start[row].numpy(), gradients, [rate] * len(gradients), **arguments)
        np.testing.assert_allclose(weight[row].detach().numpy(), wanted, rtol=1e-10)


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_weights_without_gradient_are_left_alone(name: str, arguments: dict[str, Any]) -> None:
    weights = random_weights()
    optimizer = make(name, **arguments)(weights)
    run(optimizer, weights[:2], [step[:2] for step in random_gradients()])
    assert all(weight.equal(start) for weight, start in zip(weights[2:], random_weights()[2:], strict=True))
    assert set(optimizer.state) <= set(weights[:2])
    assert all(optimizer.get_slot(weights[2], slot) is None for slot in optimizer.get_slot_names())
    np.testing.assert_allclose(weights[0].detach().numpy(), expected(name, arguments, 0)[0], rtol=1e-10)


@pytest.mark.parametrize("how", ["state_dict", "pickle", "deepcopy"])
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_goes_on_exactly(name: str, arguments: dict[str, Any], how: str) -> None:
    formula = make(name, **{**arguments, "learning_rate": slim.optimizers.exponential_decay(0.2, 2, 0.5)})
    straight, stopped = random_weights(torch.float32), random_weights(torch.float32)
    gradients = random_gradients(dtype=torch.float32)
    run(formula(straight), straight, gradients)
    optimizer = formula(stopped)
    run(optimizer, stopped, gradients[:3])
    if how == "state_dict":
        weights = [torch.nn.Parameter(weight.detach().clone()) for weight in stopped]
        resumed = formula(weights)
        resumed.load_state_dict(optimizer.state_dict())
    else:
        resumed = pickle.loads(pickle.dumps(optimizer)) if how == "pickle" else copy.deepcopy(optimizer)
        weights = resumed.param_groups[0]["params"]
    run(resumed, weights, gradients[3:])
    assert all(weight.equal(wanted) for weight, wanted in zip(weights, straight, strict=True))


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_is_that_of_pytorch_bit_for_bit(nesterov: bool) -> None:
    ours, theirs = random_weights(torch.float32), random_weights(torch.float32)
    gradients = [
        [g.contiguous(memory_format=torch.channels_last) if g.ndim == 4 else g for g in step]
        for step in random_gradients(dtype=torch.float32)
    ]
    run(slim.optimizers.Momentum(0.1, 0.9, use_nesterov=nesterov)(ours), ours, gradients)
    run(torch.optim.SGD(theirs, lr=0.1, momentum=0.9, nesterov=nesterov, fused=True), theirs, gradients)
    assert all(first.equal(second) for first, second in zip(ours, theirs, strict=True))


class NothingIsRead(TorchDispatchMode):
    """Fails where Python asks for the value of a tensor, which waits for the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func is not torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_a_step_reads_no_value(name: str, arguments: dict[str, Any]) -> None:
    weights = random_weights()
    optimizer = make(name, **arguments)(weights)
    with NothingIsRead():
        run(optimizer, weights, random_gradients(2))
        with pytest.raises(AssertionError, match="_local_scalar_dense"):
            weights[1][0].item()


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_gradients_stay_as_they_are(name: str, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_formulas, "fusable", lambda *lists: False)
    weights, gradients = random_weights(), random_gradients(1)
    run(make(name, **arguments)(weights), weights, gradients)
    assert all(weight.grad.equal(gradient) for weight, gradient in zip(weights, gradients[0], strict=True))


@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_a_weight_with_gaps_in_memory(name: str, arguments: dict[str, Any]) -> None:
    whole = torch.zeros(3, 8, dtype=torch.float64)
    weight = torch.nn.Parameter(whole[:, ::2])
    assert not weight.is_contiguous()
    with torch.no_grad():
        weight.copy_(random_weights()[0])
    run(make(name, **arguments)([weight]), [weight], [step[:1] for step in random_gradients()])
    np.testing.assert_allclose(weight.detach().numpy(), expected(name, arguments, 0)[0], rtol=1e-10)
    assert not whole[:, 1::2].any()


def test_groups_have_hyperparameters_of_their_own() -> None:
    weights = random_weights()
    formula = slim.optimizers.Momentum(0.1, momentum=0.9)
    groups = [{"params": weights[:1]}, {"params": weights[1:], "learning_rate": 0.01, "momentum": 0.5}]
    run(formula(groups), weights, random_gradients())
    for i, arguments in enumerate([{"learning_rate": 0.1, "momentum": 0.9}, {"learning_rate": 0.01, "momentum": 0.5}]):
        np.testing.assert_allclose(weights[i].detach().numpy(), expected("Momentum", arguments, i)[0], rtol=1e-10)


def test_closure() -> None:
    weight = torch.nn.Parameter(torch.tensor([2.0]))
    optimizer = slim.optimizers.GradientDescent(0.25)([weight])

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = weight.square().sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert weight.item() == 1.0


def test_centered_rmsprop_survives_a_constant_gradient() -> None:
    """The variance is then zero, and rounding takes it below."""
    weight = torch.nn.Parameter(torch.ones(100))
    optimizer = slim.optimizers.RMSProp(1e-3, decay=0.5, centered=True)([weight])
    run(optimizer, [weight], [[torch.linspace(0.1, 10, 100)]] * 60)
    assert weight.isfinite().all()


def test_ftrl_without_anything_to_divide_by() -> None:
    weight = torch.nn.Parameter(torch.ones(2))
    run(slim.optimizers.Ftrl(0.1, initial_accumulator_value=0.0)([weight]), [weight], [[torch.zeros(2)]])
    assert weight.tolist() == [0.0, 0.0]


def test_names_of_slots_in_checkpoints() -> None:
    """As `tf.compat.v1.train` names them."""
    weight = [torch.zeros(1)]
    centered = slim.optimizers.RMSProp(0.1, centered=True)(weight)
    names = {slot: centered.slot_variable_name("fc1/weights", slot) for slot in centered.get_slot_names()}
    assert names == {"rms": "fc1/weights/RMSProp", "mg": "fc1/weights/RMSProp_1", "momentum": "fc1/weights/RMSProp_2"}
    renamed = slim.optimizers.Momentum(0.1, 0.9, name="Train")(weight)
    assert renamed.slot_variable_name("fc1/weights", "momentum") == "fc1/weights/Train"
    for method in (lambda: renamed.get_slot(weight[0], "m"), lambda: renamed.slot_variable_name("fc1/weights", "m")):
        with pytest.raises(ValueError, match=r"`name` must be one of \['momentum'\]. Got 'm'"):
            method()


def test_prints_what_it_is() -> None:
    formula = slim.optimizers.Momentum(0.1, momentum=0.9)
    assert repr(formula) == "Momentum(learning_rate=0.1, momentum=0.9, use_nesterov=False)"
    assert repr(formula([torch.zeros(1)])).startswith("Momentum (\nParameter Group 0")


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("GradientDescent", {"learning_rate": -0.1}, "GradientDescent: `learning_rate` must be .* Got -0.1"),
        ("GradientDescent", {"learning_rate": float("nan")}, "Got nan"),
        ("GradientDescent", {"learning_rate": "0.1"}, "Got '0.1'"),
        ("GradientDescent", {"learning_rate": torch.ones(2)}, r"must have one element. Got shape \[2\]"),
        ("Momentum", {"learning_rate": 0.1, "momentum": -1.0}, r"Momentum: `momentum` must be in \[0, inf\). Got -1.0"),
        ("Momentum", {"learning_rate": 0.1, "momentum": "0.9"}, "Got '0.9'"),
        ("Adam", {"beta1": 1.0}, r"Adam: `beta1` must be in \[0, 1\). Got 1.0"),
        ("Adam", {"beta2": 1.5}, "`beta2` .* Got 1.5"),
        ("Adam", {"epsilon": -1e-3}, "`epsilon` .* Got -0.001"),
        ("RMSProp", {"learning_rate": 0.1, "decay": 1.1}, r"`decay` must be in \[0, 1\]. Got 1.1"),
        ("RMSProp", {"learning_rate": 0.1, "momentum": float("inf")}, "`momentum` .* Got inf"),
        ("RMSProp", {"learning_rate": 0.1, "epsilon": -1}, "`epsilon` .* Got -1"),
        ("Adagrad", {"learning_rate": 0.1, "initial_accumulator_value": 0.0}, r"must be in \(0, inf\). Got 0.0"),
        ("Adadelta", {"rho": -0.5}, "`rho` .* Got -0.5"),
        ("Adadelta", {"epsilon": -0.5}, "`epsilon` .* Got -0.5"),
        ("Ftrl", {"learning_rate": 0.1, "learning_rate_power": 0.5}, r"must be in \(-inf, 0\]. Got 0.5"),
        ("Ftrl", {"learning_rate": 0.1, "initial_accumulator_value": -1.0}, "Got -1.0"),
        ("Ftrl", {"learning_rate": 0.1, "l1_regularization_strength": -2.0}, "`l1_reg.* Got -2.0"),
        ("Ftrl", {"learning_rate": 0.1, "l2_regularization_strength": -2.0}, "`l2_reg.* Got -2.0"),
        ("Ftrl", {"learning_rate": 0.1, "l2_shrinkage_regularization_strength": -2.0}, "`l2_shr.* Got -2.0"),
        ("Ftrl", {"learning_rate": 0.1, "beta": -2.0}, "`beta` .* Got -2.0"),
    ],
)
def test_bad_hyperparameters(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(name, **arguments)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        (torch.zeros(2, 3, device="meta"), r"Adam: .* Got one of shape \[2, 3\] with no memory: they are on 'meta'"),
        (torch.zeros(4, dtype=torch.complex64), r"Got one of shape \[4\] with the type torch.complex64"),
    ],
)
def test_weights_that_cannot_be_trained(weight: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        slim.optimizers.Adam()([weight])


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(("name", "arguments"), CASES, ids=case_name)
def test_on_cuda(name: str, arguments: dict[str, Any]) -> None:
    weights = [torch.nn.Parameter(weight.detach().cuda()) for weight in random_weights()]
    rate = torch.tensor(arguments.get("learning_rate", 0.001), dtype=torch.float64)
    optimizer = make(name, **{**arguments, "learning_rate": rate.cuda()})(weights)
    run(optimizer, weights, [[gradient.cuda() for gradient in step] for step in random_gradients()])
    for i, weight in enumerate(weights):
        np.testing.assert_allclose(
            weight.detach().cpu().numpy(), expected(name, arguments, i)[0], rtol=1e-10, atol=1e-12
        )
