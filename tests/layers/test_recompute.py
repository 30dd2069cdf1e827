"""`recompute_grad` and `rev_block` against the same computation with everything kept; and what they save."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

import torchslim as slim
from torchslim.layers.recompute import Recomputed
from torchslim.layers.reversible import Reversible


def peak_bytes(run: Callable[[], Any]) -> int:
    """The most memory that was taken at one time, as PyTorch's own allocator reports it."""
    run()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    taken = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        taken += event.nbytes()
        peak = max(peak, taken)
    return peak


def training_step(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], None]:
    return lambda: model(x).square().mean().backward()


def gradients(model: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    x = x.clone().requires_grad_()
    model(x).square().sum().backward()
    return {"x": x.grad, **{name: parameter.grad for name, parameter in model.named_parameters()}}


def deep(x: Any) -> Any:
    for _ in range(8):
        x = slim.fully_connected(x, 64, activation_fn=torch.sigmoid)
    return x


def noisy(x: Any) -> Any:
    x = slim.fully_connected(x, 5, normalizer_fn=slim.batch_norm, normalizer_params={"decay": 0.5})
    return slim.linear(slim.dropout(x, 0.5), 4)


def same_weights(function: Callable[[Any], Any], other: Callable[[Any], Any], x: torch.Tensor) -> tuple[Any, Any]:
    model, second = slim.build(function, x), slim.build(other, x)
    second.load_state_dict(model.state_dict())
    return model, second


# recompute_grad


def test_recomputed_gradients_statistics_and_random_numbers_are_those_of_the_function() -> None:
    x = torch.randn(6, 4)
    plain, recomputed = same_weights(noisy, slim.recompute_grad(noisy), x)
    assert any(isinstance(module, Recomputed) for module in recomputed.modules())
    results = []
    for model in (plain, recomputed):
        torch.manual_seed(0)
        results.append(gradients(model, x))
    torch.testing.assert_close(results[1], results[0])
    torch.testing.assert_close(recomputed.state_dict(), plain.state_dict())  # statistics: updated once


def test_recomputing_saves_memory() -> None:
    x = torch.randn(2048, 64)
    plain, recomputed = same_weights(
        lambda x: deep(deep(deep(x))), lambda x: [x := slim.recompute_grad(deep)(x) for _ in range(3)][-1], x
    )
    kept, saved = (peak_bytes(training_step(model, x)) for model in (plain, recomputed))
    print(f"peak with everything kept {kept}, recomputed {saved} bytes")
    assert saved < 0.6 * kept


def test_recompute_grad_keeps_names_and_survives_copying_moving_and_pruning() -> None:
    @slim.recompute_grad(tupleize_grads=True)
    def block(x):
        return slim.fully_connected(x, 3, scope="inner")

    with slim.Graph() as graph:
        x = slim.placeholder((None, 4))
        y = block(x)
        slim.linear(x, 2, scope="unused")
        model = graph.module(y)
        assert [v.op.name for v in slim.get_variables()] == [
            "inner/weights",
            "inner/biases",
            "unused/weights",
            "unused/biases",
        ]
    assert list(model.state_dict()) == ["inner.weight", "inner.bias"]
    value = torch.randn(2, 4)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        torch.testing.assert_close(other(value), model(value))
        with torch.no_grad():
            other.inner.weight.zero_()
        assert other(value).abs().sum() == 0  # the copy runs its own layers
        assert other.double()(value.double()).dtype == torch.float64
    assert model(value).abs().sum() > 0


def test_recompute_grad_of_tensors_of_numbers_and_inside_of_another() -> None:
    block = slim.recompute_grad(noisy)
    with slim.Graph():
        x = torch.randn(6, 4, requires_grad=True)
        block(x).sum().backward()
        assert x.grad.any()
    module = slim.recompute_grad(lambda channels: slim.linear(channels, 3))(4)
    assert isinstance(module, Recomputed)
    assert module(x).shape == (6, 3)
    outer = slim.recompute_grad(lambda x: slim.linear(slim.recompute_grad(deep)(x), 2))
    x = torch.randn(3, 64)
    plain, nested = same_weights(lambda x: slim.linear(deep(x), 2), outer, x)
    torch.testing.assert_close(gradients(nested, x), gradients(plain, x))


def test_gradients_reach_what_the_function_closes_over() -> None:
    def net(x, recompute):
        scale = slim.model_variable("scale", [4], initializer=slim.ones_initializer())
        function = lambda y: torch.tanh(y * scale + x[:, :1])  # noqa: E731
        return (slim.recompute_grad(function) if recompute else function)(x * 2)

    x = torch.randn(3, 4)
    expected = gradients(slim.build(net, x, recompute=False), x)
    torch.testing.assert_close(gradients(slim.build(net, x, recompute=True), x), expected)


def test_is_recomputing_is_false_while_the_function_is_recorded() -> None:
    seen = []

    @slim.recompute_grad
    def block(x, is_recomputing):
        seen.append(is_recomputing)
        return x * 2, x + 1

    model = slim.build(block, torch.empty(1, 3))
    assert seen == [False]
    assert [value.shape for value in model(torch.ones(2, 3))] == [(2, 3), (2, 3)]


@pytest.mark.parametrize(("function", "given"), [(lambda x: 3, r"Got \[3\]"), (lambda x: None, r"Got \[?None")])
def test_a_function_must_return_symbols(function, given) -> None:
    with slim.Graph(), pytest.raises(TypeError, match=given):
        slim.recompute_grad(function)(slim.placeholder((None, 3)))


def test_only_tensors_are_taken() -> None:
    with pytest.raises(TypeError, match=r"functions of Symbols, or of tensors. Got \('x',\)"):
        slim.recompute_grad(deep)("x")


# rev_block


def reversible(num_layers: int, is_training: bool, function: Callable[[Any], Any] = noisy) -> Callable[[Any], Any]:
    def net(x):
        x1, x2 = torch.chunk(x, 2, 1)
        return torch.cat(slim.rev_block(x1, x2, function, function, num_layers, is_training=is_training), 1)

    return net


def test_reversed_gradients_statistics_and_random_numbers_are_those_of_the_layers() -> None:
    x = torch.randn(6, 8)
    plain, block = same_weights(reversible(3, False), reversible(3, True), x)
    for model, efficient in ((plain, False), (block, True)):
        assert [module.efficient for module in model.modules() if isinstance(module, Reversible)] == [efficient]
    results = []
    for model in (plain, block):
        torch.manual_seed(0)
        results.append(gradients(model, x))
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(block.state_dict(), plain.state_dict())


def test_memory_of_a_reversible_block_does_not_grow_with_its_layers() -> None:
    def half(x):
        return slim.linear(slim.fully_connected(x, 32, activation_fn=torch.sigmoid), 32, activation_fn=torch.tanh)

    x = torch.randn(4096, 64)
    peaks = {}
    for layers in (4, 16):
        for training in (False, True):
            model = slim.build(reversible(layers, training, half), x)
            peaks[layers, training] = peak_bytes(training_step(model, x))
    print(f"peak bytes by (layers, reversible): {peaks}")
    assert peaks[16, False] > 3 * peaks[4, False]
    assert peaks[16, True] < 1.2 * peaks[4, True]  # the parameters' gradients grow
    assert peaks[16, True] < 0.3 * peaks[16, False]


def test_side_inputs_and_lists_of_functions() -> None:
    def with_sides(x, sides):
        return slim.linear(x, 4) * sides[0] + sum(sides)

    def net(x, side, is_training):
        sides = {"f_side_input": [side, x], "g_side_input": [side]}
        functions = [with_sides, lambda x, sides: torch.sin(x * sides[0])]
        y1, y2 = slim.rev_block(x, 2 * x, functions, functions[::-1], 2, is_training=is_training, **sides)
        return y1 * y2

    inputs = torch.randn(3, 4), torch.randn(3, 4)
    plain, block = (slim.build(net, *inputs, is_training=training) for training in (False, True))
    block.load_state_dict(plain.state_dict())
    results = []
    for model in (plain, block):
        x, side = (value.clone().requires_grad_() for value in inputs)
        model(x, side).square().sum().backward()
        results.append([x.grad, side.grad, *(parameter.grad for parameter in model.parameters())])
    torch.testing.assert_close(results[1], results[0], rtol=1e-4, atol=1e-5)


def test_backward_gives_the_inputs_back() -> None:
    def half(x):
        return slim.fully_connected(x, 4, activation_fn=torch.tanh)

    block = slim.RevBlock(half, half, num_layers=2, name="block")

    def net(x1, x2):
        y1, y2 = block.forward(x1, x2)
        return block.backward(y1, y2)

    x1, x2 = torch.randn(2, 3, 4)
    model = slim.build(net, x1, x2)
    torch.testing.assert_close(model(x1, x2), (x1, x2))
    assert len(list(model.parameters())) == 8  # shared
    assert all(name.startswith("block.revlayer_") for name in model.state_dict())


def test_a_second_block_has_its_own_variables_and_reuse_shares_them() -> None:
    def half(x):
        return slim.linear(x, 3, scope="fc")

    with slim.Graph():
        x = slim.placeholder((None, 3))
        with slim.variable_scope("net", reuse=slim.AUTO_REUSE):
            slim.rev_block(x, x, half, half)
            slim.rev_block(x, x, half, half)
        slim.rev_block(x, x, half, half)
        slim.rev_block(x, x, half, half)
        scopes = {v.op.name.partition("/revlayer_0")[0] for v in slim.get_variables()}
    assert scopes == {"net/revblock", "revblock", "revblock_1"}


def test_tensors_and_numbers_flow_in() -> None:
    def half(x):
        return slim.linear(x, 4)

    x = torch.randn(2, 4, requires_grad=True)
    with slim.Graph():
        y1, y2 = slim.rev_block(x, x, half, half)
        (y1 + y2).sum().backward()
    assert x.grad.any()
    module = slim.rev_block(4, 4, half, half, num_layers=2)
    assert next(iter(module.state_dict())) == "revlayer_0.f.weight"
    torch.testing.assert_close(module.inverse(*module(x, 2 * x)), (x, 2 * x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "error", "given"),
    [
        ({"num_layers": 0}, ValueError, "must be positive. Got 0"),
        ({"num_layers": 2, "f": [deep]}, ValueError, "each of the 2 layers. Got 1"),
        ({"x2": 4}, TypeError, "numbers of channels. Got"),
        ({"g": lambda x: x[:, :2]}, ValueError, r"must keep the shape of what they get. Got .*\(None, 2\)"),
    ],
)
def test_what_a_block_refuses(arguments, error, given) -> None:
    with slim.Graph():
        x = slim.placeholder((None, 64))
        with pytest.raises(error, match=given):
            slim.rev_block(**{"x1": x, "x2": x, "f": deep, "g": deep, **arguments})
