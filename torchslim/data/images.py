"""Decoding pictures, whatever their bytes say that they are.

JPEG and GIF are decoded by torchvision, which takes seconds to import: only who has such a picture waits for it. PNG is
decoded by Pillow: torchvision's decoder ends the process where a PNG is damaged. BMP has no decoder in torchvision, and
TensorFlow's idea of a palette (none) is in no other.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from torchslim.data.items import DataError

__all__ = ["decode_image", "decode_mask"]

_PNG = b"\x89PNG\r\n\x1a\n"
_PNG_GREY, _PNG_PALETTE, _PNG_GREY_WITH_OPACITY = 0, 3, 4
_GIF_EXTENSION, _GIF_CONTROL, _GIF_END = 0x21, 0xF9, 0x3B
# Shares of red, green and blue in a grey value, of 2**15, as TensorFlow asks libpng for them.
_GREY = (9798, 19234, 3736)
# What a picture may claim to have: 512 MiB of colours, as for TensorFlow and Pillow, and no more pixels than a byte can
# stand for in any of the formats.
_MOST_PIXELS = (1 << 29) // 3
_MOST_PIXELS_A_BYTE = 4096


def decode_image(data: bytes, channels: int = 0) -> torch.Tensor:
    """Decodes a JPEG, PNG, GIF or BMP file, which its first bytes tell apart.

    Args:
        data: the file.
        channels: 1: grey, 3: red, green and blue, 4: with opacity, 0: as the file has it. JPEG and GIF have no opacity,
            and GIF has colours only.

    Returns:
        uint8 `[H, W, channels]`; of a GIF all pictures, `[N, H, W, 3]`. Of 16 bits the upper 8 are kept.

    Raises:
        DataError: if `data` are of another kind or damaged, or the file cannot have that many channels.

    TF-Slim: `tf.image.decode_image`. A JPEG is decoded with `dct_method='INTEGER_ACCURATE'`. Grey of colours of 16 bits
    may be 1 less. A GIF that ends inside of a picture is an error, not the pictures before that.

    Example:
        >>> picture = io.BytesIO()
        >>> Image.new('RGB', (4, 2), (255, 128, 0)).save(picture, 'PNG')
        >>> decode_image(picture.getvalue()).shape
        torch.Size([2, 4, 3])
    """
    if channels not in (0, 1, 3, 4):
        raise DataError(f"decode_image: `channels` must be 0, 1, 3 or 4. Got {channels}.")
    name, decode = _decoder_of(data)
    return _decoded(f"decode_image: a {name} file of {len(data)} bytes", decode, data, channels)


def decode_mask(data: bytes) -> torch.Tensor:
    """Decodes a PNG file whose pixels are numbers, not colours: with a palette, which does not count, or grey.

    Args:
        data: the file.

    Returns:
        uint8 `[H, W]`: the numbers.

    Raises:
        DataError: if `data` are of another kind or damaged.

    Example:
        >>> picture = io.BytesIO()
        >>> Image.new('L', (4, 2), 255).save(picture, 'PNG')
        >>> decode_mask(picture.getvalue())
        tensor([[255, 255, 255, 255],
                [255, 255, 255, 255]], dtype=torch.uint8)
    """
    if not data.startswith(_PNG):
        raise DataError(f"decode_mask: `data` must be a PNG file. Got {len(data)} bytes: {data[:8]!r}.")
    return _decoded(f"decode_mask: a PNG file of {len(data)} bytes", _png_numbers, data)


def _decoded(what: str, decode: Callable[..., torch.Tensor], *arguments: Any) -> torch.Tensor:
    """The picture, or an error of ours."""
    try:
        return decode(*arguments)
    except DataError as error:
        raise DataError(f"{what}: {error}.") from error
    except ImportError:
        raise  # torchvision is at fault, not the picture
    except Exception as error:
        # The decoders' own errors have many types; torchvision's begin with where they were raised.
        reason = str(error).rsplit("cpp:", 1)[-1].partition("\n")[0].split(", ", 1)[-1]
        raise DataError(f"{what} is damaged: {reason}") from error


def _decoder_of(data: bytes) -> tuple[str, Callable[[bytes, int], torch.Tensor]]:
    for start, name, decode in (
        (b"\xff\xd8\xff", "JPEG", _decode_jpeg),
        (_PNG, "PNG", _decode_png),
        (b"GIF8", "GIF", _decode_gif),
        (b"BM", "BMP", _decode_bmp),
    ):
        if data.startswith(start):
            return name, decode
    raise DataError(f"decode_image: `data` must be a JPEG, PNG, GIF or BMP file. Got {len(data)} bytes: {data[:8]!r}.")


def _tensor(data: bytes) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8)


def _decode_jpeg(data: bytes, channels: int) -> torch.Tensor:
    if channels == 4:
        raise DataError("it cannot have 4 channels")
    from torchvision.io import ImageReadMode, decode_jpeg

    mode = {0: ImageReadMode.UNCHANGED, 1: ImageReadMode.GRAY, 3: ImageReadMode.RGB}[channels]
    _check_size(data, *_jpeg_size(data))
    image = decode_jpeg(_tensor(data), mode)
    if len(image) == 4:  # printers' colours
        image = decode_jpeg(_tensor(data), ImageReadMode.RGB)
    return image.permute(1, 2, 0)


def _jpeg_size(data: bytes) -> tuple[int, int]:
    """Height and width in the first frame header."""
    place = data.find(b"\xff", 2)
    while 0 <= place < len(data) - 9:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, place + 5)
            return height, width
        has_length = marker not in (0x00, 0x01, 0xFF, *range(0xD0, 0xDA))
        skipped = 2 + int.from_bytes(data[place + 2 : place + 4], "big") if has_length else 1
        place = data.find(b"\xff", place + skipped)
    raise DataError("it is damaged: it has no size")


def _check_size(data: bytes, height: int, width: int) -> None:
    if height * width > min(_MOST_PIXELS, _MOST_PIXELS_A_BYTE * len(data)):
        raise DataError(f"it is damaged or far too large: {width} x {height} pixels")


class _GifFrame(NamedTuple):
    """A part of a GIF, as a GIF of its own whose colours are their numbers."""

    left: int
    top: int
    size: tuple[int, int]
    palette: np.ndarray
    transparent: int
    file: bytes


def _decode_gif(data: bytes, channels: int) -> torch.Tensor:
    """All pictures. As in TensorFlow, each is drawn over those before it, at first over black."""
    if channels not in (0, 3):
        raise DataError(f"it cannot have {channels} channels")
    from torchvision.io import decode_gif

    frames = list(_gif_frames(data))
    width, height = (max(sizes) for sizes in zip(*(frame.size for frame in frames), strict=True))
    _check_size(data, height * len(frames), width)
    canvas, pictures = np.zeros((height, width, 3), np.uint8), []
    for frame in frames:
        target = canvas[frame.top :, frame.left :][: frame.size[1], : frame.size[0]]
        numbers = decode_gif(_tensor(frame.file))[0].numpy()[: target.shape[0], : target.shape[1]]
        is_seen = numbers != frame.transparent
        target[is_seen] = frame.palette[numbers[is_seen]]
        pictures.append(canvas.copy())
    return torch.from_numpy(np.stack(pictures))


def _gif_frames(data: bytes) -> Iterator[_GifFrame]:
    place, common = _gif_palette(data, 13, data[10])
    transparent = -1
    while place < len(data) and (kind := data[place]) != _GIF_END:
        if kind == _GIF_EXTENSION:
            if data[place + 1] == _GIF_CONTROL:
                transparent = data[place + 6] if data[place + 3] & 1 else -1
            place = _behind_blocks(data, place + 2)
            continue
        left, top, width, height, flags = struct.unpack_from("<HHHHB", data, place + 1)
        start, palette = _gif_palette(data, place + 10, flags)
        place = _behind_blocks(data, start + 1)
        header = struct.pack("<6sHHBBB", data[:6], width, height, 0xF7, 0, 0) + bytes(np.arange(256).repeat(3).tolist())
        header += struct.pack("<BHHHHB", kind, 0, 0, width, height, flags & 0x40)
        file = header + data[start:place] + bytes([_GIF_END])
        yield _GifFrame(left, top, (width, height), palette if len(palette) else common, transparent, file)
        transparent = -1


def _gif_palette(data: bytes, place: int, flags: int) -> tuple[int, np.ndarray]:
    """The palette, if the flags say that there is one, and what is behind it."""
    end = place + (6 << (flags & 7) if flags & 0x80 else 0)
    return end, np.frombuffer(data[place:end], np.uint8).reshape(-1, 3)


def _behind_blocks(data: bytes, place: int) -> int:
    """Behind blocks that each begin with their length, and the empty one."""
    while data[place]:
        place += 1 + data[place]
    return place + 1


def _decode_png(data: bytes, channels: int) -> torch.Tensor:
    with _open_png(data) as file:
        image: Image.Image = file
        has_opacity = "transparency" in image.info
        if image.mode == "P":
            image = image.convert("RGBA" if has_opacity else "RGB")
        elif has_opacity and channels == 4:
            image = image.convert("RGBA")
        elif image.mode == "1":
            image = image.convert("L")
        pixels = np.array(image)
    bits, kind = data[24:26]
    if pixels.dtype != np.uint8:
        pixels = (pixels >> 8).astype(np.uint8)
    elif (bits, kind) == (16, _PNG_GREY_WITH_OPACITY):  # Pillow makes colours of that
        pixels = pixels[..., [0, 3]]
    # What is not transparent has the largest number of the file's own bits, in TensorFlow.
    opaque = min(255, (1 << bits) - 1)
    return torch.from_numpy(_with_channels(pixels.reshape(*pixels.shape[:2], -1), channels, opaque))


def _png_numbers(data: bytes) -> torch.Tensor:
    bits, kind = data[24:26]
    if kind != _PNG_PALETTE and (bits, kind) != (8, _PNG_GREY):
        raise DataError(f"its pixels must be numbers of 8 bits, and are of kind {kind} and {bits} bits")
    with _open_png(data) as file:
        return torch.from_numpy(np.array(file))


def _open_png(data: bytes) -> Image.Image:
    width, height = struct.unpack_from(">II", data, 16)
    _check_size(data, height, width)
    _check_png(data)
    file = Image.open(io.BytesIO(data), formats=["PNG"])
    file.load()
    return file


def _check_png(data: bytes) -> None:
    """Compares the chunks that matter with their checksums, which Pillow does not for all."""
    place = len(_PNG)
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        end = place + 8 + length
        if end + 4 > len(data):
            break
        is_critical = not data[place + 4] & 0x20
        if is_critical and zlib.crc32(data[place + 4 : end]) != int.from_bytes(data[end : end + 4], "big"):
            raise DataError(f"it is damaged: its chunk at byte {place} does not match its checksum")
        if data[place + 4 : place + 8] == b"IEND":
            return
        place = end + 4


def _decode_bmp(data: bytes, channels: int) -> torch.Tensor:
    start, _, width, height, _, bits, compression = struct.unpack_from("<IIiiHHI", data, 10)
    depth, rows = bits // 8, abs(height)
    is_known = depth in (1, 3, 4) and bits % 8 == 0 and compression in (0, 3)
    stride = -(-width * depth // 4) * 4
    if not is_known or width <= 0 or rows == 0 or start + stride * rows > len(data):
        raise DataError(f"it is damaged or of a rare kind: {width} x {height} pixels of {bits} bits")
    lines = np.frombuffer(data, np.uint8, stride * rows, start).reshape(rows, stride)
    pixels = lines[:, : width * depth].reshape(rows, width, depth)
    pixels = pixels[:: -1 if height > 0 else 1, :, [2, 1, 0, 3][:depth] if depth > 1 else [0]]
    return torch.from_numpy(_with_channels(np.ascontiguousarray(pixels), channels))


def _with_channels(pixels: np.ndarray, channels: int, opaque: int = 255) -> np.ndarray:
    """Pixels of 1, 2 (with opacity), 3 or 4 (with opacity) channels in as many as are wanted."""
    have = pixels.shape[2]
    if channels in (0, have):
        return pixels
    colors, opacity = (pixels[..., :-1], pixels[..., -1:]) if have in (2, 4) else (pixels, None)
    if channels == 1:
        return colors if have < 3 else (colors @ np.array(_GREY) >> 15).astype(np.uint8)[..., None]
    colors = np.repeat(colors, 3, 2) if have < 3 else colors
    if channels == 3:
        return np.ascontiguousarray(colors)
    return np.concatenate([colors, np.full_like(pixels[..., :1], opaque) if opacity is None else opacity], 2)
