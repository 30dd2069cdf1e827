"""The commands from end to end, on a net of three layers and thirty drawn photographs."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from torchslim.cli import main
from torchslim.datasets import sample_voc

NET = """
import torchslim as slim

def tiny(images, num_classes=20, is_training=None):
    with slim.variable_scope('tiny'):
        net = slim.conv2d(images, 4, [3, 3], stride=4, scope='conv1')
        net = slim.conv2d(net, 8, [3, 3], stride=4, scope='conv2')
        net = slim.dropout(net, 0.9, is_training=is_training)
        return slim.fully_connected(net.mean((2, 3)), num_classes, activation_fn=None, scope='fc3'), {}

tiny.default_image_size = 32
not_a_function = 3
"""


@pytest.fixture(scope="module")
def voc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sample_voc.create(tmp_path_factory.mktemp("voc"), num_images=30)


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py:tiny"


@pytest.fixture
def words(net: str, voc: Path, tmp_path: Path) -> list[str]:
    """A `finetune` of six steps."""
    data = ["--dataset", "pascal_voc", "--data-dir", str(voc)]
    return ["finetune", "--net", net, *data, "--logdir", f"{tmp_path}/run", "--steps", "6", "--batch-size", "8"]


def weights_of_tiny(scope: str = "tiny") -> dict[str, torch.Tensor]:
    return {
        f"{scope}.conv1.weight": torch.randn(4, 3, 3, 3),
        f"{scope}.conv1.bias": torch.randn(4),
        f"{scope}.conv2.weight": torch.randn(8, 4, 3, 3),
        f"{scope}.conv2.bias": torch.randn(8),
        f"{scope}.fc3.weight": torch.randn(1000, 8),
        f"{scope}.fc3.bias": torch.randn(1000),
    }


def newest(logdir: Path) -> dict[str, torch.Tensor]:
    return load_file(max(logdir.glob("model.ckpt-*.safetensors"), key=lambda path: path.stat().st_mtime_ns))


def table(text: str) -> dict[str, list[str]]:
    """The last table printed: first word of a line -> its other words."""
    lines = text[text.rindex("AP (%)") :].splitlines()[1:22]
    return {line.split()[0]: line.split()[1:] for line in lines}


def test_finetune_evaluate_predict(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    printed = table(capsys.readouterr().out)
    assert len(printed) == 21
    assert all(len(columns) == 2 for columns in printed.values())
    run = tmp_path / "run"
    assert {path.name for path in run.glob("model.ckpt-*")} == {"model.ckpt-0.safetensors", "model.ckpt-6.safetensors"}
    assert list(run.glob("events.out.tfevents.*"))
    assert list(run.glob("eval/events.out.tfevents.*"))

    assert main(["evaluate", "--logdir", str(run)]) == 0
    again = table(capsys.readouterr().out)
    assert again == {name: after for name, (_, *after) in printed.items()}
    first = ["--checkpoint", str(run / "model.ckpt-0.safetensors")]
    assert main(["evaluate", "--logdir", str(run), *first]) == 0
    assert table(capsys.readouterr().out) == {name: [before] for name, (before, _) in printed.items()}

    assert main(["evaluate", "--logdir", str(run), "--plots"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2:] == [f"wrote {run / 'eval' / name}.png" for name in ("precision_recall", "confusion_matrix")]
    for name in ("precision_recall", "confusion_matrix"):
        with Image.open(run / "eval" / f"{name}.png") as picture:
            assert min(picture.size) > 500

    assert main(["predict", "--logdir", str(run), "--count", "5", "--threshold", "0"]) == 0
    with Image.open(run / "predictions.png") as picture:
        assert picture.width == 4 * 200
        assert picture.height > 2 * 200


def test_what_evaluate_writes_for_tensorboard(words: list[str], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main(words) == 0
    for file in (tmp_path / "run" / "eval").iterdir():
        file.unlink()
    assert main(["evaluate", "--logdir", f"{tmp_path}/run", "--plots"]) == 0
    events = EventAccumulator(f"{tmp_path}/run/eval").Reload()
    tags = events.Tags()
    assert sorted(tags["images"]) == ["confusion_matrix", "precision_recall"]
    assert {"mAP", "kappa", "AP/0", "AP/19"} <= set(tags["scalars"])
    assert {event.step for tag in ("mAP", "AP/3") for event in events.Scalars(tag)} == {6}
    assert events.Images("confusion_matrix")[0].step == 6


def test_plots_need_matplotlib(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["evaluate", "--logdir", str(tmp_path), "--plots"]) == 2
    assert "evaluate: `--plots`: matplotlib is needed" in capsys.readouterr().err


def test_finetune_resumes(words: list[str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "torchslim"):
        assert main(words) == 0
        assert main([*words, "--steps", "8"]) == 0
    assert "at global step 6" in caplog.text
    assert (tmp_path / "run" / "model.ckpt-8.safetensors").is_file()


def test_finetune_restores_all_but_the_head(words: list[str], tmp_path: Path) -> None:
    weights = weights_of_tiny()
    save_file(weights, tmp_path / "weights.safetensors")
    restore = ["--weights", str(tmp_path / "weights.safetensors"), "--trainable-scopes", "fc3"]
    assert main([*words, *restore]) == 0
    trained, start = newest(tmp_path / "run"), load_file(tmp_path / "run" / "model.ckpt-0.safetensors")
    for name in ("tiny.conv1.weight", "tiny.conv2.bias"):
        torch.testing.assert_close(trained[f"model/{name}"], weights[name])
    assert trained["model/tiny.fc3.weight"].shape == (20, 8)
    assert not torch.equal(trained["model/tiny.fc3.weight"], start["model/tiny.fc3.weight"])


def test_finetune_restores_by_other_names_and_scopes(words: list[str], tmp_path: Path) -> None:
    weights = weights_of_tiny("theirs")
    torch.save(weights, tmp_path / "weights.pt")
    restore = ["--weights", str(tmp_path / "weights.pt"), "--names", "theirs=tiny"]
    assert main([*words, *restore, "--checkpoint-exclude-scopes", "conv2,fc3"]) == 0
    start = load_file(tmp_path / "run" / "model.ckpt-0.safetensors")
    torch.testing.assert_close(start["model/tiny.conv1.weight"], weights["theirs.conv1.weight"])
    assert not torch.equal(start["model/tiny.conv2.weight"], weights["theirs.conv2.weight"])


def test_the_learning_rate_falls_to_zero(words: list[str], tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert main([*words, "--learning-rate", "0.5", "--log-every", "3"]) == 0
    (file, *_) = sorted((tmp_path / "run").glob("events*"), key=lambda path: -path.stat().st_size)
    events = EventAccumulator(str(file)).Reload()
    rates = {event.step: event.value for event in events.Scalars("learning_rate")}
    # Step n is taken at (1 + cos(pi * (n - 1) / 6)) / 2 of the rate.
    assert rates == pytest.approx({3: 0.375, 6: 0.0334936}, rel=1e-4)


def test_options_are_remembered_and_overridden(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--image-size", "40"]) == 0
    options = json.loads((tmp_path / "run" / "options.json").read_text())
    assert options["image_size"] == 40
    assert options["preprocessing"] == "vgg"
    capsys.readouterr()
    assert main(["evaluate", "--logdir", f"{tmp_path}/run", "--eval-split", "trainval", "--year", "2007"]) == 2
    assert "VOC2007" in capsys.readouterr().err


def broken_jpeg(voc: Path) -> Path:
    """A copy of the data set's folder in which the first photograph is cut off."""
    folder = voc / "broken" / "VOC2012"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for file in (voc / "VOCdevkit" / "VOC2012" / part).iterdir():
            (folder / part / file.name).write_bytes(file.read_bytes())
    first = folder / "JPEGImages" / "2012_000000.jpg"
    first.write_bytes(first.read_bytes()[:500])
    return folder.parent


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--net", "vgg_61"], "Got 'vgg_61'"),
        (["--net", "nowhere/net.py:tiny"], "Got 'nowhere/net.py'"),
        (["--net", "NET:not_a_function"], "Got 'not_a_function'"),
        (["--weights", "nowhere.safetensors"], "no file 'nowhere.safetensors'"),
        (["--weights", "WEIGHTS", "--checkpoint-exclude-scopes", "fc33"], "'fc33' names no variable. Did you mean"),
        (["--weights", "WEIGHTS", "--checkpoint-exclude-scopes", "conv1"], "[1000, 8] in the checkpoint"),
        (["--trainable-scopes", "conv9"], "'conv9' names no variable"),
        (["--data-dir", "nowhere"], "Got '"),
        (["--data-dir", "BROKEN"], "2012_000000.jpg"),
        (["--train-split", "test"], "no list 'test'"),
        (["--learning-rate", "1e30"], "loss is"),
        (["--device", "tpu"], "Got 'tpu'"),
    ],
)
def test_bad_input_is_one_line(
    changes: list[str],
    message: str,
    words: list[str],
    net: str,
    voc: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    save_file(weights_of_tiny(), tmp_path / "weights.safetensors")
    stands_for = {"NET": net.rpartition(":")[0], "WEIGHTS": str(tmp_path / "weights.safetensors")}
    if "BROKEN" in changes:
        stands_for["BROKEN"] = str(broken_jpeg(voc))
    changes = [re.sub("NET|WEIGHTS|BROKEN", lambda found: stands_for[found[0]], word) for word in changes]
    assert main([*words, *changes]) == 2
    error = capfd.readouterr().err
    assert f"torchslim {words[0]}: " in error
    assert message in error
    assert "Traceback" not in error


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_folder_without_a_run(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--logdir", str(tmp_path)]) == 2
    assert f"Got {str(tmp_path)!r}" in capsys.readouterr().err


def test_debug_shows_the_error_itself(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no_such_file"):
        main(["--debug", "inspect", str(tmp_path / "no_such_file.safetensors")])


@pytest.mark.parametrize("kind", [".safetensors", ".pt", ".pth"])
def test_inspect_files(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {"conv10.weight": torch.zeros(8, 3, 3, 3), "conv2.weight": torch.zeros(5, dtype=torch.float16)}
    path = tmp_path / f"weights{kind}"
    save_file(tensors, path) if kind == ".safetensors" else torch.save(tensors, path)
    assert main(["inspect", str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(path)
    assert lines[2].split() == ["conv2.weight", "[5]", "float16", "10"]
    assert lines[3].split() == ["conv10.weight", "[8,", "3,", "3,", "3]", "float32", "864"]
    assert lines[4] == "2 tensors, 221 elements, 874 bytes (0.0 MiB)"


def test_inspect_a_run(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    capsys.readouterr()
    assert main(["inspect", f"{tmp_path}/run"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{tmp_path}/run/model.ckpt-6.safetensors")
    assert "tiny.conv1.weight" in printed


def test_as_a_program(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torchslim.cli", "inspect", str(tmp_path / "none.pt")]
    root = Path(__file__).parent.parent.parent
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("torchslim inspect: ")
    assert done.stderr.count("\n") == 1
