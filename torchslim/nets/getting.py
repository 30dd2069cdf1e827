"""`slim.nets.get`: a network by its name, with its weights and its preprocessing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from torchslim.checkpoints import restore
from torchslim.checkpoints.names import Names
from torchslim.graph import InputSpec, Model, build
from torchslim.nets.cards import Card, card
from torchslim.nets.nets_factory import get_network_fn
from torchslim.preprocessing import get_preprocessing


def get(
    name: str,
    num_classes: int | None = None,
    pretrained: Any = None,
    drop_background: bool = False,
    *,
    exclude: str | Sequence[str] | None = None,
    names: Names = None,
    image_size: int | None = None,
    is_training: bool | None = None,
    weight_decay: float = 0.0,
    **kwargs: Any,
) -> Model:
    """Builds a network under its own defaults, restores it, and says how pictures are prepared for it.

    Args:
        name: of the network, as in `nets_factory.networks_map`.
        num_classes: how many; None: as many as the published checkpoint has (see `card`); 0: no last layer.
        pretrained: a checkpoint: TensorFlow's, .safetensors, .pt or .pth, a folder, or a mapping; what `slim.restore`
            takes. None: the network's own initial values.
        drop_background: leave out the first class of the checkpoint, ImageNet's background: 1001 classes become 1000.
        exclude: scopes that keep their initial values, such as that of the logits for other classes.
        names: how variables are called in the checkpoint, if differently, as in `slim.restore`:
            `'torchvision/vgg16'`.
        image_size: side of the square pictures; None: that of the card.
        is_training: of dropout and batch normalization; None or True: as the module's mode says, False: inference,
            for good.
        weight_decay: scale of the L2 regularization of the weights.
        kwargs: more arguments of the network, such as `depth_multiplier`.

    Returns:
        The module, in training mode. Its `preprocess` makes of a picture `[C, H, W]` of any size, RGB in 0..255, what
        the network takes (of a video `[C, D, H, W]` for the networks for video); with weights that torchvision has
        trained, what those take.

    Raises:
        ValueError: if there is no network of that name, or the checkpoint does not fit it; the message says what would
            help.

    TF-Slim: where the checkpoint has moving averages of all weights (MobileNets do), these are restored: they are what
        the published accuracies are of.

    Example:
        >>> import torch
        >>> from torchslim import nets
        >>> model = nets.get('mobilenet_v1_025', num_classes=20, image_size=128)
        >>> picture = torch.randint(0, 256, (3, 300, 400), dtype=torch.uint8)
        >>> model.eval()(model.preprocess(picture)[None]).shape
        torch.Size([1, 20])
    """
    known = card(name)
    size = image_size or known.image_size
    classes = known.num_classes if num_classes is None else num_classes
    network = get_network_fn(name, classes, weight_decay, is_training)
    images = InputSpec((None, *known.input_shape[:-2], size, size))
    if pretrained is None:
        model = build(network, images, **kwargs)
    else:
        with torch.device("meta"):  # nothing is initialised only to be overwritten
            model = build(network, images, **kwargs)
        restore(model, pretrained, exclude=exclude, names=names, prefer_ema="auto", drop_background=drop_background)
    of_torchvision = isinstance(names, str) and names.startswith("torchvision/")
    model.preprocess = _preprocessing(known, "torchvision" if of_torchvision else known.preprocessing, size)
    return model


def _preprocessing(known: Card, name: str, size: int) -> Callable[..., torch.Tensor]:
    prepare = functools.partial(get_preprocessing(name), output_height=size, output_width=size)
    return prepare if known.frames is None else functools.partial(_prepare_frames, prepare=prepare)


def _prepare_frames(video: torch.Tensor, prepare: Callable[..., torch.Tensor]) -> torch.Tensor:
    """Prepares each picture of a video `[C, D, H, W]`."""
    return torch.stack([prepare(frame) for frame in video.unbind(1)], 1)
