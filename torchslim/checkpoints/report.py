"""What a restore did, in lists: nothing is left to guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

_SHOWN = 8


@dataclass(frozen=True)
class Mismatch:
    """A variable whose tensor in the checkpoint has another shape.

    Attributes:
        name: the variable.
        source: its name in the checkpoint.
        in_file: the shape there, in the checkpoint's layout.
        in_model: the shape that the model needs, in the same layout.
    """

    name: str
    source: str
    in_file: tuple[int, ...]
    in_model: tuple[int, ...]

    def __str__(self) -> str:
        called = "" if self.source == self.name else f" ({self.source!r} in the checkpoint)"
        return f"{self.name}{called}: {list(self.in_file)} in the checkpoint, {list(self.in_model)} in the model"


@dataclass
class RestoreReport:
    """What `slim.restore` did. Variables go by their slim names, tensors of the checkpoint by theirs.

    Attributes:
        source: the checkpoint.
        restored: variables that got their value from it.
        missing: variables that are not in it.
        mismatched: variables that have another shape in it.
        excluded: variables that `include` and `exclude` left out.
        initialized: variables that had no memory yet and were filled by their initializers instead.
        unused: tensors of the checkpoint that no variable asked for.
        averaged: restored variables that got their moving average instead of their last value (`prefer_ema`).
        averages: moving averages in the checkpoint that were not taken.
        optimizer_slots: tensors of the checkpoint that belong to TensorFlow's optimizers.
        converted: variable -> what happened to its type: `'float16 -> float32'`.
        patterns: pattern of `include` or `exclude` -> the variables that it chose.

    Example:
        >>> from torchslim.checkpoints import restore
        >>> model = slim.build(lambda x: slim.fully_connected(x, 2, scope='fc'), torch.empty(1, 3))
        >>> print(restore(model, {'fc.weight': torch.ones(2, 3), 'fc.bias': torch.ones(2), 'step': 7}))
        restored 2 of 2 variables from the given mapping
          unused in the checkpoint (1): step
    """

    source: str
    restored: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    mismatched: list[Mismatch] = field(default_factory=list)
    excluded: list[str] = field(default_factory=list)
    initialized: list[str] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)
    averaged: list[str] = field(default_factory=list)
    averages: list[str] = field(default_factory=list)
    optimizer_slots: list[str] = field(default_factory=list)
    converted: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, list[str]] = field(default_factory=dict)

    def __str__(self) -> str:
        total = len(self.restored) + len(self.missing) + len(self.mismatched) + len(self.excluded)
        lines = [f"restored {len(self.restored)} of {total} variables from {self.source}"]
        lines += [f"  {pattern} chose {len(names)}: {some(names)}" for pattern, names in self.patterns.items()]
        for title, items in (
            ("from their moving averages", self.averaged),
            ("not in the checkpoint", self.missing),
            ("of another shape", [str(mismatch) for mismatch in self.mismatched]),
            ("left out", self.excluded),
            ("filled by their initializers", self.initialized),
            ("converted", [f"{name} {change}" for name, change in self.converted.items()]),
            ("unused in the checkpoint", self.unused),
        ):
            if items:
                lines.append(f"  {title} ({len(items)}): {some(items)}")
        if self.averages:
            lines.append(f"  moving averages, not taken ({len(self.averages)}): prefer_ema=True restores them")
        if self.optimizer_slots:
            lines.append(f"  optimizer slots ({len(self.optimizer_slots)})")
        return "\n".join(lines)


def some(items: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f", and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return ", ".join(items[:_SHOWN]) + more
