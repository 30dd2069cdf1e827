"""Pictures of single made-up objects, drawn on the fly, to pretrain a small net on before `sample_voc`."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from torchslim.datasets.drawing import SHAPES, TEXTURES, Icon, ObjectSpec, Part, draw_scene

__all__ = ["SampleShapes"]

_COVERED = "covered"  # stands for the class's texture in a form


class SampleShapes(torch.utils.data.Dataset[tuple[torch.Tensor, int]]):
    """One object a picture, its class being how its parts are put together and what they are covered with.

    A class is a *form* (two to four random parts) in one of the eight textures, so that neither the outline
    nor the texture alone tells it, and colour tells nothing. No form is an icon of `sample_voc`, but both are
    made of the same strokes, so what a net's convolutions learn here helps there.

    Picture `index` is a function of `seed` and `index` alone: nothing is stored, and workers agree.

    Args:
        length: how many pictures it pretends to have; drawing is quick enough for every epoch to have new
            ones.
        num_forms: the number of classes is eight times this.
        size: side of the pictures, in pixels.
        seed: which pictures; give validation pictures another one. The forms do not depend on it.

    Raises:
        ValueError: if `length` or `num_forms` is not positive.
        IndexError: for a picture out of range.

    Example:
        >>> shapes = SampleShapes(1000, num_forms=12, size=64)
        >>> image, label = shapes[3]
        >>> image.shape, image.dtype, shapes.num_classes
        (torch.Size([3, 64, 64]), torch.uint8, 96)
    """

    def __init__(self, length: int, *, num_forms: int = 12, size: int = 64, seed: int = 0):
        for name, value in (("length", length), ("num_forms", num_forms)):
            if value < 1:
                raise ValueError(f"SampleShapes: `{name}` must be positive. Got {value}.")
        self.length, self.num_forms, self.size, self.seed = length, num_forms, size, seed

    @property
    def num_classes(self) -> int:
        """Forms times textures."""
        return self.num_forms * len(TEXTURES)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        if not 0 <= index < self.length:
            raise IndexError(f"SampleShapes: `index` must be in 0..{self.length - 1}. Got {index}.")
        rng = np.random.default_rng((self.seed, index))
        label = int(rng.integers(self.num_classes))
        form, texture = divmod(label, len(TEXTURES))
        icon = tuple(
            part._replace(texture=TEXTURES[texture]) if part.texture == _COVERED else part for part in _form(form)
        )
        spec = ObjectSpec(icon, rng.uniform(0.28, 0.45) * self.size)
        image, _ = draw_scene(rng, self.size, self.size, [spec], clutter=3)
        return torch.from_numpy(image).permute(2, 0, 1), label


@lru_cache(maxsize=1024)
def _form(number: int) -> Icon:
    """Form `number`: one large part and one to three small ones; those marked `_COVERED` get the class's texture."""
    rng = np.random.default_rng((20, number))
    w, h, angle = rng.uniform(0.45, 0.9), rng.uniform(0.45, 0.9), rng.uniform(-30, 30)
    parts = [Part(SHAPES[number % 3], 0, 0, w, h, angle, texture=_COVERED)]
    for tone in ("light", "trim", "dark")[: rng.integers(1, 4)]:
        x, y = rng.uniform(-0.65, 0.65, 2)
        w, h = rng.uniform(0.12, 0.5, 2)
        shape = SHAPES[rng.integers(len(SHAPES))]
        angle, texture = rng.uniform(-90, 90), "plain" if rng.random() < 0.6 else _COVERED
        parts.append(Part(shape, x, y, w, h, angle, tone, texture))
    return tuple(parts)
