"""Decoders and handlers against what TensorFlow and TF-Slim made of the same records, and by hand."""

from __future__ import annotations

import base64
import io
import json
import resource
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from torchslim.data import DataError, RecordReader, decode_image, make_example, make_sequence_example
from torchslim.data import tfexample_decoder as decoding
from torchslim.data.tfexample_decoder import (
    FixedLenFeature,
    FixedLenSequenceFeature,
    LookupTable,
    TFExampleDecoder,
    TFSequenceExampleDecoder,
    VarLenFeature,
)

GOLDENS = Path(__file__).parents[1] / "goldens" / "tfrecords"
DTYPES = {"int64": torch.int64, "float32": torch.float32, "string": bytes}


def sum_ab(features: Any) -> torch.Tensor:
    return features["a"].values + features["b"].values


def spec_of(given: dict[str, Any]) -> Any:
    dtype = DTYPES[given["dtype"]]
    if given["type"] == "VarLen":
        return VarLenFeature(dtype)
    if given["type"] == "FixedLenSequence":
        return FixedLenSequenceFeature(given["shape"], dtype, given.get("allow_missing", False))
    return FixedLenFeature(given["shape"], dtype, given.get("default"))


def handler_of(given: dict[str, Any]) -> Any:
    arguments = {key: value for key, value in given.items() if key != "handler"}
    if given["handler"] == "LookupTensor":
        arguments["table"] = LookupTable(given["table"]["map"], given["table"]["default"])
    if given["handler"] == "BackupHandler":
        arguments = {"handler": handler_of(given["primary"]), "backup": handler_of(given["backup"])}
    if given["handler"] == "ItemHandlerCallback":
        arguments["func"] = sum_ab
    return getattr(decoding, given["handler"])(**arguments)


def decoder_of(expected: dict[str, Any]) -> Any:
    handlers = {item: handler_of(given) for item, given in expected["items_to_handlers"].items()}

    def specs(name: str) -> dict[str, Any]:
        return {key: spec_of(given) for key, given in expected[name].items()}

    if expected["decoder"] == "TFExampleDecoder":
        return TFExampleDecoder(specs("keys_to_features"), handlers)
    return TFSequenceExampleDecoder(specs("keys_to_context_features"), specs("keys_to_sequence_features"), handlers)


def assert_as_expected(value: Any, key: str, arrays: Any, strings: dict[str, Any]) -> None:
    if key in strings:
        wanted = [base64.b64decode(text) for text in strings[key]["base64"]]
        assert list(np.shape(value)) == strings[key]["shape"]
        assert np.ravel(np.asarray(value, object)).tolist() == wanted
    elif isinstance(value, decoding.SparseTensorValue):
        for part in ("indices", "values", "dense_shape"):
            assert_same(getattr(value, part), arrays[f"{key}/{part}"])
    else:
        assert_same(value, arrays[key])


def assert_same(value: torch.Tensor, wanted: np.ndarray) -> None:
    assert (value.numpy().dtype, value.shape) == (wanted.dtype, wanted.shape)
    np.testing.assert_array_equal(value.numpy(), wanted)


FOLDERS = sorted(path.parent.name for path in GOLDENS.glob("*/expected.npz"))


@pytest.mark.parametrize("name", FOLDERS)
def test_items_are_those_of_tf_slim(name: str) -> None:
    expected = json.loads((GOLDENS / name / "expected.json").read_text())
    arrays = np.load(GOLDENS / name / "expected.npz")
    decoder, compared = decoder_of(expected), 0
    assert decoder.list_items() == expected["items"]
    for number, record in enumerate(RecordReader(GOLDENS / name / expected["file"])):
        for item in expected["items"]:
            key = f"r{number}/{item}"
            if "accurate" in item or key in ALIKE_ONLY.get(name, ()) or is_fast_jpeg(expected, item):
                continue
            assert_as_expected(decoder.decode(record, [item])[0], key, arrays, expected["string_items"])
            compared += 1
    assert compared >= 2


# What a reader may do otherwise than TensorFlow, as the note in the file says: TensorFlow reads only a part of a mixed
# list, and refuses fields that it does not know.
ALIKE_ONLY = {"proto_encodings": {"r1/f_var", "r4/i_var", "r4/f_var", "r4/s_var"}}


