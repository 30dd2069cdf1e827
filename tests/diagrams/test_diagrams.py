"""Drawings: what must stand in them, and where; how they look was looked at."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch

import torchslim as slim
from torchslim import nets
from torchslim.diagrams.rows import centers, grouped, ordered

SVG = "{http://www.w3.org/2000/svg}"


def rectangles(
    element: ElementTree.Element, x: float = 0.0, y: float = 0.0
) -> list[tuple[str, float, float, float, float]]:
    """Each plate by its name: left, top, right, bottom, in the whole drawing."""
    found = []
    for child in element:
        if child.tag == f"{SVG}g":
            dx, dy = map(float, re.findall(r"-?[\d.]+", child.attrib["transform"]))
            plate, text = child.find(f"{SVG}rect[@class='call']"), child.find(f"{SVG}text")
            if plate is not None and text is not None:
                width, height = float(plate.attrib["width"]), float(plate.attrib["height"])
                found.append((text.text or "", x + dx, y + dy, x + dx + width, y + dy + height))
            found += rectangles(child, x + dx, y + dy)
    return found


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter(f"{SVG}text")]


@pytest.mark.parametrize("name", ["lenet", "resnet_v1_50", "inception_v1", "mobilenet_v2"])
def test_every_call_has_a_place_of_its_own(name: str) -> None:
    with torch.device("meta"):
        model = nets.get(name)
    plates = rectangles(ElementTree.fromstring(slim.draw(model)))
    calls = [call.name.rpartition("/")[2] for call in model.summary().calls]
    assert sorted(plate[0] for plate in plates) == sorted(calls)
    for one, other in itertools.combinations(plates, 2):
        apart = one[3] <= other[1] or other[3] <= one[1] or one[4] <= other[2] or other[4] <= one[2]
        assert apart, f"{one} and {other} overlap"


def test_scopes_are_boxes_and_flows_go_down(tmp_path: Path) -> None:
    def net(images: slim.Symbol) -> slim.Symbol:
        with slim.variable_scope("unit"):
            features = slim.repeat(images, 2, slim.conv2d, 4, [3, 3], scope="conv")
            return features + slim.conv2d(images, 4, [1, 1], scope="shortcut<>")

    model = slim.build(net, torch.empty(1, 3, 8, 8))
    svg = slim.draw(model, tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == svg == slim.draw(model)
    scopes = [e.text for e in ElementTree.fromstring(svg).iter(f"{SVG}text") if e.attrib.get("class") == "scope"]
    assert sorted(scopes) == ["conv", "unit"]
    top = {name: y for name, _, y, _, _ in rectangles(ElementTree.fromstring(svg))}
    assert top["inputs"] < top["conv_1"] < top["conv_2"] < top["add"]
    assert top["inputs"] < top["shortcut<>"] < top["add"]
    for path in re.findall(r'class="flow" d="([^"]+)"', svg):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path)]
        assert numbers[1] <= numbers[2] < numbers[-1]


def test_depth() -> None:
    with torch.device("meta"):
        model = nets.get("resnet_v1_50")
    assert texts(slim.draw(model, depth=0))[::2] == ["inputs", "resnet_v1_50"]
    blocks = texts(slim.draw(model, depth=1))
    assert [name for name in blocks if name.startswith("block")] == ["block1", "block2", "block3", "block4"]
    assert "unit_1" not in blocks
    assert "25,557,032 parameters" in slim.draw(model, depth=0)
    with pytest.raises(ValueError, match=r"`depth` must not be negative. Got -1"):
        slim.draw(model, depth=-1)


def test_a_scope_that_others_flow_through_is_drawn_in_parts() -> None:
    def net(x: slim.Symbol) -> slim.Symbol:
        x = slim.fully_connected(x, 4, scope="a/first")
        x = slim.fully_connected(x, 4, scope="b/middle")
        return slim.fully_connected(x, 4, scope="a/last")

    found = texts(slim.draw(slim.build(net, torch.empty(1, 3))))
    assert sorted(text for text in found if text in ("a", "b")) == ["a", "a", "b"]


def test_groups_with_what_is_beside_the_circle() -> None:
    sources = {"in": [], "a1": ["in"], "b1": ["a1"], "c1": ["in"], "a2": ["b1"], "c2": ["c1"], "out": ["a2", "c2"]}
    groups = grouped(list(sources), lambda leaf: leaf[0] if leaf[1:].isdigit() else None, sources.__getitem__)
    assert groups == [["in"], ["a1"], ["b1"], ["c1", "c2"], ["a2"], ["out"]]


def test_lines_do_not_cross_without_need() -> None:
    rows = [["a", "b", "c"], ["d", "e", "f"]]
    found = ordered(rows, [("a", "f"), ("b", "e"), ("c", "d")])
    assert [found[0].index(x) for x in "abc"] == [found[1].index(x) for x in "fed"]


def test_cells_keep_their_distance() -> None:
    widths = {"a": 10.0, "b": 30.0, "c": 20.0, "d": 6.0}
    place = centers([["a"], ["b", "c", "d"]], widths, [("a", x, 0.0, 0.0) for x in "bcd"], 4.0)
    assert place["c"] - place["b"] == pytest.approx(29)
    assert place["d"] - place["c"] == pytest.approx(17)
    assert place["b"] + place["c"] + place["d"] == pytest.approx(3 * place["a"])
