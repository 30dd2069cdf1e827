"""Reading VOC's layout: a tiny hand-written devkit, and real photographs where they are."""

from __future__ import annotations

import functools
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.tv_tensors import Mask

from torchslim.datasets import CLASS_NAMES, PascalVOC, VOCObject, get_dataset, sample_voc

OBJECT = """<object><name>{name}</name><pose>Left</pose>
<truncated>{truncated}</truncated><difficult>{difficult}</difficult>
<bndbox><xmax>{box[2]}</xmax><xmin>{box[0]}</xmin><ymax>{box[3]}</ymax><ymin>{box[1]}</ymin></bndbox>
<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox></part></object>"""


def write_picture(folder: Path, name: str, objects: str, size: tuple[int, int] = (40, 30)) -> None:
    Image.new("RGB", size, (200, 100, 50)).save(folder / "JPEGImages" / f"{name}.jpg")
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")


@pytest.fixture
def devkit(tmp_path) -> Path:
    folder = tmp_path / "VOCdevkit" / "VOC2007"
    for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / part).mkdir(parents=True)
    dog = OBJECT.format(name="dog", truncated=1, difficult=0, box=(1, 2, 40, 30))
    hard_dog = OBJECT.format(name="dog", truncated=0, difficult=1, box=(3, 3, 9, 9))
    hard_cat = OBJECT.format(name="cat", truncated=0, difficult=1, box=(45.7, 5, 60, 17.25))
    write_picture(folder, "000001", dog + hard_cat + hard_dog)
    write_picture(folder, "000002", "")
    (folder / "ImageSets/Main/trainval.txt").write_text("000001\n000002\n\n")
    (folder / "ImageSets/Main/dog_trainval.txt").write_text("000001  1\n000002 -1\n")
    return folder


def test_labels_tell_present_from_only_difficult(devkit):
    voc = PascalVOC(devkit.parents[1], "trainval", 2007, with_difficult=True)
    _, labels, difficult = voc[0]
    assert {CLASS_NAMES[i] for i in labels.nonzero()} == {"cat", "dog"}
    assert {CLASS_NAMES[i] for i in difficult.nonzero()} == {"cat"}
    assert labels.dtype == difficult.dtype == torch.float32
    _, labels, difficult = voc[1]
    assert labels.sum() == difficult.sum() == 0


def test_objects_and_boxes(devkit):
    voc = PascalVOC(devkit, "trainval")
    assert voc.objects(0)[:2] == (
        VOCObject("dog", (1, 2, 40, 30), difficult=False, truncated=True),
        VOCObject("cat", (45.7, 5, 60, 17.25), difficult=True, truncated=False),  # VOC 2011 has such fractions
    )
    boxes = voc.boxes(0)
    assert boxes[0].tolist() == [0, 1, 40, 30]  # the picture's right and lower edge
    assert boxes.canvas_size == (30, 40)
    assert voc.boxes(1).shape == (0, 4)


def test_image_is_what_pillow_reads(devkit):
    image, labels = PascalVOC(devkit, "trainval")[0]
    with Image.open(devkit / "JPEGImages" / "000001.jpg") as picture:
        assert np.array_equal(image.permute(1, 2, 0).numpy(), np.asarray(picture))
    assert labels.shape == (20,)


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_image_of_another_mode_becomes_rgb(devkit, mode):
    Image.new(mode, (8, 6)).save(devkit / "JPEGImages" / "000001.jpg")
    assert PascalVOC(devkit, "trainval").image(0).shape == (3, 6, 8)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_root_may_be_any_of_the_folders(devkit, up):
    root = [devkit, *devkit.parents][up]
    assert PascalVOC(root, "trainval", "2007").ids == ["000001", "000002"]
    assert PascalVOC(str(root), "dog_trainval", 2007).ids == ["000001", "000002"]


def test_the_2011_archive_unpacks_deeper(devkit):
    devkit.rename(devkit.parent / "VOC2011")
    (devkit.parents[1] / "TrainVal").mkdir()
    devkit.parent.rename(devkit.parents[1] / "TrainVal" / "VOCdevkit")
    assert len(PascalVOC(devkit.parents[1], "trainval", "2011")) == 2


def test_transform_is_applied_and_the_data_set_can_be_pickled(devkit):
    voc = pickle.loads(pickle.dumps(PascalVOC(devkit, "trainval", transform=torch.sum)))
    assert voc[1][0] == voc.image(1).sum()


