"""Keys of slices: those that TensorFlow 2.21 wrote, and the properties that they are for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchslim.checkpoints.tensorflow.ordered_code import FULL, encode_slice_key

# From files that `tf.raw_ops.SaveSlices` wrote.
KEYS = [
    ("global_step", [], "00 676c6f62616c5f73746570 0001 00"),
    ("aé", [(0, FULL), (3, 60000)], "00 61c3a9 0001 0102 80 7f 83 e0ea60"),
    ("aé", [(100, 5), (0, 3)], "00 61c3a9 0001 0102 c064 85 80 83"),
    ("aé", [(63, 64), (0, 3)], "00 61c3a9 0001 0102 bf c040 80 83"),
    ("aé", [(8191, 8192), (1, 2)], "00 61c3a9 0001 0102 dfff e02000 81 82"),
    ("aé", [(1048575, 3), (0, 3)], "00 61c3a9 0001 0102 efffff 83 80 83"),
    ("aé", [(128, 2), (134217728, 1)], "00 61c3a9 0001 0102 c080 82 f808000000 81"),
    ("aé", [(549755813888, 1)], "00 61c3a9 0001 0101 fc8000000000 81"),
]
NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
EXTENTS = st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-1, 300)), max_size=4)


@pytest.mark.parametrize(("name", "extents", "key"), KEYS)
def test_keys_that_tensorflow_wrote(name: str, extents: list[tuple[int, int]], key: str) -> None:
    assert encode_slice_key(name, extents) == bytes.fromhex(key)


@given(NAMES, EXTENTS, NAMES, EXTENTS)
def test_keys_sort_as_what_they_hold(
    name: str, extents: list[tuple[int, int]], other_name: str, other_extents: list[tuple[int, int]]
) -> None:
    one = (name.encode(), len(extents), extents)
    other = (other_name.encode(), len(other_extents), other_extents)
    key, other_key = encode_slice_key(name, extents), encode_slice_key(other_name, other_extents)
    assert (one < other, one == other) == (key < other_key, key == other_key)
