"""A folder of checkpoints: `model.ckpt-N.safetensors` files and the `checkpoint` file naming the newest."""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from google.protobuf.text_encoding import CUnescape

from torchslim.checkpoints.state import STRUCTURE, pack, unpack
from torchslim.checkpoints.store import (
    CheckpointError,
    SafetensorsFile,
    atomic_file,
    link_or_copy,
    remove_temporaries,
    save,
)

STATE_FILE = "checkpoint"
SUFFIX = ".safetensors"
_NAME = re.compile(r"model\.ckpt-(\d+)\.safetensors")
_logger = logging.getLogger("torchslim")


def save_checkpoint(
    logdir: str | os.PathLike[str],
    state: Mapping[str, Any],
    step: int,
    *,
    max_to_keep: int | None = 5,
    keep_checkpoint_every_n_hours: float | None = None,
) -> str:
    """Writes `model.ckpt-<step>.safetensors`, names it in the `checkpoint` file, and removes the oldest ones.

    Whatever interrupts it, the folder holds whole checkpoints and a `checkpoint` file that names one of them.
    One process at a time may save to a folder.

    Args:
        logdir: an existing folder.
        state: what `pack` takes. The weights go under `'model'`: that is where `slim.restore` looks for them.
        step: the global step; stored under `'global_step'`.
        max_to_keep: how many of the newest to keep; None or 0: all.
        keep_checkpoint_every_n_hours: hours; of those that would be removed, keep one for each such stretch
            of time.

    Returns:
        The path of the new checkpoint.

    Raises:
        OSError: if it cannot be written; the message names the path and the newest checkpoint, which is
            untouched.
        ValueError: if `max_to_keep` or `step` is negative.

    Example:
        >>> import tempfile
        >>> logdir = tempfile.mkdtemp()
        >>> path = save_checkpoint(logdir, {'model': {'w': torch.ones(2)}, 'data': {'epoch': 3}}, step=10)
        >>> path == latest_checkpoint(logdir)
        True
        >>> load_checkpoint(path)
        {'model': {'w': tensor([1., 1.])}, 'data': {'epoch': 3}, 'global_step': 10}
    """
    if step < 0 or (max_to_keep or 0) < 0:
        raise ValueError(
            "save_checkpoint: `step` and `max_to_keep` must not be negative. "
            f"Got step={step}, max_to_keep={max_to_keep}."
        )
    folder = Path(logdir)
    path = folder / f"model.ckpt-{step}{SUFFIX}"
    known = _read_state(folder)
    remove_temporaries(folder, "model.ckpt-*")
    remove_temporaries(folder, STATE_FILE)
    tensors, metadata = pack({**state, "global_step": step})
    try:
        save(path, tensors, metadata)
        _update(folder, known, path, max_to_keep, keep_checkpoint_every_n_hours)
    except OSError as error:
        kept = f"still {str(known.newest)!r}" if known.newest else "none: this would have been the first"
        raise OSError(error.errno, f"{error.strerror}. The newest checkpoint is {kept}") from error
    return str(path)


