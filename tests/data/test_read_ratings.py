"""Ratings read from the files in which people have them."""

import numpy as np
import pandas as pd
import pytest

from pullback.data import DataError, read_ratings

# Two users, three films, out of order.
ROWS = [("ann", "Alien", 5.0, 30), ("bob", "Alien", 2.0, 10), ("ann", "Brazil", 4.0, 20)]


def csv(sep=",", header="user,item,rating,time", rows=ROWS):
    head = [] if header is None else [header.replace(",", sep)]
    return "\n".join([*head, *(sep.join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("films.csv", csv()),
        ("films.csv", csv(";", "Member,Movie ID,Stars,rated at")),
        ("u.data", csv("\t", None)),
        ("ratings.dat", csv("::", None)),
        ("ml.inter", csv("\t", "user_id:token,item_id:token,rating:float,timestamp:float")),
        ("films.csv", "time,rating,user,item\n30,5,ann,Alien\n10,2,bob,Alien\n\n20,4,ann,Brazil\n"),
    ],
)
def test_files_of_all_kinds_say_the_same(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    ratings = read_ratings(tmp_path / name)
    assert ratings.user_names == ("ann", "bob")
    assert ratings.item_names == ("Alien", "Brazil")
    assert ratings.users.tolist() == [0, 1, 0]
    assert ratings.items.tolist() == [0, 0, 1]
    assert ratings.values.tolist() == [5, 2, 4]
    assert ratings.times.tolist() == [30, 10, 20]
    assert ratings.source == name


def test_parquet_and_frames_are_read_too(tmp_path):
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    frame.to_parquet(tmp_path / "films.parquet")
    for given in (frame, tmp_path / "films.parquet"):
        ratings = read_ratings(given)
        assert ratings.values.tolist() == [5, 2, 4]
        assert ratings.item_names == ("Alien", "Brazil")
    assert read_ratings(frame).source == "the DataFrame"


def test_dates_become_seconds_and_no_times_are_none(tmp_path):
    file = tmp_path / "films.csv"
    file.write_text("user,item,rating,date\na,x,1,1970-01-02\nb,x,2,1970-01-01T00:01\n")
    assert read_ratings(file).times.tolist() == [86400, 60]
    file.write_text("user,item,rating\na,x,1\nb,x,2\n")
    assert read_ratings(file).times is None


def test_names_are_text_whatever_they_look_like(tmp_path):
    file = tmp_path / "films.csv"
    file.write_text("user,item,rating\n007,1.0,1\n7,01,2\n")
    ratings = read_ratings(file)
    assert ratings.user_names == ("007", "7")
    assert ratings.item_names == ("1.0", "01")


def test_many_rows_are_read_by_parts(tmp_path):
    rng = np.random.default_rng(0)
    pairs = rng.permutation(300 * 40)[:6000]
    users, items, values = pairs // 40, pairs % 40, rng.integers(1, 6, 6000)
    file = tmp_path / "films.csv"
    rows = zip(users.tolist(), items.tolist(), values.tolist(), strict=True)
    file.write_text(csv(header="user,item,rating", rows=rows))
    ratings = read_ratings(file)
    assert np.array_equal(np.array(ratings.user_names)[ratings.users].astype(int), users)
    assert np.array_equal(np.array(ratings.item_names)[ratings.items].astype(int), items)
    assert np.array_equal(ratings.values, values)
    assert ratings.users.dtype == ratings.items.dtype == np.int32


TWICE = "user,item,rating,time\na,x,5,9\nb,x,2,1\na,x,1,3\na,y,4,4\na,x,3,5\n"


@pytest.mark.parametrize(("how", "value"), [("last", 5), ("mean", 3), ("sum", 9)])
def test_a_user_twice_on_one_item_can_be_settled(tmp_path, how, value):
    file = tmp_path / "films.csv"
    file.write_text(TWICE)
    ratings = read_ratings(file, on_duplicate=how)
    found = {(u, i): v for u, i, v in zip(*ratings[:3], strict=True)}
    assert found == {(0, 0): value, (1, 0): 2, (0, 1): 4}
    assert ratings.times[(ratings.users == 0) & (ratings.items == 0)] == 9
    without = tmp_path / "rows.csv"
    without.write_text("user,item,rating\na,x,5\nb,x,2\na,x,1\n")
    assert read_ratings(without, on_duplicate="last").values.tolist() == [2, 1]


def test_implicit_feedback_may_say_only_who_took_what(tmp_path):
    file = tmp_path / "plays.csv"
    file.write_text("user,track\na,x\na,y\nb,x\n")
    ratings = read_ratings(file, feedback="implicit")
    assert ratings.values.tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "settings", "line", "message"),
    [
        (TWICE, {}, 4, r"line 4: user 'a' has rated 'x' on line 2 too; on_duplicate='last', "),
        (
            "user,item,rating\na,Alien,5\nb,Alein,5\n",
            {"known_items": ["Alien", "Brazil"]},
            3,
            "the item 'Alein' is not known; did you mean 'Alien'",
        ),
        ("user,film,rating\na,x,5\n", {}, None, "usual name for the item; which is it: item=..."),
        ("user,item,rating\na,x,5\n", {"item": "itm"}, None, "'itm'; did you mean 'item'?"),
        (
            "user,item\na,x\n",
            {},
            None,
            "the rating; .* .feedback='implicit'.* The columns",
        ),
        ("user,item,rating\na,x,five\na,y,4\n", {}, 2, "expected a number in column 'rating'; got"),
        ("user,item,rating\na,x,5\n,x,4\n", {}, 3, "the cell in column 'user' is empty"),
        ("user,item,rating\na,x,5\nb,x\n", {}, 3, "expected 3 cells, got 2"),
        ("user,item,rating\na,x,nan\nb,x,1\n", {}, 2, "expected a number"),
        ("user,item,rating,time\na,x,5,\nb,x,3,4\n", {}, 2, "expected a number in column 'time'"),
        ("user,item,rating\n", {}, None, "expected rows of ratings; there is none"),
        ("user,item,plays\na,x,0\nb,x,2\n", {"feedback": "implicit"}, 2, "above 0; got 0. Take"),
        ("1,2,3,4,5\n", {}, 1, "got 5 columns without a header"),
        ("user,movie,isbn,rating\na,x,3,5\n", {}, None, "'movie' and 'isbn' may each be the item"),
        ("user,item,rating\na,x,5\n", {"item": "user"}, None, "is named for user and for item"),
    ],
)
def test_what_is_refused_names_file_line_and_remedy(tmp_path, text, settings, line, message):
    file = tmp_path / "films.csv"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        read_ratings(file, **settings)
    assert error.value.file == file
    assert error.value.line == line


