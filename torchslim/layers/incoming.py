"""What flows into a layer, as the function that makes its module sees it."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx, nn

from torchslim.arg_scope import current_arg_scope
from torchslim.graph import Graph, Symbol


class Incoming:
    """The shape of what flows in, or, where only a module is to be made, the number of its channels.

    Attributes:
        shape: the sizes, `None` for those that vary; `None` as a whole if only the channels are known.
        image: `(C, H, W)` of the channels-first image (sequence, volume) that was flattened into the features, if one
            was: TensorFlow flattens in the order H, W, C, so the rows of a matrix behind it are in another order there.

    Example:
        >>> Incoming(shape=(None, 3, 8, 8)).channels()
        3
        >>> Incoming(channels=16).channels()
        16
    """

    def __init__(
        self,
        shape: tuple[int | None, ...] | None = None,
        *,
        channels: int | None = None,
        image: tuple[int, ...] | None = None,
    ) -> None:
        if channels is not None and channels < 1:
            raise ValueError(f"layer: the number of input channels must be positive. Got {channels}.")
        self.shape = shape
        self.image = image
        self._channels = channels

    @classmethod
    def of(cls, value: Symbol | torch.Tensor) -> Incoming:
        """What a Symbol or a tensor is to a layer."""
        shape = tuple(value.shape)
        if isinstance(value, torch.Tensor):
            image = tuple(value.shape[1:]) if value.ndim in (4, 5) and scoped_data_format() == "NCHW" else None
            return cls(shape, image=image)
        return cls(shape, image=_flattened_image(value.owner, value.node))

    @property
    def rank(self) -> int | None:
        """The number of dimensions, or None if it is not known."""
        return None if self.shape is None else len(self.shape)

    def channels(self, data_format: str | None = "NCHW") -> int:
        """The number of channels (features).

        Raises:
            ValueError: if it is not fixed.
        """
        if self.shape is None:
            assert self._channels is not None
            return self._channels
        if len(self.shape) < 2:
            raise ValueError(f"layer: `inputs` needs a dimension of channels. Got shape {self.shape}.")
        count = self.shape[-1 if data_format is not None and not data_format.startswith("NC") else 1]
        if not count:
            rule = "fixed" if count is None else "positive"
            raise ValueError(
                f"layer: the number of channels of `inputs` must be {rule}. Got shape {self.shape} with {data_format}."
            )
        return count

    def check_rank(self, op: str, ranks: tuple[int, ...]) -> None:
        """Raises a ValueError unless the rank is one of `ranks` or unknown."""
        if self.rank is not None and self.rank not in ranks:
            expected = " or ".join(map(str, ranks))
            raise ValueError(f"{op}: `inputs` must be of rank {expected}. Got shape {self.shape}.")


def _flattened_image(graph: Graph, node: fx.Node) -> tuple[int, ...] | None:
    """`(C, H, W)`, if `node` is a flattened channels-first image (perhaps after dropout and the like)."""
    features: Any = None
    while True:
        shape: tuple[Any, ...] = getattr(Symbol(node, graph.recorder), "shape", ())
        if len(shape) in _CHANNELS_FIRST and None not in shape[1:]:
            count, formats = torch.Size(shape[1:]).numel(), _CHANNELS_FIRST[len(shape)]
            return shape[1:] if features in (None, count) and _data_format(graph, node) in formats else None
        if len(shape) != 2 or features not in (None, shape[1]) or not node.all_input_nodes:
            return None
        features = shape[1]
        node = node.all_input_nodes[0]


# By rank. Three dimensions have channels only where a layer said so: they may be a sequence of any features.
_CHANNELS_FIRST = {3: ("NCW",), 4: ("NCHW",), 5: ("NCDHW", "NCHW")}
_PERMUTED = {
    (0, 2, 1): "NWC",
    (0, 2, 3, 1): "NHWC",
    (0, 3, 1, 2): "NCHW",
    (0, 2, 3, 4, 1): "NDHWC",
    (0, 4, 1, 2, 3): "NCDHW",
}


def _data_format(graph: Graph, node: fx.Node) -> str:
    """Where the channels of an image are: what the last layer that knows said, else what the arg_scope says."""
    while True:
        module: nn.Module | None = graph.get_module(str(node.target)) if node.op == "call_module" else None
        if hasattr(module, "data_format"):
            return str(module.data_format)  # type: ignore[union-attr]
        if node.target in ("permute", torch.permute):
            order: Any = node.args[1:] if len(node.args) > 2 else node.args[1]
            if (order := tuple(order)) in _PERMUTED:
                return _PERMUTED[order]
        if not node.all_input_nodes:
            break
        node = node.all_input_nodes[0]
    return scoped_data_format()


def scoped_data_format() -> str:
    """The `data_format` where nothing says it: `'NHWC'` if the arg_scope has channels-last anywhere, else `'NCHW'`."""
    formats = [settings["data_format"].value for settings in current_arg_scope().values() if "data_format" in settings]
    return "NHWC" if any(last in formats for last in ("NWC", "NHWC", "NDHWC")) else "NCHW"