def keep_checkpoint(logdir: str | os.PathLike[str], step: int, folder: str | os.PathLike[str]) -> str:
    """Keeps the checkpoint of a step in another folder as well, as the only one there.

    Where the file system can, the two are one file, so this takes neither time nor room.

    Args:
        logdir: where the checkpoint is.
        step: of the checkpoint.
        folder: where it is to be kept; made if need be.

    Returns:
        Its path in `folder`.

    Raises:
        OSError: if it cannot be kept; what `folder` had is untouched.

    Example:
        >>> import os, tempfile
        >>> logdir = tempfile.mkdtemp()
        >>> _ = save_checkpoint(logdir, {'model': {'w': torch.ones(2)}}, step=10)
        >>> path = keep_checkpoint(logdir, 10, os.path.join(logdir, 'best'))
        >>> latest_checkpoint(os.path.join(logdir, 'best')) == path
        True
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    source, path = Path(logdir) / f"model.ckpt-{step}{SUFFIX}", folder / f"model.ckpt-{step}{SUFFIX}"
    known = _read_state(folder)
    remove_temporaries(folder, "model.ckpt-*")
    remove_temporaries(folder, STATE_FILE)
    link_or_copy(source, path)
    _update(folder, known, path, max_to_keep=1, hours=None)
    return str(path)


def load_checkpoint(path: str | os.PathLike[str], *, verify: bool = True) -> dict[str, Any]:
    """The state that `save_checkpoint` wrote; its tensors are mapped, so only what is used is read.

    Args:
        path: what `latest_checkpoint` returns.
        verify: compare the tensors with their checksums; not needed if `latest_checkpoint` has just done so.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is damaged.
        ValueError: if the file holds weights alone, not the state of a training.
    """
    file = SafetensorsFile(path, verify=verify)
    if STRUCTURE not in file.metadata:
        raise ValueError(
            f"load_checkpoint: {str(path)!r} must be what `save_checkpoint` wrote. Got weights alone, not the state of "
            "a training; `slim.restore` reads them."
        )
    return unpack({name: file.read(name) for name in file.header}, file.metadata)


def latest_checkpoint(logdir: str | os.PathLike[str], *, verify: bool = True) -> str | None:
    """The newest whole checkpoint in a folder.

    That is the one that the `checkpoint` file names, else that of the highest step. A damaged or missing one
    is passed over, with a warning that says what was taken instead.

    Args:
        logdir: a folder; it need not exist.
        verify: compare all tensors with their checksums, and warn if there is one of a higher step. False: look at the
            header and the size only, for loops that ask again and again, beside a training that saves.

    Returns:
        Its path, or None.
    """
    folder = Path(logdir)
    newest = _read_state(folder).newest
    candidates = dict.fromkeys([*([newest] if newest else []), *reversed(_scan(folder))])
    passed_over: list[str] = []
    for path in candidates:
        try:
            file = SafetensorsFile(path, verify=verify)
            for name in file.header if verify else ():
                file.read(name)
        except (OSError, CheckpointError) as error:
            passed_over.append(str(error))
            continue
        if passed_over:
            _logger.warning("latest_checkpoint: using %r. Passed over: %s", str(path), " ".join(passed_over))
        elif verify and (later := [other.name for other in _scan(folder) if _step(other) > _step(path)]):
            _logger.warning("latest_checkpoint: using %r, as `checkpoint` says, not %s.", str(path), ", ".join(later))
        return str(path)
    if passed_over:
        _logger.warning("latest_checkpoint: no whole checkpoint in %r: %s", str(folder), " ".join(passed_over))
    return None


def step_of(path: str | os.PathLike[str]) -> int | None:
    """The step in the name of a checkpoint, or None.

    Example:
        >>> step_of('logs/model.ckpt-1200.safetensors')
        1200
    """
    match = _NAME.fullmatch(Path(path).name)
    return int(match[1]) if match else None


@dataclass
class _State:
    """What the `checkpoint` file says."""

    newest: Path | None = None
    times: dict[Path, float] = field(
        default_factory=dict
    )  # of all checkpoints that count for `max_to_keep`, oldest first
    last_preserved: float | None = None


def _step(path: Path) -> int:
    return step_of(path) or 0


def _scan(folder: Path) -> list[Path]:
    found = [path for path in folder.glob(f"model.ckpt-*{SUFFIX}") if step_of(path) is not None]
    return sorted(found, key=_step)


def _read_state(folder: Path) -> _State:
    entries = read_state_file(folder / STATE_FILE)
    newest = [_inside(folder, name) for name in entries.get("model_checkpoint_path", [])] or [None]
    paths = [_inside(folder, name) for name in entries.get("all_model_checkpoint_paths", [])]
    times = [_number(text) for text in entries.get("all_model_checkpoint_timestamps", [])]
    times += [0.0] * (len(paths) - len(times))
    preserved = entries.get("last_preserved_timestamp")
    return _State(
        newest=newest[0] or next(reversed(_scan(folder)), None),
        times={path: when for path, when in zip(paths, times, strict=False) if path and path.exists()},
        last_preserved=_number(preserved[0]) if preserved else None,
    )


def read_state_file(path: Path) -> dict[str, list[str]]:
    """Key -> its values in a `checkpoint` file; what is not TensorFlow's text format counts for nothing."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return {}
    entries: dict[str, list[str]] = {}
    for key, value in re.findall(r"^\s*(\w+)\s*:\s*(\S.*?)\s*$", text, re.MULTILINE):
        entries.setdefault(key, []).append(_unquoted(value))
    return entries


def _unquoted(value: str) -> str:
    quoted = re.fullmatch(r"""(["'])(.*)\1""", value)
    try:
        return os.fsdecode(CUnescape(quoted[2])) if quoted else value
    except ValueError:  # no escapes of TensorFlow's
        return value


def _inside(folder: Path, name: str) -> Path | None:
    """The checkpoint of that name in `folder`; of a path that leads out of it only the end counts."""
    try:
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            path = folder / Path(name).name
        path = path if path.suffix == SUFFIX else path.with_name(path.name + SUFFIX)
        path.exists()
    except (ValueError, OSError):
        return None
    return path


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0


def _update(folder: Path, state: _State, path: Path, max_to_keep: int | None, hours: float | None) -> None:
    """Makes `path` the newest and removes the surplus.

    A kill may come between any two lines: what is to be removed is listed until it is gone, and the checkpoint that
    the `checkpoint` file names is not removed before that names another one.
    """
    now = time.time()
    known_steps = [_step(known) for known in state.times]
    unlisted = [found for found in _scan(folder) if _step(found) > max(known_steps, default=-1)]
    times = {**state.times, **{found: found.stat().st_mtime for found in unlisted}}
    times.pop(path, None)
    times[path] = now
    preserved = now if state.last_preserved is None else state.last_preserved
    surplus = []
    while max_to_keep and len(times) > max_to_keep:
        oldest = next(iter(times))
        when = times.pop(oldest)
        if hours is not None and when - preserved >= hours * 3600:
            preserved = when
        else:
            surplus.append(oldest)
    _remove(old for old in surplus if old != state.newest)
    listed = {**{old: 0.0 for old in surplus if old == state.newest}, **times}
    lines = [f'model_checkpoint_path: "{path.stem}"']
    lines += [f'all_model_checkpoint_paths: "{known.stem}"' for known in listed]
    lines += [f"all_model_checkpoint_timestamps: {when!r}" for when in listed.values()]
    lines += [f"last_preserved_timestamp: {preserved!r}"]
    text = "\n".join(lines).encode() + b"\n"
    with atomic_file(folder / STATE_FILE, len(text)) as file:
        file.write(text)
    _remove(old for old in surplus if old == state.newest)


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            _logger.warning("save_checkpoint: cannot remove the old %r: %s", str(path), error)
