"""Normalization: the numbers by hand, what flows in beside the inputs, updates that wait, names, bad arguments."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import torchslim as slim


def images(channels: int | None = 6) -> Any:
    return slim.placeholder((None, channels, 4, 4))


def names() -> list[str]:
    return [v.op.name for v in slim.get_variables()]


class TestWeights:
    x = torch.tensor([[1.0, 2.0], [3.0, 8.0], [5.0, 0.0]])
    weights = torch.tensor([1.0, 2.0, 0.0])

    def expected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x, w = self.x.numpy().astype(np.float64), self.weights.numpy()[:, None]
        mean = (w * x).sum(0) / 3
        variance = (w * (x - mean) ** 2).sum(0) / 3
        return (x - mean) / np.sqrt(variance + 1e-3), mean, variance

    def test_symbol_tensor_and_factory_agree(self) -> None:
        output, mean, variance = self.expected()
        with slim.Graph() as graph:
            x, w = slim.placeholder((None, 2)), slim.placeholder((None,))
            y = slim.batch_norm(x, batch_weights=w, decay=0.5, scope="bn")
            model = graph.module(y)
            np.testing.assert_allclose(model(self.x, self.weights).detach(), output, rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(slim.get_variables("bn/moving_mean")[0].tensor, mean / 2, rtol=1e-6)
            np.testing.assert_allclose(slim.get_variables("bn/moving_variance")[0].tensor, 0.5 + variance / 2)
        with slim.Graph():
            eager = slim.batch_norm(self.x, batch_weights=self.weights.tolist())
            np.testing.assert_allclose(eager.detach(), output, rtol=1e-5, atol=1e-6)
        made = slim.batch_norm(2, batch_weights=True)
        np.testing.assert_allclose(made(self.x, self.weights).detach(), output, rtol=1e-5, atol=1e-6)

    def test_a_tensor_is_a_constant_of_the_graph(self) -> None:
        with slim.Graph() as graph:
            y = slim.batch_norm(slim.placeholder((3, 2)), batch_weights=self.weights)
            np.testing.assert_allclose(graph.module(y)(self.x).detach(), self.expected()[0], rtol=1e-5, atol=1e-6)

    def test_whole_weights_repeat_examples(self) -> None:
        x = torch.randn(3, 4, 2, 2)
        with slim.Graph():
            weighted = slim.batch_norm(x, batch_weights=torch.tensor([2, 1, 1]), scope="a")
            repeated = slim.batch_norm(torch.cat([x[:1], x]), fused=False, scope="b")
            torch.testing.assert_close(weighted, repeated[1:])
            for name in ("moving_mean", "moving_variance"):
                a, b = (slim.get_variables(f"{scope}/{name}")[0].tensor for scope in "ab")
                torch.testing.assert_close(a, b)


class TestRenorm:
    x = torch.tensor([[1.0], [3.0], [5.0], [7.0]])

    @pytest.mark.parametrize("clipping", [None, {"rmax": 1.5, "dmax": 2.0}, {"rmin": torch.tensor(3.0)}])
    def test_two_steps_by_hand(self, clipping: dict[str, Any] | None) -> None:
        module = slim.batch_norm(1, renorm=True, renorm_clipping=clipping, renorm_decay=0.8, decay=0.5, epsilon=0.01)
        renorm_mean, renorm_std, moving_mean, moving_std = 0.0, 1.0, 0.0, 1.0
        clip = {"rmin": 0.0, "rmax": np.inf, "dmax": np.inf} | {k: float(v) for k, v in (clipping or {}).items()}
        for x in (self.x, self.x * 2 + 1):
            values = x.double().numpy()
            mean, std = values.mean(), np.sqrt(values.var() + 0.01)
            r = np.clip(std / renorm_std, clip["rmin"], clip["rmax"])
            d = np.clip((mean - renorm_mean) / renorm_std, -clip["dmax"], clip["dmax"])
            np.testing.assert_allclose(module(x).detach(), (values - mean) / std * r + d, rtol=1e-5, atol=1e-6)
            renorm_mean, renorm_std = 0.8 * renorm_mean + 0.2 * mean, 0.8 * renorm_std + 0.2 * std
            moving_mean, moving_std = (moving_mean + mean) / 2, (moving_std + std) / 2
        state = {name: value.item() for name, value in module.state_dict().items()}
        assert state["renorm_mean"] == pytest.approx(renorm_mean)
        assert state["renorm_std"] == pytest.approx(renorm_std)
        assert state["running_mean"] == pytest.approx(moving_mean)
        assert state["running_var"] == pytest.approx(moving_std**2 - 0.01)

    def test_deviations_start_at_the_root_of_the_variance(self) -> None:
        module = slim.batch_norm(2, renorm=True, param_initializers={"moving_variance": slim.constant_initializer(4.0)})
        assert module.running_std.tolist() == module.renorm_std.tolist() == [2.0, 2.0]


class TestAdjustment:
    def test_scales_and_shifts_before_gamma_and_only_while_training(self) -> None:
        seen: list[torch.Size] = []

        def adjustment(shape: torch.Size) -> tuple[np.ndarray, float]:
            seen.append(shape)
            return np.array([[2.0], [3.0]]), 0.5

        module = slim.batch_norm(2, scale=True, adjustment=adjustment, param_initializers={"gamma": 10.0})
        plain = slim.batch_norm(2, fused=False)
        x = torch.randn(3, 2, 5)
        torch.testing.assert_close(module(x), 10 * (plain(x) * torch.tensor([[2.0], [3.0]]) + 0.5))
        assert seen == [x.shape]
        torch.testing.assert_close(module.running_var, plain.running_var)
        torch.testing.assert_close(module.eval()(x), 10 * plain.eval()(x))
        assert len(seen) == 1

    def test_is_called_in_every_step(self) -> None:
        model = slim.build(lambda x: slim.batch_norm(x, adjustment=_noise), torch.empty(2, 3))
        x = torch.randn(4, 3)
        assert not torch.equal(model(x), model(x))


def _noise(shape: torch.Size) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.rand(shape[-1:]) + 0.5, torch.rand(shape[-1:])


class TestZeroDebias:
    @pytest.mark.parametrize(("fused", "unbiased"), [(None, True), (False, False)])
    def test_first_mean_is_that_of_the_batch(self, fused: bool | None, unbiased: bool) -> None:
        module = slim.batch_norm(3, zero_debias_moving_mean=True, fused=fused)
        x = torch.randn(5, 3, 2, 2)
        module(x)
        torch.testing.assert_close(module.running_mean, x.mean((0, 2, 3)), rtol=1e-3, atol=1e-4)
        expected = 0.999 + 0.001 * x.var((0, 2, 3), correction=int(unbiased))
        torch.testing.assert_close(module.running_var, expected)

    def test_names_repeat_the_scope(self) -> None:
        with slim.Graph():
            debias = {"zero_debias_moving_mean": True}
            slim.conv2d(images(), 2, 3, normalizer_fn=slim.batch_norm, normalizer_params=debias, scope="a")
            with slim.variable_scope("tower"):
                slim.batch_norm(images(), **debias)
            slim.batch_norm(images(), is_training=False, scope="pinned", **debias)
            assert [name for name in names() if "local_step" in name or "pinned" in name] == [
                "a/BatchNorm/a/BatchNorm/moving_mean/local_step",
                "tower/BatchNorm/tower/BatchNorm/moving_mean/local_step",
                "pinned/beta",
                "pinned/moving_mean",
                "pinned/moving_variance",
            ]


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({}, "gamma"),
        ({"fused": False}, "gamma"),
        ({"renorm": True}, "gamma"),
        ({"adjustment": _noise}, "gamma"),
        ({"updates_collections": None}, "beta"),
        ({"updates_collections": None, "fused": False}, "beta"),
        ({"updates_collections": "mine"}, "beta"),
        ({"zero_debias_moving_mean": True, "fused": False}, "beta"),
        ({"batch_weights": [1.0, 2.0]}, "beta"),
    ],
)
def test_creation_order(options: dict[str, Any], first: str) -> None:
    with slim.Graph():
        slim.batch_norm(slim.placeholder((2, 3, 4, 4)), scale=True, scope="bn", **options)
        assert names()[0] == f"bn/{first}"


class TestUpdates:
    def test_none_stores_the_biased_variance_where_the_kernel_is_not_fused(self) -> None:
        x = torch.randn(2, 3, 2)
        with slim.Graph():
            slim.batch_norm(x, updates_collections=None, decay=0.0, scope="bn")
            stored = slim.get_variables("bn/moving_variance")[0].tensor
            torch.testing.assert_close(stored, x.var((0, 2), correction=0))

    @pytest.mark.parametrize("inside", [False, True])
    def test_another_collection_waits(self, inside: bool) -> None:
        options: dict[str, Any] = {"updates_collections": ["mine"], "decay": 0.5}
        with slim.Graph() as graph:
            x = slim.placeholder((None, 6, 4, 4))
            if inside:
                y = slim.conv2d(x, 6, 1, normalizer_fn=slim.batch_norm, normalizer_params=options)
            else:
                y = slim.batch_norm(x, **options)
            (mean,) = slim.get_variables(suffix="moving_mean")
            batch = torch.randn(8, 6, 4, 4)
            model = graph.module(y)
            model(batch)
            assert mean.tensor.abs().max() == 0
            (update,) = graph.get_collection("mine")
            graph.run(update, {x: batch})
            assert mean.tensor.abs().max() > 0
            if not inside:
                torch.testing.assert_close(mean.tensor, batch.mean((0, 2, 3)) / 2)
            for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
                torch.testing.assert_close(other.eval()(batch), model.eval()(batch))

    def test_two_names_with_the_default_update_at_once(self) -> None:
        with slim.Graph() as graph:
            slim.batch_norm(torch.ones(2, 3), updates_collections=("mine", "update_ops"), decay=0.5)
            assert slim.get_variables(suffix="moving_mean")[0].tensor.tolist() == [0.5] * 3
            assert graph.get_collection("mine") == []


class TestReuseAtInference:
    @pytest.mark.parametrize("inside", [False, True])
    def test_reads_the_statistics_from_before_the_step(self, inside: bool) -> None:
        def layer(x: Any, is_training: bool, reuse: bool) -> Any:
            options = {"is_training": is_training, "decay": 0.5}
            if inside:
                return slim.conv2d(
                    x, 6, 1, normalizer_fn=slim.batch_norm, normalizer_params=options, scope="bn", reuse=reuse
                )
            return slim.batch_norm(x, scope="bn", reuse=reuse, **options)

        with slim.Graph() as graph:
            x, z = images(), images()
            a = layer(x, True, False)
            b = layer(z.relu(), False, True)
            both, alone = graph.module((a, b)), graph.module(b)
            feed = torch.randn(4, 6, 4, 4), torch.randn(4, 6, 4, 4)
            expected = alone(feed[1]).detach().clone()
            got = both(*feed)
            torch.testing.assert_close(got[1], expected)
            (got[0] * feed[0] + got[1]).sum().backward()
            assert not torch.allclose(alone(feed[1]), expected)

    def test_order_stays_where_it_depends_on_the_training_call(self) -> None:
        with slim.Graph() as graph:
            a = slim.batch_norm(images(), scope="bn", decay=0.0)
            b = slim.batch_norm(a, scope="bn", reuse=True, is_training=False)
            x = torch.randn(4, 6, 4, 4) * 3
            y, again = graph.module((a, b))(x)
            std = torch.sqrt(x.var((0, 2, 3)) + 1e-3)[:, None, None]
            torch.testing.assert_close(again, (y - x.mean((0, 2, 3))[:, None, None]) / std, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "options",
    [{"renorm": True}, {"zero_debias_moving_mean": True}, {"updates_collections": "x"}, {"batch_weights": True}],
)
def test_compiles_while_training(options: dict[str, Any]) -> None:
    module = slim.batch_norm(3, **options)
    other = copy.deepcopy(module)
    x = (torch.randn(4, 3, 2, 2), torch.rand(4)) if "batch_weights" in options else (torch.randn(4, 3, 2, 2),)
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*x), other(*x))
    torch.testing.assert_close(module.state_dict(), other.state_dict())
    torch._dynamo.reset()


class TestPerExample:
    x = torch.randn(3, 4, 5, 2, dtype=torch.float64)

    def test_layer_norm_of_an_image_has_parameters_per_channel_in_both_layouts(self) -> None:
        module = slim.layer_norm(4)
        assert module.weight.shape == (4,)
        with slim.Graph():
            first = slim.layer_norm(self.x.float(), scope="a")
            with slim.arg_scope([slim.conv2d], data_format="NHWC"):
                last = slim.layer_norm(self.x.float().permute(0, 2, 3, 1), scope="b")
            torch.testing.assert_close(last.permute(0, 3, 1, 2), first)
            assert [v.shape for v in slim.get_variables()] == [(4,)] * 4
        flat = self.x.flatten(1).numpy()
        expected = (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)
        np.testing.assert_allclose(first.detach().flatten(1), expected, rtol=1e-4, atol=1e-5)

    def test_axes_that_are_given_are_taken_as_they_are(self) -> None:
        x = self.x.float()
        with slim.Graph():
            slim.layer_norm(x, begin_norm_axis=2, begin_params_axis=1, scope="a")
            slim.layer_norm(x, begin_norm_axis=-1, scope="b")
            slim.group_norm(x, 2, channels_axis=3, reduction_axes=(1,), scope="c")
            assert [v.shape for v in slim.get_variables()] == [(4, 5, 2)] * 2 + [(2,)] * 4

    def test_group_norm_over_some_axes_by_hand(self) -> None:
        module = slim.layers.feature_normalization.PartialGroupNorm(2, 1)
        module.axes = (-1,)
        module.set_up("group_norm", [4], True, True, None, True)
        parts = self.x.view(3, 2, 2, 5, 2).numpy()
        mean, variance = parts.mean((2, 4), keepdims=True), parts.var((2, 4), keepdims=True)
        expected = ((parts - mean) / np.sqrt(variance + 1e-12)).reshape(self.x.shape)
        np.testing.assert_allclose(module.double()(self.x).detach(), expected, rtol=1e-6, atol=1e-9)

    def test_instance_norm_is_torchs(self) -> None:
        expected = torch.nn.functional.instance_norm(self.x, eps=1e-6)
        torch.testing.assert_close(slim.instance_norm(4).double()(self.x), expected)

    def test_instance_norm_of_features_and_of_a_single_pixel_is_beta(self) -> None:
        module = slim.instance_norm(4, param_initializers={"beta": slim.ones_initializer()})
        torch.testing.assert_close(module(torch.randn(3, 4)), torch.ones(3, 4), rtol=0, atol=1e-3)
        torch.testing.assert_close(module(torch.randn(1, 4, 1, 1)), torch.ones(1, 4, 1, 1), rtol=0, atol=1e-3)

    def test_unit_norm(self) -> None:
        y = slim.unit_norm(self.x, 1)
        torch.testing.assert_close(y, torch.nn.functional.normalize(self.x, dim=1), rtol=1e-6, atol=1e-6)


class TestGdn:
    def test_numbers_and_inverse_by_hand(self) -> None:
        module = slim.gdn(2, gamma_init=0.5)
        inverse = slim.gdn(2, gamma_init=0.5, inverse=True)
        with torch.no_grad():
            for layer in (module, inverse):
                layer.reparam_gamma[0, 1] = 0.3  # how much the first channel counts in the second
        x = torch.randn(3, 2, 4)
        norm = torch.stack([1 + 0.5 * x[:, 0] ** 2, 1 + 0.09 * x[:, 0] ** 2 + 0.5 * x[:, 1] ** 2], 1).sqrt()
        torch.testing.assert_close(module(x), x / norm, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(inverse(x), x * norm, rtol=1e-4, atol=1e-5)

    def test_gradients_off_the_bound(self) -> None:
        module = slim.gdn(3).double()
        values = (torch.rand(3).double() + 0.5, torch.rand(3, 3).double() + 0.1)

        def run(x: torch.Tensor, beta: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
            return torch.func.functional_call(module, {"reparam_beta": beta, "reparam_gamma": gamma}, (x,))

        inputs = [value.requires_grad_() for value in (torch.randn(2, 3, 4).double(), *values)]
        assert torch.autograd.gradcheck(run, inputs)

    @pytest.mark.parametrize(("sign", "passes"), [(1.0, False), (-1.0, True)])
    def test_below_the_bound_only_what_raises_passes(self, sign: float, passes: bool) -> None:
        module = slim.gdn(1)
        with torch.no_grad():
            module.reparam_gamma.fill_(0.0)
        (module.gamma * sign).sum().backward()
        assert bool(module.reparam_gamma.grad.abs().max() > 0) is passes

    def test_object_shares_its_variables_wherever_it_is_called(self) -> None:
        with slim.Graph() as graph:
            layer = slim.GDN()
            with slim.variable_scope("tower"):
                layer(images())
            layer.apply(images())
            assert names() == ["tower/gdn/reparam_beta", "tower/gdn/reparam_gamma"]
            slim.gdn(images())
            assert names()[2] == "gdn/reparam_beta"
            assert graph.variables["gdn/reparam_gamma"].tf_shape == (6, 6)

    def test_activity_regularizer_is_collected_by_example(self) -> None:
        with slim.Graph() as graph:
            x = images()
            y = slim.gdn(x, activity_regularizer=slim.l2_regularizer(0.2))
            (loss,) = slim.losses.get_regularization_losses()
            value, output = graph.run((loss, y), {x: torch.ones(5, 6, 4, 4)})
            torch.testing.assert_close(value, 0.1 * output.square().sum() / 5)


def test_regularizers_are_left_out_where_tf_slim_does() -> None:
    regularizers = {"beta": slim.l2_regularizer(0.1)}
    with slim.Graph():
        slim.batch_norm(images(), param_regularizers=regularizers, updates_collections=None)
        assert len(slim.losses.get_regularization_losses()) == 1
        slim.batch_norm(images(), param_regularizers=regularizers, updates_collections=None, fused=False)
        assert len(slim.losses.get_regularization_losses()) == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: slim.batch_norm(images(), batch_weights=images()), ValueError, r"shape \(None, 6, 4, 4\) for"),
        (lambda: slim.batch_norm(torch.ones(3, 2), batch_weights=torch.ones(4)), ValueError, r"\(4,\) for .* \(3, 2\)"),
        (lambda: slim.batch_norm(torch.ones(3, 2), batch_weights=slim.placeholder((None,))), TypeError, "Got Symbol"),
        (lambda: slim.batch_norm(3, batch_weights=torch.ones(4)), ValueError, "`batch_weights=True`"),
        (lambda: slim.batch_norm(images(), renorm=True, zero_debias_moving_mean=True), ValueError, "renorm=True"),
        (lambda: slim.batch_norm(images(), renorm=True, renorm_clipping={"max": 1}), ValueError, "Got 'max'"),
        (lambda: slim.batch_norm(images(), renorm=True, renorm_clipping={"rmax": "1"}), ValueError, "Got rmax='1'"),
        (lambda: slim.batch_norm(images(), adjustment=0.5), ValueError, "Got 0.5"),
        (lambda: slim.batch_norm(images(), adjustment=lambda _: (x := images(), x)), ValueError, r"Got \(Symbol"),
        (lambda: slim.batch_norm(images(), data_format="NC"), ValueError, "Got 'NC'"),
        (lambda: slim.layer_norm(images(), begin_norm_axis=4), ValueError, "`begin_norm_axis` .* Got 4"),
        (lambda: slim.layer_norm(images(), begin_params_axis=-5), ValueError, "`begin_params_axis` .* Got -5"),
        (lambda: slim.layer_norm(images(), begin_params_axis=0), ValueError, r"\(None, 6, 4, 4\)"),
        (lambda: slim.layer_norm(images(None)), ValueError, r"Got shape \(None, None, 4, 4\)"),
        (lambda: slim.instance_norm(images(), data_format="CHW"), ValueError, "Got 'CHW'"),
        (lambda: slim.instance_norm(images(), param_initializers={"delta": 1}), ValueError, "Got 'delta'"),
        (lambda: slim.group_norm(images()), ValueError, "number of channels, 6. Got 32"),
        (lambda: slim.group_norm(images(), 4), ValueError, "number of channels, 6. Got 4"),
        (lambda: slim.group_norm(images(), 0), ValueError, "Got 0"),
        (lambda: slim.group_norm(images(), 2, channels_axis=4), ValueError, "Got 4"),
        (lambda: slim.group_norm(images(), 2, reduction_axes=(1, 2)), ValueError, r"Got -3 and \(1, 2\)"),
        (lambda: slim.group_norm(images(None), 2), ValueError, r"Got shape \(None, None, 4, 4\)"),
        (lambda: slim.unit_norm(images(), -1), ValueError, "Got -1"),
        (lambda: slim.unit_norm(images(), 4), ValueError, "Got 4"),
        (lambda: slim.gdn(images(), data_format="NCHW"), ValueError, "Got 'NCHW'"),
        (lambda: slim.gdn(slim.placeholder((None, 3))), ValueError, r"Got shape \(None, 3\)"),
        (lambda: slim.gdn(torch.ones(1, 2, 3), activity_regularizer=torch.sum), ValueError, "for Tensor"),
    ],
)  # fmt: skip
def test_bad_arguments(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with slim.Graph(), pytest.raises(error, match=message):
        call()
