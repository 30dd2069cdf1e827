from __future__ import annotations

import math

import pytest
import torch
from PIL import Image

from torchslim import metrics
from torchslim.cli.arguments import make_parser
from torchslim.cli.evaluate import likeliest_and_true
from torchslim.cli.grid import INK, PAPER, RIGHT, SIDE, WRONG, Prediction, draw_grid
from torchslim.cli.tables import mean_average_precision, precision_table


def colours(picture: Image.Image) -> set[tuple[int, ...]]:
    return {colour for _, colour in picture.getcolors(maxcolors=picture.width * picture.height)}


def rgb(colour: str) -> tuple[int, ...]:
    return Image.new("RGB", (1, 1), colour).getpixel((0, 0))


@pytest.mark.parametrize(
    ("count", "columns", "width"), [(1, 4, SIDE), (4, 4, 4 * SIDE), (5, 4, 4 * SIDE), (3, 2, 2 * SIDE)]
)
def test_the_grid_has_a_cell_for_each_photograph(count: int, columns: int, width: int) -> None:
    photographs = [Image.new("RGB", (60, 40 + i), (i, 200, 100)) for i in range(count)]
    picture = draw_grid([Prediction(photograph, [], ["cat"]) for photograph in photographs], columns)
    assert picture.width == width
    assert picture.height % math.ceil(count / columns) == 0
    assert {(i, 200, 100) for i in range(count)} <= colours(picture)


def test_right_and_wrong_predictions_have_their_colours() -> None:
    photograph = Image.new("RGB", (50, 50), PAPER)
    right = colours(draw_grid([Prediction(photograph, [("cat", 0.9)], ["cat"])]))
    wrong = colours(draw_grid([Prediction(photograph, [("cat", 0.9)], ["dog"])]))
    none = colours(draw_grid([Prediction(photograph, [], ["dog"])]))
    assert (rgb(RIGHT) in right, rgb(WRONG) in right) == (True, False)
    assert (rgb(RIGHT) in wrong, rgb(WRONG) in wrong) == (False, True)
    assert rgb(INK) in none
    assert rgb(RIGHT) not in none


@pytest.mark.parametrize("size", [(400, 3), (3, 400), (1, 1)])
def test_photographs_of_any_shape_fit(size: tuple[int, int]) -> None:
    assert draw_grid([Prediction(Image.new("L", size), [], ["cat"] * 20)]).width == SIDE


def test_a_grid_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"at least one photograph\. Got none"):
        draw_grid([])


def test_the_table_leaves_out_classes_without_photographs() -> None:
    text = precision_table(["cat", "dog"], {"before": [0.25, math.nan], "after": [0.5, math.nan]})
    assert [line.split() for line in text.splitlines()[1:]] == [
        ["cat", "25.0", "50.0"],
        ["dog", "-", "-"],
        ["mAP", "25.0", "50.0"],
    ]
    assert len({len(line) for line in text.splitlines()}) == 1
    assert math.isnan(mean_average_precision([math.nan]))


@pytest.mark.parametrize("command", ["finetune", "evaluate", "predict", "inspect", "convert"])
def test_every_option_is_explained(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        make_parser().parse_args([command, "--help"])
    text = capsys.readouterr().out
    parser = next(iter(make_parser()._subparsers._group_actions)).choices[command]  # type: ignore[union-attr, call-overload]
    assert all(action.help for action in parser._actions)
    assert all(option in text for action in parser._actions for option in action.option_strings)
    assert parser.description.strip() in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["finetune"], "--logdir"),
        (["finetune", "--logdir", "a", "--steps", "0"], "positive whole number. Got '0'"),
        (["finetune", "--logdir", "a", "--batch-size", "many"], "Got 'many'"),
        (["finetune", "--logdir", "a", "--precision", "fp8"], "fp8"),
        (["inspect", "a", "--verify", "--tensor", "b"], "not allowed with"),
        (["convert", "a", "b.pt", "--names", "there"], "THEIRS=OURS, scopes there and here. Got 'there'"),
        (["unknown"], "unknown"),
    ],
)
def test_words_that_are_not_understood(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        make_parser().parse_args(words)
    assert message in capsys.readouterr().err


def test_which_class_is_taken_for_which() -> None:
    """Taken for one that it shows; for another, shared by the two that it shows; for another; and nothing shown."""
    logits = torch.tensor([[1.0, 2, 0], [9, 2, 3], [0, 0, 1], [1, 0, 0]])
    labels = torch.tensor([[1, 1, 0], [0, 1, 1], [1, 0, 0], [0, 0, 0]])
    confusion = metrics.StreamingConfusionMatrix(3)
    confusion.update(*likeliest_and_true(logits, labels))
    assert confusion.compute().tolist() == [[0, 0, 1], [0.5, 1, 0], [0.5, 0, 0]]
