"""The arguments that convolutions and pools share, checked: layout, padding, window, stride and rate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from torchslim.layers.base import check_choice
from torchslim.layers.incoming import Incoming, scoped_data_format
from torchslim.layers.padding import output_size
from torchslim.layers.utils import n_positive_integers

# By the number of dimensions of space.
CHANNELS_FIRST = {1: "NCW", 2: "NCHW", 3: "NCDHW"}
CHANNELS_LAST = {1: "NWC", 2: "NHWC", 3: "NDHWC"}
FORMATS = (*CHANNELS_LAST.values(), *CHANNELS_FIRST.values())


class Window(NamedTuple):
    """A window that moves over space: one number a dimension each.

    Attributes:
        kernel: its size.
        stride: its step.
        rate: the distance between its taps.
        padding: `'SAME'` or `'VALID'`.
        data_format: the layout, by the name that it has for this number of dimensions: `'NCW'`, `'NDHWC'`, ...
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    rate: tuple[int, ...]
    padding: str
    data_format: str

    @classmethod
    def of(
        cls,
        op: str,
        inputs: Incoming,
        dims: int,
        *,
        kernel_size: Any,
        stride: Any,
        padding: Any,
        data_format: str | None,
        rate: Any = 1,
        formats: Sequence[str] | None = None,
        rate_name: str = "rate",
    ) -> Window:
        """The window that the arguments of a layer describe.

        Args:
            op: the layer, for its errors.
            inputs: what flows in.
            dims: the number of dimensions of space.
            kernel_size: of the window.
            stride: its step.
            padding: `'SAME'` or `'VALID'`.
            data_format: of `inputs`; None: what the arg_scope says for any layer.
            rate: the distance between its taps.
            formats: what `data_format` may be; default: the layouts of this number of dimensions. Those of images are
                taken by every layer, so that one arg_scope is enough.
            rate_name: what the layer calls `rate`.

        Raises:
            ValueError: if an argument is out of range or does not fit.
        """
        formats = formats or tuple(dict.fromkeys((CHANNELS_FIRST[dims], CHANNELS_LAST[dims], "NCHW", "NHWC")))
        data_format = check_choice(op, "data_format", data_format or scoped_data_format(), tuple(formats))
        upper = padding.upper() if isinstance(padding, str) else padding
        padding = check_choice(op, "padding", upper, ("SAME", "VALID"))
        inputs.check_rank(op, (dims + 2,))
        kernel, strides, rates = (
            _integers(op, name, dims, value)
            for name, value in (("kernel_size", kernel_size), ("stride", stride), (rate_name, rate))
        )
        if max(strides) > 1 and max(rates) > 1:
            raise ValueError(
                f"{op}: `stride` and `{rate_name}` cannot both be greater than 1. Got {stride} and {rate}."
            )
        names = CHANNELS_FIRST if data_format.startswith("NC") else CHANNELS_LAST
        return cls(kernel, strides, rates, padding, names[dims])

    @property
    def channels_last(self) -> bool:
        """Whether the channels are the last dimension of what flows in."""
        return not self.data_format.startswith("NC")

    def sizes(self, inputs: Incoming) -> tuple[int | None, ...]:
        """The sizes in space of what flows in; None for those that are not known."""
        if inputs.shape is None:
            return (None,) * len(self.kernel)
        return inputs.shape[1:-1] if self.channels_last else inputs.shape[2:]

    def check_fits(self, op: str, inputs: Incoming) -> None:
        """Raises a ValueError if the window is larger than an input that is not padded: it has nowhere to go."""
        for size, window, gap in zip(self.sizes(inputs), self.kernel, self.rate, strict=True):
            if self.padding == "VALID" and size is not None and (window - 1) * gap + 1 > size:
                raise ValueError(
                    f"{op}: with `padding='VALID'` the window must fit into the input. Got `kernel_size` "
                    f"{list(self.kernel)} (rate {list(self.rate)}) for an input of shape {inputs.shape}."
                )

    def output_shape(self, inputs: Incoming, channels: int) -> tuple[int | None, ...]:
        """The shape of what a convolution gives, None for sizes that are not known."""
        sizes = [
            None if size is None else output_size(size, window, step, gap, self.padding)
            for size, window, step, gap in zip(self.sizes(inputs), self.kernel, self.stride, self.rate, strict=True)
        ]
        return self.shape(channels, sizes)

    def shape(self, channels: int, sizes: Sequence[int | None]) -> tuple[int | None, ...]:
        """A shape in this layout."""
        return (None, *sizes, channels) if self.channels_last else (None, channels, *sizes)


def dims_of(op: str, inputs: Incoming, kernel_size: Any) -> int:
    """The number of dimensions of space: by the rank of what flows in, else by the window.

    Raises:
        ValueError: if neither says it, or it is not 1, 2 or 3.
    """
    inputs.check_rank(op, (3, 4, 5))
    if inputs.rank is not None:
        return inputs.rank - 2
    if isinstance(kernel_size, int) or len(kernel_size) not in CHANNELS_FIRST:
        raise ValueError(
            f"{op}: for a number of channels `kernel_size` must have one number a dimension, 1 to 3 of them. "
            f"Got {kernel_size!r}."
        )
    return len(kernel_size)


def _integers(op: str, argument: str, dims: int, value: Any) -> tuple[int, ...]:
    try:
        return n_positive_integers(dims, value)
    except ValueError:
        several = "" if dims == 1 else f" or {dims} of them"
        raise ValueError(f"{op}: `{argument}` must be a positive integer{several}. Got {value!r}.") from None
