"""What the networks for video share: convolutions over space and time, together or one after the other; their head.

Videos are `[N, C, D, H, W]` (`D`: frames), or `[N, D, H, W, C]` where an arg_scope says `data_format='NHWC'` (or
`'NDHWC'`).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from torchslim.arg_scope import add_arg_scope, arg_scope
from torchslim.graph import Symbol, variable_scope
from torchslim.graph.symbol import Value
from torchslim.layers import DATA_FORMAT_LAYERS, avg_pool3d, conv3d, dropout, max_pool3d
from torchslim.layers.base import check_choice
from torchslim.layers.incoming import scoped_data_format
from torchslim.layers.utils import n_positive_integers
from torchslim.nets.common import squeezed


def center_initializer() -> Callable[[Sequence[int]], torch.Tensor]:
    """Starts a convolution over time as the identity: each frame passes as it is.

    Returns:
        A function from the shape `[frames, 1, 1, C, C]`, in TensorFlow's layout, to the kernel.

    Raises:
        ValueError: when the kernel is made, if its shape is none of these, or the number of frames is even.

    Example:
        >>> center_initializer()([3, 1, 1, 1, 1]).flatten()
        tensor([0., 1., 0.])
    """
    return _centered


def _centered(shape: Sequence[int]) -> torch.Tensor:
    frames, *window = shape
    if len(window) != 4 or window[:2] != [1, 1] or window[2] != window[3] or frames % 2 == 0:
        raise ValueError(
            "center_initializer: the shape of the kernel must be [frames, 1, 1, C, C] with an odd number of frames. "
            f"Got {list(shape)}."
        )
    kernel = torch.zeros(list(shape))
    kernel[frames // 2, 0, 0] = torch.eye(window[2])
    return kernel


@add_arg_scope
def conv3d_spatiotemporal(
    inputs: Symbol,
    num_outputs: int,
    kernel_size: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: str = "SAME",
    activation_fn: Callable[..., Any] | None = None,
    normalizer_fn: Callable[..., Any] | None = None,
    normalizer_params: Mapping[str, Any] | None = None,
    weights_regularizer: Callable[..., Any] | None = None,
    separable: bool = False,
    data_format: str | None = None,
    scope: str = "",
) -> Symbol:
    """A convolution over space and time, or, if `separable`, one over space and then one over time.

    Args:
        inputs: videos `[N, C, D, H, W]`.
        num_outputs: the number of filters.
        kernel_size: frames, height and width of the filters.
        stride: one number, or three.
        padding: `'SAME'` or `'VALID'`.
        activation_fn: of both convolutions.
        normalizer_fn: behind the convolution over space; the one over time has biases.
        normalizer_params: its arguments.
        weights_regularizer: of the convolution over space; that of the other is what an arg_scope gives to `conv3d`.
        separable: take it apart, unless the filters see one frame only.
        data_format: `'NCDHW'` or `'NDHWC'`; None: as the arg_scope says, else channels-first.
        scope: its name; that of the convolution over time is `SCOPE/temporal`.

    Returns:
        The features `[N, num_outputs, D', H', W']`.

    Raises:
        ValueError: if `kernel_size` has not three numbers.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(videos):
        ...     return conv3d_spatiotemporal(videos, 4, [3, 3, 3], stride=2, separable=True, scope='conv1')
        >>> model = slim.build(net, torch.empty(1, 3, 8, 9, 9))
        >>> model(torch.empty(1, 3, 8, 9, 9)).shape, list(model.state_dict())[2]
        (torch.Size([1, 4, 4, 5, 5]), 'conv1.temporal.weight')
    """
    if isinstance(kernel_size, int) or len(kernel_size) != 3:
        raise ValueError(f"conv3d_spatiotemporal: `kernel_size` must have three numbers. Got {kernel_size!r}.")
    window, steps = list(kernel_size), list(n_positive_integers(3, stride))
    over_time = separable and window[0] > 1
    net = conv3d(
        inputs,
        num_outputs,
        [1, *window[1:]] if over_time else window,
        stride=[1, *steps[1:]] if over_time else steps,
        padding=padding,
        activation_fn=activation_fn,
        normalizer_fn=normalizer_fn,
        normalizer_params=normalizer_params,
        weights_regularizer=weights_regularizer,
        data_format=data_format,
        scope=scope,
    )
    if not over_time:
        return net
    return conv3d(
        net,
        num_outputs,
        [window[0], 1, 1],
        stride=[steps[0], 1, 1],
        padding=padding,
        activation_fn=activation_fn,
        normalizer_fn=None,
        weights_initializer=center_initializer(),
        data_format=data_format,
        scope=f"{scope}/temporal",
    )


@add_arg_scope
def inception_block_v1_3d(
    inputs: Symbol,
    num_outputs_0_0a: int,
    num_outputs_1_0a: int,
    num_outputs_1_0b: int,
    num_outputs_2_0a: int,
    num_outputs_2_0b: int,
    num_outputs_3_0b: int,
    temporal_kernel_size: int = 3,
    self_gating_fn: Callable[..., Symbol] | None = None,
    data_format: str | None = None,
    scope: str = "",
) -> Value:
    """A module of Inception v1 over space and time: four branches, joined along the channels.

    The stride and the padding of its pool are what an arg_scope says: 1 and `'SAME'` in the networks.

    Args:
        inputs: features `[N, C, D, H, W]`.
        num_outputs_0_0a: filters of the 1x1x1 convolution that is the first branch.
        num_outputs_1_0a: filters of the 1x1x1 convolution of the second branch.
        num_outputs_1_0b: filters of its 3x3 convolution.
        num_outputs_2_0a: filters of the 1x1x1 convolution of the third branch.
        num_outputs_2_0b: filters of its 3x3 convolution.
        num_outputs_3_0b: filters of the 1x1x1 convolution behind the pool of the fourth branch.
        temporal_kernel_size: frames that the 3x3 convolutions see.
        self_gating_fn: applied to the end of each branch, with the scope of its last convolution; None: nothing.
        data_format: `'NCDHW'` or `'NDHWC'`; None: as the arg_scope says, else channels-first.
        scope: its name.

    Returns:
        The features; their channels are those of `0_0a`, `1_0b`, `2_0b` and `3_0b`.

    Example:
        >>> import torch, torchslim as slim
        >>> def net(videos):
        ...     with slim.arg_scope([slim.max_pool3d], stride=1, padding='SAME'):
        ...         return inception_block_v1_3d(videos, 1, 2, 3, 4, 5, 6, scope='Mixed')
        >>> slim.build(net, torch.empty(1, 3, 4, 8, 8))(torch.empty(1, 3, 4, 8, 8)).shape
        torch.Size([1, 15, 4, 8, 8])
    """
    wide = [temporal_kernel_size, 3, 3]
    branches: list[list[tuple[str, Callable[..., Symbol], list[Any]]]] = [
        [("Conv2d_0a_1x1", conv3d, [num_outputs_0_0a, [1, 1, 1]])],
        [
            ("Conv2d_0a_1x1", conv3d, [num_outputs_1_0a, [1, 1, 1]]),
            ("Conv2d_0b_3x3", conv3d_spatiotemporal, [num_outputs_1_0b, wide]),
        ],
        [
            ("Conv2d_0a_1x1", conv3d, [num_outputs_2_0a, [1, 1, 1]]),
            ("Conv2d_0b_3x3", conv3d_spatiotemporal, [num_outputs_2_0b, wide]),
        ],
        [
            ("MaxPool_0a_3x3", max_pool3d, [[3, 3, 3]]),
            ("Conv2d_0b_1x1", conv3d, [num_outputs_3_0b, [1, 1, 1]]),
        ],
    ]
    outputs: list[Any] = []
    with variable_scope(scope), video_layout(data_format):
        for number, branch in enumerate(branches):
            with variable_scope(f"Branch_{number}"):
                net = inputs
                for name, function, arguments in branch:
                    net = function(net, *arguments, scope=name)
                outputs.append(net if self_gating_fn is None else self_gating_fn(net, scope=name))
        return torch.cat(outputs, video_dimensions()[0])


def reduced_kernel_size_3d(input_tensor: Symbol, kernel_size: Sequence[int]) -> list[int]:
    """`kernel_size`, or the video where that is smaller; videos of unknown size count as large enough.

    Args:
        input_tensor: features `[N, C, D, H, W]`.
        kernel_size: frames, height and width.

    Example:
        >>> import torch
        >>> reduced_kernel_size_3d(torch.empty(1, 8, 4, 5, 7), [2, 7, 7])
        [2, 5, 7]
    """
    sizes = [input_tensor.shape[dimension] for dimension in video_dimensions()[1:]]
    shrunk = [min(size, window) for size, window in zip(sizes, kernel_size, strict=True) if size is not None]
    return shrunk if len(shrunk) == len(sizes) else list(kernel_size)


def video_dimensions() -> tuple[int, int, int, int]:
    """The dimensions of channels, frames, height and width: as an arg_scope says, else channels-first.

    Example:
        >>> video_dimensions()
        (1, 2, 3, 4)
    """
    return (1, 2, 3, 4) if scoped_data_format() == "NCHW" else (4, 1, 2, 3)


def video_layout(data_format: str | None = None) -> contextlib.AbstractContextManager[Any]:
    """An arg_scope that gives all layers the layout `'NCDHW'` or `'NDHWC'`; None: the one that any of them has.

    Raises:
        ValueError: if `data_format` is another.
    """
    data_format = data_format or scoped_data_format()
    check_choice("video_layout", "data_format", data_format, ("NCDHW", "NDHWC", "NCHW", "NHWC"))
    return arg_scope(DATA_FORMAT_LAYERS, data_format="NCHW" if data_format.startswith("NC") else "NHWC")


def classify_video(
    net: Symbol,
    end_points: dict[str, Symbol],
    num_classes: int,
    dropout_keep_prob: float,
    prediction_fn: Callable[..., Symbol],
    spatial_squeeze: bool,
) -> tuple[Symbol, dict[str, Symbol]]:
    """The head of the networks for video: an average, logits for each time that is left, and their average."""
    with video_layout(), variable_scope("Logits"):
        net = avg_pool3d(net, reduced_kernel_size_3d(net, [2, 7, 7]), stride=1, scope="AvgPool_0a_7x7")
        net = dropout(net, dropout_keep_prob, scope="Dropout_0b")
        logits = conv3d(net, num_classes, [1, 1, 1], activation_fn=None, normalizer_fn=None, scope="Conv2d_0c_1x1")
        logits = end_points["Logits"] = squeezed(logits.mean(video_dimensions()[1]), spatial_squeeze)
        end_points["Predictions"] = prediction_fn(logits, scope="Predictions")
        return logits, end_points
