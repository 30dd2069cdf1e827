"""Every example of TF-Slim's tutorials, from variables to the evaluation loop, in PyTorch spelling.

What differs from the tutorials is listed in docs/from-tf-slim.md. Networks and data are smaller where they run.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch.utils.data import TensorDataset

import torchslim as slim
from torchslim.nets import vgg


@pytest.fixture
def image_data() -> TensorDataset:
    torch.manual_seed(1)
    return TensorDataset(torch.randn(24, 3, 32, 32), torch.eye(5)[torch.arange(24) % 5])


def small_vgg(images: slim.Symbol, num_classes: int = 5, scope: str = "vgg_16") -> slim.Symbol:
    """VGG's shape at a size that trains in a test."""
    with slim.variable_scope(scope), slim.arg_scope([slim.conv2d], weights_regularizer=slim.l2_regularizer(0.0005)):
        net = slim.repeat(images, 2, slim.conv2d, 4, [3, 3], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        net = slim.conv2d(net, 8, [3, 3], scope="conv2")
        net = slim.conv2d(net, 16, [16, 16], padding="VALID", scope="fc6")
        net = slim.conv2d(net, 16, [1, 1], scope="fc7")
        net = slim.conv2d(net, num_classes, [1, 1], activation_fn=None, scope="fc8")
        return net.squeeze((2, 3))


# Variables


def test_variables() -> None:
    with slim.variable_scope("one"):
        weights = slim.variable(
            "weights",
            shape=[10, 10, 3, 3],
            initializer=slim.truncated_normal_initializer(stddev=0.1),
            regularizer=slim.l2_regularizer(0.05),
            device="/CPU:0",
        )
    assert weights.tensor.abs().max() <= 0.2
    assert weights.device == torch.device("cpu")


def test_model_variables_and_regular_variables() -> None:
    weights = slim.model_variable(
        "weights",
        shape=[10, 10, 3, 3],
        initializer=slim.truncated_normal_initializer(stddev=0.1),
        regularizer=slim.l2_regularizer(0.05),
        device="/CPU:0",
    )
    model_variables = slim.get_model_variables()
    my_var = slim.variable("my_var", shape=[20, 1], initializer=slim.zeros_initializer())
    regular_variables_and_model_variables = slim.get_variables()
    assert model_variables == [weights]
    assert regular_variables_and_model_variables == [weights, my_var]


def test_add_model_variable() -> None:
    my_model_variable = torch.nn.Parameter(torch.ones(3))
    slim.add_model_variable(my_model_variable)  # lets slim know about it
    assert slim.get_model_variables()[0].tensor is my_model_variable


# Layers


def by_hand(inputs: slim.Symbol) -> slim.Symbol:
    with slim.variable_scope("conv1_1"):
        kernel = slim.model_variable(
            "weights", shape=[128, 64, 3, 3], initializer=slim.truncated_normal_initializer(stddev=1e-1)
        )
        conv = torch.nn.functional.conv2d(inputs, kernel, padding="same")
        biases = slim.model_variable("biases", shape=[128], initializer=slim.constant_initializer(0.0))
        return torch.relu(conv + biases.reshape(-1, 1, 1))


def test_a_convolution_by_hand_and_as_a_layer() -> None:
    inputs = slim.placeholder((None, 64, 14, 14))
    conv1 = by_hand(inputs)
    net = slim.conv2d(inputs, 128, [3, 3], scope="layer/conv1_1")
    slim.get_unique_variable("layer/conv1_1/weights").assign(slim.get_unique_variable("conv1_1/weights").tensor)
    a, b = inputs.owner.run([conv1, net], {inputs: torch.randn(2, 64, 14, 14)})
    torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def verbose(net: slim.Symbol) -> slim.Symbol:
    net = slim.conv2d(net, 256, [3, 3], scope="conv3/conv3_1")
    net = slim.conv2d(net, 256, [3, 3], scope="conv3/conv3_2")
    net = slim.conv2d(net, 256, [3, 3], scope="conv3/conv3_3")
    return slim.max_pool2d(net, [2, 2], scope="pool2")


def looped(net: slim.Symbol) -> slim.Symbol:
    for i in range(3):
        net = slim.conv2d(net, 256, [3, 3], scope=f"conv3/conv3_{i + 1}")
    return slim.max_pool2d(net, [2, 2], scope="pool2")


def repeated(net: slim.Symbol) -> slim.Symbol:
    net = slim.repeat(net, 3, slim.conv2d, 256, [3, 3], scope="conv3")
    return slim.max_pool2d(net, [2, 2], scope="pool2")


def test_repeat_is_a_loop() -> None:
    models = []
    for function in (verbose, looped, repeated):
        torch.manual_seed(0)
        models.append(slim.build(function, torch.empty(1, 16, 8, 8)))
    x = torch.randn(1, 16, 8, 8)
    for model in models[:2]:
        assert list(model.state_dict()) == list(models[2].state_dict())
        torch.testing.assert_close(model(x), models[2](x))
    assert list(models[2].state_dict())[::2] == [f"conv3.conv3_{i}.weight" for i in (1, 2, 3)]


def test_stack_is_a_tower() -> None:
    def verbose(x: slim.Symbol) -> slim.Symbol:
        x = slim.fully_connected(x, 32, scope="fc/fc_1")
        x = slim.fully_connected(x, 64, scope="fc/fc_2")
        return slim.fully_connected(x, 128, scope="fc/fc_3")

    def stacked(x: slim.Symbol) -> slim.Symbol:
        return slim.stack(x, slim.fully_connected, [32, 64, 128], scope="fc")

    def core(x: slim.Symbol) -> slim.Symbol:
        layers = [(32, [3, 3]), (32, [1, 1]), (64, [3, 3]), (64, [1, 1])]
        return slim.stack(x, slim.conv2d, layers, scope="core")

    shapes = [
        {key: value.shape for key, value in slim.build(function, torch.empty(1, 16)).state_dict().items()}
        for function in (verbose, stacked)
    ]
    assert shapes[0] == shapes[1]
    kernels = [v.shape for v in slim.get_variables(suffix="weights", module=slim.build(core, torch.empty(1, 3, 8, 8)))]
    assert kernels == [(32, 3, 3, 3), (32, 32, 1, 1), (64, 32, 3, 3), (64, 64, 1, 1)]


# Scopes


def test_arg_scope_says_it_once() -> None:
    padding = "SAME"
    initializer = slim.truncated_normal_initializer(stddev=0.01)
    regularizer = slim.l2_regularizer(0.0005)

    def long_form(inputs: slim.Symbol) -> slim.Symbol:
        same = {"weights_initializer": initializer, "weights_regularizer": regularizer}
        net = slim.conv2d(inputs, 64, [11, 11], 4, padding=padding, **same, scope="conv1")
        net = slim.conv2d(net, 128, [11, 11], padding="VALID", **same, scope="conv2")
        return slim.conv2d(net, 256, [11, 11], padding=padding, **same, scope="conv3")

    def short_form(inputs: slim.Symbol) -> slim.Symbol:
        with slim.arg_scope(
            [slim.conv2d],
            padding="SAME",
            weights_initializer=slim.truncated_normal_initializer(stddev=0.01),
            weights_regularizer=slim.l2_regularizer(0.0005),
        ):
            net = slim.conv2d(inputs, 64, [11, 11], 4, scope="conv1")
            net = slim.conv2d(net, 128, [11, 11], padding="VALID", scope="conv2")
            return slim.conv2d(net, 256, [11, 11], scope="conv3")

    models = [slim.build(f, slim.InputSpec((None, 3, 56, 56))) for f in (long_form, short_form)]
    for model in models:
        assert model.end_points["conv3"].shape == (None, 256, 4, 4)
        for variable in slim.get_variables(suffix="weights", module=model):
            assert variable.initializer == initializer
            assert variable.regularizer == regularizer


def test_arg_scopes_nest() -> None:
    inputs = slim.placeholder((None, 3, 64, 64))
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        activation_fn=torch.relu,
        weights_initializer=slim.truncated_normal_initializer(stddev=0.01),
        weights_regularizer=slim.l2_regularizer(0.0005),
    ), slim.arg_scope([slim.conv2d], stride=1, padding="SAME"):  # fmt: skip
        net = slim.conv2d(inputs, 64, [11, 11], 4, padding="VALID", scope="conv1")
        net = slim.conv2d(
            net, 256, [5, 5], weights_initializer=slim.truncated_normal_initializer(stddev=0.03), scope="conv2"
        )
        net = slim.fully_connected(net, 1000, activation_fn=None, scope="fc")
    assert net.shape == (None, 1000)
    deviations = [slim.get_unique_variable(f"{s}/weights").initializer.stddev for s in ("conv1", "conv2", "fc")]
    assert deviations == [0.01, 0.03, 0.01]
    assert len(slim.losses.get_regularization_losses()) == 3


