"""Killed at any moment, a training goes on from a whole checkpoint, and ends as if nothing had happened."""

from __future__ import annotations

import runpy
from pathlib import Path

KILLS = 20
# The same with 200 of them takes minutes: `python benchmarks/stress_kills.py`.
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "stress_kills.py"


def test_killed_at_random_moments() -> None:
    outcome = runpy.run_path(str(SCRIPT))["stress"](KILLS)
    assert outcome.kills == KILLS
    assert outcome.in_a_write > 0, "no kill came while something was written: nothing was tested"
