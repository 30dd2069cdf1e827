"""VGG16 against what one would use instead: a hand-written torchvision loop. One run, side by side, ratios of medians.

    python benchmarks/step_time.py [--batch 8] [--rounds 7] [--device cpu] [--write benchmarks/results/NAME.md]

1. Train step and inference: the same dtype and memory layout on both sides; the steps alternate.
2. torchslim's 'auto' (precision and layout) against torchvision's defaults.
3. Peak memory of a training step, each in a process of its own.
4. Building the network; building under `meta` and restoring 553 MB, against torchvision's constructor and load.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torchvision

import torchslim as slim
from torchslim.learning.device import autocast, has_bfloat16, resolve_channels_last, resolve_precision
from torchslim.nets import vgg

LEARNING_RATE, MOMENTUM, WEIGHT_DECAY = 1e-3, 0.9, 5e-4
Step = Callable[[torch.Tensor, torch.Tensor], object]


def slim_step(device: torch.device, dtype: torch.dtype, channels_last: bool, classes: int = 1000) -> Step:
    """A training step of torchslim: softmax cross entropy, L2 of the weights, momentum."""
    with slim.Graph(), slim.arg_scope(vgg.vgg_arg_scope(WEIGHT_DECAY)):
        images = slim.placeholder((None, 3, 224, 224), name="images")
        labels = slim.placeholder((None,), torch.int64, name="labels")
        logits, _ = vgg.vgg_16(images, classes)
        slim.losses.sparse_softmax_cross_entropy(logits, labels)
        optimizer = functools.partial(torch.optim.SGD, lr=LEARNING_RATE, momentum=MOMENTUM)
        train_op = slim.learning.create_train_op(slim.losses.get_total_loss(), optimizer)
    train_op.prepare(device, dtype, channels_last=channels_last)
    return train_op.step_fn


def torchvision_step(
    device: torch.device, dtype: torch.dtype, channels_last: bool, fused: bool = True, classes: int = 1000
) -> Step:
    """The same, written by hand on torchvision's VGG16; weight decay is its optimizer's (weights and biases alike)."""
    model = torchvision.models.vgg16(num_classes=classes).to(device).train()
    if channels_last:
        model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(
        model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY, fused=fused or None
    )

    def step(images: torch.Tensor, labels: torch.Tensor) -> object:
        optimizer.zero_grad(set_to_none=True)
        with autocast(device, dtype):
            loss = torch.nn.functional.cross_entropy(model(images).float(), labels)
        loss.backward()
        optimizer.step()
        return loss.detach()

    return step


def inference(model: torch.nn.Module, dtype: torch.dtype, channels_last: bool) -> Step:
    """A forward pass without gradients."""
    model.eval()
    if channels_last:
        model.to(memory_format=torch.channels_last)

    def step(images: torch.Tensor, labels: torch.Tensor) -> object:
        with torch.inference_mode(), autocast(images.device, dtype):
            return model(images)

    return step


def synchronize(device: torch.device) -> None:
    """Waits for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def medians(steps: dict[str, Step], batch: tuple[torch.Tensor, torch.Tensor], rounds: int) -> dict[str, float]:
    """Seconds a step, the steps taking turns."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name, step in steps.items():
            synchronize(batch[0].device)
            start = time.perf_counter()
            step(*batch)
            synchronize(batch[0].device)
            if turn:  # the first round warms up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def random_batch(size: int, device: torch.device, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Images and labels of noise."""
    images = torch.randn(size, 3, 224, 224, device=device)
    if channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return images, torch.randint(1000, (size,), device=device)