def vgg16(inputs: slim.Symbol) -> slim.Symbol:
    with slim.arg_scope(
        [slim.conv2d, slim.fully_connected],
        activation_fn=torch.relu,
        weights_initializer=slim.truncated_normal_initializer(0.0, 0.01),
        weights_regularizer=slim.l2_regularizer(0.0005),
    ):
        net = slim.repeat(inputs, 2, slim.conv2d, 64, [3, 3], scope="conv1")
        net = slim.max_pool2d(net, [2, 2], scope="pool1")
        net = slim.repeat(net, 2, slim.conv2d, 128, [3, 3], scope="conv2")
        net = slim.max_pool2d(net, [2, 2], scope="pool2")
        net = slim.repeat(net, 3, slim.conv2d, 256, [3, 3], scope="conv3")
        net = slim.max_pool2d(net, [2, 2], scope="pool3")
        net = slim.repeat(net, 3, slim.conv2d, 512, [3, 3], scope="conv4")
        net = slim.max_pool2d(net, [2, 2], scope="pool4")
        net = slim.repeat(net, 3, slim.conv2d, 512, [3, 3], scope="conv5")
        net = slim.max_pool2d(net, [2, 2], scope="pool5")
        net = slim.fully_connected(net, 4096, scope="fc6")
        net = slim.dropout(net, 0.5, scope="dropout6")
        net = slim.fully_connected(net, 4096, scope="fc7")
        net = slim.dropout(net, 0.5, scope="dropout7")
        return slim.fully_connected(net, 1000, activation_fn=None, scope="fc8")


