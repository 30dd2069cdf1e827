"""Makes the checkpoint that `make demo` starts from: `small_vgg`, taught to tell made-up shapes apart.

    python examples/pretrain.py            # 10 minutes on 2 cores

The convolutions are kept, as float16 (1.7 MB), under the scope `shapes`: a net that takes them over says so
with `names={'shapes': 'small_vgg'}`.
"""

from __future__ import annotations

import argparse
import functools
from pathlib import Path

import torch
from small_vgg import small_vgg

import torchslim as slim
from torchslim.checkpoints import save
from torchslim.datasets import SampleShapes
from torchslim.preprocessing import vgg_preprocessing

SIZE = small_vgg.default_image_size
WEIGHTS = Path(__file__).parent.parent / "torchslim" / "nets" / "weights" / "small_vgg_shapes.safetensors"


class Shapes(torch.utils.data.Dataset):
    """`SampleShapes`, prepared as the fine-tuning prepares its photographs: `(image, one-hot label)`."""

    def __init__(self, length: int, num_forms: int, seed: int):
        self.shapes = SampleShapes(length, num_forms=num_forms, size=SIZE, seed=seed)
        self.num_classes = self.shapes.num_classes

    def __len__(self):
        return len(self.shapes)

    def __getitem__(self, index):
        image, label = self.shapes[index]
        image = vgg_preprocessing.preprocess_image(image, SIZE, SIZE, resize_side_min=SIZE)
        return image, torch.nn.functional.one_hot(torch.tensor(label), self.num_classes).float()


def classify(images, num_classes: int):
    """The convolutions, and a head that takes their average: what they learn then says much by itself."""
    net = small_vgg(images, num_classes=None, scope="shapes").mean((2, 3))
    return slim.fully_connected(net, num_classes, activation_fn=None, scope="head")


def pretrain(args: argparse.Namespace) -> None:
    """Trains, with ever new pictures, and writes the checkpoint."""
    with slim.Graph():
        shapes = Shapes(args.steps * args.batch_size, args.forms, seed=0)
        images, labels = slim.data.batch(shapes, args.batch_size, num_workers=args.workers, names=["images", "labels"])
        logits = classify(images, shapes.num_classes)
        slim.losses.softmax_cross_entropy(logits, labels, label_smoothing=0.1)
        train_op = slim.learning.create_train_op(
            slim.losses.get_total_loss(), functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
        )

        def one_cycle(train_op, batch, *, should_log):
            done = train_op.global_step / args.steps  # the rate rises for 30% of the steps, then falls to 0
            for group in train_op.optimizer.param_groups:
                group["lr"] = 0.1 * min(done / 0.3 + 0.01, (1 - done) / 0.7)
            return slim.learning.train_step(train_op, batch, should_log=should_log)

        slim.learning.train(train_op, args.logdir, one_cycle, number_of_steps=args.steps, log_every_n_steps=100)
        convolutions = {
            variable.key: variable.tensor.detach().half().contiguous()
            for variable in slim.get_model_variables()
            if variable.op.name.startswith("shapes/")
        }
    print(f"accuracy on pictures it has not seen: {accuracy(args):.3f}, {shapes.num_classes} classes")
    args.output.parent.mkdir(parents=True, exist_ok=True)
    save(args.output, convolutions)
    print(f"wrote {args.output}: {args.output.stat().st_size / 2**20:.1f} MiB")


def accuracy(args: argparse.Namespace) -> float:
    """The share of held-out pictures that the trained net names right."""
    with slim.Graph():
        shapes = Shapes(args.held_out, args.forms, seed=1)
        images, labels = slim.data.batch(shapes, 100, names=["images", "labels"])
        logits = classify(images, shapes.num_classes)
        _, update = slim.metrics.streaming_accuracy(logits.argmax(1), labels.argmax(1))
        return slim.evaluation.evaluate_once("local", args.logdir, eval_op=update)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--forms", type=int, default=12, help="shapes; there are eight textures of each")
    parser.add_argument("--held-out", type=int, default=1000, help="pictures to evaluate on")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--logdir", type=Path, default=Path("runs/pretrain"))
    parser.add_argument("--output", type=Path, default=WEIGHTS)
    pretrain(parser.parse_args())
