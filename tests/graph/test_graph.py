"""Graphs: collections, modules of some of their Symbols, feeds, and graphs inside graphs."""

from __future__ import annotations

import asyncio
import threading

import pytest
import torch

import torchslim as slim


@pytest.fixture
def graph() -> slim.Graph:
    return slim.get_default_graph()


def test_graphs_nest_and_the_default_one_comes_back(graph: slim.Graph) -> None:
    with slim.Graph() as inner, inner.as_default():
        slim.conv2d(slim.placeholder((None, 3, 8, 8)), 4, 3)
        assert slim.get_default_graph() is inner
        assert len(slim.get_variables()) == 2
    assert slim.get_default_graph() is graph
    assert slim.get_variables() == []
    assert len(slim.get_variables(module=inner)) == 2


def test_tasks_have_graphs_of_their_own() -> None:
    async def build(count: int) -> int:
        with slim.Graph():
            for _ in range(count):
                slim.fully_connected(slim.placeholder((None, 2)), 2)
                await asyncio.sleep(0)
            return len(slim.get_variables())

    async def both() -> list[int]:
        return await asyncio.gather(build(3), build(5))

    assert asyncio.run(both()) == [6, 10]


def test_collections(graph: slim.Graph) -> None:
    graph.add_to_collection("things", "a")
    graph.get_collection("things").append("not kept")
    assert graph.get_collection("things") == ["a"]
    graph.clear_collection("things")
    assert graph.get_collection("things") == []
    with slim.variable_scope("tower"):
        inner = slim.variable("v", shape=[1], collections=["mine"])
    slim.variable("towering", shape=[1], collections=["mine"])
    assert graph.get_collection("mine", scope="tower") == [inner]


def test_a_module_keeps_only_what_its_outputs_need_and_shares_it(graph: slim.Graph) -> None:
    x = slim.placeholder((None, 3, 8, 8), name="x")
    y = slim.placeholder((None, 5), name="y")
    features = slim.repeat(x, 2, slim.conv2d, 4, 3, scope="conv1")
    logits = slim.fully_connected(features, 5, activation_fn=None, scope="fc")
    loss = (logits - y).square().mean()
    training, features_only = graph.module(loss), graph.module(features)
    assert training.inputs == ("x", "y")
    assert features_only.inputs == ("x",)
    assert list(features_only.state_dict()) == [k for k in training.state_dict() if k.startswith("conv1")]
    assert type(features_only.conv1) is torch.nn.Sequential
    training(torch.randn(2, 3, 8, 8), torch.randn(2, 5)).backward()
    with torch.no_grad():
        for parameter in training.parameters():
            parameter -= 0.1 * parameter.grad
    torch.testing.assert_close(features_only.conv1.conv1_1.weight, training.conv1.conv1_1.weight)
    assert graph.module(loss, inputs=[y, x]).inputs == ("y", "x")


def test_a_module_of_a_part_of_a_chain(graph: slim.Graph) -> None:
    x = slim.placeholder((None, 3, 8, 8))
    slim.repeat(x, 2, slim.conv2d, 4, 3, scope="conv1")
    model = graph.module(graph.end_points["conv1/conv1_1"])
    assert list(model.state_dict()) == ["conv1.conv1_1.weight", "conv1.conv1_1.bias"]
    assert model(torch.zeros(1, 3, 8, 8)).shape == (1, 4, 8, 8)


def test_the_graph_goes_on_after_a_module_was_made(graph: slim.Graph) -> None:
    x = slim.placeholder((None, 3))
    a = slim.fully_connected(x, 4, scope="a")
    first = graph.module(a)
    b = slim.fully_connected(a, 2, scope="b")
    again = slim.fully_connected(x, 4, scope="a", reuse=True)
    second = graph.module((b, again))
    value = torch.randn(5, 3)
    torch.testing.assert_close(second(value)[1], first(value))


def test_what_a_module_cannot_be_made_of(graph: slim.Graph) -> None:
    x, y = slim.placeholder((None, 3), name="x"), slim.placeholder((None, 3), name="y")
    with pytest.raises(ValueError, match="need the placeholder 'y'"):
        graph.module(x + y, inputs=[x])
    with pytest.raises(TypeError, match=r"Got \[3\]"):
        graph.module([x, 3])
    with pytest.raises(TypeError, match=r"Got \(\)"):
        graph.module(())


