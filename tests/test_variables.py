"""Variables: names, queries, layouts, values; on a graph and on a built module."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim
from torchslim.graph.devices import to_device
from torchslim.variables import select_variables


def net(x: slim.Symbol) -> slim.Symbol:
    with slim.variable_scope("vgg"):
        x = slim.repeat(x, 2, slim.conv2d, 4, [3, 2], normalizer_fn=slim.batch_norm, scope="conv1")
        x = slim.fully_connected(x, 6, scope="fc6")
        return slim.fully_connected(x, 5, activation_fn=None, trainable=False, scope="fc66")


NAMES = [
    *[f"vgg/conv1/conv1_{i}/{v}" for i in (1, 2) for v in
      ("weights", "BatchNorm/beta", "BatchNorm/moving_mean", "BatchNorm/moving_variance")],
    "vgg/fc6/weights", "vgg/fc6/biases", "vgg/fc66/weights", "vgg/fc66/biases",
]  # fmt: skip


@pytest.fixture(params=["graph", "module"])
def module(request):
    if request.param == "graph":
        net(slim.placeholder((None, 3, 8, 8)))
        return None
    return slim.build(net, torch.empty(1, 3, 8, 8))


def names(variables) -> list[str]:
    return [variable.op.name for variable in variables]


def test_queries(module) -> None:
    assert names(slim.get_variables(module=module)) == NAMES
    assert names(slim.get_model_variables(module=module)) == NAMES
    assert names(slim.get_trainable_variables(module=module)) == [
        n for n in NAMES if "moving" not in n and "fc66" not in n
    ]
    assert names(slim.get_variables("vgg/fc6", module=module)) == NAMES[8:]  # a regular expression, as in TensorFlow
    assert names(slim.get_variables(suffix="biases", module=module)) == NAMES[9::2]
    assert names(slim.get_variables_by_name("weights", module=module)) == [n for n in NAMES if n.endswith("weights")]
    assert names(slim.get_variables_by_suffix("mean", module=module)) == [NAMES[2], NAMES[6]]
    assert slim.get_unique_variable("vgg/fc6/biases", module=module).shape == (6,)
    assert slim.get_local_variables(module=module) == []
    with pytest.raises(ValueError, match=r"'vgg/fc6/bias'. Did you mean 'vgg/fc6/biases'"):
        slim.get_unique_variable("vgg/fc6/bias", module=module)


def test_variables_to_restore_are_chosen_by_whole_parts(module) -> None:
    restore = slim.get_variables_to_restore
    assert names(restore(exclude=["vgg/fc6", "fc66"], module=module)) == NAMES[:8]
    assert names(restore(include=["vgg/conv1"], exclude=["BatchNorm"], module=module)) == [NAMES[0], NAMES[4]]
    assert names(restore(include="fc6", module=module)) == NAMES[8:10]  # not fc66
    with pytest.raises(ValueError, match=r"`exclude`: 'fc7' names no variable. Did you mean 'fc6'"):
        restore(exclude=["fc7"], module=module)


def test_select_variables_says_what_each_pattern_chose(module) -> None:
    chosen = select_variables(slim.get_variables(module=module), ["fc6", "vgg/conv1/conv1_2"])
    assert {pattern: len(found) for pattern, found in chosen.items()} == {"fc6": 2, "vgg/conv1/conv1_2": 4}


def test_names_keys_and_shapes(module) -> None:
    weights = slim.get_variables_by_name("weights", module=module)
    assert [(v.name, v.key, v.shape, v.tf_shape) for v in (weights[0], weights[2])] == [
        ("vgg/conv1/conv1_1/weights:0", "vgg.conv1.conv1_1.weight", (4, 3, 3, 2), (3, 2, 3, 4)),
        ("vgg/fc6/weights:0", "vgg.fc6.weight", (6, 256), (256, 6)),
    ]
    assert slim.get_variable_full_name(weights[0]) == "vgg/conv1/conv1_1/weights"


def test_layouts_are_inverse_and_flattened_rows_follow_height_width_channels(module) -> None:
    for variable in slim.get_variables(module=module):
        value = torch.randn(variable.shape)
        torch.testing.assert_close(variable.from_tf(variable.to_tf(value)), value)
    fc6 = slim.get_unique_variable("vgg/fc6/weights", module=module)
    image = torch.randn(4, 8, 8)
    value = torch.randn(256, 6)  # TensorFlow's: rows follow H, W, C
    torch.testing.assert_close(fc6.from_tf(value) @ image.flatten(), image.permute(1, 2, 0).flatten() @ value)
    with pytest.raises(ValueError, match=r"'vgg/fc6/weights' has the shape \[256, 6\].*Got \[6, 256\]"):
        fc6.from_tf(value.T)


@pytest.mark.parametrize(
    "flat",
    [
        slim.flatten,
        lambda x: torch.flatten(x, 1),
        lambda x: x.reshape(-1, 48),
        lambda x: slim.dropout(torch.relu(slim.flatten(x)), 0.5),
    ],
)
def test_dense_layers_find_the_image_behind_a_flatten(flat) -> None:
    slim.fully_connected(flat(slim.placeholder((None, 3, 4, 4))), 2, scope="fc")
    assert slim.get_unique_variable("fc/weights").module.image == (3, 4, 4)


def test_channels_last_images_need_no_permutation() -> None:
    with slim.arg_scope(slim.layers.DATA_FORMAT_LAYERS, data_format="NHWC"):
        net(slim.placeholder((None, 8, 8, 3)))
        slim.fully_connected(slim.placeholder((None, 8, 8, 3)), 2, scope="direct")
    assert slim.get_unique_variable("vgg/fc6/weights").module.image is None
    assert slim.get_unique_variable("direct/weights").module.image is None


def test_variables_have_no_memory_until_they_are_needed() -> None:
    x = slim.placeholder((None, 3, 8, 8))
    y = net(x)
    variables = slim.get_variables()
    assert all(variable.is_meta for variable in variables)
    assert not variables[0].tensor.is_meta
    assert variables[1].is_meta
    parameter = variables[8]._tensor
    x.owner.module(y)
    assert variables[8].tensor is parameter  # the object stays, so an optimizer that holds it keeps working
    assert not any(variable.is_meta for variable in variables)


def test_assign_takes_memory_over_or_copies() -> None:
    net(slim.placeholder((None, 3, 8, 8)))
    variable = slim.get_unique_variable("vgg/fc6/biases")
    value = torch.arange(6.0)
    variable.assign(value)
    assert variable.tensor.data_ptr() == value.data_ptr()
    assert isinstance(variable.tensor, torch.nn.Parameter)
    variable.assign(torch.zeros(6))
    assert value.sum() == 0
    with pytest.raises(ValueError, match=r"'vgg/fc6/biases' has the shape \[6\]. Got \[5\]"):
        variable.assign(torch.zeros(5))


def test_variables_compute_like_symbols() -> None:
    a = slim.variable("a", shape=[3], initializer=slim.constant_initializer(2.0))
    b = slim.variable("b", shape=[3], initializer=slim.ones_initializer())
    x = slim.placeholder((None, 3))
    outputs = [
        a + b,
        1 - a,
        x * a,
        a * x,
        torch.add(a, b),
        torch.cat([a, b]),
        -a,
        a[0],
        a.sum(),
        a > b,
        x @ a,
    ]
    assert all(isinstance(output, slim.Symbol) for output in outputs)
    values = x.owner.run(outputs, {x: torch.ones(1, 3)})
    two, one = torch.full((3,), 2.0), torch.ones(3)
    expected = [two + one, 1 - two, two[None], two[None], two + one, torch.cat([two, one]), -two, two[0], two.sum(),
                two > one, torch.tensor([6.0])]  # fmt: skip
    for value, wanted in zip(values, expected, strict=True):
        torch.testing.assert_close(value, wanted)
    assert len({a, b, a}) == 2


def test_on_a_built_module_they_compute_like_tensors() -> None:
    model = slim.build(net, torch.empty(1, 3, 8, 8))
    weights = slim.get_unique_variable("vgg/fc6/weights", module=model)
    torch.testing.assert_close((weights * 2).sum(), model.vgg.fc6.weight.sum() * 2)
    (weights.square().sum()).backward()
    torch.testing.assert_close(model.vgg.fc6.weight.grad, 2 * model.vgg.fc6.weight)


def test_making_variables() -> None:
    with slim.variable_scope("scope"):
        v = slim.variable("nested/v", shape=[2, 3], initializer=torch.ones(2, 3), trainable=False, collections="mine")
    m = slim.model_variable("m", shape=4, regularizer=slim.l2_regularizer(0.5), device="/CPU:0")
    local = slim.local_variable(3.0, name="count")
    epoch = slim.global_variable(torch.tensor([1, 2]), name="epoch")
    assert names([v, m, local, epoch]) == ["scope/nested/v", "m", "count", "epoch"]
    assert slim.get_model_variables() == [m]
    assert slim.get_trainable_variables() == [m]
    assert slim.get_local_variables() == [local]
    assert slim.get_variables() == [v, m, epoch]
    assert slim.get_default_graph().get_collection("mine") == [v]
    assert torch.equal(v.tensor, torch.ones(2, 3))
    assert local.tensor.item() == 3.0
    assert epoch.tensor.tolist() == [1, 2]
    assert not m.is_meta
    (loss,) = slim.losses.get_regularization_losses()
    torch.testing.assert_close(loss.owner.run(loss), m.tensor.square().sum().detach() / 4)
    model = slim.get_default_graph().module([v.value, local.value])
    assert list(model.state_dict()) == ["scope.nested.v"]  # local variables are not saved


def test_sharing_variables() -> None:
    a = slim.variable("a", shape=[2])
    with pytest.raises(ValueError, match="'a' exists already"):
        slim.variable("a", shape=[2])
    with slim.variable_scope("", reuse=True):
        assert slim.variable("a", shape=[2]) is a
        with pytest.raises(ValueError, match="'b' does not exist"):
            slim.variable("b", shape=[2])


def test_a_shape_is_needed() -> None:
    with pytest.raises(ValueError, match="'a': give a `shape`"):
        slim.variable("a", initializer=slim.zeros_initializer())
    assert slim.variable("b", initializer=[1.0, 2.0]).shape == (2,)


def test_nothing_is_left_without_a_value() -> None:
    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(3))

    with torch.device("meta"):
        (variable,) = slim.get_variables(module=Plain())
    with pytest.raises(ValueError, match="nothing says how to fill 'scale'"):
        variable.initialize()


def test_filter_variables() -> None:
    net(slim.placeholder((None, 3, 8, 8)))
    found = slim.filter_variables(slim.get_variables(), ["conv1_1", "fc"], ["biases", "Batch"])
    assert names(found) == ["vgg/conv1/conv1_1/weights", "vgg/fc6/weights", "vgg/fc66/weights"]
    assert slim.filter_variables(slim.get_variables(), ["fc6"], reg_search=False) == []


def test_global_step() -> None:
    assert slim.get_global_step() is None
    with pytest.raises(ValueError, match="there is none"):
        slim.assert_or_get_global_step()
    step = slim.get_or_create_global_step()
    assert slim.get_or_create_global_step() is step is slim.get_global_step() is slim.assert_or_get_global_step()
    assert step.tensor.item() == 0
    assert not step.trainable
    assert slim.get_model_variables() == []
    with pytest.raises(ValueError, match="'global_step' exists already"):
        slim.create_global_step()
    with pytest.raises(TypeError, match="'a:0'"):
        slim.assert_global_step(slim.variable("a", shape=[2]))


@pytest.mark.parametrize(
    ("name", "device"),
    [("/CPU:0", "cpu:0"), ("/gpu:1", "cuda:1"), ("/device:GPU:0", "cuda:0"), ("/job:w/task:1/device:CPU:0", "cpu:0"),
     ("cuda", "cuda"), ("cpu", "cpu"), (torch.device("meta"), "meta")],
)  # fmt: skip
def test_devices(name, device: str) -> None:
    assert to_device(name) == torch.device(device)


def test_unknown_device() -> None:
    with pytest.raises(ValueError, match="Got '/TPX:0'"):
        to_device("/TPX:0")


def test_the_type_is_that_of_the_initial_value() -> None:
    """As TF-Slim has it."""
    assert slim.variable("a", initializer=torch.tensor(3, dtype=torch.int32)).dtype == torch.int32
    assert slim.variable("b", initializer=np.array([1.0, 2.0])).dtype == torch.float64
    assert slim.variable("c", [2]).dtype == torch.float32
    assert slim.variable("d", dtype=torch.float32, initializer=np.array([1.0])).dtype == torch.float32


def test_collections_of_variables() -> None:
    made = {
        "model": slim.model_variable("model", [1]),
        "frozen": slim.model_variable("frozen", [1], trainable=False, collections="mine"),
        "own": slim.variable("own", [1]),
        "local": slim.local_variable(0, name="local"),
    }
    expected = {
        "variables": ["model", "frozen", "own"],
        "model_variables": ["model", "frozen"],
        "trainable_variables": ["model", "own"],
        "local_variables": ["local"],
        "mine": ["frozen"],
        "nothing": [],
    }
    for collection, names in expected.items():
        assert slim.get_variables(collection=collection) == [made[name] for name in names]
    assert slim.get_variables("m", None, "model_variables") == [made["model"]]


def test_a_built_module_has_no_other_collections() -> None:
    model = slim.build(lambda x: slim.linear(x, 2), torch.empty(1, 3))
    with pytest.raises(ValueError, match="a built module has no collection 'mine'"):
        slim.get_variables(collection="mine", module=model)


@pytest.mark.parametrize("argument", ["caching_device", "partitioner", "synchronization", "aggregation"])
@pytest.mark.parametrize("function", [slim.variable, slim.model_variable])
def test_what_steered_tensorflow_is_refused(function: Any, argument: str) -> None:
    with pytest.raises(ValueError, match=rf"`{argument}` steers .* Got 'x'"):
        function("v", [1], **{argument: "x"})


@pytest.mark.parametrize("function", [slim.global_variable, slim.local_variable])
def test_values_keep_their_shape(function: Any) -> None:
    """The order of the arguments is TF-Slim's: `validate_shape` comes before `name`."""
    assert function(1.0, True, "v").op.name == "v"
    with pytest.raises(ValueError, match=r"`validate_shape` must be True. Got False"):
        function(1.0, False, "w")


def test_a_variable_in_the_scope_of_a_module_that_is_no_layer() -> None:
    @slim.layer("Plain")
    def plain(inputs: Any) -> torch.nn.Module:
        return torch.nn.Linear(inputs.channels(), 2)

    plain(slim.placeholder((None, 3)), scope="plain")
    with slim.variable_scope("plain"), pytest.raises(ValueError, match="scope 'plain' is that of a Linear"):
        slim.variable("v", [1])
