"""The drawn data set in VOC's layout."""

from __future__ import annotations

import hashlib
from collections import Counter
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from torchslim.datasets import CLASS_NAMES, PascalVOC, drawing, icons, sample_voc


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return sample_voc.create(tmp_path_factory.mktemp("sample"), num_images=120)


def digest(root) -> dict[str, str]:
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha1(path.read_bytes()).hexdigest() for path in files}


def test_every_class_has_an_icon_of_known_parts():
    assert tuple(icons.ICONS) == CLASS_NAMES
    for part in (part for icon in icons.ICONS.values() for part in icon):
        assert part.shape in drawing.SHAPES
        assert part.texture in drawing.TEXTURES
        assert part.tone in ("body", "trim", "dark", "light")


def test_same_seed_same_bytes_and_another_seed_others(tmp_path):
    first, again, other = (
        digest(sample_voc.create(tmp_path / name, num_images=6, seed=seed))
        for name, seed in zip("abc", (1, 1, 2), strict=True)
    )
    assert first == again
    pictures = [name for name in first if name.endswith(".jpg")]
    assert len(pictures) == 6
    assert all(first[name] != other[name] for name in pictures)


def test_lists_agree_with_annotations(root):
    folder = root / "VOCdevkit" / "VOC2012"
    lists = {path.stem: path.read_text().splitlines() for path in (folder / "ImageSets" / "Main").iterdir()}
    assert len(lists) == 3 * 21
    assert len(lists["train"]) == 80
    assert len(lists["val"]) == 40
    assert not set(lists["train"]) & set(lists["val"])
    assert sorted(lists["trainval"]) == sorted(lists["train"] + lists["val"])
    seen = Counter()
    for split in ("train", "val", "trainval"):
        for class_name in CLASS_NAMES:
            for line, image_id in zip(lists[f"{class_name}_{split}"], lists[split], strict=True):
                assert line[:12].strip() == image_id
                found = [
                    element.findtext("difficult") == "1"
                    for element in ElementTree.parse(folder / "Annotations" / f"{image_id}.xml").iterfind("object")
                    if element.findtext("name") == class_name
                ]
                assert int(line[12:]) == (-1 if not found else 0 if all(found) else 1)
                seen[int(line[12:])] += 1
    assert min(seen[kind] for kind in (-1, 0, 1)) > 0


def test_every_class_is_in_both_lists(root):
    for split in ("train", "val"):
        voc = PascalVOC(root, split)
        present = sum(voc.target(index)[0] - voc.target(index)[1] for index in range(len(voc)))
        assert present.min() >= 1


def test_pictures_hold_one_to_three_objects_inside(root):
    voc = PascalVOC(root, "trainval")
    counts = Counter()
    for index in range(len(voc)):
        image, objects = voc.image(index), voc.objects(index)
        counts[len(objects)] += 1
        for _, (left, top, right, bottom), _, _ in objects:
            assert 1 <= left <= right <= image.shape[2]
            assert 1 <= top <= bottom <= image.shape[1]
        with Image.open(voc.images[index]) as picture:
            assert (picture.height, picture.width) == image.shape[1:]
    assert set(counts) == {1, 2, 3}


def test_a_difficult_object_is_the_exception(root):
    voc = PascalVOC(root, "trainval")
    flags = [one.difficult for index in range(len(voc)) for one in voc.objects(index)]
    assert 0.02 < np.mean(flags) < 0.15


def test_mean_colour_does_not_tell_the_classes(root):
    voc = PascalVOC(root, "trainval")
    colours = np.stack([voc.image(i).numpy().mean((1, 2)) for i in range(len(voc))])
    labels = np.stack([voc.target(i)[0].numpy() for i in range(len(voc))])
    features = np.concatenate([(colours - colours.mean(0)) / colours.std(0), np.ones((len(voc), 1))], 1)
    # Least squares on half of the pictures, judged on the other half: it must not beat guessing by much.
    half = len(voc) // 2
    scores = features[half:] @ np.linalg.lstsq(features[:half], labels[:half], rcond=None)[0]
    truth = labels[half:]
    ranks = scores.argsort(0).argsort(0) / (len(scores) - 1)
    lead = (ranks * truth).sum(0) / truth.sum(0) - (ranks * (1 - truth)).sum(0) / (1 - truth).sum(0)
    assert abs(lead.mean()) < 0.1  # 0: guessing, 0.5: all right


def test_it_is_made_once(root):
    before = digest(root)
    stamp = (root / "VOCdevkit" / "VOC2012").stat().st_mtime_ns
    sample_voc.create(root, num_images=120)
    assert (root / "VOCdevkit" / "VOC2012").stat().st_mtime_ns == stamp
    assert digest(root) == before


def test_other_arguments_draw_it_anew(tmp_path):
    sample_voc.create(tmp_path, num_images=6)
    sample_voc.create(tmp_path, num_images=3)
    assert len(PascalVOC(tmp_path, "trainval")) == 3
    assert [path.name for path in (tmp_path / "VOCdevkit").iterdir()] == ["VOC2012"]


def test_interruption_leaves_nothing_and_is_made_good(tmp_path, monkeypatch):
    def fail_at_the_third(seed, index):
        if index == 2:
            raise KeyboardInterrupt("Ctrl-C")
        return draw(seed, index)

    draw = sample_voc._draw
    monkeypatch.setattr(sample_voc, "_draw", fail_at_the_third)
    with pytest.raises(KeyboardInterrupt, match="Ctrl-C"):
        sample_voc.create(tmp_path, num_images=6)
    assert not any((tmp_path / "VOCdevkit").iterdir())
    monkeypatch.undo()
    sample_voc.create(tmp_path, num_images=6)
    assert len(PascalVOC(tmp_path, "trainval")) == 6


def test_half_a_data_set_of_a_killed_run_is_not_taken_for_one(tmp_path):
    (tmp_path / "VOCdevkit" / ".sample_voc-killed" / "VOC2012" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"VOCdevkit/VOC2012.*holds VOCdevkit"):
        PascalVOC(tmp_path)
    sample_voc.create(tmp_path, num_images=3)
    assert len(PascalVOC(tmp_path, "trainval")) == 3


def test_a_real_data_set_is_never_overwritten(tmp_path):
    precious = tmp_path / "VOCdevkit" / "VOC2012" / "JPEGImages" / "2007_000027.jpg"
    precious.parent.mkdir(parents=True)
    precious.write_bytes(b"a photograph")
    with pytest.raises(FileExistsError, match=r"VOC2012' was not drawn by sample_voc"):
        sample_voc.create(tmp_path)
    assert precious.read_bytes() == b"a photograph"


def test_too_few_pictures_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"`num_images` must be at least 3\. Got 2"):
        sample_voc.create(tmp_path, num_images=2)
