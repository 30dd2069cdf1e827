"""Checkpoints: writing them whole, reading them by name, restoring them into models."""

from torchslim.checkpoints.assign import (
    assign_from_checkpoint,
    assign_from_checkpoint_fn,
    assign_from_values,
    assign_from_values_fn,
)
from torchslim.checkpoints.convert import convert
from torchslim.checkpoints.directory import (
    keep_checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
    step_of,
)
from torchslim.checkpoints.names import known_names
from torchslim.checkpoints.opening import open_checkpoint
from torchslim.checkpoints.readers import Reader, StoredTensor
from torchslim.checkpoints.report import Mismatch, RestoreReport
from torchslim.checkpoints.restore import restore
from torchslim.checkpoints.state import pack, rng_state, set_rng_state, unpack
from torchslim.checkpoints.store import CheckpointError, load, save
from torchslim.checkpoints.tensorflow.writer import save_tf

open = open_checkpoint

__all__ = [
    "CheckpointError",
    "Mismatch",
    "Reader",
    "RestoreReport",
    "StoredTensor",
    "assign_from_checkpoint",
    "assign_from_checkpoint_fn",
    "assign_from_values",
    "assign_from_values_fn",
    "convert",
    "keep_checkpoint",
    "known_names",
    "latest_checkpoint",
    "load",
    "load_checkpoint",
    "open",
    "open_checkpoint",
    "pack",
    "restore",
    "rng_state",
    "save",
    "save_checkpoint",
    "save_tf",
    "set_rng_state",
    "step_of",
    "unpack",
]
