"""Tables to take away: opened by a spreadsheet, they hold what was there and calculate nothing."""

import csv
import io
from datetime import UTC, date, datetime

import pytest

from mailer.web import csv_export


def read(text: str, separator: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text.removeprefix("\ufeff")), delimiter=separator))


@pytest.mark.parametrize("typed", ["=1+1", "+33 1", "-2", "@SUM(A1)", "\t=1", " =1+1", "\r=1", "＝1", "|calc", "%0A"])
def test_what_people_typed_is_never_a_formula(typed: str) -> None:
    assert csv_export.cell(typed) == f"'{typed}"


def test_numbers_days_and_nothing_stay_what_they_are() -> None:
    moment = datetime(2026, 11, 24, 7, 0, 30, 5, tzinfo=UTC)
    written = [csv_export.cell(one) for one in (-3, 0.5, None, date(2026, 11, 24), moment, "plain")]
    assert written == ["-3", "0.5", "", "2026-11-24", "2026-11-24T07:00:30+00:00", "plain"]


def test_quotes_separators_and_line_ends_come_back_as_they_were() -> None:
    row = ['say "no"', "a,b;c", "two\nlines", "L’été"]
    for language, separator in (("en", ","), ("fr", ";")):
        text = "".join(csv_export.lines(["a", "b", "c", "d"], [row], language=language))
        assert text.startswith("\ufeff")
        assert read(text, separator) == [["a", "b", "c", "d"], row]


def test_a_long_table_comes_in_pieces_and_is_complete() -> None:
    pieces = list(csv_export.lines(["n"], ([n] for n in range(1201))))
    assert len(pieces) == 3
    assert len(read("".join(pieces))) == 1202


def test_the_name_of_the_file_is_safe_in_a_header() -> None:
    response = csv_export.respond('été"\r\nX: y', ["a"], [])
    assert response.headers["content-disposition"] == 'attachment; filename="-t----X--y.csv"'
