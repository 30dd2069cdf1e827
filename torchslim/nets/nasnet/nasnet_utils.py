"""What NASNet and PNASNet are made of: cells, reductions without loss, and paths that are dropped."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn import functional

from torchslim.arg_scope import add_arg_scope
from torchslim.graph import variable_scope
from torchslim.graph.symbol import Value
from torchslim.layers import avg_pool2d, batch_norm, conv2d, max_pool2d, separable_conv2d
from torchslim.layers.incoming import scoped_data_format
from torchslim.nets.nasnet.paths import drop_path
from torchslim.nets.resnet_utils import subsample
from torchslim.variables import get_or_create_global_step


def calc_reduction_layers(num_cells: int, num_reduction_layers: int) -> list[int]:
    """The cells where the image is halved: they part the network into pieces of equal length.

    Example:
        >>> calc_reduction_layers(18, 2)
        [6, 12]
    """
    pieces = num_reduction_layers + 1
    return [int(number / pieces * num_cells) for number in range(1, pieces)]


@add_arg_scope
def get_channel_index(data_format: str | None = None) -> int:
    """The dimension of the channels; `data_format` None: as the arg_scope says of any layer, else channels-first.

    Example:
        >>> get_channel_index(), get_channel_index('NHWC')
        (1, 3)
    """
    return 3 if (data_format or scoped_data_format()) == "NHWC" else 1


@add_arg_scope
def get_channel_dim(shape: Sequence[int | None], data_format: str | None = None) -> int:
    """The number of channels of images of this shape.

    Raises:
        ValueError: if `shape` is not of rank 4.

    Example:
        >>> get_channel_dim((None, 3, 8, 8))
        3
    """
    if len(shape) != 4:
        raise ValueError(f"get_channel_dim: `shape` must be of rank 4. Got {tuple(shape)}.")
    channels = shape[get_channel_index(data_format=data_format)]
    assert channels is not None  # a convolution has made them
    return channels


@add_arg_scope
def global_avg_pool(x: Value, data_format: str | None = None) -> Value:
    """The average of each channel: from `[N, C, H, W]` to `[N, C]`.

    Example:
        >>> global_avg_pool(torch.ones(2, 3, 4, 4)).shape
        torch.Size([2, 3])
    """
    return x.mean((1, 2) if get_channel_index(data_format=data_format) == 3 else (2, 3))


@add_arg_scope
def factorized_reduction(net: Value, output_filters: int, stride: int, data_format: str | None = None) -> Value:
    """Makes an image smaller, and looks at twice as many pixels as a 1x1 convolution with a stride would.

    One half of the filters sees every second pixel of every second row, the other half those that are one further down
    and to the right. With a stride of 1 it is a 1x1 convolution.

    Args:
        net: features `[N, C, H, W]`.
        output_filters: how many features come out.
        stride: how much smaller the image becomes.
        data_format: None: as the arg_scope says, else channels-first.

    Returns:
        The features `[N, output_filters, ceil(H / stride), ceil(W / stride)]`, normalized.

    Example:
        >>> import torch, torchslim as slim
        >>> model = slim.build(factorized_reduction, torch.empty(1, 3, 7, 7), output_filters=9, stride=2)
        >>> model(torch.empty(1, 3, 7, 7)).shape, model.path2_conv.out_channels
        (torch.Size([1, 9, 4, 4]), 5)
    """
    if stride == 1:
        net = conv2d(net, output_filters, 1, scope="path_conv")
        return batch_norm(net, scope="path_bn")
    channels = get_channel_index(data_format=data_format)
    shifted = functional.pad(net, ([0, 0] if channels == 3 else []) + [-1, 1, -1, 1])
    paths = [
        conv2d(subsample(pixels, stride), (output_filters + number) // 2, 1, scope=f"path{number + 1}_conv")
        for number, pixels in enumerate((net, shifted))
    ]
    return batch_norm(torch.cat(paths, channels), scope="final_path_bn")


class State:
    """Features inside a cell; several operations look at them behind the activation, which is computed once."""

    def __init__(self, features: Value, activation: Callable[..., Any]) -> None:
        self.features = features
        self.activation = activation

    @functools.cached_property
    def active(self) -> Value:
        """The features behind the activation."""
        return self.activation(self.features)


class NasNetABaseCell:
    """A cell: two inputs, five sums of two operations each, joined along the channels.

    Each operation looks at one of the states that are there: the two inputs, then the sums so far.

    Args:
        num_conv_filters: channels of each operation, to be scaled by each call's `filter_scaling`.
        operations: ten: `separable_5x5_2` (two separable convolutions), `avg_pool_3x3`, `max_pool_3x3`, `none`, ...
        used_hiddenstates: seven: whether a state stays inside; the others are joined.
        hiddenstate_indices: ten: the state that each operation looks at.
        drop_path_keep_prob: probability of keeping a path, in the last cell and at the end of the training.
        total_num_cells: of the network; earlier cells keep more.
        total_training_steps: earlier steps keep more.
        use_bounded_activation: keep all values within 6, for quantized inference.

    Example:
        >>> import torch, torchslim as slim
        >>> cell = NasNetANormalCell(8, 1.0, 20, 1000)
        >>> model = slim.build(cell, torch.empty(1, 24, 8, 8), scope='cell_0')
        >>> model(torch.empty(1, 24, 8, 8)).shape
        torch.Size([1, 48, 8, 8])
    """

    def __init__(
        self,
        num_conv_filters: int,
        operations: Sequence[str],
        used_hiddenstates: Sequence[int],
        hiddenstate_indices: Sequence[int],
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        rows = list(zip(map(_parse, operations), hiddenstate_indices, strict=True))
        self.pairs = list(zip(rows[::2], rows[1::2], strict=True))
        self.num_conv_filters = num_conv_filters
        self.used_hiddenstates = used_hiddenstates
        self.drop_path_keep_prob = drop_path_keep_prob
        self.total_num_cells = total_num_cells
        self.total_training_steps = total_training_steps
        self.bounded = use_bounded_activation
        self.activation: Callable[..., Any] = functional.relu6 if use_bounded_activation else torch.relu

    def __call__(
        self,
        net: Value,
        scope: str,
        filter_scaling: float = 1,
        stride: int = 1,
        prev_layer: Value | None = None,
        cell_num: int = -1,
        current_step: Any = None,
    ) -> Value:
        """Adds the cell to a network.

        Args:
            net: what comes out of the cell in front, `[N, C, H, W]`.
            scope: its name.
            filter_scaling: of the channels.
            stride: of the operations on the two inputs.
            prev_layer: what comes out of the cell in front of that; None: `net` again.
            cell_num: its number in the network, for dropping paths.
            current_step: the step of the training, for dropping paths; None: the global step.

        Returns:
            The features of all states that no operation of the cell uses up.
        """
        channels = int(self.num_conv_filters * filter_scaling)
        keep_prob, progress = self._dropping(cell_num, current_step)
        with variable_scope(scope):
            states = self._inputs(net, prev_layer, channels)
            for number, pair in enumerate(self.pairs):
                terms = []
                with variable_scope(f"comb_iter_{number}"):
                    for side, (operation, index) in zip(("left", "right"), pair, strict=True):
                        with variable_scope(side):
                            state, step = states[index], stride if index < 2 else 1
                            term = self._operate(state, operation, channels, step)
                            drops = keep_prob < 1 and operation.kind != "none"
                            terms.append(drop_path(term, keep_prob, progress=progress) if drops else term)
                    total = terms[0] + terms[1]
                    states.append(State(functional.relu6(total) if self.bounded else total, self.activation))
            with variable_scope("cell_output"):
                return self._joined([state.features for state in states])

    def _dropping(self, cell_num: int, current_step: Any) -> tuple[float, Any]:
        """The probability of keeping a path: it falls with depth and, by what is given second, with time."""
        keep_prob = 1 - (cell_num + 1) / self.total_num_cells * (1 - self.drop_path_keep_prob)
        if keep_prob >= 1:
            return 1.0, None
        step: Any = get_or_create_global_step() if current_step is None else current_step
        if isinstance(step, int | float):
            return 1 - min(step / self.total_training_steps, 1.0) * (1 - keep_prob), None
        return keep_prob, torch.clamp(step / self.total_training_steps, max=1.0)

    def _inputs(self, net: Value, previous: Value | None, channels: int) -> list[State]:
        """The two inputs: `net` with as many channels as the cell has, and `previous` of the same size."""
        if previous is None:
            previous = net
        elif _space(previous) != _space(net):
            previous = factorized_reduction(self.activation(previous), channels, stride=2)
        elif get_channel_dim(previous.shape) != channels:
            previous = conv2d(self.activation(previous), channels, 1, scope="prev_1x1")
            previous = batch_norm(previous, scope="prev_bn")
        net = conv2d(self.activation(net), channels, 1, scope="1x1")
        net = batch_norm(net, scope="beginning_bn")
        return [State(net, self.activation), State(previous, self.activation)]

    def _operate(self, state: State, operation: Operation, channels: int, stride: int) -> Value:
        kind, size, repeats = operation
        if kind == "separable":
            net = state.active
            for number in range(1, repeats + 1):
                net = self.activation(net) if number > 1 else net
                name, step = f"{size}x{size}_{number}", stride if number == 1 else 1
                net = separable_conv2d(net, channels, size, stride=step, scope=f"separable_{name}")
                net = batch_norm(net, scope=f"bn_sep_{name}")
            return net.clamp(-6, 6) if self.bounded else net
        net = state.active if self.bounded else state.features
        if kind != "none":
            net, stride = _POOLS[kind](net, size, stride=stride, padding="SAME"), 1
        if stride > 1 or get_channel_dim(net.shape) != channels:
            net = conv2d(state.active if kind == "none" else net, channels, 1, stride=stride, scope="1x1")
            net = batch_norm(net, scope="bn_1")
        return net.clamp(-6, 6) if self.bounded else net

    def _joined(self, states: Sequence[Value]) -> Value:
        """The states that are not used up, all of the size and with the channels of the last."""
        size, channels = _space(states[-1]), get_channel_dim(states[-1].shape)
        joined = []
        for number, (state, used) in enumerate(zip(states, self.used_hiddenstates, strict=True)):
            if used:
                continue
            smaller = _space(state) != size
            if smaller or get_channel_dim(state.shape) != channels:
                with variable_scope(f"reduction_{number}"):
                    state = factorized_reduction(state, channels, 2 if smaller else 1)
            joined.append(state)
        return torch.cat(joined, get_channel_index())


_POOLS = {"avg_pool": avg_pool2d, "max_pool": max_pool2d}


class Operation(NamedTuple):
    """`separable_5x5_2`: the kind, the size of the window, and how many there are."""

    kind: str
    size: int = 1
    repeats: int = 1


def _parse(operation: str) -> Operation:
    if operation == "none":
        return Operation("none")
    parts = re.fullmatch(r"(separable|avg_pool|max_pool)_(\d+)x\2(?:_(\d+))?", operation)
    if parts is None:
        raise ValueError(
            "NasNetABaseCell: `operations` are 'none' and those like 'separable_5x5_2', 'avg_pool_3x3' and "
            f"'max_pool_3x3'. Got {operation!r}."
        )
    kind, size, repeats = parts.groups()
    return Operation(kind, int(size), int(repeats or 1))


def _space(net: Value) -> tuple[int | None, ...]:
    """Height and width."""
    return net.shape[1:3] if get_channel_index() == 3 else net.shape[2:4]


class Recipe(NamedTuple):
    """What a cell computes: the arguments of `NasNetABaseCell` by these names."""

    operations: Sequence[str]
    used_hiddenstates: Sequence[int]
    hiddenstate_indices: Sequence[int]


_NORMAL = Recipe(
    (
        *("separable_5x5_2", "separable_3x3_2"),
        *("separable_5x5_2", "separable_3x3_2"),
        *("avg_pool_3x3", "none"),
        *("avg_pool_3x3", "avg_pool_3x3"),
        *("separable_3x3_2", "none"),
    ),
    used_hiddenstates=(1, 0, 0, 0, 0, 0, 0),
    hiddenstate_indices=(0, 1, 1, 1, 0, 1, 1, 1, 0, 0),
)
_REDUCTION = Recipe(
    (
        *("separable_5x5_2", "separable_7x7_2"),
        *("max_pool_3x3", "separable_7x7_2"),
        *("avg_pool_3x3", "separable_5x5_2"),
        *("none", "avg_pool_3x3"),
        *("separable_3x3_2", "max_pool_3x3"),
    ),
    used_hiddenstates=(1, 1, 1, 0, 0, 0, 0),
    hiddenstate_indices=(0, 1, 0, 1, 0, 1, 3, 2, 2, 0),
)


class NasNetANormalCell(NasNetABaseCell):
    """The cell of NASNet-A that keeps the size; its arguments are those of `NasNetABaseCell`."""

    def __init__(
        self,
        num_conv_filters: int,
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        super().__init__(
            num_conv_filters,
            *_NORMAL,
            drop_path_keep_prob,
            total_num_cells,
            total_training_steps,
            use_bounded_activation,
        )


class NasNetAReductionCell(NasNetABaseCell):
    """The cell of NASNet-A that halves the image; its arguments are those of `NasNetABaseCell`."""

    def __init__(
        self,
        num_conv_filters: int,
        drop_path_keep_prob: float,
        total_num_cells: int,
        total_training_steps: int,
        use_bounded_activation: bool = False,
    ) -> None:
        super().__init__(
            num_conv_filters,
            *_REDUCTION,
            drop_path_keep_prob,
            total_num_cells,
            total_training_steps,
            use_bounded_activation,
        )
