import numpy as np
import pytest

from pullback.data import Scaler, irregular_series, rescale_series


def ragged(n=30, variables=3, seed=0, dtype=np.float64):
    """Series of 1 to 12 times, with about half of the values observed, and what was observed."""
    generator = np.random.default_rng(seed)
    parts, truth = [], set()
    for row in range(n):
        length = generator.integers(1, 13)
        times = np.sort(generator.choice(100, length, replace=False)) / 10.0
        mask = generator.random((length, variables)) < 0.5
        mask[np.arange(length), generator.integers(variables, size=length)] = True
        values = generator.normal(size=(length, variables)).astype(dtype)
        parts.append((times, np.where(mask, values, np.nan), mask))
        for place, variable in zip(*np.nonzero(mask), strict=True):
            truth.add((str(row), times[place], variable, float(values[place, variable])))
    batch = irregular_series(parts, targets=np.arange(n) * 2.0, units=["a", "b", "c"])
    return batch, truth


def observations(series):
    """What a batch says was observed, read off cell by cell."""
    found = set()
    for row, name in enumerate(series.ids):
        for place in range(series.times.shape[1]):
            for variable in range(len(series.variables)):
                if series.mask[row, place, variable]:
                    value = float(series.values[row, place, variable])
                    found.add((name, series.times[row, place], variable, value))
    assert len(found) == series.mask.sum()
    return found


def check_padding(series):
    assert not series.values[~series.mask].any()
    for times, on_grid, mask in zip(series.times, series.on_grid, series.mask, strict=True):
        length = on_grid.sum()
        assert on_grid[:length].all()
        assert (np.diff(times[:length]) > 0).all()
        assert (times[length:] == times[length - 1]).all()
        assert not mask[length:].any()


def test_a_small_batch_by_hand():
    batch = irregular_series(
        [
            ([0, 2], [[1.0, np.nan], [3.0, 4.0]], [[True, False], [True, True]]),
            ([5.0], [[6.0, 7.0]]),
        ],
        ids=["p", "q"],
        variables=["u", "v"],
        units=["m", ""],
        time_unit="s",
        targets=[1.0, np.nan],
    )
    np.testing.assert_array_equal(batch.times, [[0, 2], [5, 5]])
    np.testing.assert_array_equal(batch.values, [[[1, 0], [3, 4]], [[6, 7], [0, 0]]])
    np.testing.assert_array_equal(
        batch.mask, [[[True, False], [True, True]], [[True, True], [False, False]]]
    )
    np.testing.assert_array_equal(batch.on_grid, [[True, True], [True, False]])
    np.testing.assert_array_equal(batch.targets, [1.0, np.nan])
    assert batch[3:7] == (("p", "q"), ("u", "v"), ("m", ""), "s")


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_goes_in_is_observed_and_nothing_else(dtype):
    batch, truth = ragged(dtype=dtype)
    assert observations(batch) == truth
    assert batch.values.dtype == dtype
    np.testing.assert_array_equal(
        batch.counts, [sum(entry[0] == name for entry in truth) for name in batch.ids]
    )
    check_padding(batch)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([], "at least one series"),
        ([([], [])], "series '0' is empty"),
        ([([0.0], [1.0]), ([1.0], [2.0], [False])], "series '1' is empty"),
        ([([0.0, 2.0, 1.0], [1.0] * 3)], r"series '0': .* place 2, 1, comes before .*, 2;"),
        ([([0.0, 2.0, 2.0], [1.0] * 3)], "series '0': .* place 2, 2, repeats"),
        ([([0.0, np.nan], [1.0] * 2)], "series '0': the time at place 1 is nan"),
        ([([0.0, np.inf], [1.0] * 2)], "series '0': the time at place 1 is inf"),
        ([([0.0, 1.0], [1.0, np.nan])], r"place 1 \(time 1\), variable 0, is nan.*Give a mask"),
        ([([0.0], [[1.0, np.inf]], [[True, True]])], "variable 1, is inf; 1 such values.$"),
        ([([0.0, 1.0], [1.0])], r"series '0' must have times .* shapes \(2,\) and \(1,\)"),
        ([([[0.0]], [1.0])], "series '0' must have times"),
        ([([0.0], [1.0], [1.0])], "mask of bool"),
        ([([0.0], [1.0], [[True]])], "mask of bool"),
        ([([0.0],)], "a tuple of 1"),
        ([([0.0], [[1.0, 2.0]]), ([0.0], [1.0])], "series '1' has 1 variables, series '0' has 2"),
        ([([0.0], [[1.0, 2.0]], [[True, False]])], "no series .* of the variables 'x2'"),
    ],
)
def test_bad_series_are_named_with_the_place(series, message):
    with pytest.raises(ValueError, match=message):
        irregular_series(series)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"ids": ["a", "a"]}, "`ids` must hold 2 different"),
        ({"ids": ["a"]}, "`ids`"),
        ({"variables": ["a", "b"]}, "`variables`"),
        ({"units": []}, "`units`"),
        ({"targets": [1.0]}, "`targets`"),
    ],
)
def test_names_in_another_number(names, message):
    with pytest.raises(ValueError, match=message):
        irregular_series([([0.0], [1.0]), ([0.0], [2.0])], **names)