def test_the_vgg_snippet_is_the_real_vgg16() -> None:
    with torch.device("meta"):
        model = slim.build(vgg16, torch.empty(1, 3, 224, 224))
        assert model(torch.empty(2, 3, 224, 224)).shape == (2, 1000)
    assert sum(parameter.numel() for parameter in model.parameters()) == 138_357_544
    assert type(model.conv3) is torch.nn.Sequential


# Losses


def test_one_loss() -> None:
    images, labels = slim.placeholder((None, 3, 224, 224)), slim.placeholder((None, 1000))
    predictions, _ = vgg.vgg_16(images)
    loss = slim.losses.softmax_cross_entropy(predictions, labels)
    assert slim.losses.get_losses() == [loss]


def create_multi_task_model(images: slim.Symbol) -> tuple[slim.Symbol, slim.Symbol]:
    net = slim.flatten(slim.conv2d(images, 4, [3, 3], weights_regularizer=slim.l2_regularizer(0.1)))
    return slim.fully_connected(net, 5, activation_fn=None), slim.fully_connected(net, 6, activation_fn=None)


@pytest.fixture
def tasks() -> tuple[slim.Symbol, slim.Symbol, slim.Symbol]:
    return tuple(slim.placeholder((None, n)) for n in (5, 6, 6))


