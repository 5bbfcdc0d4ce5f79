"""docs/limits.md: a limit without a test that goes beyond it is a promise."""

from pathlib import Path

PAGE = Path(__file__).parents[3] / "docs" / "limits.md"


def test_each_row_names_a_test():
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    heads = [row for row in rows if row.endswith("| test |")]
    assert len(heads) > 5
    assert [row for row in rows if row not in heads and "test_" not in row.split("|")[-2]] == []
