"""`slim.restore` of torchvision's weights: torchvision says what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision

import torchslim as slim
from torchslim.checkpoints import restore
from torchslim.nets import vgg


@pytest.mark.slow
def test_torchvision_logits(tmp_path: Path) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.vgg16().eval()
        ours = slim.build(vgg.vgg_16, slim.InputSpec((None, 3, 224, 224)))
    theirs.to_empty(device="cpu")
    for parameter in theirs.parameters():
        bound = (3 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
        torch.nn.init.uniform_(parameter, -bound, bound)
    torch.save(theirs.state_dict(), tmp_path / "vgg16.pth")
    report = restore(ours, tmp_path / "vgg16.pth", names="torchvision/vgg16")
    assert (len(report.restored), report.unused) == (32, [])
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted, found = theirs(images), ours.eval()(images)
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(found.reshape(1, 1000), wanted, rtol=0, atol=1e-4)


def test_a_known_naming_is_proposed() -> None:
    with torch.device("meta"):
        model = slim.build(vgg.vgg_a, slim.InputSpec((None, 3, 224, 224)), num_classes=20)
        theirs = torchvision.models.vgg11().state_dict()
    with pytest.raises(ValueError, match=r"With names='torchvision/vgg11', 20 of these 22 are found\."):
        restore(model, theirs)
