"""A picture of predictions: photographs in rows, each over its predicted and its true classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

SIDE = 200  # pixels of a photograph's square
LINE = 18  # pixels of a line of text
PAPER, INK, RIGHT, WRONG = "white", "#202020", "#0a7a2f", "#c02020"


@dataclass(frozen=True)
class Prediction:
    """One photograph of the grid.

    Attributes:
        photograph: the picture; any size, drawn as large as its square allows.
        predicted: `(class, probability)` of every class that the net sees, likeliest first.
        true: the classes that the photograph shows.
    """

    photograph: Image.Image
    predicted: Sequence[tuple[str, float]]
    true: Sequence[str]


def draw_grid(predictions: Sequence[Prediction], columns: int = 4) -> Image.Image:
    """Draws photographs with their predicted classes (green: right, red: wrong) and their true ones.

    Args:
        predictions: at least one.
        columns: photographs in a row.

    Returns:
        An RGB picture, `columns` squares wide (fewer where there are fewer photographs).

    Raises:
        ValueError: if there is nothing to draw.

    Example:
        >>> photograph = Image.new("RGB", (120, 80), "skyblue")
        >>> draw_grid([Prediction(photograph, [("bird", 0.93)], ["bird", "boat"])]).width
        200
    """
    if not predictions:
        raise ValueError("draw_grid: `predictions` must hold at least one photograph. Got none.")
    # Every cell is as tall as the longest list of classes needs.
    lines = 1 + max(max(len(p.predicted), 1) for p in predictions)
    cell_height = SIDE + lines * LINE + LINE // 2
    columns = min(columns, len(predictions))
    rows = -(-len(predictions) // columns)
    grid = Image.new("RGB", (columns * SIDE, rows * cell_height), PAPER)
    draw = ImageDraw.Draw(grid)
    for index, prediction in enumerate(predictions):
        _draw_cell(grid, draw, index % columns * SIDE, index // columns * cell_height, prediction)
    return grid


def _draw_cell(grid: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, prediction: Prediction) -> None:
    photograph = prediction.photograph.convert("RGB")
    scale = (SIDE - 8) / max(photograph.size)
    photograph = photograph.resize([max(1, round(side * scale)) for side in photograph.size])
    grid.paste(photograph, (x + (SIDE - photograph.width) // 2, y + (SIDE - photograph.height) // 2))

    font = ImageFont.load_default(size=13)
    words = [(f"{name} {probability:.2f}", name) for name, probability in prediction.predicted]
    for line, (text, name) in enumerate(words or [("nothing", None)]):
        colour = INK if name is None else RIGHT if name in prediction.true else WRONG
        draw.text((x + 6, y + SIDE + line * LINE), text, fill=colour, font=font)
    true = f"true: {', '.join(prediction.true) or 'nothing'}"
    draw.text((x + 6, y + SIDE + max(len(words), 1) * LINE), _shorten(true, font), fill=INK, font=font)


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """Cuts a text that is wider than its square, visibly."""
    if font.getlength(text) <= SIDE - 12:
        return text
    while font.getlength(text + "...") > SIDE - 12:
        text = text[:-1]
    return text + "..."
