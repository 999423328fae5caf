"""What groups of columns share: the closed form of a Gaussian, and nothing where there is none."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kstest

from pullback.tasks import dependence, write_result


def correlated(rows, rho, seed=0):
    a, noise = np.random.default_rng(seed).normal(size=(2, rows))
    return np.stack([a, rho * a + np.sqrt(1 - rho**2) * noise], axis=1)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_a_correlated_gaussian_shares_what_its_closed_form_says(rho):
    true = -np.log(1 - rho**2) / 2
    found = [dependence(correlated(400, rho, k), [0], [1], permutations=19, random_state=k)
             for k in range(12)]  # fmt: skip
    for name in ("nearest neighbours", "Gaussian"):
        values = np.asarray([each.estimates[name].nats for each in found])
        error = values.std(ddof=1) / np.sqrt(12)
        assert abs(values.mean() - true) < 4 * error + 0.005, name
    inside = [low <= true <= high for each in found for low, high in [each.interval]]
    assert sum(inside) >= 9
    spread = np.std([each.nats for each in found])
    told = np.mean([each.estimates["nearest neighbours"].standard_error for each in found])
    assert 0.5 < told / spread < 2


def test_no_map_of_a_column_changes_what_it_shares():
    x = correlated(300, 0.7)
    wanted = dependence(x, [0], [1], permutations=19, random_state=0)
    other = np.stack([np.exp(3 * x[:, 0]), 1e6 * x[:, 1] ** 3], axis=1)
    found = dependence(other, [0], [1], permutations=19, random_state=0)
    assert found.nats == pytest.approx(wanted.nats, abs=1e-9)
    assert found.p_value == wanted.p_value
    turned = dependence(x, [1], [0], permutations=19, random_state=0)
    assert turned.estimates["Gaussian"].nats == pytest.approx(wanted.estimates["Gaussian"].nats)


def test_what_is_no_linear_relation_is_seen_all_the_same(tmp_path):
    random = np.random.default_rng(0)
    a, noise, alone = random.normal(size=(3, 500))
    table = pd.DataFrame({"a": a, "b": a**2 + 0.3 * noise, "<c>": alone})
    table.loc[3, "b"] = np.nan
    found = dependence(table, ["a"], ["b", "<c>"], random_state=0)
    assert found.p_value == 0.005
    assert found.nats > 0.5
    assert found.estimates["Gaussian"].nats < 0.05
    assert "no linear relation" in str(found)
    assert "1 of 500 rows have holes" in str(found)
    assert found.rows == 499
    assert found.pairs[0, 0] > 0.6
    assert abs(found.pairs[0, 1]) < 0.15
    text = write_result(found, tmp_path / "out").read_text()
    assert "<c>" not in text
    assert "nearest neighbours" in text
    assert "tomorrow" not in text
    assert text.count("data:image/png;base64,") == 1


def test_independent_columns_have_a_uniform_p_value():
    random = np.random.default_rng(0)
    found = [
        dependence(random.exponential(size=(40, 3)), [0], [1, 2], permutations=19, random_state=k)
        for k in range(120)
    ]
    values = np.asarray([each.p_value for each in found])
    assert kstest(values - 0.05 * random.uniform(size=120), "uniform").pvalue > 1e-3
    assert abs((values <= 0.05).mean() - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 120)


@pytest.mark.slow
def test_a_learned_bound_of_many_columns_is_below_the_truth_and_near_it():
    random = np.random.default_rng(0)
    a = random.normal(size=(4000, 5))
    table = np.concatenate([a, 0.8 * a + 0.6 * random.normal(size=(4000, 5))], axis=1)
    found = dependence(table, range(5), range(5, 10), permutations=19, random_state=0,
                       progress=False)  # fmt: skip
    true = -5 * np.log(0.6)
    assert found.nats == found.estimates["learned bound"].nats
    assert 0.7 * true < found.nats < true + 4 * found.estimates["learned bound"].standard_error


def test_groups_that_do_not_fit_are_refused():
    x = correlated(30, 0.5)
    frame = pd.DataFrame({"a": x[:, 0], "b": "t", "c": 1.0})
    for table, groups, message in (
        (x, ([], [1]), "must each name a column"),
        (x, ([0], [0]), "column 0 is in `x` and in `y`"),
        (x, ([0], [2]), "places from 0 to 1"),
        (x[:10], ([0], [1]), "expected 20 rows or more without holes; got 10"),
        (frame, (["a"], ["d"]), "has no column 'd'; it has a, b, c"),
        (frame, (["a"], ["b"]), "'b' of the DataFrame is text"),
        (frame, (["a"], ["c"]), "'c' is the same in all rows"),
    ):
        with pytest.raises(ValueError, match=message):
            dependence(table, *groups)
    with pytest.raises(ValueError, match="`permutations` must be 19 or more"):
        dependence(x, [0], [1], permutations=9)
    with pytest.raises(ValueError, match="takes 1600 rows or more; got 30"):
        dependence(x, [0], [1], learned=True)
