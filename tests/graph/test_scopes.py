"""Names of variables and operations, by TensorFlow's rules (written down in tests/goldens and worked out by hand)."""

from __future__ import annotations

import threading

import pytest
import torch

import torchslim as slim


def x() -> slim.Symbol:
    return slim.placeholder((None, 3, 8, 8))


def conv(**kwargs):
    return slim.conv2d(kwargs.pop("inputs", None) or x(), 3, [3, 3], **kwargs)


def names() -> list[str]:
    return [name.removesuffix("/weights") for name in slim.get_default_graph().variables if "weights" in name]


def test_default_names_count_up() -> None:
    conv()
    conv()
    conv(scope="Conv_2")
    conv()
    assert names() == ["Conv", "Conv_1", "Conv_2", "Conv_3"]


def test_scopes_nest_and_may_have_slashes() -> None:
    with slim.variable_scope("a/b"), slim.variable_scope(None, "Block") as scope:
        conv(scope="c/d")
        assert scope.name == "a/b/Block"
        assert scope.original_name_scope == "a/b/Block/"
    assert names() == ["a/b/Block/c/d"]


def test_a_default_scope_is_unique_and_an_explicit_one_is_not() -> None:
    for _ in range(2):
        with slim.variable_scope(None, "Block"):
            conv()
    with slim.variable_scope("Block"), pytest.raises(ValueError, match="'Block/Conv/weights' exists already"):
        conv()
    assert names() == ["Block/Conv", "Block_1/Conv"]


def test_entering_a_scope_again_finds_the_same_default_names() -> None:
    with slim.variable_scope("tower"):
        conv()
        conv()
    with slim.variable_scope("tower", reuse=True):
        conv()
        conv()
    assert names() == ["tower/Conv", "tower/Conv_1"]


def test_reuse_goes_down() -> None:
    with slim.variable_scope("a"):
        conv(scope="c")
    with slim.variable_scope("a", reuse=True) as outer:
        conv(scope="c")
        with slim.variable_scope("b"), pytest.raises(ValueError, match="'a/b/c/weights' does not exist"):
            conv(scope="c")
    with slim.variable_scope(outer, reuse=slim.AUTO_REUSE):
        conv(scope="c")
        conv(scope="new")
    assert names() == ["a/c", "a/new"]


def test_a_scope_object_jumps_back() -> None:
    with slim.variable_scope("a") as a:
        pass
    with slim.variable_scope("b"), slim.variable_scope(a):
        conv(scope="c")
    assert names() == ["a/c"]


def test_operations_get_unique_names_where_variables_are_shared() -> None:
    ends = slim.get_default_graph().end_points
    for reuse in (None, True):
        with slim.variable_scope("tower", reuse=reuse):
            slim.max_pool2d(conv(scope="c"), [2, 2], scope="pool")
    assert list(ends) == ["tower/c", "tower/pool", "tower_1/c", "tower_1/pool"]


def test_scopes_close_after_errors() -> None:
    with pytest.raises(RuntimeError, match="stop"), slim.variable_scope("a"), slim.name_scope("b"):
        raise RuntimeError("stop")
    assert slim.get_variable_scope().name == ""


def test_a_fresh_graph_starts_at_the_root() -> None:
    with slim.variable_scope("outer"):
        model = slim.build(lambda x: slim.conv2d(x, 2, 3, scope="c"), torch.empty(1, 3, 8, 8))
        assert slim.get_variable_scope().name == "outer"
    assert list(model.state_dict()) == ["c.weight", "c.bias"]


def test_threads_have_scopes_of_their_own() -> None:
    seen = []
    with slim.variable_scope("main"):
        thread = threading.Thread(target=lambda: seen.append(slim.get_variable_scope().name))
        thread.start()
        thread.join()
    assert seen == [""]


@pytest.mark.parametrize("name", ["a.b", "a:0", "a//b", "../a"])
def test_names_that_cannot_be_modules(name: str) -> None:
    with pytest.raises(ValueError, match=f"Got '{name}'"):
        conv(scope=name)


def test_reuse_needs_a_name() -> None:
    with pytest.raises(ValueError, match="'Conv' is made unique"):
        conv(reuse=True)


@pytest.mark.parametrize("scope", ["train", "weight", "forward", "graph", "code", "type", "inputs"])
def test_names_that_modules_have_already(scope: str) -> None:
    model = slim.build(lambda x: slim.conv2d(x, 2, 1, scope=f"{scope}/{scope}"), torch.empty(1, 3, 4, 4))
    assert [v.op.name for v in slim.get_variables(module=model)] == [
        f"{scope}/{scope}/weights",
        f"{scope}/{scope}/biases",
    ]
    assert model(torch.zeros(2, 3, 4, 4)).shape == (2, 2, 4, 4)


def test_a_layer_that_shares_its_weights_keeps_a_bias_of_its_own() -> None:
    def twins(x: slim.Symbol) -> slim.Symbol:
        first = slim.fully_connected(x, 3, activation_fn=None, biases_initializer=None, scope="fc")
        second = slim.fully_connected(x, 3, activation_fn=None, scope="fc", reuse=slim.AUTO_REUSE)
        return second - first

    model = slim.build(twins, torch.empty(1, 2))
    assert [variable.op.name for variable in slim.get_variables(module=model)] == ["fc/weights", "fc/biases"]
    state = model.state_dict()
    assert [tuple(value.shape) for value in state.values()] == [(3, 2), (3,)]
    state[next(key for key in state if key.endswith("bias"))] = torch.tensor([1.0, 2.0, 3.0])
    assert model.load_state_dict(state).missing_keys == []
    torch.testing.assert_close(model(torch.randn(4, 2)), torch.tensor([[1.0, 2.0, 3.0]]).expand(4, 3))
