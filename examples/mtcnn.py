"""MTCNN, three nets that find faces (arXiv:1604.02878), with weights that TF-Slim wrote in 2018.

    python examples/mtcnn.py MTCNN_model

The folder holds the checkpoints of https://github.com/AITTSMD/MTCNN-Tensorflow, and `reference_io.npz`: a batch of
pictures for each net, in TensorFlow's layout, and what TensorFlow computes of it. The names of the variables are
those of the checkpoints.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

import torchslim as slim


def conv(net, channels: int, size: int, scope: str):
    """A convolution, and a PReLU whose slopes are `alphas` beside its weights."""
    net = slim.conv2d(net, channels, [size, size], padding="VALID", activation_fn=None, scope=scope)
    with slim.variable_scope(scope):
        alphas = slim.variable("alphas", [channels], initializer=slim.constant_initializer(0.25))
    return torch.prelu(net, alphas)


def answers(net, layer, **scopes: int):
    """What each net says of a picture: whether it shows a face, where its box is, where eyes, nose and mouth are."""
    face, box, landmarks = (layer(net, size, activation_fn=None, scope=scope) for scope, size in scopes.items())
    return face.softmax(1), box, landmarks


def pnet(images):
    """Proposes faces: `[N, 3, H, W]`; it looks at each 12x12 of a picture, and so gives maps."""
    net = slim.max_pool2d(conv(images, 10, 3, scope="conv1"), [2, 2], padding="SAME")
    net = conv(net, 16, 3, scope="conv2")
    net = conv(net, 32, 3, scope="conv3")
    with slim.arg_scope([slim.conv2d], kernel_size=[1, 1]):
        return answers(net, slim.conv2d, conv4_1=2, conv4_2=4, conv4_3=10)


def rnet(images):
    """Refines what was proposed: `[N, 3, 24, 24]`."""
    net = slim.max_pool2d(conv(images, 28, 3, scope="conv1"), [3, 3], padding="SAME")
    net = slim.max_pool2d(conv(net, 48, 3, scope="conv2"), [3, 3])
    net = slim.fully_connected(conv(net, 64, 2, scope="conv3"), 128, scope="fc1")
    return answers(net, slim.fully_connected, cls_fc=2, bbox_fc=4, landmark_fc=10)


def onet(images):
    """Decides, and finds the landmarks: `[N, 3, 48, 48]`."""
    net = slim.max_pool2d(conv(images, 32, 3, scope="conv1"), [3, 3], padding="SAME")
    net = slim.max_pool2d(conv(net, 64, 3, scope="conv2"), [3, 3])
    net = slim.max_pool2d(conv(net, 64, 3, scope="conv3"), [2, 2], padding="SAME")
    net = slim.fully_connected(conv(net, 128, 2, scope="conv4"), 256, scope="fc1")
    return answers(net, slim.fully_connected, cls_fc=2, bbox_fc=4, landmark_fc=10)


# By the checkpoint: the net, and the side of its pictures; None: any.
NETS = {"PNet-18": (pnet, None), "RNet-14": (rnet, 24), "ONet-16": (onet, 48)}


def main(folder: Path) -> None:
    """Restores each net, runs it, and prints how probably each picture shows a face."""
    known = np.load(folder / "reference_io.npz")
    for name, (net, size) in NETS.items():
        with torch.device("meta"):  # no memory before the weights are there
            model = slim.build(net, slim.InputSpec((None, 3, size, size))).eval()
        slim.restore(model, folder / name)
        with torch.inference_mode():
            faces, _, _ = model(torch.from_numpy(known[f"{name}/input"]).permute(0, 3, 1, 2))
        recorded = known[f"{name}/cls"]
        print(name, *(f"{p:.4f} ({q:.4f})" for p, q in zip(faces[:, 1].flatten(), recorded[..., 1].flat, strict=True)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="with PNet-18, RNet-14, ONet-16 and reference_io.npz")
    main(parser.parse_args().folder)
