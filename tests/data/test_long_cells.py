"""Cells and names of 130,000 letters in long tables and ratings: messages quote how they begin."""

import pytest

from pullback.data import DataError, read_long, read_ratings

LONG = "y" * 130_000
HEADER = "series,time,variable,value\n"
RATINGS = "user,item,rating,time\n"
MANY = ",".join(f"c{k}" for k in range(20_000))


def _rows(header, row, place, twice):
    cells = row.split(",")
    cells[place] = LONG
    return header + (",".join(cells) + "\n") * (1 + twice)


CASES = [
    *((read_long, _rows(HEADER, "a,1,v,2", k, k in (0, 2)), {}) for k in range(4)),
    *((read_ratings, _rows(RATINGS, "a,x,3,2", k, k < 2), {}) for k in range(4)),
    (read_long, HEADER + "".join(f"a,{k},v,{LONG}{k}\n" for k in range(40)), {}),
    (read_long, HEADER + f"a,1,v [{LONG}],1\na,2,v,1\n", {}),
    (read_long, HEADER.replace("value", "value,unit") + f"a,1,v [{LONG}],1,x{LONG}\n", {}),
    (read_long, HEADER.replace("time", f"time [{LONG}]") + "a,2024-01-01,v,1\n", {}),
    (read_long, HEADER.replace("time", f"time [{LONG}]") + "a,1,v,1\n", {"time_unit": "h"}),
    (read_long, f"{LONG},{LONG}1,{LONG}2,x\n1,1,1,1\n", {}),
    (read_long, f"{LONG},{LONG},x,y\n1,1,1,1\n", {}),
    (read_long, HEADER + "a,1,v,1\n", {"series": LONG}),
    (read_long, HEADER + f"a,2024-01-01,v,1\na,2024-01-01T00:00Z{' ' * 130_000},v,1\n", {}),
    (read_long, HEADER + f"a,{LONG},v,1\n", {"time_format": "%d.%m.%Y"}),
    (read_long, HEADER + "a,1,v,1\n", {"time_format": "%d.%m.%Y" + LONG + "%"}),
    (read_long, MANY + "\n", {}),
    (read_long, HEADER + MANY + "\n", {}),
    (read_ratings, f"{LONG}::{LONG}::3\n{LONG}::{LONG}::3\n", {}),
    (read_ratings, RATINGS + f"a,{LONG},3,1\n", {"known_items": ["a"]}),
]


@pytest.mark.parametrize("case", range(len(CASES)))
def test_what_is_long_is_cut(tmp_path, case):
    read, text, options = CASES[case]
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        read(tmp_path / "t.csv", **options)
    assert len(str(caught.value)) < 500
    assert isinstance(caught.value, DataError) or "time_format" in str(caught.value)
