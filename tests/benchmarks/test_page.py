"""Benchmarks write side by side on one page."""

from benchmarks.page import write_between


def test_each_replaces_its_own_part_alone(tmp_path):
    """Planted and seen red: the rest of the page lost, the other benchmark's part replaced."""
    page = tmp_path / "docs" / "results.md"
    write_between(page, "one", "first of one")
    page.write_text(page.read_text() + "\nMy own words.\n")
    write_between(page, "two", "first of two")
    write_between(page, "one", "second of one")
    text = page.read_text()
    assert "first of one" not in text and all(words in text for words in ("# Results", "second of one", "My own words.", "first of two"))
    assert text.index("second of one") < text.index("My own words.") < text.index("first of two")
