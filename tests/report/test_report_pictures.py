"""Images on the page: safe with any name and any file, right in words, and maps as colours."""

from __future__ import annotations

import base64
import copy
import io
from typing import Any

import comparison_samples as samples
import numpy as np
import pytest
from PIL import Image
from test_audit_page import HOSTILE
from test_audit_page import content as audit_content
from test_report_html import Page

from tunewise.data.thumbnails import data_uri
from tunewise.report.audit_page import render_audit
from tunewise.report.colour_map import COLOURS, MOST, overlay
from tunewise.report.html import render_html
from tunewise.report.pictures import safe_image

IMAGE = data_uri(Image.new("RGB", (8, 6), (200, 30, 30)))


def pictures(word: str, image: Any = IMAGE, how: str = "grad-cam") -> dict[str, Any]:
    said = {"decision": word, "about": word, "probability": 0.875, "error": None, "right": False}
    row = {"row": 3, "name": word, "thumbnail": "a", "truth": word}
    map_ = [[0.0, 0.4], [0.1, -0.2]]
    seen = {"row": 3, "name": word, "truth": word, "output": word, "probability": 0.5, "right": True, "map": map_}
    rows = [{**seen, "image": "i0", "why": why} for why in ("some of each class", "a mistake")]
    return {
        "methods": 9,
        "samples": [{**row, "said": {word: said, "full": said}}, {**row, "thumbnail": None, "said": {}}],
        "mistakes": {word: {"count": 1, "of": 9, "rows": [{**row, **said}]}, "full": {"count": 0, "of": 9, "rows": []}},
        "looked_at": {"images": {"i0": image}, "methods": {word: {"how": how, "passes": 300, "rows": rows}}},
        "thumbnails": {"made": {"a": image}, "gone": [word], "beyond": 2},
    }


@pytest.fixture(scope="module")
def comparison() -> dict[str, Any]:
    return samples.comparison(methods=("full", "lora"), seeds=1)


def of_images(comparison: dict[str, Any], **changed: Any) -> dict[str, Any]:
    found = copy.deepcopy(comparison)
    found["pictures"] = pictures(**changed)
    for row in found["disagreements"]:
        row["thumbnail"] = "a"
    return found


def images(page: Page) -> list[str]:
    return [attributes["src"] for tag, attributes in page.elements if tag == "img"]


def test_the_page_tells_what_is_shown_and_what_is_not(comparison):
    page = Page(render_html(of_images(comparison, word="usual.png")))
    assert "1 of 9 wrong" in page.text and "full: none of 9 wrong" in page.text
    assert "Of 9 methods, the best 2 by validation are shown" in page.text
    assert "1 images could not be read any more" in page.text and "2 more are shown by name" in page.text
    assert "usual.png 88%, full 88%" in page.text  # one vote of two methods
    assert "300" in page.text and "By Grad-CAM" in page.text
    assert "Some images" not in render_html(comparison) and not images(Page(render_html(comparison)))


def test_occlusion_tells_how_much_it_is(comparison):
    page = Page(render_html(of_images(comparison, word="usual", how="occlusion")))
    assert "covered: 40 points less" in page.text and "By occlusion" in page.text


@pytest.mark.parametrize("word", HOSTILE)
def test_names_and_labels_never_become_markup(comparison, word):
    usual, page = (Page(render_html(of_images(comparison, word=text))) for text in ("usual", word))
    shapes = [[(tag, sorted(attributes)) for tag, attributes in one.elements] for one in (usual, page)]
    assert shapes[0] == shapes[1]
    assert all(uri.startswith(("data:image/jpeg;base64,", "data:image/png;base64,")) for uri in images(page))


@pytest.mark.parametrize(
    "uri",
    [
        "https://example.org/a.jpg",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html;base64,PGI+",
        'data:image/jpeg;base64,AA" onerror="x',
        "data:image/jpeg;base64,",
        "data:image/jpeg;base64,AA==\n",
        None,
        7,
    ],
)
def test_only_jpeg_in_the_page_itself_is_shown(comparison, uri):
    assert safe_image(uri) is None and safe_image(IMAGE) == IMAGE
    page = Page(render_html(of_images(comparison, word="usual", image=uri)))
    assert not images(page) and "no image" in page.text


def test_a_map_becomes_colours_that_are_clear_where_it_is_least():
    values = np.zeros((4, 2))
    values[3, 1], values[0, 0] = 5.0, -3.0
    uri = overlay(values.tolist())
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    image = Image.open(io.BytesIO(raw)).convert("RGBA")
    assert image.size == (32, 64) and len(raw) < 4_000
    assert image.getpixel((0, 0))[3] == 0 and image.getpixel((31, 20))[3] == 0
    *colour, opaque = image.getpixel((31, 63))
    assert np.abs(np.array(colour) - COLOURS[-1]).max() <= 12 and abs(opaque - 255 * MOST) < 12
    clear = Image.open(io.BytesIO(base64.b64decode(overlay([[0.0, 0.0]]).partition(",")[2]))).convert("RGBA")
    assert clear.getextrema()[3] == (0, 0)


@pytest.mark.parametrize("word", ["usual.png", HOSTILE[0], HOSTILE[2]])
def test_the_page_of_a_check_shows_images(word):
    row = {"split": word, "row": 4, "name": word, "thumbnail": "a"}
    groups = [{"name": word, "rows": 1234, "shown": [row, {**row, "thumbnail": None}]}]
    found = audit_content(word) | {
        "pictures": {
            **{"classes": groups, "more_classes": 3, "odd": groups, "findings": [["a"]]},
            "thumbnails": {"made": {"a": IMAGE}, "gone": [], "beyond": 0},
        }
    }
    page = Page(render_audit(found))
    assert images(page) == [IMAGE] * 3 and "1,234 rows" in page.text and "3 more classes" in page.text
    assert not any("onmouseover" in attributes for _, attributes in page.elements)
    assert not page.data["script"]