def is_fast_jpeg(expected: dict[str, Any], item: str) -> bool:
    return "JPEG" in expected["note"] and expected["items_to_handlers"][item]["handler"] == "Image"


def test_jpeg_is_tensorflows_accurate_one() -> None:
    expected = json.loads((GOLDENS / "classification_jpeg" / "expected.json").read_text())
    arrays, decoder = np.load(GOLDENS / "classification_jpeg" / "expected.npz"), decoder_of(expected)
    for number, record in enumerate(RecordReader(GOLDENS / "classification_jpeg" / "data.tfrecord")):
        for item in ("image", "image_accurate", "image_fast"):
            assert_same(decoder.decode(record, [item])[0], arrays[f"r{number}/image_accurate"])
        gray = decoder.decode(record, ["gray"])[0].int().numpy()
        assert np.abs(gray - arrays[f"r{number}/gray"]).max() <= 12


def test_mixed_and_unknown_fields_are_read_as_protobuf_has_it() -> None:
    expected = json.loads((GOLDENS / "proto_encodings" / "expected.json").read_text())
    records, decoder = list(RecordReader(GOLDENS / "proto_encodings" / "data.tfrecord")), decoder_of(expected)
    assert decoder.decode(records[1], ["f_var"])[0].tolist() == [3, 4]
    assert [len(value) for value in decoder.decode(records[4])] == [2, 0, 0]


def decode_one(handler: Any, features: dict[str, Any], **specs: Any) -> Any:
    given = {key: VarLenFeature(torch.int64) for key in features} | specs
    return TFExampleDecoder(given, {"item": handler}).decode(make_example(features).SerializeToString())[0]


def sequence_of(handler: Any, sequences: dict[str, Any]) -> Any:
    specs = {key: VarLenFeature(torch.float32) for key in sequences}
    message = make_sequence_example({}, {key: [np.array(step) for step in steps] for key, steps in sequences.items()})
    return TFSequenceExampleDecoder({}, specs, {"item": handler}).decode(message.SerializeToString())[0]


def test_all_thirteen_names_are_there() -> None:
    names = "ItemHandler ItemHandlerCallback BoundingBox Tensor LookupTensor BackupHandler SparseTensor Image "
    names += "BoundingBoxSequence NumBoxesSequence KeypointsSequence TFExampleDecoder TFSequenceExampleDecoder"
    assert names.count(" ") == 12
    assert set(names.split(" ")) <= set(decoding.__all__)


def test_items_come_in_the_order_asked_for() -> None:
    handlers = {name: decoding.Tensor(name) for name in "ab"}
    decoder = TFExampleDecoder({name: FixedLenFeature([], torch.int64) for name in "ab"}, handlers)
    record = make_example({"a": 1, "b": 2}).SerializeToString()
    assert decoder.decode(record, ["b", "a", "b"]) == [2, 1, 2]
    assert decoder.decode(record) == [1, 2]


def test_keypoints() -> None:
    points = {"p/y": [[1.0, 2.0], []], "p/x": [[3.0, 4.0], []]}
    handler = decoding.KeypointsSequence(prefix="p/", default_value=-7.0)
    assert sequence_of(handler, points).tolist() == [[[1, 3], [2, 4]], [[-7, -7], [-7, -7]]]


def test_boxes_without_filling_up_are_sparse() -> None:
    sides = {key: [[], [float(number)]] for number, key in enumerate(["ymin", "xmin", "ymax", "xmax"])}
    boxes = sequence_of(decoding.BoundingBoxSequence(return_dense=False), sides)
    assert boxes.indices.tolist() == [[1, 0, side] for side in range(4)]
    assert (boxes.values.tolist(), boxes.dense_shape.tolist()) == ([0, 1, 2, 3], [2, 1, 4])


def test_sparse_places_may_come_in_any_order() -> None:
    handler = decoding.SparseTensor("i", "v", shape=[4], densify=True, default_value=9)
    assert decode_one(handler, {"i": [3, 0], "v": [5, 6]}).tolist() == [6, 9, 9, 5]