def test_rows_between_double_colons_are_checked_too(tmp_path):
    file = tmp_path / "ratings.dat"
    file.write_text("1::2::3::4\n1::3\n")
    with pytest.raises(DataError, match="line 2: expected 4 cells, got 2"):
        read_ratings(file)
    file.write_text("")
    with pytest.raises(DataError, match="the file is empty"):
        read_ratings(file)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_ratings(tmp_path / "none.dat")


@pytest.mark.parametrize("argument", ["feedback", "on_duplicate"])
def test_other_words_are_refused(tmp_path, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be one of .*; got 'other'"):
        read_ratings(tmp_path / "x.csv", **{argument: "other"})


@pytest.mark.parametrize("missing", [None, np.nan, pd.NA, pd.NaT])
@pytest.mark.parametrize("column", ["user", "item", "rating", "time"])
def test_a_missing_cell_of_a_frame_is_empty(missing, column):
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"]).astype(object)
    frame.loc[1, column] = missing
    with pytest.raises(DataError, match=r"1 bad row:\n  row 2: .*the cell.* is empty"):
        read_ratings(frame)


def test_a_missing_date_of_a_frame_is_empty():
    frame = pd.DataFrame(ROWS, columns=["user", "item", "rating", "time"])
    frame["time"] = pd.to_datetime(["2024-01-01", None, "2024-01-03"])
    with pytest.raises(DataError, match=r"row 2: expected a date .* the cell is empty"):
        read_ratings(frame)


@pytest.mark.parametrize("given", [None, np.zeros((2, 3)), [ROWS]])
def test_what_is_no_file_and_no_frame_is_named(given):
    with pytest.raises(TypeError, match=f"or from a data frame, got {type(given).__name__}"):
        read_ratings(given)


def test_a_colon_in_a_name_that_is_no_type_stays(tmp_path):
    file = tmp_path / "films.csv"
    file.write_text("user,item,rating:first,rating:last\na,x,1,5\nb,x,2,4\n")
    assert read_ratings(file, rating="rating:last").values.tolist() == [5, 4]


def shuffled(n_users, n_items, count, seed=0):
    """Distinct pairs in random order, with ratings and times."""
    rng = np.random.default_rng(seed)
    pairs = rng.permutation(n_users * n_items)[:count]
    return pd.DataFrame({
        "user": pairs // n_items, "item": pairs % n_items, "rating": rng.integers(1, 6, count),
        "time": rng.permutation(count),
    })  # fmt: skip


@pytest.mark.parametrize("how", ["last", "mean", "sum"])
def test_users_are_looked_through_some_at_a_time(tmp_path, monkeypatch, how):
    monkeypatch.setattr("pullback.data._growing._AT_ONCE", 300)
    once = shuffled(60, 50, 1500)
    twice = once.sample(200, random_state=1).assign(rating=9, time=lambda rows: rows.time - 0.5)
    rows = pd.concat([once, twice]).sample(frac=1, random_state=2)
    rows.to_csv(tmp_path / "films.csv", index=False)
    found = read_ratings(tmp_path / "films.csv", on_duplicate=how)
    wanted = rows.sort_values("time").groupby(["user", "item"]).rating.agg(how)
    names = [np.array(each).astype(int) for each in (found.user_names, found.item_names)]
    got = pd.Series(found.values, index=[names[0][found.users], names[1][found.items]])
    pd.testing.assert_series_equal(
        got.sort_index(), wanted.astype(float), check_names=False, check_index_type=False
    )
    # What stands is where the latest stood, so rows keep their order.
    assert found.times is not None
    assert (np.diff([rows.time.tolist().index(t) for t in found.times]) > 0).all()
    with pytest.raises(DataError, match="200 bad rows; the first 20 are"):
        read_ratings(tmp_path / "films.csv")
    assert found.well_formed() is not None
    both = found.take(np.append(np.arange(1500), 0))
    with pytest.raises(ValueError, match=r"has rated item .* twice, in places 0 and 1500"):
        both.well_formed()


def test_lines_are_told_where_some_are_blank(tmp_path, monkeypatch):
    monkeypatch.setattr("pullback.data._sources._ROWS", 3)
    lines = [f"u{k},i,{k}" for k in range(1, 12)]
    lines[4], lines[8] = "", "\n"
    file = tmp_path / "plays.csv"
    file.write_text("user,item,count\n" + "\n".join([*lines, "u3,i,2", "zz,i,-1", ""]))
    with pytest.raises(DataError, match="line 14: user 'u3' has rated 'i' on line 4 too"):
        read_ratings(file)
    with pytest.raises(DataError, match=r"line 15: expected how often .* got -1"):
        read_ratings(file, feedback="implicit", on_duplicate="sum")


def test_memory_beyond_the_ratings_does_not_grow_with_the_file(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("pullback.data._growing._AT_ONCE", 4096)
    monkeypatch.setattr("pullback.data._growing._LEAST", 64)
    monkeypatch.setattr("pullback.data._csv_blocks._BYTES", 2**13)
    beyond = []
    for count in (4_000, 20_000):
        file = tmp_path / f"{count}.csv"
        shuffled(400, 300, count).to_csv(file, index=False)
        read_ratings(tmp_path / "4000.csv")  # what is loaded or kept once
        tracemalloc.start()
        found = read_ratings(file)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        kept = sum(column.nbytes for column in (*found[:3], found.times))
        assert kept == 24 * count
        beyond.append(most - kept * 9 / 8)
    assert beyond[1] - beyond[0] < 4 * 16_000  # bytes: less than a number of each


@pytest.mark.parametrize("header", [None, "user,item,rating,time"])
@pytest.mark.parametrize("name", ["films.csv", "films.txt", "ratings.dat"])
def test_double_colons_are_read_by_what_stands_there(tmp_path, name, header):
    (tmp_path / name).write_text(csv("::", header))
    assert read_ratings(tmp_path / name).values.tolist() == [5, 2, 4]
    (tmp_path / name).write_text(csv(",", rows=[("a::b", "Alien", 1, 2)]))
    assert read_ratings(tmp_path / name).user_names == ("a::b",)


def test_names_that_a_frame_made_numbers_are_whole(tmp_path):
    frame = pd.DataFrame({"user": [7.0, 2.5, 1e9], "item": [1, 2, 3], "rating": [3.0, 4.0, 5.0]})
    frame.to_parquet(tmp_path / "films.parquet")
    for given in (frame, tmp_path / "films.parquet"):
        assert read_ratings(given).user_names == ("7", "2.5", "1000000000")
    with pytest.raises(DataError, match="row 2: the cell in column 'user' is empty"):
        read_ratings(frame.replace({2.5: np.nan}))
    with pytest.raises(ValueError, match="`known_items` must be a list of names"):
        read_ratings(frame, known_items="1")


def test_decimal_commas_of_ratings(tmp_path):
    file = tmp_path / "films.csv"
    file.write_text("user;item;rating;time\na;x;4,5;1,5\nb;x;3;2\n")
    for options in ({}, {"decimal": ","}):
        found = read_ratings(file, **options)
        assert (found.values.tolist(), found.times.tolist()) == ([4.5, 3], [1.5, 2])
    with pytest.raises(DataError, match="got '4,5'"):
        read_ratings(file, decimal=".")