@pytest.fixture
def feed(tasks) -> dict[slim.Symbol, torch.Tensor]:
    images = slim.placeholder((None, 3, 8, 8), name="images")
    scene, depth, pose = tasks
    values = {images: torch.randn(2, 3, 8, 8), scene: torch.eye(5)[:2], depth: torch.randn(2, 6)}
    return {**values, pose: torch.randn(2, 6)}


def test_several_losses(tasks, feed) -> None:
    (images, *_), (scene_labels, depth_labels, _) = feed, tasks
    scene_predictions, depth_predictions = create_multi_task_model(images)
    classification_loss = slim.losses.softmax_cross_entropy(scene_predictions, scene_labels)
    sum_of_squares_loss = slim.losses.sum_of_squares(depth_predictions, depth_labels)
    # The following two lines have the same effect:
    total_loss1 = classification_loss + sum_of_squares_loss
    total_loss2 = slim.losses.get_total_loss(add_regularization_losses=False)
    a, b = images.owner.run([total_loss1, total_loss2], feed)
    torch.testing.assert_close(a, b)


def test_a_loss_of_ones_own(tasks, feed) -> None:
    (images, *_), (scene_labels, depth_labels, pose_labels) = feed, tasks
    scene_predictions, depth_predictions = create_multi_task_model(images)
    classification_loss = slim.losses.softmax_cross_entropy(scene_predictions, scene_labels)
    sum_of_squares_loss = slim.losses.sum_of_squares(depth_predictions, depth_labels)
    pose_loss = (depth_predictions - pose_labels).abs().mean()
    slim.losses.add_loss(pose_loss)  # lets slim know about the additional loss
    # The following two ways to compute the total loss are equivalent:
    regularization_loss = sum(slim.losses.get_regularization_losses())
    total_loss1 = classification_loss + sum_of_squares_loss + pose_loss + regularization_loss
    total_loss2 = slim.losses.get_total_loss()
    a, b = images.owner.run([total_loss1, total_loss2], feed)
    torch.testing.assert_close(a, b)
    assert images.owner.run(regularization_loss) > 0


# Training


def test_training_loop(image_data: TensorDataset, tmp_path: Path) -> None:
    train_log_dir = tmp_path / "train"
    with slim.Graph().as_default():
        images, labels = slim.data.batch(image_data, batch_size=8)
        predictions = small_vgg(images)
        slim.losses.softmax_cross_entropy(predictions, labels)
        total_loss = slim.losses.get_total_loss()
        slim.summaries.add_scalar_summary(total_loss, "losses/total_loss")
        optimizer = functools.partial(torch.optim.SGD, lr=0.1)
        train_op = slim.learning.create_train_op(total_loss, optimizer)
        first = slim.learning.train(train_op, None, number_of_steps=1, log_every_n_steps=0)
        last = slim.learning.train(
            train_op,
            train_log_dir,
            number_of_steps=60,  # limits the number of gradient steps
            save_summaries_secs=300,  # computes summaries every 5 minutes
            save_interval_secs=600,  # saves a model checkpoint every 10 minutes
        )
    assert last < first
    assert slim.latest_checkpoint(train_log_dir) is not None
    assert list(train_log_dir.glob("events.out.tfevents.*"))


# Restoring


def test_partially_restoring_models(tmp_path: Path) -> None:
    v1 = slim.variable(name="v1", shape=[2])
    v2 = slim.variable(name="nested/v2", shape=[3])
    # Get list of variables to restore (which contains only 'v2'). These are all equivalent methods:
    for variables_to_restore in (
        slim.get_variables_by_name("v2"),
        slim.get_variables_by_suffix("2"),
        slim.get_variables(scope="nested"),
        slim.get_variables_to_restore(include=["nested"]),
        slim.get_variables_to_restore(exclude=["v1"]),
    ):
        assert variables_to_restore == [v2]
    save_file({"nested.v2": torch.tensor([1.0, 2.0, 3.0])}, tmp_path / "model.safetensors")
    slim.assign_from_checkpoint(tmp_path / "model.safetensors", variables_to_restore)
    assert v2.tensor.tolist() == [1.0, 2.0, 3.0]
    assert v1.is_meta