def test_sizes_of_a_shape_may_be_fractions_as_for_tensorflow() -> None:
    item = decode_one(decoding.Tensor("a", "s"), {"a": [1, 2], "s": [1.0, 2.0]}, s=VarLenFeature(torch.float32))
    assert item.tolist() == [[1, 2]]


def test_a_box_without_a_dimension_for_boxes() -> None:
    sides = {key: FixedLenFeature([], torch.int64) for key in "abcd"}
    assert decode_one(decoding.BoundingBox(list("abcd")), {"a": 1, "b": 2, "c": 3, "d": 4}, **sides).tolist() == [
        1,
        2,
        3,
        4,
    ]


@pytest.mark.parametrize(("names", "wanted"), [([], []), (["cow"], [-1.0]), (["cat"], [1.5])])
def test_a_table_has_one_dtype(names: list[str], wanted: list[float]) -> None:
    handler = decoding.LookupTensor("name", LookupTable({"cat": 1.5}, -1))
    item = decode_one(handler, {"name": names}, name=VarLenFeature(bytes))
    assert (item.dtype, item.tolist()) == (torch.float32, wanted)


def test_strings_can_be_looked_up_for_strings() -> None:
    table = LookupTable({"cat": "animal"}, "thing")
    item = decode_one(decoding.LookupTensor("name", table), {"name": ["cat", "car"]}, name=VarLenFeature(bytes))
    assert item.tolist() == [b"animal", b"thing"]
    assert table.lookup(b"cat") == b"animal"


@pytest.mark.parametrize("name", ["raw", "RAW"])
def test_raw_pictures_of_wider_numbers(name: str) -> None:
    pixels = np.arange(6, dtype="<f4")
    features = {"image/encoded": pixels.tobytes(), "image/format": name}
    specs = {key: FixedLenFeature([], bytes) for key in features}
    image = decode_one(decoding.Image(shape=[2, -1], dtype=torch.float32), features, **specs)
    np.testing.assert_array_equal(image, pixels.reshape(2, 3))


def test_no_pictures_are_an_empty_tensor() -> None:
    specs = {"image/encoded": VarLenFeature(bytes), "image/format": FixedLenFeature([], bytes, "png")}
    assert decode_one(decoding.Image(repeated=True, channels=1), {}, **specs).shape == (0, 0, 0, 1)


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None) -> bytes:
    file = io.BytesIO()
    image = Pillow.fromarray(pixels)
    (image.convert(mode) if mode else image).save(file, kind)
    return file.getvalue()


NOISE = np.random.default_rng(0).integers(0, 256, (5, 7, 4), np.uint8)


@pytest.mark.parametrize("kind", ["PNG", "BMP"])
@pytest.mark.parametrize("have", [1, 3, 4])
@pytest.mark.parametrize("channels", [0, 3, 4])
def test_pictures_without_loss(kind: str, have: int, channels: int) -> None:
    pixels = NOISE[..., 0] if have == 1 else NOISE[..., :have]
    wanted = np.repeat(NOISE[..., :1], 3, 2) if have == 1 else NOISE[..., :3]
    opacity = NOISE[..., 3:] if have == 4 else np.full((5, 7, 1), 255, np.uint8)
    if channels == 0:
        wanted = pixels.reshape(5, 7, have)
    elif channels == 4:
        wanted = np.concatenate([wanted, opacity], 2)
    np.testing.assert_array_equal(decode_image(encoded(pixels, kind), channels), wanted)


def test_sixteen_bits_are_cut_to_eight() -> None:
    pixels = NOISE[..., 0].astype(np.uint16) * 256 + 255
    np.testing.assert_array_equal(decode_image(encoded(pixels, "PNG"))[..., 0], NOISE[..., 0])


def test_grey_of_a_colour_is_tensorflows() -> None:
    # Recorded from tf.io.decode_png(..., channels=1).
    pixels = np.array([[[172, 47, 117], [192, 67, 251], [195, 103, 9], [211, 21, 242]]], np.uint8)
    assert decode_image(encoded(pixels, "PNG"), 1).flatten().tolist() == [92, 125, 119, 103]


