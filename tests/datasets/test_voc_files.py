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

from torchslim.data import DataError
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
    monkeypatch.setattr("torchslim.datasets.voc.VOCDetection", lambda *args, **kwargs: calls.append((args, kwargs)))
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
    with pytest.raises(DataError, match=rf"'{path}' is not a readable picture\. decode_image: .") as raised:
        PascalVOC(devkit, "trainval")[0]
    assert "csrc" not in str(raised.value)


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
    with pytest.raises(DataError, match=rf"'{path}' is not a VOC annotation: .*({reason})"):
        PascalVOC(devkit, "trainval")[0]


def test_unknown_year_is_refused(devkit):
    with pytest.raises(ValueError, match=r"`year` must be one of 2007.*Got '2006'"):
        PascalVOC(devkit, "trainval", "2006")


def test_get_dataset(devkit, tmp_path, monkeypatch):
    assert len(get_dataset("pascal_voc", "trainval", devkit, with_difficult=True)[0]) == 3
    monkeypatch.setattr(sample_voc, "create", functools.partial(sample_voc.create, num_images=6))
    assert len(get_dataset("sample_voc", "val", tmp_path / "drawn")) == 2
    with pytest.raises(ValueError, match=r"one of cifar10, .*, pascal_voc, sample_voc, visualwakewords\. Got 'coco'"):
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


def write_mask(devkit: Path, picture: Image.Image, **options: int) -> Path:
    for part in ("ImageSets/Segmentation", "SegmentationClass"):
        (devkit / part).mkdir(exist_ok=True)
    (devkit / "ImageSets/Segmentation/trainval.txt").write_text("000001\n")
    picture.save(path := devkit / "SegmentationClass/000001.png", **options)
    return path


def voc_picture(numbers: np.ndarray) -> Image.Image:
    """In VOC's colours: the bits of a number are dealt to red, green and blue, the lowest to their highest."""
    bits = np.arange(256)[:, None, None] >> np.arange(24).reshape(8, 3) & 1
    picture = Image.fromarray(numbers.astype(np.uint8)).convert("L")
    picture = Image.frombytes("P", picture.size, picture.tobytes())
    picture.putpalette((bits << np.arange(7, -1, -1)[:, None]).sum(1).ravel().tolist())
    return picture


MASKS = np.random.default_rng(0).choice([*range(21), 255], (30, 40))


@pytest.mark.parametrize(
    ("numbers", "options"),
    [
        (MASKS, {}),
        (MASKS[:, :33] % 16, {"bits": 4}),
        (MASKS % 4, {"bits": 2}),
        (MASKS % 2, {"bits": 1}),
        (MASKS, {"transparency": 0}),
    ],
)
def test_masks_are_the_numbers_of_their_colours(devkit, numbers, options):
    path = write_mask(devkit, voc_picture(numbers), **options)
    assert path.read_bytes()[24] == options.get("bits", 8)
    voc = PascalVOC(devkit, "trainval", task="segmentation")
    image, mask = voc[0]
    assert (len(voc), image.shape, mask.dtype) == (1, (3, 30, 40), torch.uint8)
    assert isinstance(mask, Mask)
    assert mask.tolist() == numbers.tolist()


def test_what_counts_are_voc_s_colours(devkit):
    write_mask(devkit, voc_picture(np.array([[0, 1, 15, 20, 255]])))
    with Image.open(devkit / "SegmentationClass/000001.png") as picture:
        colours = np.array(picture.convert("RGB"))[0].tolist()
    assert colours == [[0, 0, 0], [128, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]  # as the devkit says
    assert PascalVOC(devkit, "trainval", task="segmentation").mask(0).tolist() == [[0, 1, 15, 20, 255]]


def test_masks_may_be_grey_and_are_transformed(devkit):
    write_mask(devkit, Image.fromarray(MASKS.astype(np.uint8)))
    voc = PascalVOC(devkit, "trainval", task="segmentation", transform=v2.RandomVerticalFlip(1.0))
    assert voc[0][1].tolist() == MASKS[::-1].tolist()


@pytest.mark.parametrize(("mode", "kind"), [("RGB", "kind 2 and 8"), ("1", "kind 0 and 1"), ("I;16", "kind 0 and 16")])
def test_other_pictures_are_no_masks(devkit, mode, kind):
    write_mask(devkit, Image.new(mode, (2, 2)))
    with pytest.raises(DataError, match=rf"000001.png' is not a mask\. .*numbers of 8 bits, and are of {kind} bits"):
        PascalVOC(devkit, "trainval", task="segmentation")[0]


def test_every_damaged_byte_of_a_mask_is_found_or_harmless(devkit):
    path = write_mask(devkit, voc_picture(MASKS))
    whole, found = path.read_bytes(), 0
    voc = PascalVOC(devkit, "trainval", task="segmentation")
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x41]) + whole[place + 1 :])
        try:
            assert voc.mask(0).tolist() == MASKS.tolist()
        except DataError:
            found += 1
    assert found > len(whole) // 3 - 8


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


@needs_photographs
def test_real_photographs_go_through_every_task(tmp_path):
    plain = PascalVOC(PHOTOGRAPHS, "trainval")
    labels = torch.stack([plain.target(index)[0] for index in range(len(plain))])
    assert (labels.sum(1) > 1).any()  # several classes in one photograph
    found = PascalVOC(PHOTOGRAPHS, "trainval", task="detection", with_difficult=True)
    for index in range(0, 100, 9):
        image, boxes, numbers, difficult = found[index]
        assert torch.equal(image, plain.image(index))
        assert len(boxes) == len(numbers) == len(difficult)
        assert torch.equal(labels[index].nonzero().ravel(), numbers.unique())
    # There are no masks beside the photographs: the boxes are drawn as such, in VOC's format.
    folder = tmp_path / "VOC2012"
    (folder / "SegmentationClass").mkdir(parents=True)
    (folder / "ImageSets/Segmentation").mkdir(parents=True)
    (folder / "JPEGImages").symlink_to(plain.folder / "JPEGImages")
    (folder / "ImageSets/Segmentation/train.txt").write_text("\n".join(plain.ids[:5]))
    drawn = []
    for index in range(5):
        mask = np.zeros(plain.image(index).shape[1:], np.uint8)
        for box, number in zip(plain.boxes(index).int().tolist(), found[index][2].tolist(), strict=True):
            mask[box[1] : box[3], box[0] : box[2]] = 1 + number
            mask[box[1], box[0] : box[2]] = 255
        drawn.append(mask)
        voc_picture(mask).save(folder / "SegmentationClass" / f"{plain.ids[index]}.png")
    for (image, mask), wanted in zip(PascalVOC(tmp_path, task="segmentation"), drawn, strict=True):
        assert image.shape[1:] == mask.shape
        assert np.array_equal(mask, wanted)