def test_restoring_with_different_names(tmp_path: Path) -> None:
    slim.conv2d(slim.placeholder((None, 3, 8, 8)), 2, [1, 1], scope="conv1")
    kernel, bias = torch.randn(2, 3, 1, 1), torch.randn(2)

    def name_in_checkpoint(var: slim.Variable) -> str:
        return "vgg16/" + var.op.name

    save_file({"vgg16/conv1/weights": kernel, "vgg16/conv1/biases": bias}, tmp_path / "a.safetensors")
    variables_to_restore = {name_in_checkpoint(var): var for var in slim.get_model_variables()}
    slim.assign_from_checkpoint(tmp_path / "a.safetensors", variables_to_restore)
    assert torch.equal(slim.get_unique_variable("conv1/weights").tensor, kernel)

    # A checkpoint of torchslim's own has the keys of a state_dict; TF-Slim's names find them, too.
    save_file({"vgg16.conv1.weight": kernel * 2, "vgg16.conv1.bias": bias * 2}, tmp_path / "own.safetensors")
    slim.assign_from_checkpoint(tmp_path / "own.safetensors", variables_to_restore)
    assert torch.equal(slim.get_unique_variable("conv1/weights").tensor, kernel * 2)
    slim.restore(slim.get_default_graph(), tmp_path / "own.safetensors", names=name_in_checkpoint)

    def renamed(var: slim.Variable) -> str:
        if "weights" in var.op.name:
            return var.op.name.replace("weights", "params1")
        return var.op.name.replace("biases", "params2")

    save_file({"conv1/params1": kernel + 1, "conv1/params2": bias + 1}, tmp_path / "b.safetensors")
    slim.assign_from_checkpoint(tmp_path / "b.safetensors", {renamed(v): v for v in slim.get_model_variables()})
    assert torch.equal(slim.get_unique_variable("conv1/biases").tensor, bias + 1)


def test_fine_tuning_on_a_different_task(image_data: TensorDataset, tmp_path: Path) -> None:
    pretrained = slim.build(small_vgg, torch.empty(1, 3, 32, 32), num_classes=1000)
    model_path, log_dir = tmp_path / "imagenet.safetensors", tmp_path / "pascal"
    save_file(pretrained.state_dict(), model_path)

    images, labels = slim.data.batch(image_data, batch_size=8)
    predictions = small_vgg(images)
    slim.losses.softmax_cross_entropy(predictions, labels)
    train_op = slim.learning.create_train_op(slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.0))
    # Restore only the convolutional layers:
    variables_to_restore = slim.get_variables_to_restore(exclude=["fc6", "fc7", "fc8"])
    init_fn = slim.assign_from_checkpoint_fn(model_path, variables_to_restore)
    slim.learning.train(train_op, log_dir, init_fn=init_fn, number_of_steps=1, log_every_n_steps=0)
    for name in ("conv1/conv1_2", "conv2"):
        ours = slim.get_unique_variable(f"vgg_16/{name}/weights").tensor
        assert torch.equal(ours, pretrained.get_parameter(f"vgg_16.{name.replace('/', '.')}.weight"))
    assert not torch.equal(slim.get_unique_variable("vgg_16/fc7/weights").tensor, pretrained.vgg_16.fc7.weight)


# Evaluation