def test_all_pictures_of_a_gif() -> None:
    file, frames = io.BytesIO(), [Pillow.fromarray(np.full((4, 6), value, np.uint8)) for value in (0, 255)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    images = decode_image(file.getvalue(), 3)
    assert images.shape == (2, 4, 6, 3)
    assert images.float().mean((1, 2, 3)).tolist() == [0, 255]


GIF_COLOURS = np.arange(128 * 3, dtype=np.uint16).reshape(128, 3).astype(np.uint8)


def gif(*frames: tuple[int, int, np.ndarray, int]) -> bytes:
    """Frames at some place, with a number that is not drawn, to be cleared behind them; all codes have one byte."""
    parts = [b"GIF89a", struct.pack("<HHBBB", 4, 3, 0xF6, 0, 0), GIF_COLOURS.tobytes()]
    for left, top, numbers, transparent in frames:
        parts.append(struct.pack("<BBBBHBB", 0x21, 0xF9, 4, 2 << 2 | (transparent >= 0), 0, max(transparent, 0), 0))
        parts.append(struct.pack("<BHHHHB", 0x2C, left, top, *numbers.shape[::-1], 0))
        parts.append(bytes([7, numbers.size + 2, 128, *numbers.flat, 129, 0]))
    return b"".join(parts) + b";"


def test_frames_of_a_gif_are_drawn_as_tensorflow_draws_them() -> None:
    first, second = np.arange(1, 13).reshape(3, 4), np.array([[50, 9], [9, 51]])
    data = gif((0, 0, first, 6), (1, 1, second, 9), (2, 2, second, -1))
    # Over black at first and then over what was there, which nothing clears; what is outside is cut off.
    wanted = [np.where(first == 6, -1, first)]
    wanted.append(wanted[0].copy())
    wanted[1][1, 1], wanted[1][2, 2] = 50, 51
    wanted.append(wanted[1].copy())
    wanted[2][2, 2:] = 50, 9
    colours = np.concatenate([GIF_COLOURS, np.zeros((1, 3), np.uint8)])  # the last one is black
    np.testing.assert_array_equal(decode_image(data), colours[np.stack(wanted)])
    np.testing.assert_array_equal(decode_image(data[:-1]), colours[np.stack(wanted)])  # without the sign of its end
    smaller = decode_image(gif((1, 1, second, -1), (0, 0, first[:1, :3], -1)))
    assert smaller.shape == (2, 2, 3, 3)  # the largest frame counts, not the screen


def test_opacity_of_pictures_with_few_bits_is_tensorflows() -> None:
    # Recorded from tf.io.decode_png(..., channels=4): the largest number of the file's bits, not of a byte.
    numbers = Pillow.frombytes("P", (2, 1), b"\0\1")
    numbers.putpalette([*range(256)] * 3)
    for bits in (1, 2, 4, 8):
        numbers.save(file := io.BytesIO(), "PNG", bits=bits)
        opaque = (1 << bits) - 1
        assert decode_image(file.getvalue(), 4).tolist() == [[[0, 1, 2, opaque], [3, 4, 5, opaque]]]


def test_grey_with_opacity_of_sixteen_bits_has_two_channels() -> None:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    pixels = struct.pack(">B4H", 0, 0x1234, 0x5678, 0x9ABC, 0xDEF0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 4, 0, 0, 0))
    data += chunk(b"IDAT", zlib.compress(pixels)) + chunk(b"IEND", b"")
    assert decode_image(data).tolist() == [[[0x12, 0x56], [0x9A, 0xDE]]]
    assert decode_image(data, 1).tolist() == [[[0x12], [0x9A]]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"must be a JPEG, PNG, GIF or BMP file. Got 0 bytes"),
        (b"RIFF....WEBP", r"Got 12 bytes: b'RIFF\.\.\.\.'"),
        (encoded(NOISE[..., :3], "PNG")[:-30], r"a PNG file of \d+ bytes is damaged: image file is truncated"),
        (
            encoded(NOISE[..., :3], "BMP")[:-1],
            r"a BMP file of 173 bytes: it is damaged or of a rare kind: 7 x 5 pixels",
        ),
        (encoded(NOISE[..., :3], "JPEG")[:-60], r"a JPEG file of \d+ bytes is damaged"),
        (encoded(NOISE[..., 0], "GIF")[:-20], r"a GIF file of \d+ bytes is damaged"),
    ],
)
def test_pictures_that_are_none(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_image(data)


def test_every_damaged_byte_of_a_png_is_found_or_harmless() -> None:
    """Torchvision's own decoder ends the process for most of them."""
    whole = encoded(NOISE[..., :3], "PNG")
    found = 0
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] ^= 0x41
        try:
            image = decode_image(bytes(data))
        except DataError:
            found += 1
        else:
            np.testing.assert_array_equal(image, NOISE[..., :3])
    assert found >= len(whole) - 12  # the checksum behind IEND, and its length, say nothing about the pixels


