"""The page stands alone, escapes what it is given, and says in words what it shows."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from pipeline.explain.animate import encode
from pipeline.explain.curve import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, draw_curve
from pipeline.explain.page import Pictures, Report, describe, render_page
from pipeline.explain.strip import StripStyle, draw_strip

VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects elements, text and any imbalance of tags."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.words, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture(scope="module")
def windows(make_explanation):
    return (make_explanation(16), make_explanation(16, start=10, padded=3))


@pytest.fixture(scope="module")
def page(windows):
    provenance = {"model": "ST-ABN <script>", "passport": "sha256:ab&12"}
    pictures = tuple(Pictures(draw_strip(w, StripStyle(tile=32)), encode(w, "webp"), "webp") for w in windows)
    report = Report(title="clip <1>", windows=windows, pictures=pictures, provenance=provenance)
    return Page(render_page(report))


def test_nothing_is_fetched_and_nothing_runs(page):
    assert not [tag for tag, _ in page.elements if tag in ("script", "link", "iframe", "object", "base")]
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "srcset", "poster", "data"):
                assert value.startswith("data:image/")
    style = "".join(page.words)
    assert not re.search(r"url\(|@import|https?:", style)
    assert page.open == []


def test_every_picture_has_words(page, windows):
    images = [attributes for tag, attributes in page.elements if tag == "img"]
    assert len(images) == 4
    assert all(len(image["alt"]) > 60 for image in images)
    (drawing,) = [attributes for tag, attributes in page.elements if tag == "svg"]
    assert describe(windows[0]) in drawing["aria-label"]


def test_the_strip_on_the_page_is_the_strip(page, windows):
    image = next(attributes for tag, attributes in page.elements if tag == "img")
    content = base64.b64decode(image["src"].removeprefix("data:image/webp;base64,"))
    strip = draw_strip(windows[0], StripStyle(tile=32)).astype(int)
    with Image.open(io.BytesIO(content)) as picture:
        assert np.abs(np.asarray(picture.convert("RGB")) - strip).mean() < 6  # compressed, so close and not equal


def test_given_texts_are_shown_as_they_are(page, windows):
    text = "".join(page.words)
    for word in ("clip <1>", windows[0].classes[0], windows[0].classes[1], "ST-ABN <script>", "sha256:ab&12"):
        assert word in text


def test_scores_are_the_mean_over_windows_best_first(page, windows):
    mean = np.mean([window.scores for window in windows], axis=0)
    cells = [word for word in page.words if re.fullmatch(r"\d\.\d{4}", word)]
    assert cells[0:10:2] == [f"{v:.4f}" for v in sorted(mean, reverse=True)[:5]]
    assert "Wrong: it is " in "".join(page.words)


def test_the_table_lists_each_real_frame_once_per_window(page, windows):
    cells = [word for word in page.words if re.fullmatch(r"\d\.\d{4}", word)][10:]
    expected = [w.temporal_T[t] for w in windows for t in range(16) if w.valid_T[t]]
    assert cells == [f"{v:.4f}" for v in expected]


def test_description_finds_the_peak_among_real_frames(make_explanation):
    explanation = make_explanation(16, padded=3)  # attention rises; its largest value lies on padding
    explanation.spatial_THW[12] = 0.1
    explanation.spatial_THW[12, 13, 0] = 0.9
    text = describe(explanation)
    assert "frame 12 (1.00 s)" in text
    assert "bottom left" in text


def test_curve_points_are_the_values(windows):
    svg = draw_curve(windows, "words")
    lines = re.findall(r'<polyline class="line(?: even)?" points="([^"]+)"', svg)
    assert [len(line.split()) for line in lines] == [16, 13]
    last = 22  # the largest sampled frame, at the right end of the axis
    for line, window in zip(lines, windows, strict=True):
        for point, frame, value in zip(line.split(), window.idx_T, window.temporal_T, strict=False):
            x, y = map(float, point.split(","))
            assert x == pytest.approx(LEFT + frame / last * (WIDTH - LEFT - RIGHT), abs=0.06)
            assert y == pytest.approx(TOP + (1 - value) * (HEIGHT - TOP - BOTTOM), abs=0.06)


def test_shading_covers_the_active_runs(make_explanation):
    window = make_explanation(16)
    window.active_T[:] = [False] * 4 + [True] * 3 + [False] * 8 + [True]
    spans = re.findall(r'<rect class="truth" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', draw_curve([window], "words"))
    frame = (WIDTH - LEFT - RIGHT) / 15
    assert [float(width) for _, width in spans] == pytest.approx([3 * frame, frame], abs=0.06)
    assert float(spans[0][0]) == pytest.approx(LEFT + 3.5 * frame, abs=0.06)


def test_the_true_class_is_listed_even_when_it_is_not_among_the_best(make_explanation):
    window = make_explanation(4, label=5)  # the class with the lowest logit of six
    pictures = (Pictures(draw_strip(window, StripStyle(tile=16)), encode(window, "webp"), "webp"),)
    page = Page(render_page(Report(title="t", windows=(window,), pictures=pictures, provenance={})))
    text = "".join(page.words)
    assert "Folding (true class)" in text
    assert f"{window.scores[5]:.4f}" in text
