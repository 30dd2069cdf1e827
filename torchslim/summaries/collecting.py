"""What is collected to be written, and the computing of it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from torchslim.graph import Graph, Symbol, Variable

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

SUMMARIES = "summaries"
# How many images of a batch are written, as in TensorFlow.
MAX_IMAGES = 3


@dataclass(frozen=True)
class Summary:
    """One value to write.

    Attributes:
        kind: `'scalar'`, `'histogram'` or `'image'`.
        tag: its name in TensorBoard.
        value: the Symbol or Variable to compute it from, or a tensor.
        print_summary: whether the value is logged, too.
    """

    kind: str
    tag: str
    value: Any
    print_summary: bool = False

    def write(self, writer: SummaryWriter, step: int, value: torch.Tensor) -> None:
        """Writes `value`, which was computed from `self.value`, under the global step `step`."""
        value = value.detach()
        if self.print_summary:
            logger.info("%s[%s]", self.tag, ", ".join(f"{number:.6g}" for number in value.flatten()[:3].tolist()))
        if self.kind == "image":
            for i, image in enumerate(value[:MAX_IMAGES].float().cpu()):
                writer.add_image(f"{self.tag}/{i}", _displayable(image), step)
        else:
            getattr(writer, f"add_{self.kind}")(self.tag, value.float().cpu(), step)


def add_scalar_summary(
    tensor: Symbol | Variable, name: str | None = None, prefix: str | None = None, print_summary: bool = False
) -> Summary:
    """Has a scalar written, e.g. a loss.

    Args:
        tensor: a Symbol or Variable with one element.
        name: its tag; default: the tensor's own name.
        prefix: put before the tag, with a slash.
        print_summary: log the value, too.

    Returns:
        The summary, which is now in the collection `'summaries'` of the tensor's graph.

    Example:
        >>> with slim.Graph() as graph:
        ...     loss = slim.placeholder((None, 3)).abs().mean()
        ...     _ = slim.summaries.add_scalar_summary(loss, 'total_loss', prefix='losses')
        >>> [summary.tag for summary in graph.get_collection('summaries')]
        ['losses/total_loss']
    """
    return _add("scalar", tensor, name, prefix, print_summary)


def add_histogram_summary(tensor: Symbol | Variable, name: str | None = None, prefix: str | None = None) -> Summary:
    """Has the distribution of a tensor's elements written; arguments as in `add_scalar_summary`.

    Example:
        >>> with slim.Graph():
        ...     slim.summaries.add_histogram_summary(slim.placeholder((None, 3), name='images')).tag
        'images'
    """
    return _add("histogram", tensor, name, prefix)


def add_image_summary(
    tensor: Symbol | Variable, name: str | None = None, prefix: str | None = None, print_summary: bool = False
) -> Summary:
    """Has the first three images of a batch written; arguments as in `add_scalar_summary`.

    The brightest value becomes white and zero black; where there are negative values, zero becomes grey.

    Args:
        tensor: `[B, C, H, W]`, with 1, 3 or 4 channels.
        name: its tag.
        prefix: put before the tag.
        print_summary: log the first elements, too.

    Raises:
        ValueError: if the tensor is not a batch of images.

    Example:
        >>> with slim.Graph():
        ...     slim.summaries.add_image_summary(slim.placeholder((None, 3, 8, 8)), 'images').kind
        'image'
    """
    if len(tensor.shape) != 4 or tensor.shape[1] not in (1, 3, 4):
        raise ValueError(
            "add_image_summary: `tensor` must be [B, C, H, W] with 1, 3 or 4 channels. "
            f"Got shape {list(tensor.shape)}. From NHWC: `tensor.permute(0, 3, 1, 2)`."
        )
    return _add("image", tensor, name, prefix, print_summary)


def add_zero_fraction_summary(
    tensor: Symbol | Variable, name: str | None = None, prefix: str | None = None, print_summary: bool = False
) -> Summary:
    """Has the share of zeros among a tensor's elements written (dead ReLUs); arguments as in `add_scalar_summary`.

    Example:
        >>> with slim.Graph():
        ...     slim.summaries.add_zero_fraction_summary(slim.placeholder((None, 3)).relu(), 'relu').tag
        'relu/Fraction of Zero Values'
    """
    tag = f"{name or own_name(tensor)}/Fraction of Zero Values"
    return _add("scalar", tensor.eq(0).float().mean(), tag, prefix, print_summary)


def add_scalar_summaries(
    tensors: Sequence[Symbol | Variable], prefix: str | None = None, print_summary: bool = False
) -> list[Summary]:
    """`add_scalar_summary` of each of `tensors`, under their own names.

    Example:
        >>> with slim.Graph():
        ...     losses = [slim.placeholder((None,), name=name).sum() for name in 'ab']
        ...     [summary.tag for summary in slim.summaries.add_scalar_summaries(losses, 'losses')]
        ['losses/sum_1', 'losses/sum_2']
    """
    return [add_scalar_summary(tensor, prefix=prefix, print_summary=print_summary) for tensor in tensors]


def add_histogram_summaries(tensors: Sequence[Symbol | Variable], prefix: str | None = None) -> list[Summary]:
    """`add_histogram_summary` of each of `tensors`, under their own names.

    Example:
        >>> with slim.Graph():
        ...     _ = slim.fully_connected(slim.placeholder((None, 3)), 2, scope='fc')
        ...     [s.tag for s in slim.summaries.add_histogram_summaries(slim.get_model_variables(), 'variables')]
        ['variables/fc/weights', 'variables/fc/biases']
    """
    return [add_histogram_summary(tensor, prefix=prefix) for tensor in tensors]


def add_image_summaries(tensors: Sequence[Symbol | Variable], prefix: str | None = None) -> list[Summary]:
    """`add_image_summary` of each of `tensors`, under their own names.

    Example:
        >>> with slim.Graph():
        ...     [s.tag for s in slim.summaries.add_image_summaries([slim.placeholder((None, 1, 8, 8), name='digits')])]
        ['digits']
    """
    return [add_image_summary(tensor, prefix=prefix) for tensor in tensors]


def add_zero_fraction_summaries(tensors: Sequence[Symbol | Variable], prefix: str | None = None) -> list[Summary]:
    """`add_zero_fraction_summary` of each of `tensors`, under their own names.

    Example:
        >>> with slim.Graph():
        ...     net = slim.placeholder((None, 3), name='net')
        ...     [summary.tag for summary in slim.summaries.add_zero_fraction_summaries([net])]
        ['net/Fraction of Zero Values']
    """
    return [add_zero_fraction_summary(tensor, prefix=prefix) for tensor in tensors]


def compute_summaries(
    graph: Graph, inputs: Sequence[Symbol], batch: Sequence[Any]
) -> list[tuple[Summary, torch.Tensor]]:
    """The summaries that `graph` has collected and their values on one batch, by a forward pass of its own.

    The pass leaves no trace: it draws its random numbers aside, and batch statistics are not updated by it.

    Args:
        graph: the graph.
        inputs: the placeholders that `batch` fills.
        batch: a tensor for each of `inputs`.

    Raises:
        ValueError: if a summary needs a placeholder that is not among `inputs`.

    Example:
        >>> with slim.Graph() as graph:
        ...     x = slim.placeholder((None, 3))
        ...     _ = slim.summaries.add_scalar_summary(x.sum(), 'sum')
        >>> slim.summaries.compute_summaries(graph, [x], [torch.ones(2, 3)])[0][1]
        tensor(6.)
    """
    summaries = graph.get_collection(SUMMARIES)
    if not summaries:
        return []
    model = graph.module(tuple(summary.value for summary in summaries), inputs=inputs)
    with _no_trace(batch), torch.no_grad():
        buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
        values = torch.func.functional_call(model, buffers, tuple(batch))
    return list(zip(summaries, values, strict=True))


@contextlib.contextmanager
def _no_trace(batch: Sequence[Any]) -> Iterator[None]:
    devices = {value.device for value in batch if isinstance(value, torch.Tensor) and value.is_cuda}
    with torch.random.fork_rng(devices=list(devices)):
        yield


def _add(kind: str, tensor: Any, name: str | None, prefix: str | None, print_summary: bool = False) -> Summary:
    tag = name or own_name(tensor)
    summary = Summary(kind, f"{prefix}/{tag}" if prefix else tag, tensor, print_summary)
    graph = graph_of(tensor)
    if graph is None:
        raise TypeError(
            f"add_{kind}_summary: `tensor` must be a Symbol or Variable of a graph. Got {type(tensor).__name__}. "
            "In a loop of your own, write with `torch.utils.tensorboard.SummaryWriter`."
        )
    graph.add_to_collection(SUMMARIES, summary)
    return summary


def graph_of(tensor: Any) -> Graph | None:
    """The graph of a Symbol or Variable."""
    return tensor.graph if isinstance(tensor, Variable) else getattr(tensor, "owner", None)


def own_name(tensor: Any) -> str:
    """What TensorBoard calls a tensor: the name of a variable, the layer that gave a Symbol, or its own name."""
    if isinstance(tensor, Variable):
        return tensor.op.name
    return next(iter(getattr(tensor, "aliases", ())), str(getattr(tensor, "name", "tensor")))


def _displayable(image: torch.Tensor) -> torch.Tensor:
    """Values in 0..1, by TensorFlow's rule for float images."""
    largest = image.abs().max().clamp(min=torch.finfo(image.dtype).tiny)
    return image / largest if image.min() >= 0 else (image / largest + 1) / 2