def test_download_asks_torchvision_only_if_the_folder_is_missing(devkit, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        "torchslim.datasets.pascal_voc.VOCDetection", lambda *args, **kwargs: calls.append((args, kwargs))
    )
    PascalVOC(devkit, "trainval", download=True)
    assert not calls
    with pytest.raises(FileNotFoundError, match="VOC2010"):
        PascalVOC(tmp_path, "val", "2010", download=True)
    assert calls == [((tmp_path, "2010", "val"), {"download": True})]


def test_missing_folder_says_what_was_looked_for(tmp_path):
    with pytest.raises(
        FileNotFoundError, match=rf"VOCdevkit/VOC2012.*Got '{tmp_path}/nowhere' \(there is no such folder\)"
    ):
        PascalVOC(tmp_path / "nowhere")
    (tmp_path / "VOC2007").mkdir()
    with pytest.raises(FileNotFoundError, match=r"VOC2012.*\(it holds VOC2007\).*download=True"):
        PascalVOC(tmp_path)


def test_missing_list_names_the_lists_that_are_there(devkit):
    with pytest.raises(
        FileNotFoundError, match=r"no list 'val'.*Main/val.txt' is missing. Lists that are there: trainval\."
    ):
        PascalVOC(devkit, "val")


def test_empty_list_is_an_error_at_once(devkit):
    (devkit / "ImageSets/Main/val.txt").write_text("\n")
    with pytest.raises(ValueError, match=r"list 'val' is empty: '.*/Main/val.txt'"):
        PascalVOC(devkit, "val")


