"""Networks whose weights are normal, as tasks."""

import numpy as np
import pytest

from pullback import tasks
from pullback.tasks import _bayes_nets as nets


@pytest.fixture(scope="module")
def bent():
    rng = np.random.default_rng(0)
    x = rng.uniform(-2, 2, size=(300, 2))
    return x, np.sin(2 * x[:, 0]) + 0.1 * rng.normal(size=300)


@pytest.mark.slow
def test_a_number_by_noisy_k_fac_and_what_to_measure_next(bent, tmp_path):
    x, y = bent
    model = tasks.BayesianNetRegressor("noisy-kfac", random_state=0, progress=False).fit(x, y)
    assert model.n_steps_ == 8000
    new = np.asarray([[0.5, 0.0], [1.0, 1.0], [9.0, 9.0]])
    mean, std = model.predict(new, return_std=True)
    np.testing.assert_allclose(mean[:2], np.sin(2 * new[:2, 0]), atol=0.3)
    assert std[2] > std[:2].max()
    found = nets.outputs(model.net_, model.inputs_.to_line(x), model.seed_)
    known = found[..., 0].var(axis=0) / np.exp(2 * found[..., 1]).mean(axis=0)
    asked = model.next_to_measure(x)
    np.testing.assert_array_equal(np.sort(asked), np.arange(300))
    assert (np.diff(known[asked]) <= 1e-6 * known.max()).all()
    # To the bit, whatever is beside a row, and tomorrow.
    np.testing.assert_array_equal(model.predict(new[1:]), mean[1:])
    model.save(tmp_path / "model")
    again = tasks.load(tmp_path / "model")
    np.testing.assert_array_equal(again.predict(new), mean)
    np.testing.assert_array_equal(again.next_to_measure(new), model.next_to_measure(new))


@pytest.mark.slow
def test_classes_by_noisy_k_fac(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(500, 2))
    y = (x[:, 0] * x[:, 1] > 0).astype(int)
    model = tasks.BayesianNetClassifier("noisy-kfac", random_state=0, progress=False).fit(x, y)
    assert model.n_steps_ > 0
    assert model.score(x, y) > 0.85
    model.save(tmp_path / "model")
    found = tasks.load(tmp_path / "model").predict_proba(x[:5])
    np.testing.assert_array_equal(found, model.predict_proba(x[:5]))


def test_a_line_has_nothing_to_ask_by(bent):
    x, y = bent
    model = tasks.BayesianNetRegressor("noisy-adam", max_steps=0, random_state=0).fit(x, y)
    with pytest.raises(ValueError, match=r"the model is the line.*220 rows"):
        model.next_to_measure(x)