@pytest.mark.parametrize(
    ("kind", "find", "offset", "claim"),
    [
        ("JPEG", b"\xff\xc0", 5, struct.pack(">HH", 60000, 65000)),
        ("GIF", b"\x2c\0\0\0\0\x07\0\x05\0", 5, struct.pack("<HH", 65000, 60000)),
        ("PNG", b"IHDR", 4, struct.pack(">II", 65000, 60000)),
        ("BMP", b"BM", 18, struct.pack("<ii", 65000, 60000)),
    ],
)
def test_claimed_sizes_take_no_memory(kind: str, find: bytes, offset: int, claim: bytes) -> None:
    data = bytearray(encoded(NOISE[..., :3], kind))
    place = data.index(find) + offset
    data[place : place + len(claim)] = claim
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=rf"a {kind} file of {len(data)} bytes: .* 65000 x 60000 pixels"):
        decode_image(bytes(data))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


@pytest.mark.parametrize("kind", ["JPEG", "GIF", "PNG"])
def test_flat_pictures_may_be_as_small_as_they_get(kind: str) -> None:
    data = encoded(np.zeros((3000, 4000), np.uint8), kind)
    assert decode_image(data).shape[-3:-1] == (3000, 4000)


@pytest.mark.parametrize(("kind", "channels"), [("JPEG", 4), ("GIF", 1), ("GIF", 4), ("PNG", 2)])
def test_channels_that_a_file_cannot_have(kind: str, channels: int) -> None:
    with pytest.raises(DataError, match=rf"{channels}"):
        decode_image(encoded(NOISE[..., 0], kind), channels)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: decoding.BoundingBox(["a"]), r"BoundingBox: `keys` must be 4, .*Got \['a'\]"),
        (lambda: decoding.BoundingBoxSequence(["a"]), r"BoundingBoxSequence: `keys` must be 4.*Got \['a'\]"),
        (lambda: decoding.KeypointsSequence(["a"]), r"KeypointsSequence: `keys` must be 2.*Got \['a'\]"),
        (lambda: decoding.NumBoxesSequence([]), r"NumBoxesSequence: `keys` must name at least one feature. Got \[\]"),
        (lambda: decoding.Tensor("a", "b", [1]), r"Tensor: .*Got 'b' and \[1\]"),
        (lambda: decoding.BackupHandler(decoding.Tensor("a"), "b"), r"`backup` must be an ItemHandler. Got 'b'"),
        (lambda: decoding.Image(dct_method="FAST"), r"`dct_method` must be one of .* Got 'FAST'"),
        (
            lambda: TFSequenceExampleDecoder({"a": VarLenFeature(bytes)}, {"a": VarLenFeature(bytes)}, {}),
            r"Got \['a'\] in both",
        ),
    ],
)
def test_handlers_that_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("handler", "features", "message"),
    [
        (
            decoding.Tensor("a", shape=[2, 2]),
            {"a": [1, 2, 3]},
            r"'a': a value of shape \[3\] cannot have the shape \[2, 2\]",
        ),
        (decoding.BoundingBox(list("abcd")), {"a": [1], "b": [], "c": [1], "d": [1]}, r"Got \{'a': 1, 'b': 0"),
        (decoding.SparseTensor("a", "b"), {"a": [1], "b": [1, 2]}, r"Got 2 values for 1 places"),
        (decoding.SparseTensor("a", "b", shape=[2, 3]), {"a": [1], "b": [2]}, r"must have 1 sizes.* Got \[2, 3\]"),
        (
            decoding.SparseTensor("a", "b", shape=[3], densify=True),
            {"a": [3], "b": [1]},
            r"the shape \[3\].*Got \[\[3\]\]",
        ),
        (decoding.SparseTensor("a", "b", shape=[3], densify=True), {"a": [1, 1], "b": [1, 2]}, r"Got \[\[1\], \[1\]\]"),
        (
            decoding.NumBoxesSequence("a"),
            {"a": [1]},
            r"'a' must be a VarLenFeature of a sequence. Got one of an example",
        ),
        (decoding.LookupTensor("a", LookupTable({1: 2})), {"a": [3]}, r"must be in the table of 1. Got 3"),
    ],
)
def test_examples_that_a_handler_cannot_use(handler: Any, features: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        decode_one(handler, features)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (decoding.KeypointsSequence(), r"Got \{'y': \[2, 0\], 'x': \[1, 1\]\}"),
        (decoding.NumBoxesSequence(["y", "x"]), r"as many values as 'y', \[2, 0\]. Got \[1, 1\] for 'x'"),
    ],
)
def test_sequences_that_do_not_belong_together(handler: Any, message: str) -> None:
    sequences = {"y": [[1.0, 2.0], []], "x": [[1.0], [2.0]]}
    with pytest.raises(DataError, match=message):
        sequence_of(handler, sequences)