def test_run_gives_values_without_gradients(graph: slim.Graph) -> None:
    x = slim.placeholder((None, 3))
    net = slim.fully_connected(x, 2, scope="fc")
    weights = slim.get_unique_variable("fc/weights")
    values = graph.run({"net": net, "w": weights}, {x: torch.ones(1, 3)})
    assert not values["net"].requires_grad
    assert torch.equal(values["w"], weights.tensor)


def test_feeds(graph: slim.Graph) -> None:
    x, y, z = (slim.placeholder((None,), name=name) for name in "xyz")
    graph.add_feed([(torch.ones(2), torch.zeros(2)), (torch.ones(1), torch.zeros(1))], [x, y])
    graph.add_feed([(torch.full((2,), 5.0),)] * 3, [z])
    batches = graph.batches([z, "x"])
    assert len(batches) == 2
    for _ in range(2):  # each iteration is a pass
        assert [[tuple(t.shape), float(t[0])] for batch in batches for t in batch] == [
            [(2,), 5.0], [(2,), 1.0], [(2,), 5.0], [(1,), 1.0],
        ]  # fmt: skip
    assert [len(batch) for batch in graph.batches([y])] == [1, 1]
    alone = slim.placeholder((None,), name="alone")
    with pytest.raises(ValueError, match="nothing feeds the placeholder 'alone'"):
        graph.batches([x, alone])


def test_tensors_build_in_the_current_graph(graph: slim.Graph) -> None:
    images = torch.randn(2, 3, 8, 8)
    y = slim.repeat(images, 2, slim.conv2d, 4, 3, scope="conv1")
    assert y.requires_grad
    assert [v.op.name for v in slim.get_variables()][::2] == ["conv1/conv1_1/weights", "conv1/conv1_2/weights"]
    with slim.variable_scope("", reuse=True):
        torch.testing.assert_close(slim.repeat(images, 2, slim.conv2d, 4, 3, scope="conv1"), y)


def test_losses_of_tensors_are_not_kept(graph: slim.Graph) -> None:
    for _ in range(3):
        slim.losses.mean_squared_error(torch.randn(4, requires_grad=True), torch.zeros(4))
    assert graph.get_collection("losses") == []


def test_an_empty_loader_has_no_batches(graph: slim.Graph) -> None:
    x = slim.placeholder((None,))
    graph.add_feed([], [x])
    assert list(graph.batches([x])) == []


def test_a_scope_that_becomes_a_layer_keeps_what_is_below_it() -> None:
    def net(x: slim.Symbol) -> slim.Symbol:
        x = slim.conv2d(x, 4, 3, scope="unit/conv1")
        return slim.conv2d(x, 4, 3, scope="unit")

    model = slim.build(net, torch.empty(1, 3, 8, 8))
    assert list(model.state_dict())[::2] == ["unit.weight", "unit.conv1.weight"]
    assert model(torch.zeros(2, 3, 8, 8)).shape == (2, 4, 8, 8)


def test_two_kinds_of_layer_in_one_scope() -> None:
    def net(x: slim.Symbol) -> slim.Symbol:
        return slim.batch_norm(slim.conv2d(x, 4, 3, scope="a"), scope="a")

    model = slim.build(net, torch.empty(1, 3, 8, 8))
    names = [v.op.name for v in slim.get_variables(module=model)]
    assert names == ["a/weights", "a/biases", "a/beta", "a/moving_mean", "a/moving_variance"]
    assert model(torch.randn(2, 3, 8, 8)).shape == (2, 4, 8, 8)


def test_threads_may_enter_one_graph(graph: slim.Graph) -> None:
    shared, ready, seen = slim.Graph(), threading.Barrier(2), []

    def enter() -> None:
        with shared:
            ready.wait()
            seen.append(slim.get_default_graph() is shared)
        seen.append(slim.get_default_graph() is shared)

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [False, False, True, True]
    assert slim.get_default_graph() is graph