def test_take_keeps_the_order_the_targets_and_the_width():
    batch, truth = ragged()
    index = np.array([7, 2, 19])
    taken = batch.take(index)
    assert taken.ids == ("7", "2", "19")
    assert observations(taken) == {entry for entry in truth if entry[0] in taken.ids}
    np.testing.assert_array_equal(taken.targets, index * 2.0)
    assert taken.times.shape[1] == batch.times.shape[1]
    assert batch.take(batch.counts > 10).ids == tuple(
        name for name, count in zip(batch.ids, batch.counts, strict=True) if count > 10
    )
    with pytest.raises(IndexError):
        batch.take(np.array([99]))


def test_select_takes_variables_with_their_units():
    times, values = [0.0, 1.0], np.array([[1.0, 2.0, 3.0], [np.nan, 5.0, 6.0]])
    batch = irregular_series(
        [(times, values, ~np.isnan(values))], variables=["a", "b", "c"], units=["m", "", "s"]
    )
    chosen = batch.select(["c", "a"])
    assert (chosen.variables, chosen.units) == (("c", "a"), ("s", "m"))
    np.testing.assert_array_equal(chosen.mask[0], [[True, True], [True, False]])
    np.testing.assert_array_equal(chosen.values[0][chosen.mask[0]], [3.0, 1.0, 6.0])
    with pytest.raises(ValueError, match="no variable 'd' among a, b, c"):
        batch.select(["d"])


def test_windows_that_touch_share_nothing_and_lose_nothing():
    batch, truth = ragged()
    past, future = batch.window(stop=4.0), batch.window(4.0)
    assert observations(past) == {entry for entry in truth if entry[1] < 4.0}
    assert observations(future) == {entry for entry in truth if entry[1] >= 4.0}
    middle = batch.window(2.0, 6.0)
    assert observations(middle) == {entry for entry in truth if 2.0 <= entry[1] < 6.0}
    for part in (past, future, middle):
        check_padding(part)
        assert part.ids == batch.ids
    assert (middle.times >= 2.0).all()
    assert (middle.times < 6.0).all()
    # Some series have nothing there, and stay.
    assert (middle.counts == 0).any()
    with pytest.raises(ValueError, match=r"no series has a time in \[50.0, inf\)"):
        batch.window(50.0)
    with pytest.raises(ValueError, match="less than `stop`"):
        batch.window(3.0, 3.0)


def test_compact_has_no_time_without_an_observation():
    batch, truth = ragged()
    shown, _ = batch.hold_out(0.3, seed=1)
    compact = shown.compact()
    assert observations(compact) == observations(shown) <= truth
    np.testing.assert_array_equal(compact.mask.any(axis=2), compact.on_grid)
    check_padding(compact)
    assert compact.times.shape[1] == compact.on_grid.sum(axis=1).max() < batch.times.shape[1]


@pytest.mark.parametrize("whole_times", [False, True])
def test_hold_out_divides_the_observations_of_each_series(whole_times):
    batch, truth = ragged()
    shown, held = batch.hold_out(0.4, whole_times=whole_times, seed=3)
    assert observations(shown) | observations(held) == truth
    assert not observations(shown) & observations(held)
    np.testing.assert_array_equal(shown.times, batch.times)
    if whole_times:
        assert not (shown.mask.any(axis=2) & held.mask.any(axis=2)).any()
        drawn, all_of_them = shown.mask.any(axis=2).sum(axis=1), batch.on_grid.sum(axis=1)
    else:
        drawn, all_of_them = shown.counts, batch.counts
    np.testing.assert_array_equal(drawn, np.maximum(1, np.rint(0.4 * all_of_them)))
    again, _ = batch.hold_out(0.4, whole_times=whole_times, seed=3)
    np.testing.assert_array_equal(again.mask, shown.mask)


def test_every_observation_is_as_likely_to_be_shown():
    batch = irregular_series([(np.arange(10.0), np.ones((10, 2)))] * 2000)
    shown, _ = batch.hold_out(0.3, seed=0)
    # 6 of 20 are shown: a frequency of 0.3, whose standard error is that of 2000 draws.
    band = 4 * np.sqrt(0.3 * 0.7 / 2000)
    np.testing.assert_allclose(shown.mask.mean(axis=0), 0.3, atol=band)


