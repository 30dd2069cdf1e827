"""Pictures as items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from torchslim.data.features import reshape
from torchslim.data.images import decode_image
from torchslim.data.item_handlers import Features, ItemHandler, dense
from torchslim.data.items import DataError

__all__ = ["Image"]


class Image(ItemHandler):
    """A picture `[H, W, channels]`, decoded; see `data.images.decode_image`.

    Args:
        image_key: name of the feature with the file; default: `image/encoded`.
        format_key: name of the feature with its format; default: `image/format`. Only `raw` and `RAW` count, the bytes
            of the pixels as they are; the rest the file tells better.
        shape: of the picture; needed for raw ones, which are `[values]` otherwise.
        channels: 1, 3, 4, or 0: as the file has them.
        dtype: of the picture. The values stay those of 8 bits; of raw ones it says how they are stored.
        repeated: whether the feature holds several files, of pictures of one size: `[N, H, W, channels]`.
        dct_method: '', 'INTEGER_FAST' or 'INTEGER_ACCURATE'. All are the accurate one here.

    Raises:
        ValueError: if `dct_method` is unknown.
        DataError: while decoding, if the picture is damaged, or of another size or kind.

    TF-Slim: the same; there '' and 'INTEGER_FAST' decode JPEG less exactly, by up to 12 of 255 levels.

    Example:
        >>> pixels = {'image/encoded': bytes(range(6)), 'image/format': b'raw'}
        >>> Image(shape=[1, 2, 3]).tensors_to_item(pixels)
        tensor([[[0, 1, 2],
                 [3, 4, 5]]], dtype=torch.uint8)
    """

    def __init__(
        self,
        image_key: str | None = None,
        format_key: str | None = None,
        shape: Sequence[int] | None = None,
        channels: int = 3,
        dtype: torch.dtype = torch.uint8,
        repeated: bool = False,
        dct_method: str = "",
    ) -> None:
        methods = ("", "INTEGER_FAST", "INTEGER_ACCURATE")
        if dct_method not in methods:
            raise ValueError(f"Image: `dct_method` must be one of {methods}. Got {dct_method!r}.")
        self._image_key, self._format_key = image_key or "image/encoded", format_key or "image/format"
        self._shape, self._channels, self._dtype, self._repeated = shape, channels, dtype, repeated
        super().__init__([self._image_key, self._format_key])

    def tensors_to_item(self, keys_to_tensors: Features) -> torch.Tensor:
        """The picture."""
        encoded = dense(keys_to_tensors[self._image_key])
        is_raw = dense(keys_to_tensors[self._format_key]) in (b"raw", b"RAW")
        if not self._repeated:
            if not isinstance(encoded, bytes):
                raise DataError(
                    f"Image: feature {self._image_key!r} must be one string. Got {getattr(encoded, 'shape', encoded)}."
                )
            return self._decode(encoded, is_raw)
        images = [self._decode(data, is_raw) for data in np.ravel(np.asarray(encoded, object))]
        shapes = {tuple(image.shape) for image in images}
        if len(shapes) > 1:
            raise DataError(f"Image: pictures of {self._image_key!r} must have one size. Got {sorted(shapes)}.")
        return (
            torch.stack(images)
            if images
            else torch.empty(0, *(self._shape or (0, 0, self._channels)), dtype=self._dtype)
        )

    def _decode(self, data: bytes, is_raw: bool) -> torch.Tensor:
        if not is_raw:
            image = decode_image(data, self._channels).to(self._dtype)
        elif len(data) % self._dtype.itemsize:
            raise DataError(f"Image: {self._image_key!r} must hold values of {self._dtype}. Got {len(data)} bytes.")
        else:
            image = torch.frombuffer(bytearray(data), dtype=self._dtype) if data else torch.empty(0, dtype=self._dtype)
        return image if self._shape is None else reshape(image, self._shape, f"Image: {self._image_key!r}")
