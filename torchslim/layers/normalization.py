"""Batch normalization."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import get_variable_scope
from torchslim.initializers import ones_initializer, zeros_initializer
from torchslim.layers.base import Function, check_choice
from torchslim.layers.batch_statistics import TF_TO_TORCH, BatchNorm, BatchNorm1d, BatchNorm2d, PinnedBatchNorm
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.layer import layer
from torchslim.layers.renorm import CorrectedBatchNorm, Correction, OwnBatchNorm

_BY_RANK: dict[int | None, type[BatchNorm]] = {2: BatchNorm1d, 3: BatchNorm1d, 4: BatchNorm2d}
_UPDATE_OPS = "update_ops"


@add_arg_scope
@layer("BatchNorm", beside=("batch_weights",))
def batch_norm(
    inputs: Any,
    decay: float = 0.999,
    center: bool = True,
    scale: bool = False,
    epsilon: float = 0.001,
    activation_fn: Function | None = None,
    param_initializers: Mapping[str, Any] | None = None,
    param_regularizers: Mapping[str, Any] | None = None,
    updates_collections: Any = "update_ops",
    is_training: bool | None = True,
    reuse: Any = None,
    variables_collections: Any = None,
    outputs_collections: Any = None,
    trainable: bool = True,
    batch_weights: Any = None,
    fused: bool | None = None,
    data_format: str | None = None,
    zero_debias_moving_mean: bool = False,
    scope: str | None = None,
    renorm: bool = False,
    renorm_clipping: Mapping[str, Any] | None = None,
    renorm_decay: float = 0.99,
    adjustment: Callable[[torch.Size], Any] | None = None,
) -> Any:
    """Batch normalization, with TF-Slim's defaults: no scale, slow averages (TF-Slim's `batch_norm`, arXiv:1502.03167).

    The statistics are updated by the module itself, so there is no update op to forget.

    TF-Slim: it stores the unbiased variance where TensorFlow's fused kernel runs (rank 2 and 4, and rank 5 with the
    default `updates_collections`) and the biased one elsewhere: `fused=False`, rank 3, `batch_weights`, `renorm`,
    `adjustment`. With `batch_weights`, and without the fused kernel with `zero_debias_moving_mean` or other
    `updates_collections`, it looks at neither `param_regularizers` nor `adjustment`. All that holds here as well.

    Args:
        inputs: a Symbol or tensor `[N, C, ...]` (`[N, ..., C]` for NHWC), or the number of channels.
        decay: of the moving averages; PyTorch's momentum is `1 - decay`.
        center: add `beta`.
        scale: multiply by `gamma`; off by default, since a ReLU and the next layer make up for it.
        epsilon: added to the variance.
        activation_fn: applied last; None: linear.
        param_initializers: a dict by `beta`, `gamma`, `moving_mean`, `moving_variance`.
        param_regularizers: a dict by `beta`, `gamma`.
        updates_collections: the default and None: the module updates its statistics itself. Another name: they wait
            until the Symbols in that collection are computed, as TF-Slim's update ops do.
        is_training: None or True: as the module's `train()` and `eval()` say. False: inference, for good.
        reuse: share the variables of the layer of this scope.
        variables_collections: collections for the variables.
        outputs_collections: collections for the output.
        trainable: whether training changes `beta` and `gamma`; the statistics follow `is_training` alone.
        batch_weights: a Symbol or tensor `[N]`: how often each example counts in the mean and variance, while
            training. Where `inputs` is a number: True; the module then takes them as a second argument.
        fused: False stores the biased variance, as TF-Slim does then; None: biased for rank 3 only.
        data_format: `'NCHW'` (also None) or `'NHWC'`.
        zero_debias_moving_mean: divide the moving mean by what it has seen, so that it does not start near zero. Adds
            the variables `SCOPE/SCOPE/moving_mean/biased` and `.../local_step`.
        scope: its name; default `BatchNorm`, made unique.
        renorm: correct the statistics of a batch by their moving averages (batch renormalization, arXiv:1702.03275).
        renorm_clipping: bounds of that correction, numbers or tensors of one element, by `rmin`, `rmax`, `dmax`;
            those left out do not bound.
        renorm_decay: of the averages that `renorm` corrects by; `decay` stays that of inference.
        adjustment: a function from the shape of `inputs` to a pair (scale, bias), called in each training step; they
            are applied to the normalized values, before `gamma` and `beta`.

    Returns:
        A Symbol or tensor of the shape of `inputs`, or the module if `inputs` is a number.

    Raises:
        ValueError: if an argument is out of range or does not go with another, or the variables exist already.

    Example:
        >>> import torch, torchslim as slim
        >>> slim.batch_norm(torch.randn(8, 3, 5, 5), scale=True, scope='doc_bn').shape
        torch.Size([8, 3, 5, 5])
        >>> sorted(slim.batch_norm(3).state_dict())
        ['bias', 'running_mean', 'running_var']
    """
    data_format = check_choice("batch_norm", "data_format", data_format or scoped_data_format(), ("NCHW", "NHWC"))
    # TF-Slim has three implementations: its own on the fused kernel, TensorFlow's layer, and its own without it.
    rank = 4 if inputs.rank is None else inputs.rank
    plain = batch_weights is None and not renorm and adjustment is None
    special = zero_debias_moving_mean or updates_collections != _UPDATE_OPS
    own_fused = fused is not False and plain and rank in (2, 4) and (special or rank == 2)
    own = not own_fused and (batch_weights is not None or special)
    layer_fused = fused is not False and plain and not own and rank in (4, 5)
    _check_options(inputs, batch_weights, own and renorm, renorm_clipping or {}, adjustment)
    initializers = {**_INITIALIZERS, **(param_initializers or {})}
    kind: type[BatchNorm] = _BY_RANK.get(inputs.rank, BatchNorm2d if inputs.rank is None else BatchNorm)
    options: dict[str, Any] = {}
    if batch_weights is not None or zero_debias_moving_mean or _waiting(updates_collections):
        # TensorFlow makes the variables of the debiased mean; only TF-Slim's own code makes model variables of them.
        debias = ("model" if own else "global") if zero_debias_moving_mean else None
        kind, options = OwnBatchNorm, {"zero_debias": debias, "collections": _waiting(updates_collections)}
    elif (renorm or adjustment is not None) and not own:
        correction = Correction(renorm, renorm_clipping or {}, renorm_decay, adjustment, initializers)
        kind, options = CorrectedBatchNorm, {"correction": correction}
    elif is_training is False and get_variable_scope().reuse:
        kind = PinnedBatchNorm
    module = kind(
        inputs.channels(data_format),
        decay=decay,
        epsilon=epsilon,
        center=center,
        scale=scale,
        is_training=is_training,
        activation_fn=activation_fn,
        biased=not (own_fused or layer_fused),
        channels_last=data_format == "NHWC" and inputs.rank != 2,
        beta_first=own_fused or own,
        **options,
    )
    return _filled(module, initializers, {} if own else param_regularizers or {}, trainable)


_INITIALIZERS = {
    "beta": zeros_initializer(),
    "gamma": ones_initializer(),
    "moving_mean": zeros_initializer(),
    "moving_variance": ones_initializer(),
}


def _waiting(updates_collections: Any) -> tuple[str, ...]:
    """The collections where the updates wait; none if the train op of TF-Slim, or the layer, would run them."""
    names = (updates_collections,) if isinstance(updates_collections, str) else tuple(updates_collections or ())
    return () if _UPDATE_OPS in names else names


def _check_options(
    inputs: Incoming, weights: Any, own_renorm: bool, clipping: Mapping[str, Any], adjustment: Any
) -> None:
    if inputs.rank is not None and inputs.rank < 2:
        raise ValueError(f"batch_norm: `inputs` must have at least 2 dimensions. Got shape {inputs.shape}.")
    if isinstance(weights, Incoming):
        batches = {shape[0] for shape in (inputs.shape, weights.shape) if shape}
        if weights.rank != 1 or len(batches - {None}) > 1:
            raise ValueError(
                f"batch_norm: `batch_weights` is one weight for each example, of shape [N]. Got shape {weights.shape} "
                f"for inputs of shape {inputs.shape}."
            )
    if own_renorm:
        raise ValueError(
            "batch_norm: `renorm` does not go with `batch_weights`, `zero_debias_moving_mean` or other "
            "`updates_collections`. Got renorm=True; leave one of them out."
        )
    for name, value in clipping.items():
        check_choice("batch_norm", "renorm_clipping", name, ("rmin", "rmax", "dmax"))
        if not isinstance(value, int | float | torch.Tensor):
            raise ValueError(f"batch_norm: `renorm_clipping` holds numbers or tensors. Got {name}={value!r}.")
    if adjustment is not None and not callable(adjustment):
        raise ValueError(f"batch_norm: `adjustment` is a function of the shape of the inputs. Got {adjustment!r}.")


def _filled(
    module: BatchNorm, initializers: Mapping[str, Any], regularizers: Mapping[str, Any], trainable: bool
) -> BatchNorm:
    unknown = [name for name in (*initializers, *regularizers) if name not in TF_TO_TORCH]
    if unknown:
        raise ValueError(f"batch_norm: there are the parameters {', '.join(TF_TO_TORCH)}. Got {unknown[0]!r}.")
    for name, attribute in TF_TO_TORCH.items():
        if getattr(module, attribute) is not None:
            module.initializers[attribute] = initializers[name]
            if regularizers.get(name) is not None:
                module.regularizers[attribute] = regularizers[name]
    module.requires_grad_(trainable)
    module.reset_parameters()
    return module
