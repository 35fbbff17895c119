"""The benchmarks' page: one benchmark's section takes its last one's place, and the others' stay."""

from pathlib import Path

from benchmarks.__main__ import save
from benchmarks.report import Report


def test_a_section_replaces_its_last_one_alone(tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    for name, text in (("tag", "## tag\n\nold\n"), ("limit", "## limit\n\nlimit's\n"), ("train", "## train\n\ntrain's\n")):
        save(file, name, text)
    others = file.read_text()
    save(file, "tag", "## tag\n\nnew\n")
    page = file.read_text()
    save(file, "tag", "## tag\n\nskipped\n", skipped=True)
    assert file.read_text() == page == others.replace("old", "new")
    assert page.startswith("# Benchmarks\n")
    assert [line for line in page.splitlines() if line.startswith("## ")] == ["## train", "## tag", "## limit"]


def test_a_report_as_a_section() -> None:
    report = Report("tag: words", ("what", "measured"), [("slots", "1.0")], {"slots": 1.0}, ("A note.",))
    assert report.markdown("Here.") == (
        "## tag: words\n\nHere.\n\nA note.\n\n| what | measured |\n| --- | --- |\n| slots | 1.0 |\n"
    )