@pytest.mark.parametrize("kept", [0.0, 1.0, -0.5])
def test_hold_out_needs_a_share(kept):
    with pytest.raises(ValueError, match="`kept`"):
        ragged(3)[0].hold_out(kept, seed=0)


def test_split_deals_out_every_series_once():
    batch, truth = ragged()
    split = batch.split(validation=0.1, test=0.3, seed=5)
    assert [len(part.ids) for part in split] == [18, 3, 9]
    assert sorted(name for part in split for name in part.ids) == sorted(batch.ids)
    assert set.union(*(observations(part) for part in split)) == truth
    for part in split:
        np.testing.assert_array_equal(part.targets, [2.0 * int(name) for name in part.ids])
    assert batch.split(validation=0.1, test=0.3, seed=6).test.ids != split.test.ids
    assert [len(part.ids) for part in batch.split(validation=0.0, test=0.0)] == [30, 0, 0]
    with pytest.raises(ValueError, match="leave some of the 30"):
        batch.split(validation=0.5, test=0.5)
    with pytest.raises(ValueError, match="not be negative"):
        batch.split(validation=-0.1)


@pytest.mark.parametrize("method", ["standardise", "min-max"])
def test_rescale_uses_what_the_training_set_observed(method):
    batch, truth = ragged()
    train, test = batch.take(np.arange(20)), batch.take(np.arange(20, 30))
    test = test._replace(values=test.values * 1e3, times=test.times + 50)
    (scaled, scaled_test), scaler = rescale_series(train, test, method=method)
    for k in range(3):
        seen = [entry[3] for entry in truth if entry[2] == k and int(entry[0]) < 20]
        got = [entry[3] for entry in observations(scaled) if entry[2] == k]
        wanted = (
            (np.mean(seen), np.std(seen)) if method == "standardise" else (min(seen), max(seen))
        )
        here = (np.mean(got), np.std(got)) if method == "standardise" else (min(got), max(got))
        np.testing.assert_allclose(here, (0, 1), atol=1e-12)
        scale = wanted[1] if method == "standardise" else wanted[1] - wanted[0]
        np.testing.assert_allclose(scaler.values.mean[k], wanted[0], rtol=1e-12)
        np.testing.assert_allclose(scaler.values.scale[k], scale, rtol=1e-12)
    assert (scaled.times.min(), scaled.times.max()) == (0.0, 1.0)
    assert scaled_test.times.max() > 1
    assert scaled.units == ("", "", "")
    for before, after in ((train, scaled), (test, scaled_test)):
        check_padding(after)
        back = scaler.undo(after)
        np.testing.assert_allclose(back.times, before.times, atol=1e-12)
        np.testing.assert_allclose(back.values, before.values, atol=1e-9)
        np.testing.assert_array_equal(back.mask, before.mask)
        assert (back.units, back.time_unit) == (before.units, before.time_unit)


def test_predictions_come_back_in_the_users_units():
    scaler = Scaler(np.array([37.0, 80.0]), np.array([0.5, 10.0]))
    np.testing.assert_array_equal(scaler.undo(np.array([[0.0, 1.0]])), [[37.0, 90.0]])
    np.testing.assert_array_equal(scaler.apply(np.array([[37.0, 90.0]])), [[0.0, 1.0]])


def test_rescale_keeps_float32_and_a_constant_variable():
    batch = irregular_series([([0.0, 4.0], np.full((2, 1), 7.0, np.float32))])
    (scaled,), scaler = rescale_series(batch)
    assert scaled.values.dtype == np.float32
    np.testing.assert_array_equal(scaled.values, np.zeros((1, 2, 1)))
    np.testing.assert_array_equal(scaler.undo(scaled).values, batch.values)


def test_rescale_says_what_it_cannot_do():
    batch, _ = ragged()
    with pytest.raises(ValueError, match="`method`"):
        rescale_series(batch, method="median")
    with pytest.raises(ValueError, match="number 1 has"):
        rescale_series(batch, batch._replace(variables=("p", "q", "r")))
    never = batch._replace(mask=batch.mask & np.array([True, False, True]))
    with pytest.raises(ValueError, match="no observation of the variables 'x2'"):
        rescale_series(never)
    with pytest.raises(ValueError, match="more than one time"):
        rescale_series(batch._replace(times=np.ones_like(batch.times)))
    _, scaler = rescale_series(batch)
    with pytest.raises(ValueError, match="must have the units"):
        scaler.apply(batch._replace(units=("kg", "b", "c")))


def test_shares_and_names_that_are_none():
    batch, _ = ragged()
    for validation, test in ((np.nan, 0.2), (0.1, np.nan), (0.0, 1.5)):
        with pytest.raises(ValueError, match="must be shares"):
            batch.split(validation=validation, test=test)
    for names in ([], ["x1", "x1"]):
        with pytest.raises(ValueError, match="different names, one or more"):
            batch.select(names)
