"""Writing pictures and what they show into records, in TF-Slim's schema."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torchslim.data import DataError, RecordWriter, decode_image, make_example
from torchslim.datasets.dataset_utils import write_label_file
from torchslim.datasets.image_folder import ImageFolder
from torchslim.datasets.voc import CLASS_NAMES, PascalVOC

__all__ = ["convert_image_folder", "convert_voc", "write_shards"]


def write_shards(
    examples: Iterable[Any], count: int, pattern: str | Path, shards: int = 1, compression: str | None = None
) -> list[Path]:
    """Writes examples into several files, which appear when all are whole.

    Args:
        examples: messages with `SerializeToString()`.
        count: how many there are.
        pattern: path of the files without `_00000-of-00001.tfrecord`, which is added.
        shards: number of files; each gets as many examples in a row, but for one.
        compression: 'GZIP', 'ZLIB' or None.

    Returns:
        The paths of the files.

    Raises:
        ValueError: if there are fewer examples than files.
        OSError: if they cannot be written; none is left then.

    Example:
        >>> import tempfile
        >>> examples = [make_example({'number': number}) for number in range(5)]
        >>> [path.name for path in write_shards(examples, 5, Path(tempfile.mkdtemp(), 'numbers_train'), shards=2)]
        ['numbers_train_00000-of-00002.tfrecord', 'numbers_train_00001-of-00002.tfrecord']
    """
    if not 1 <= shards <= count:
        raise ValueError(f"write_shards: `shards` must be from 1 to the number of examples, {count}. Got {shards}.")
    paths = [Path(f"{pattern}_{shard:05d}-of-{shards:05d}.tfrecord") for shard in range(shards)]
    with contextlib.ExitStack() as files:
        writers = [files.enter_context(RecordWriter(path, compression)) for path in paths]
        for number, example in enumerate(examples):
            writers[number * shards // count].write(example.SerializeToString())
    return paths


def convert_image_folder(
    root: str | Path,
    output: str | Path,
    split: str | None = None,
    *,
    name: str = "images",
    shards: int = 1,
    compression: str | None = None,
    seed: int = 0,
) -> list[Path]:
    """Writes folders of pictures as records, as TF-Slim's `convert_flowers` does, and their names as `labels.txt`.

    The files of the pictures go into the records as they are. Features: `image/encoded`, `image/format`,
    `image/height`, `image/width`, `image/class/label`, `image/class/text`, `image/filename`.

    Args:
        root: as for `ImageFolder`.
        output: folder to write into: `NAME_SPLIT_00000-of-00001.tfrecord`, ...
        split: as for `ImageFolder`; 'train' in the names of the files, if None.
        name: of the data set.
        shards: number of files.
        compression: 'GZIP', 'ZLIB' or None.
        seed: of the order, in which classes are mixed.

    Returns:
        The paths of the files.

    Raises:
        DataError: if a picture cannot be decoded; the message names it, and nothing is written.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> root = Path(tempfile.mkdtemp())
        >>> for folder in ('cat', 'dog'):
        ...     (root / folder).mkdir()
        ...     Image.new('RGB', (40, 30)).save(root / folder / '1.png')
        >>> [path.name for path in convert_image_folder(root, root, name='pets')]
        ['pets_train_00000-of-00001.tfrecord']
    """
    pictures = ImageFolder(root, split)
    samples = random.Random(seed).sample(pictures.samples, len(pictures.samples))
    examples = (
        make_example({**_image(path), "image/class/label": label, "image/class/text": pictures.class_names[label]})
        for path, label in samples
    )
    Path(output).mkdir(parents=True, exist_ok=True)
    paths = write_shards(examples, len(samples), Path(output, f"{name}_{split or 'train'}"), shards, compression)
    write_label_file(dict(enumerate(pictures.class_names)), output)
    return paths


def convert_voc(
    root: str | Path,
    output: str | Path,
    image_set: str = "train",
    year: str | int = "2012",
    *,
    name: str = "pascal_voc",
    shards: int = 1,
    compression: str | None = None,
) -> list[Path]:
    """Writes a list of Pascal VOC as records, in the schema of TensorFlow's detectors.

    The JPEG files go into the records as they are. Features, beside `image/encoded`, `image/format`, `image/height`,
    `image/width`, `image/channels`, `image/shape` and `image/filename`, one value for each object:
    `image/object/bbox/{ymin,xmin,ymax,xmax}` (parts of the height and the width, from 0 to 1),
    `image/object/class/label` (1 to 20; 0 is the background), `image/object/class/text`, `image/object/difficult`,
    `image/object/truncated`.

    Args:
        root: as for `PascalVOC`.
        output: folder to write into: `pascal_voc_train_00000-of-00001.tfrecord`, ...
        image_set: as for `PascalVOC`.
        year: as for `PascalVOC`.
        name: of the data set.
        shards: number of files.
        compression: 'GZIP', 'ZLIB' or None.

    Returns:
        The paths of the files.

    Raises:
        DataError: if a picture or its annotation cannot be read; the message names it, and nothing is written.

    Example:
        >>> import tempfile
        >>> from torchslim.datasets import sample_voc
        >>> root = sample_voc.create(tempfile.mkdtemp(), num_images=6)
        >>> [path.name for path in convert_voc(root, root, shards=2)]
        ['pascal_voc_train_00000-of-00002.tfrecord', 'pascal_voc_train_00001-of-00002.tfrecord']
    """
    voc = PascalVOC(root, image_set, year)
    Path(output).mkdir(parents=True, exist_ok=True)
    examples = (_voc_example(voc, index) for index in range(len(voc)))
    return write_shards(examples, len(voc), Path(output, f"{name}_{image_set}"), shards, compression)


def _voc_example(voc: PascalVOC, index: int) -> Any:
    features, objects = _image(voc.images[index]), voc.objects(index)
    height, width, channels = features["image/shape"]
    # VOC counts pixels from 1, and both ends belong to a box.
    sides = {
        "xmin": [(one.box[0] - 1) / width for one in objects],
        "ymin": [(one.box[1] - 1) / height for one in objects],
        "xmax": [one.box[2] / width for one in objects],
        "ymax": [one.box[3] / height for one in objects],
    }
    return make_example(
        features
        | {f"image/object/bbox/{side}": values for side, values in sides.items()}
        | {
            "image/channels": channels,
            "image/object/class/label": [1 + CLASS_NAMES.index(one.name) for one in objects],
            "image/object/class/text": [one.name for one in objects],
            "image/object/difficult": [one.difficult for one in objects],
            "image/object/truncated": [one.truncated for one in objects],
        }
    )


def _image(path: str | Path) -> dict[str, Any]:
    """The features of a picture, which is decoded once to see that it can be."""
    encoded = Path(path).read_bytes()
    try:
        shape = list(decode_image(encoded, 3).shape[-3:])
    except DataError as error:
        raise DataError(f"convert: {str(path)!r} must be a picture. {error}") from error
    return {
        "image/encoded": encoded,
        "image/format": "png" if encoded.startswith(b"\x89PNG") else "jpeg",
        "image/height": shape[0],
        "image/width": shape[1],
        "image/shape": shape,
        "image/filename": Path(path).name,
    }