def test_metrics_and_their_aggregation() -> None:
    predictions, labels = slim.placeholder((None,)), slim.placeholder((None,))
    _mae_value, mae_update = slim.metrics.streaming_mean_absolute_error(predictions, labels)
    mre_value, _mre_update = slim.metrics.streaming_mean_relative_error(predictions, labels, labels)
    _pl_value, pl_update = slim.metrics.percentage_less((predictions - labels).abs() / labels, 0.3)
    feed = {predictions: torch.tensor([1.0, 2.0, 5.0]), labels: torch.tensor([1.0, 4.0, 4.0])}
    run = predictions.owner.run
    assert run(mae_update, feed).item() == pytest.approx(1.0)
    assert run(pl_update, feed).item() == pytest.approx(2 / 3)
    assert run(mre_value).item() == 0.0  # never updated
    value_ops, update_ops = slim.metrics.aggregate_metrics(
        slim.metrics.streaming_mean_absolute_error(predictions, labels),
        slim.metrics.streaming_mean_squared_error(predictions, labels),
    )
    assert len(value_ops) == len(update_ops) == 2


def test_tracking_multiple_metrics(image_data: TensorDataset) -> None:
    images, labels = slim.data.batch(image_data, batch_size=10)
    predictions = small_vgg(images)
    names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        "eval/mean_absolute_error": slim.metrics.streaming_mean_absolute_error(predictions, labels),
        "eval/mean_squared_error": slim.metrics.streaming_mean_squared_error(predictions, labels),
    })  # fmt: skip
    graph = images.owner
    for batch in graph.batches([images, labels]):
        graph.run(list(names_to_updates.values()), dict(zip((images, labels), batch, strict=True)))
    values = dict(zip(names_to_values, graph.run(list(names_to_values.values())), strict=True))
    model = graph.module(predictions)
    with torch.no_grad():
        x, y = image_data.tensors
        error = model(x) - y
    assert values["eval/mean_absolute_error"].item() == pytest.approx(error.abs().mean().item(), rel=1e-4)
    assert values["eval/mean_squared_error"].item() == pytest.approx(error.square().mean().item(), rel=1e-4)


def test_evaluation_loop(image_data: TensorDataset, tmp_path: Path) -> None:
    checkpoint_dir, log_dir = tmp_path / "train", tmp_path / "eval"

    def model_and_labels() -> tuple[slim.Symbol, slim.Symbol]:
        images, labels = slim.data.batch(image_data, batch_size=10)
        return small_vgg(images), labels

    with slim.Graph():
        logits, labels = model_and_labels()
        slim.losses.softmax_cross_entropy(logits, labels)
        train_op = slim.learning.create_train_op(
            slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.1)
        )
        slim.learning.train(train_op, checkpoint_dir, number_of_steps=3, log_every_n_steps=0)

    logits, labels = model_and_labels()
    predictions, truth = logits.argmax(1), labels.argmax(1)
    names_to_values, names_to_updates = slim.metrics.aggregate_metric_map({
        "accuracy": slim.metrics.accuracy(predictions, truth),
        "precision": slim.metrics.precision(predictions == 0, truth == 0),
        "recall": slim.metrics.recall(predictions == 0, truth == 0),
    })  # fmt: skip
    for metric_name, metric_value in names_to_values.items():
        slim.summaries.add_scalar_summary(metric_value, metric_name, print_summary=True)
    num_examples, batch_size = 24, 10
    num_batches = math.ceil(num_examples / float(batch_size))
    slim.get_or_create_global_step()
    values = slim.evaluation.evaluation_loop(
        "local",
        checkpoint_dir,
        log_dir,
        num_evals=num_batches,
        eval_op=list(names_to_updates.values()),
        final_op=names_to_values,
        eval_interval_secs=0,
        max_number_of_evaluations=1,
    )
    assert set(values) == {"accuracy", "precision", "recall"}
    x, y = image_data.tensors
    model = labels.owner.module(logits).eval()
    slim.restore(model, checkpoint_dir)
    with torch.no_grad():
        assert values["accuracy"] == pytest.approx((model(x).argmax(1) == y.argmax(1)).float().mean().item())
    assert list(log_dir.glob("events.out.tfevents.*"))
