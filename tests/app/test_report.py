"""The report: self-contained, honest about the best value, and safe with any text."""

import base64
import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from mango.app.charts import Chart, Curve, chart_figure, linear_ticks, running_mean
from mango.app.report import Column, FrameStrip, Report, Row, Table, best_row, report_page, write_report
from mango.data.video_writing import write_video


class Reader(HTMLParser):
    """Collects addresses, text and unbalanced tags."""

    VOID = ("meta", "link", "img", "line", "path", "circle")

    def __init__(self):
        super().__init__()
        self.addresses, self.text, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "data", "srcset", "poster", "action")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def a_report(tmp_path, **changes):
    write_video(tmp_path / "v.mp4", [np.full((16, 32, 3), shade, np.uint8) for shade in (200, 20)])
    columns = [Column("LVE_max", "mm", "lower", 2, "largest lip distance"), Column("slope", "", "one"), Column("PSNR", "dB", "higher", 1)]
    rows = [Row("labels", [2.0, 0.99, 40.0], reference=True), Row("stage one", [1.7, 0.7, 27.0]), Row("stage <two>", [1.3, 1.4, None])]
    picture = np.full((8, 8, 3), (250, 10, 10), np.uint8)
    parts = {
        "title": "Fish & <chips>",
        "video": tmp_path / "v.mp4",
        "tables": [Table("Numbers", columns, rows)],
        "strips": [FrameStrip("Frames", {"real": [picture, picture]}, ["0 s", "1 s"])],
        "charts": [Chart("loss", [Curve("a", [0, 1, 2], [1.0, math.nan, 0.1])], "step", "loss", log_scale=True)],
        "provenance": {"commit": "abc", "seed": "0"},
    }
    return Report(**{**parts, **changes})


def test_the_page_fetches_nothing_and_is_well_formed(tmp_path):
    """Notices a script, a font or a picture by address: the file must work from an e-mail."""
    page = report_page(a_report(tmp_path))
    reader = Reader()
    reader.feed(page)
    assert reader.open == [] and len(reader.addresses) == 5
    assert all(address.startswith("data:") for address in reader.addresses)
    assert not re.search(r"https?://|url\(|@import|<script", page)


def test_a_video_shows_its_first_frame_before_it_is_played(tmp_path):
    """Noticed: no poster, another frame."""
    poster = re.search(r'poster="data:image/jpeg;base64,([^"]+)"', report_page(a_report(tmp_path)))[1]
    picture = cv2.imdecode(np.frombuffer(base64.b64decode(poster), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (16, 32, 3) and abs(picture.mean() - 200) < 10


def test_text_is_escaped(tmp_path):
    page = report_page(a_report(tmp_path))
    assert "Fish &amp; &lt;chips&gt;" in page and "stage &lt;two&gt;" in page and "<chips>" not in page


def test_the_best_value_obeys_the_direction_and_skips_references(tmp_path):
    """Notices 'higher' judged as 'lower', references and missing values that win, and ties, as the page shows them, that are awarded."""
    table = a_report(tmp_path).tables[0]
    assert [best_row(table, k) for k in range(3)] == [2, 1, None]  # slope: 0.7 is nearer to 1 than 1.4; PSNR has one competitor
    tie = Table("", table.columns, [Row("x", [1.0, 1.0, 5.0]), Row("y", [1.0, math.nan, 7.0])])
    assert [best_row(tie, k) for k in range(3)] == [None, None, 1]
    alike = Table("", [Column("PSNR", direction="higher", digits=2)], [Row("x", [26.761]), Row("y", [26.759])])
    assert best_row(alike, 0) is None and best_row(replace(alike, columns=[replace(alike.columns[0], digits=3)]), 0) == 0
    beside = Table("", [Column("Slope", direction="one", digits=2)], [Row("x", [0.9]), Row("y", [1.1])])
    assert best_row(beside, 0) is None, "as far from 1"
    assert "\N{EN DASH}" in report_page(a_report(tmp_path))  # the missing value is a dash, not "nan"


def test_a_value_that_rounds_to_nothing_has_no_sign(tmp_path):
    """A still face has a slope of -0.0001: "-0.00" reads as if it moved the wrong way."""
    columns = a_report(tmp_path).tables[0].columns
    page = report_page(replace(a_report(tmp_path), tables=[Table("", columns, [Row("still", [-0.0001, -0.0001, -0.0001])])]))
    assert ">0.0" in page and "-0.0" not in page.partition("<table")[2].partition("</table>")[0]


def test_written_whole_or_not_at_all(tmp_path):
    target = tmp_path / "out" / "report.html"
    with pytest.raises(FileNotFoundError):
        write_report(target, a_report(tmp_path, video=tmp_path / "no.mp4"))
    assert not target.exists() and not (target.parent.exists() and list(target.parent.iterdir()))
    write_report(target, a_report(tmp_path))
    assert [file.name for file in target.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("log_scale", [False, True])
@pytest.mark.parametrize("values", [[], [math.nan], [3.0], [3.0, 3.0], [-1.0, 0.0, 5.0], [1e-9, 1e9], list(range(5000))])
def test_charts_of_any_values_stay_inside_the_frame(values, log_scale):
    figure = chart_figure(Chart("t", [Curve("c", range(len(values)), values, markers=len(values) < 9)], "x", "y", log_scale, smooth=True))
    assert "nan" not in figure and "inf" not in figure
    for path in re.findall(r' d="M([^"]*)"', figure):
        points = np.array([point.split() for point in path.split("L")], float)
        assert len(points) <= 400
        assert points[:, 0].min() >= 58 and points[:, 0].max() <= 546 and points[:, 1].min() >= 11 and points[:, 1].max() <= 255


def test_larger_values_are_drawn_higher():
    """Notices an axis upside down."""
    figure = chart_figure(Chart("t", [Curve("c", [0, 1], [1.0, 2.0])], "x", "y"))
    low, high = (float(point.split()[1]) for point in re.search(r' d="M([^"]*)"', figure)[1].split("L"))
    assert high < low


def test_running_mean_and_ticks():
    """Notices a mean that lags: a straight line must stay the same line."""
    line = np.arange(20.0)
    np.testing.assert_allclose(running_mean(line, 5), line)
    assert linear_ticks(0, 10) == [0, 2, 4, 6, 8, 10] and linear_ticks(0.3, 0.7) == [0.3, 0.4, 0.5, 0.6, 0.7]
