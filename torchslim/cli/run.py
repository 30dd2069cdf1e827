"""A run: a net, its data and how they are prepared, remembered in the run's directory."""

from __future__ import annotations

import argparse
import dataclasses
import functools
import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torchvision.transforms.v2 import functional as F

from torchslim.cli.nets import find_net
from torchslim.datasets import PascalVOC, sample_voc
from torchslim.nets.cards import card
from torchslim.nets.nets_factory import networks_map
from torchslim.preprocessing import get_preprocessing

OPTIONS_FILE = "options.json"
# Where a picture is enlarged in training, then cropped, it is by this factor at most: 64% of it stay in sight.
LARGEST = 1.25


@dataclasses.dataclass(frozen=True)
class Run:
    """What `finetune` is given and `evaluate` and `predict` need again.

    Attributes:
        net: what `find_net` takes.
        image_size: side of the square pictures that the net gets, in pixels.
        preprocessing: what `get_preprocessing` takes.
        dataset: `sample_voc` or `pascal_voc`.
        data_dir: the data set's folder.
        year: which `VOC<year>` of it.
    """

    net: str
    image_size: int
    preprocessing: str
    dataset: str
    data_dir: str
    year: str

    @classmethod
    def start(cls, args: argparse.Namespace) -> Run:
        """The run that the options of `finetune` describe.

        Raises:
            ValueError: if an option that others call for is missing.
        """
        data_dir = args.data_dir
        if data_dir is None and args.dataset != "sample_voc":
            raise ValueError(f"finetune: `--dataset {args.dataset}` needs `--data-dir`. Got none.")
        net = find_net(args.net)
        if args.net in networks_map:
            size, preprocessing = card(args.net).image_size, card(args.net).preprocessing
        else:
            size, preprocessing = getattr(net, "default_image_size", 224), "vgg"
        of_torchvision = (args.names or "").startswith("torchvision/")
        return cls(
            net=_absolute(args.net),
            image_size=args.image_size or size,
            preprocessing=args.preprocessing or ("torchvision" if of_torchvision else preprocessing),
            dataset=args.dataset,
            data_dir=str(Path(data_dir or "data/sample_voc").resolve()),
            year=args.year,
        )

    @classmethod
    def load(cls, args: argparse.Namespace) -> Run:
        """The run in `--logdir`, with what the command line says instead.

        Raises:
            FileNotFoundError: if no run was started there.
        """
        path = args.logdir / OPTIONS_FILE
        if not path.is_file():
            raise FileNotFoundError(
                f"{args.command}: `--logdir` must be that of `torchslim finetune`. Got {str(args.logdir)!r}, "
                f"which has no {OPTIONS_FILE}."
            )
        options = json.loads(path.read_text())
        given = {field.name: getattr(args, field.name) for field in dataclasses.fields(cls)}
        run = cls(**{**options, **{name: value for name, value in given.items() if value is not None}})
        return dataclasses.replace(run, net=_absolute(run.net), data_dir=str(Path(run.data_dir).resolve()))

    def save(self, logdir: Path) -> None:
        """Remembers the run in its directory."""
        logdir.mkdir(parents=True, exist_ok=True)
        (logdir / OPTIONS_FILE).write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n")

    @property
    def rule(self) -> Literal["2007", "2010"]:
        """How the challenge of that year computed average precision."""
        return "2007" if int(self.year) < 2010 else "2010"

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Of what the net gets, `[C, S, S]`."""
        channels = card(self.net).channels if self.net in networks_map else 3
        return channels, self.image_size, self.image_size

    def data(self, split: str, *, is_training: bool = False) -> PascalVOC:
        """The pictures of a split, `(image [C, S, S], labels [20])`; for evaluation also `difficult [20]`."""
        if self.dataset == "sample_voc":
            sample_voc.create(self.data_dir)
        prepare = get_preprocessing(self.preprocessing, is_training)
        channels, size, _ = self.picture_shape
        whole = {
            "resize_side_min": size,
            "resize_side_max": round(size * LARGEST),
            "crop_image": False,
            "use_grayscale": channels == 1,
        }
        options = {name: whole[name] for name in inspect.signature(prepare).parameters if name in whole}
        transform = functools.partial(_prepare, prepare=functools.partial(prepare, **options), size=size)
        return PascalVOC(self.data_dir, split, self.year, transform=transform, with_difficult=not is_training)

    def classifiers(self, images: Any, num_classes: int = PascalVOC.num_classes) -> list[Any]:
        """Builds the net in the current graph: its logits `[N, K]`, and those of its auxiliary classifier if any."""
        outputs = find_net(self.net)(images, num_classes=num_classes, is_training=None)
        logits, end_points = outputs if isinstance(outputs, tuple) else (outputs, {})
        return [logits, end_points["AuxLogits"]] if "AuxLogits" in end_points else [logits]

    def logits(self, images: Any) -> Any:
        """Builds the net in the current graph: `[N, 20]`."""
        return self.classifiers(images)[0]


def _prepare(image: torch.Tensor, prepare: Callable[..., torch.Tensor], size: int) -> torch.Tensor:
    """Prepares a picture, squared first: of several objects, cropping it to a square would lose some."""
    return prepare(F.resize(image, [size, size], antialias=True), size, size)


def _absolute(net: str) -> str:
    """The name of a net that means the same in any working directory."""
    path, colon, function = net.rpartition(":")
    return f"{Path(path).resolve()}:{function}" if colon else net