def peak_memory(side: str, device: torch.device, dtype: torch.dtype, channels_last: bool, size: int) -> float:
    """Bytes at the peak of two training steps in a fresh process."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        return pool.apply(_peak_memory, (side, device, dtype, channels_last, size))


def _peak_memory(side: str, device: torch.device, dtype: torch.dtype, channels_last: bool, size: int) -> float:
    step = (slim_step if side == "torchslim" else torchvision_step)(device, dtype, channels_last)
    batch = random_batch(size, device, channels_last)
    for _ in range(2):
        step(*batch)
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    # Not `getrusage`: there a process starts from the peak of its parent.
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def timed(function: Callable[[], Any], rounds: int = 5) -> float:
    """Median seconds of a call, after one that warms up."""
    times = []
    for turn in range(rounds + 1):
        start = time.perf_counter()
        result = function()
        if turn:
            times.append(time.perf_counter() - start)
        del result
    return statistics.median(times)


def build_and_restore() -> list[tuple[str, float, float]]:
    """Rows: what, torchslim's seconds, torchvision's seconds."""
    example = torch.empty(1, 3, 224, 224)
    rows = [
        ("build", timed(lambda: slim.build(vgg.vgg_16, example), 3), timed(torchvision.models.vgg16, 3)),
    ]
    with torch.device("meta"):
        empty = torch.empty(1, 3, 224, 224)
        rows.append(("build under meta", timed(lambda: slim.build(vgg.vgg_16, empty)), timed(torchvision.models.vgg16)))
    with tempfile.TemporaryDirectory() as folder:
        from safetensors.torch import load_file, save_file

        ours, theirs = Path(folder) / "slim.safetensors", Path(folder) / "torchvision.safetensors"
        save_file(slim.build(vgg.vgg_16, example).state_dict(), ours)
        save_file(torchvision.models.vgg16().state_dict(), theirs)

        def slim_restored() -> torch.nn.Module:
            with torch.device("meta"):
                model = slim.build(vgg.vgg_16, empty)
            slim.restore(model, ours)
            return model

        def torchvision_loaded() -> torch.nn.Module:
            model = torchvision.models.vgg16()
            model.load_state_dict(load_file(theirs))
            return model

        rows.append(("build + restore 553 MB", timed(slim_restored), timed(torchvision_loaded, 3)))
    return rows


def machine(device: torch.device) -> str:
    """What this was measured on."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    amx = getattr(torch.cpu, "_is_amx_tile_supported", bool)()
    return (
        f"{torch.get_num_threads()} threads of {platform.machine()}, AMX {'yes' if amx else 'no'}, "
        f"bf16 in hardware {'yes' if has_bfloat16(device) else 'no'}, torch {torch.__version__}"
    )


def table(title: str, rows: list[tuple[str, float, float]], unit: str = "s") -> str:
    """A table in Markdown: what, torchslim, the other, ratio."""
    lines = [f"## {title}", "", f"| | torchslim ({unit}) | torchvision ({unit}) | ratio |", "| --- | --- | --- | --- |"]
    lines += [f"| {name} | {ours:.4g} | {theirs:.4g} | {ours / theirs:.3f} |" for name, ours, theirs in rows]
    return "\n".join(lines) + "\n"


def compare(device: torch.device, size: int, rounds: int) -> str:
    """All parts."""
    dtype = resolve_precision("auto", device)
    channels_last = resolve_channels_last("auto", device, torch.nn.Conv2d(3, 3, 3))
    layouts = [(torch.float32, False), (dtype, channels_last)]
    parts = [f"# VGG16, batch {size}, {machine(device)}\n"]
    training, inferring = [], []
    for kind, last in dict.fromkeys(layouts):
        name = f"{str(kind).removeprefix('torch.')}, {'channels-last' if last else 'contiguous'}"
        batch = random_batch(size, device, last)
        steps = {"ours": slim_step(device, kind, last), "theirs": torchvision_step(device, kind, last)}
        found = medians(steps, batch, rounds)
        training.append((name, found["ours"], found["theirs"]))
        del steps
        with device:
            models = slim.build(vgg.vgg_16, slim.InputSpec((None, 3, 224, 224))), torchvision.models.vgg16()
        found = medians({str(i): inference(model, kind, last) for i, model in enumerate(models)}, batch, rounds)
        inferring.append((name, found["0"], found["1"]))
    parts += [table("Training step, same dtype and layout", training), table("Inference", inferring)]
    batch, plain = random_batch(size, device, channels_last), random_batch(size, device, False)
    ours = slim_step(device, dtype, channels_last)
    theirs = torchvision_step(device, torch.float32, False, fused=False)
    found = medians({"ours": lambda *_: ours(*batch), "theirs": lambda *_: theirs(*plain)}, plain, rounds)
    parts.append(table("Training step, 'auto' against torchvision's defaults", [("auto", *found.values())]))
    peaks = [peak_memory(side, device, dtype, channels_last, size) / 2**20 for side in ("torchslim", "torchvision")]
    parts.append(table("Peak memory of a training step", [("auto", peaks[0], peaks[1])], "MiB"))
    parts.append(table("Building and restoring", build_and_restore()))
    return "\n".join(parts)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    report = compare(torch.device(arguments.device), arguments.batch, arguments.rounds)
    print(report)
    if arguments.write:
        arguments.write.write_text(report)


if __name__ == "__main__":
    main()