@pytest.mark.parametrize(("part", "ending"), [("JPEGImages", ".jpg"), ("Annotations", ".xml")])
def test_missing_file_is_an_error_at_once(devkit, part, ending):
    path = devkit / part / f"000002{ending}"
    path.unlink()
    with pytest.raises(FileNotFoundError, match=rf"1 of the 2 images in list 'trainval' have no {ending}.*'{path}'"):
        PascalVOC(devkit, "trainval")


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage"])
def test_corrupt_jpeg_is_named(devkit, damage):
    path = devkit / "JPEGImages" / "000001.jpg"
    content = path.read_bytes()
    path.write_bytes({"truncated": content[: len(content) // 2], "empty": b"", "garbage": b"hello" * 99}[damage])
    with pytest.raises(ValueError, match=rf"'{path}' is not a readable picture: \w") as raised:
        PascalVOC(devkit, "trainval")[0]
    assert "csrc" not in str(raised.value)
    assert isinstance(raised.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("<annotation><object>", "no element found|mismatched"),
        ("", "no element found"),
        ("<annotation><object><name>unicorn</name></object></annotation>", "object 'unicorn' is none of VOC's 20"),
        ("<annotation><object/></annotation>", "object '' is none of"),
        ("<annotation><object><name>cat</name></object></annotation>", "object 'cat' has no complete bndbox"),
        (f"<annotation>{OBJECT.format(name='cat', truncated=0, difficult=0, box=('x', 1, 2, 3))}</annotation>", "'x'"),
    ],
)
def test_corrupt_annotation_is_named(devkit, content, reason):
    path = devkit / "Annotations" / "000001.xml"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"'{path}' is not a VOC annotation: .*({reason})"):
        PascalVOC(devkit, "trainval")[0]


def test_unknown_year_is_refused(devkit):
    with pytest.raises(ValueError, match=r"`year` must be one of 2007.*Got '2006'"):
        PascalVOC(devkit, "trainval", "2006")


def test_get_dataset(devkit, tmp_path, monkeypatch):
    assert len(get_dataset("pascal_voc", "trainval", devkit, with_difficult=True)[0]) == 3
    monkeypatch.setattr(sample_voc, "create", functools.partial(sample_voc.create, num_images=6))
    assert len(get_dataset("sample_voc", "val", tmp_path / "drawn")) == 2
    with pytest.raises(ValueError, match=r"one of cifar10, .*, pascal_voc, sample_voc\. Got 'coco'"):
        get_dataset("coco", "train", devkit)


def test_detection_gives_boxes_and_labels_that_transforms_know(devkit):
    voc = PascalVOC(devkit, "trainval", task="detection", with_difficult=True)
    image, boxes, labels, difficult = voc[0]
    assert list(voc.items_to_descriptions) == ["image", "boxes", "label", "difficult"]
    assert torch.equal(boxes, voc.boxes(0))
    assert [CLASS_NAMES[label] for label in labels] == ["dog", "cat", "dog"]
    assert difficult.tolist() == [False, True, True]
    assert [len(field) for field in voc[1][1:]] == [0, 0, 0]
    flipped = PascalVOC(devkit, "trainval", task="detection", transform=v2.RandomHorizontalFlip(1.0))[0]
    assert len(flipped) == 3
    left, _, right, _ = boxes[1].tolist()
    assert flipped[1][1].tolist()[::2] == [40 - right, 40 - left]  # the picture is 40 pixels wide
    assert torch.equal(flipped[0], image.flip(-1))


def test_segmentation_gives_masks(devkit):
    colours = [[0, 0, 255], [12, 8, 0]]
    for part in ("ImageSets/Segmentation", "SegmentationClass"):
        (devkit / part).mkdir()
    (devkit / "ImageSets/Segmentation/trainval.txt").write_text("000001\n")
    picture = Image.fromarray(np.array(colours, np.uint8), "L").convert("P")
    picture.putpalette(list(range(256)) * 3)
    picture.save(devkit / "SegmentationClass/000001.png")
    voc = PascalVOC(devkit, "trainval", task="segmentation")
    image, mask = voc[0]
    assert (len(voc), image.shape) == (1, (3, 30, 40))
    assert isinstance(mask, Mask)
    assert mask.tolist() == colours
    assert (
        PascalVOC(devkit, "trainval", task="segmentation", transform=v2.RandomVerticalFlip(1.0))[0][1].tolist()
        == (colours[::-1])
    )
    Image.new("RGB", (2, 2)).save(devkit / "SegmentationClass/000001.png")
    with pytest.raises(ValueError, match=r"000001.png' is not a mask: its pixels are RGB"):
        voc[0]


def test_unknown_tasks_and_missing_masks_are_refused(devkit):
    with pytest.raises(ValueError, match=r"`task` must be one of classification.*Got 'depth'"):
        PascalVOC(devkit, "trainval", task="depth")
    (devkit / "ImageSets/Segmentation").mkdir()
    (devkit / "ImageSets/Segmentation/trainval.txt").write_text("000001\n")
    with pytest.raises(FileNotFoundError, match=r"have no .png file. The first one is .*000001\.png"):
        PascalVOC(devkit, "trainval", task="segmentation")


PHOTOGRAPHS = Path(__file__).parents[3] / "shared" / "data" / "voc"
needs_photographs = pytest.mark.skipif(not PHOTOGRAPHS.is_dir(), reason="no photographs at ../shared/data/voc")


@needs_photographs
@pytest.mark.parametrize(("image_set", "column"), [("trainval", 0), ("train", 1), ("val", 2)])
def test_real_photographs_have_the_classes_that_their_documentation_counts(image_set, column):
    voc = PascalVOC(PHOTOGRAPHS, image_set, with_difficult=True)
    labels, difficult = map(torch.stack, zip(*(voc.target(index) for index in range(len(voc))), strict=True))
    table = re.findall(
        r"^\| (\w+) \| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", (PHOTOGRAPHS / "SOURCES.md").read_text(), re.M
    )
    counts = {name: [int(number) for number in numbers] for name, *numbers in table}
    assert sorted(counts) == sorted(CLASS_NAMES)
    for number, name in enumerate(CLASS_NAMES):
        assert labels[:, number].sum() == counts[name][column]
        if image_set == "trainval":
            assert difficult[:, number].sum() == counts[name][3]


@needs_photographs
def test_real_class_lists_agree_with_the_annotations():
    voc = PascalVOC(PHOTOGRAPHS / "VOCdevkit", "trainval")
    for number, name in enumerate(CLASS_NAMES):
        lines = (voc.folder / "ImageSets/Main" / f"{name}_trainval.txt").read_text().splitlines()
        presence = dict(line.split() for line in lines)
        for index, image_id in enumerate(voc.ids):
            labels, difficult = voc.target(index)
            mine = -1 if not labels[number] else 0 if difficult[number] else 1
            assert mine == int(presence[image_id])


@needs_photographs
def test_real_photographs_hold_their_boxes():
    voc = PascalVOC(PHOTOGRAPHS, "trainval")
    assert sum(len(voc.objects(index)) for index in range(100)) == 273
    for index in range(0, 100, 10):
        boxes, (_, height, width) = voc.boxes(index), voc.image(index).shape
        assert boxes.canvas_size == (height, width)
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2:] <= torch.tensor([width, height])).all()
        assert (boxes[:, :2] < boxes[:, 2:]).all()


@needs_photographs
def test_real_voc2007_pair_is_read():
    folder = next((PHOTOGRAPHS / "extra").glob("**/Annotations")).parent
    voc = PascalVOC.__new__(PascalVOC)  # the pair is in no list
    voc.folder, voc.ids = folder, ["000085"]
    assert voc.image(0).shape[0] == 3
    assert voc.objects(0)