@pytest.mark.parametrize(
    "handler",
    [decoding.BoundingBox(list("abab")), decoding.SparseTensor("a", "b"), decoding.KeypointsSequence(["a", "b"])],
)
def test_strings_are_no_places(handler: Any) -> None:
    strings = {"a": VarLenFeature(bytes), "b": VarLenFeature(bytes)}
    message = make_example({"a": ["x"], "b": ["y"]})
    decoder: Any = TFExampleDecoder(strings, {"item": handler})
    if isinstance(handler, decoding.KeypointsSequence):
        message = make_sequence_example({}, {"a": [["x"]], "b": [["y"]]})
        decoder = TFSequenceExampleDecoder({}, strings, {"item": handler})
    with pytest.raises(DataError, match=rf"{type(handler).__name__}: feature 'a' must be numbers\. Got strings"):
        decoder.decode(message.SerializeToString())


def test_a_default_may_be_empty() -> None:
    spec = FixedLenFeature([0], torch.int64, [])
    item = decode_one(decoding.Tensor("a"), {}, a=spec)
    assert (item.shape, item.dtype) == ((0,), torch.int64)


def test_counts_need_not_be_consistent() -> None:
    handler = decoding.NumBoxesSequence(["y", "x"], check_consistency=False)
    assert sequence_of(handler, {"y": [[1.0, 2.0], []], "x": [[1.0], [2.0]]}).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("items", "message"),
    [(["imag"], r"Got 'imag'. Did you mean 'image'\?"), (["other"], r"item 'other' must be .* Got \['b'\]")],
)
def test_items_that_are_not_there(items: list[str], message: str) -> None:
    handlers = {"image": decoding.Tensor("a"), "other": decoding.Tensor("b")}
    decoder = TFExampleDecoder({"a": VarLenFeature(torch.int64)}, handlers)
    with pytest.raises(ValueError, match=message):
        decoder.decode(b"", items)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"image/encoded": b"1234567", "image/format": "raw"}, r"must hold values of torch.int16. Got 7 bytes"),
        ({"image/encoded": b"123456", "image/format": "raw"}, r"a value of shape \[3\] cannot have the shape \[2, 2\]"),
        ({"image/encoded": b"123456", "image/format": "png"}, r"Got 6 bytes: b'123456'"),
        ({"image/encoded": [b"1", b"2"], "image/format": "raw"}, r"'image/encoded' must be one string"),
    ],
)
def test_pictures_that_cannot_be_decoded(features: dict[str, Any], message: str) -> None:
    specs = {"image/encoded": VarLenFeature(bytes), "image/format": FixedLenFeature([], bytes)}
    if isinstance(features["image/encoded"], bytes):
        specs["image/encoded"] = FixedLenFeature([], bytes)
    with pytest.raises(DataError, match=message):
        decode_one(decoding.Image(shape=[2, 2], dtype=torch.int16), features, **specs)
