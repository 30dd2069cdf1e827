"""Label files: which name a label has, one `label:name` a line, as TF-Slim keeps them beside its records."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

__all__ = ["LABELS_FILENAME", "has_labels", "read_label_file", "write_label_file"]

LABELS_FILENAME = "labels.txt"


def write_label_file(
    labels_to_class_names: Mapping[int, str], dataset_dir: str | Path, filename: str = LABELS_FILENAME
) -> None:
    """Writes which name each label has.

    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_label_file({0: 'daisy', 1: 'dandelion'}, folder)
        >>> read_label_file(folder)
        {0: 'daisy', 1: 'dandelion'}
    """
    lines = [f"{label}:{name}\n" for label, name in labels_to_class_names.items()]
    (Path(dataset_dir) / filename).write_text("".join(lines))


def has_labels(dataset_dir: str | Path, filename: str = LABELS_FILENAME) -> bool:
    """Whether there is a label file."""
    return (Path(dataset_dir) / filename).is_file()


def read_label_file(dataset_dir: str | Path, filename: str = LABELS_FILENAME) -> dict[int, str]:
    """Reads which name each label has.

    Raises:
        ValueError: for a line that is not `label:name`; the message has file and line.
    """
    path = Path(dataset_dir) / filename
    names = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        label, colon, name = line.partition(":")
        if line.strip() and not (colon and label.strip().isdecimal()):
            raise ValueError(f"read_label_file: line {number} of {str(path)!r} must be `label:name`. Got {line!r}.")
        if line.strip():
            names[int(label)] = name
    return names
