"""Places that cannot be written to."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("a tmpfs cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def read_only_folder(saved: Path) -> Iterator[Path]:
    """The folder of `saved`, which may be read but not written to, also when the tests run as root."""
    user = os.geteuid()
    for folder in (saved.parent, *saved.parents):
        if folder.stat().st_uid == user and not folder.stat().st_mode & 0o005:
            folder.chmod(0o755)
    saved.parent.chmod(0o555)
    if user == 0:
        os.seteuid(65534)
    yield saved.parent
    os.seteuid(user)
    saved.parent.chmod(0o755)
