"""I3D: Inception v1, inflated to convolutions over space and time (arXiv:1705.07750).

Input: 64 frames of 224x224 RGB between -1 and 1, as `[N, 3, D, H, W]`; any number of frames and any size will do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torchslim.arg_scope import ArgScope, arg_scope
from torchslim.graph import Symbol, VariableScope, variable_scope
from torchslim.layers import batch_norm, dropout, softmax
from torchslim.nets.i3d_utils import classify_video
from torchslim.nets.s3dg import s3dg_base, video_arg_scope


def i3d_arg_scope(
    weight_decay: float = 1e-7,
    batch_norm_decay: float = 0.999,
    batch_norm_epsilon: float = 0.001,
    use_renorm: bool = False,
    separable_conv3d: bool = False,
) -> ArgScope:
    """The defaults that I3D was trained with.

    Args:
        weight_decay: scale of the L2 regularization of the weights.
        batch_norm_decay: of the moving averages.
        batch_norm_epsilon: added to the variance.
        use_renorm: correct the statistics of a batch by the moving averages (arXiv:1702.03275).
        separable_conv3d: take the convolutions apart into one over space and one over time.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import i3d
        >>> with slim.arg_scope(i3d.i3d_arg_scope()):
        ...     model = slim.build(i3d.i3d, torch.empty(1, 3, 16, 224, 224, device='meta'), num_classes=400)
    """
    return video_arg_scope(
        weight_decay, batch_norm_decay, batch_norm_epsilon, use_renorm=use_renorm, separable=separable_conv3d
    )


def i3d_base(
    inputs: Symbol, final_endpoint: str = "Mixed_5c", scope: str | VariableScope | None = "InceptionV1"
) -> tuple[Symbol, dict[str, Symbol]]:
    """I3D without its head: the features of `final_endpoint`.

    Args:
        inputs: videos `[N, 3, D, H, W]`.
        final_endpoint: the last layer; see `s3dg_base`.
        scope: name of the network.

    Returns:
        The features, and the end points: the output of every layer and module by its name.

    Raises:
        ValueError: if `final_endpoint` is none of the layers.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import i3d
        >>> videos = torch.empty(1, 3, 16, 64, 64, device='meta')
        >>> slim.build(i3d.i3d_base, videos, final_endpoint='Mixed_3c').end_points['Mixed_3c'].shape
        (None, 480, 8, 8, 8)
    """
    return s3dg_base(
        inputs, first_temporal_kernel_size=7, gating_startat=None, final_endpoint=final_endpoint, scope=scope
    )


def i3d(
    inputs: Symbol,
    num_classes: int = 1000,
    dropout_keep_prob: float = 0.8,
    is_training: bool | None = True,
    prediction_fn: Callable[..., Symbol] = softmax,
    spatial_squeeze: bool = True,
    reuse: Any = None,
    scope: str = "InceptionV1",
) -> tuple[Symbol, dict[str, Symbol]]:
    """I3D (arXiv:1705.07750): 12,689,984 parameters for the 400 classes of Kinetics.

    Args:
        inputs: videos `[N, 3, D, H, W]` between -1 and 1; those of 224x224 give one vector of logits.
        num_classes: how many.
        dropout_keep_prob: probability of keeping a feature.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference.
        prediction_fn: from the logits to `Predictions`.
        spatial_squeeze: remove the two dimensions of space, which are of size 1, from the logits.
        reuse: share the variables of an earlier call.
        scope: name of the network.

    Returns:
        The logits `[N, num_classes]`, and the end points: those of `i3d_base`, `Logits` and `Predictions`.

    Example:
        >>> import torch, torchslim as slim
        >>> from torchslim.nets import i3d
        >>> with slim.arg_scope(i3d.i3d_arg_scope()):
        ...     model = slim.build(i3d.i3d, torch.empty(1, 3, 16, 224, 224, device='meta'), num_classes=400)
        >>> sum(p.numel() for p in model.parameters()), model.end_points['Mixed_5c'].shape
        (12689984, (None, 1024, 2, 7, 7))
    """
    with (
        variable_scope(scope, "InceptionV1", [inputs], reuse=reuse) as variables,
        arg_scope([batch_norm, dropout], is_training=is_training),
    ):
        net, end_points = i3d_base(inputs, scope=variables)
        return classify_video(net, end_points, num_classes, dropout_keep_prob, prediction_fn, spatial_squeeze)


i3d.default_image_size = 224  # type: ignore[attr-defined]
