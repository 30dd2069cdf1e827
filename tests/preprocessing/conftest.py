"""The goldens of preprocessing: pictures that TensorFlow was given, and what it made of them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

GOLDENS = Path(__file__).parents[1] / "goldens" / "preprocessing"


def golden_picture(seed: int, h: int, w: int, sha1: str, c: int = 3, dtype: str = "uint8") -> torch.Tensor:
    """The goldens' input: a random 9x9 grid enlarged in integer arithmetic, plus noise, `[c, h, w]`."""
    random = np.random.RandomState(seed)
    grid = random.randint(0, 256, (9, 9, c)).astype(np.int64)
    y = np.arange(h, dtype=np.int64) * (8 * 256 - 1) // max(h - 1, 1)
    x = np.arange(w, dtype=np.int64) * (8 * 256 - 1) // max(w - 1, 1)
    yi, yf, xi, xf = y >> 8, (y & 255)[:, None, None], x >> 8, (x & 255)[None, :, None]
    above = grid[yi][:, xi] * (256 - xf) + grid[yi][:, xi + 1] * xf
    below = grid[yi + 1][:, xi] * (256 - xf) + grid[yi + 1][:, xi + 1] * xf
    values = ((above * (256 - yf) + below * yf) >> 16) + random.randint(-5, 6, (h, w, c))
    image = np.clip(values, 0, 255).astype(np.uint8)
    assert hashlib.sha1(image.tobytes()).hexdigest() == sha1, "the input is not the one the goldens were made from"
    picture = torch.from_numpy(image).permute(2, 0, 1)
    return picture / 255 if dtype.startswith("float32") else picture


class Goldens:
    """The cases by name, and their arrays."""

    def __init__(self) -> None:
        self.cases: dict[str, Any] = json.loads((GOLDENS / "expected.json").read_text())
        self.arrays = np.load(GOLDENS / "expected.npz")

    def picture(self, name: str) -> torch.Tensor:
        return golden_picture(**self.cases[name]["input"])

    def assert_close(self, output: torch.Tensor, name: str) -> None:
        """`output` is `[c, h, w]` and within 1e-4 of what TensorFlow gave."""
        case, output = self.cases[name], output.permute(1, 2, 0)
        assert list(output.shape) == case["output_shape"]
        assert str(output.dtype) == f"torch.{case['dtype']}"
        parts = {
            "full": output,
            "grid": output[::8, ::8],
            "top_left": output[:6, :6],
            "bottom_right": output[-6:, -6:],
        }
        stored = [part for part in parts if f"{name}/{part}" in self.arrays]
        assert stored
        tolerance = 1e-4 if output.dtype == torch.float32 else 0
        for part in stored:
            expected = torch.from_numpy(self.arrays[f"{name}/{part}"])
            torch.testing.assert_close(parts[part], expected, rtol=0, atol=tolerance)
        values = output.double()
        summary = torch.stack([values.mean(), values.std(unbiased=False), values.min(), values.max()])
        expected = torch.tensor([case[key] for key in ("mean", "std", "min", "max")], dtype=torch.float64)
        torch.testing.assert_close(summary, expected, rtol=1e-5, atol=1e-4)

    def assert_distribution(self, outputs: torch.Tensor, name: str) -> None:
        """Means, deviations and extremes of `[n, c, h, w]` outputs are spread as TensorFlow's were."""
        case = self.cases[name]
        for statistic, values in (
            ("mean", outputs.mean((1, 2, 3))),
            ("std", outputs.std((1, 2, 3))),
            ("min", outputs.amin((1, 2, 3))),
            ("max", outputs.amax((1, 2, 3))),
        ):
            assert_spread_alike(values, case[f"sample_{statistic}"])


def assert_spread_alike(values: torch.Tensor, expected: dict[str, Any]) -> None:
    """Two samples have the same mean and deviation, as far as their sizes can tell."""
    values = values.double()
    error = expected["std"] * (1 / expected["n"] + 1 / len(values)) ** 0.5  # of the difference of two means
    assert abs(values.mean().item() - expected["mean"]) < 5 * error
    assert values.std().item() == pytest.approx(expected["std"], rel=0.25)


@pytest.fixture(scope="session")
def goldens() -> Goldens:
    return Goldens()
