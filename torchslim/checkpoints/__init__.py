"""Checkpoints: writing them whole, reading them by name, restoring them into models."""

from torchslim.checkpoints.assign import (
    assign_from_checkpoint,
    assign_from_checkpoint_fn,
    assign_from_values,
    assign_from_values_fn,
)
from torchslim.checkpoints.directory import latest_checkpoint, load_checkpoint, save_checkpoint, step_of
from torchslim.checkpoints.names import known_names
from torchslim.checkpoints.readers import Reader, StoredTensor, open_checkpoint
from torchslim.checkpoints.report import Mismatch, RestoreReport
from torchslim.checkpoints.restore import restore
from torchslim.checkpoints.state import pack, rng_state, set_rng_state, unpack
from torchslim.checkpoints.store import CheckpointError, load, save

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
    "known_names",
    "latest_checkpoint",
    "load",
    "load_checkpoint",
    "open_checkpoint",
    "pack",
    "restore",
    "rng_state",
    "save",
    "save_checkpoint",
    "set_rng_state",
    "step_of",
    "unpack",
]
