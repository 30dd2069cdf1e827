"""What is known of each network beside its code: its classes, its pictures, its published checkpoint, its size."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

_FILE = Path(__file__).with_name("cards.json")


@dataclass(frozen=True)
class Card:
    """The card of a network.

    Attributes:
        name: as `nets_factory` has it.
        paper: its arXiv number; nothing if there is none.
        num_classes: of the published checkpoint or, without one, of the data set that the network is for.
        background: whether the first class stands for none of the others.
        image_size: side of the square pictures that the published checkpoint is used on.
        channels: of the pictures.
        frames: of a video; None: the network takes pictures.
        preprocessing: what `get_preprocessing` calls that of the published checkpoint.
        labels: the file of class names in the folder `labels` beside the cards; nothing if there is none.
        archive: the published file; nothing if there is none.
        checkpoint: the checkpoint in it, by the name that `slim.restore` takes; nothing if it is not known.
        format: of the checkpoint: `TensorFlow V1` or `TensorFlow V2`.
        parameters: how many a training model with `num_classes` has, auxiliary classifiers included.
        multiply_adds: from one picture (video) of that size to its logits.

    Example:
        >>> from torchslim import nets
        >>> nets.card('mobilenet_v1_025').parameters
        470329
    """

    name: str
    paper: str
    num_classes: int
    background: bool
    image_size: int
    channels: int
    frames: int | None
    preprocessing: str
    labels: str
    archive: str
    checkpoint: str
    format: str
    parameters: int
    multiply_adds: int

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one picture `[C, H, W]`, or of one video `[C, D, H, W]`."""
        video = () if self.frames is None else (self.frames,)
        return (self.channels, *video, self.image_size, self.image_size)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The name of each class, or nothing where there is no label file.

        Example:
            >>> from torchslim import nets
            >>> nets.card('cifarnet').class_names[:3], nets.card('inception_v1').class_names[:2]
            (('airplane', 'automobile', 'bird'), ('background', 'tench'))
        """
        if not self.labels:
            return ()
        names = tuple((_FILE.parent / "labels" / self.labels).read_text(encoding="utf-8").splitlines())
        return names if self.background or len(names) == self.num_classes else names[1:]

    def __str__(self) -> str:
        space = "x".join(map(str, self.input_shape[1:]))
        classes = f"{self.num_classes}, the first of them background" if self.background else str(self.num_classes)
        checkpoint = f"{self.checkpoint or 'one'} ({self.format}) in {self.archive}" if self.archive else "none"
        rows = {
            "paper": f"arXiv:{self.paper}" if self.paper else "none",
            "classes": classes,
            "labels": self.labels or "none",
            "input": f"{space}, {self.channels} channel{'s' if self.channels > 1 else ''}",
            "preprocessing": self.preprocessing,
            "checkpoint": checkpoint,
            "parameters": f"{self.parameters:,}",
            "multiply-adds": f"{self.multiply_adds:,}",
        }
        return "\n".join([self.name, *(f"  {key:<14} {value}" for key, value in rows.items())])


@functools.cache
def _cards() -> dict[str, Card]:
    rows: dict[str, dict[str, Any]] = json.loads(_FILE.read_text(encoding="utf-8"))
    return {name: Card(name=name, **row) for name, row in rows.items()}


def card(name: str) -> Card:
    """The card of a network.

    Args:
        name: of the network, as in `nets_factory.networks_map`.

    Raises:
        ValueError: if there is no network of that name.

    Example:
        >>> print(card('vgg_16'))
        vgg_16
          paper          arXiv:1409.1556
          classes        1000
          labels         imagenet.txt
          input          224x224, 3 channels
          preprocessing  vgg_16
          checkpoint     vgg_16.ckpt (TensorFlow V1) in vgg_16_2016_08_28.tar.gz
          parameters     138,357,544
          multiply-adds  15,470,264,320
    """
    if name not in _cards():
        near = get_close_matches(str(name), _cards(), n=1)
        advice = f"Did you mean {near[0]!r}?" if near else f"There are {', '.join(_cards())}."
        raise ValueError(f"card: `name` must be the name of a network. Got {name!r}. {advice}")
    return _cards()[name]
