"""Classifiers of every making, and what they say that they should not."""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from pullback.analysis import explain
from pullback.analysis.explain import ConstantInfill, classifier, fido
from pullback.analysis.explain._black_box import BlackBox, host_log_odds
from pullback.analysis.explain._classifier import JaxModel
from pullback.analysis.explain._log_odds import log_odds

RNG = np.random.default_rng(0)
W = RNG.normal(size=(3, 4))
X = RNG.normal(size=(5, 1, 2, 2))
LOGITS = X.reshape(5, -1) @ W.T
SHARES = np.exp(LOGITS) / np.exp(LOGITS).sum(1, keepdims=True)


class Net(eqx.Module):
    weight: jax.Array
    dropout: eqx.nn.Dropout

    def __call__(self, x):
        return self.weight @ self.dropout(x.ravel())


def numpy_model(images):
    return images.reshape(len(images), -1) @ W.T


class Forest:
    def predict_proba(self, rows):
        found = rows @ W.T
        return np.exp(found) / np.exp(found).sum(1, keepdims=True)


def test_log_odds_are_those_of_probabilities_and_stay_finite():
    rows = RNG.normal(size=(20, 5)) * 3
    target = RNG.integers(0, 5, 20)
    p = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    own = p[np.arange(20), target]
    wanted = np.log(own / (1 - own))
    for kind, given in (("logits", rows), ("probabilities", p)):
        each = lambda row, c, kind=kind: log_odds(row, c, kind)
        found = jax.jit(jax.vmap(each))(jnp.asarray(given), jnp.asarray(target))
        np.testing.assert_allclose(found, wanted, atol=1e-6)
        np.testing.assert_allclose(host_log_odds(given, target, kind), wanted, atol=1e-6)
    ends = jnp.asarray([80.0, -80.0], jnp.float32)
    assert log_odds(ends, 0, "logits") == 160
    assert log_odds(ends, 1, "logits") == -160
    assert np.isfinite(jax.grad(lambda row: log_odds(row, 0, "logits"))(ends)).all()
    for kind, given in (("logits", [[80.0, -80.0]]), ("probabilities", [[1.0, 0.0]])):
        here = log_odds(jnp.asarray(given[0]), 0, kind)
        np.testing.assert_allclose(host_log_odds(np.asarray(given), np.zeros(1, int), kind), here)
    assert 13 < here < 14  # of a vote without dissent


@pytest.mark.parametrize(("model", "kind", "wanted"), [
    (lambda x: jnp.asarray(W, x.dtype) @ x.ravel(), JaxModel, LOGITS),
    (Net(jnp.asarray(W), eqx.nn.Dropout(0.9)), JaxModel, LOGITS),
    (numpy_model, BlackBox, LOGITS),
    (lambda images: jnp.asarray(images).reshape(len(images), -1) @ W.T, BlackBox, LOGITS),
    (Forest(), BlackBox, SHARES),
], ids=["function", "module", "numpy", "batch", "proba"])  # fmt: skip
def test_what_a_model_is_is_found_out(model, kind, wanted):
    for size in (None, 2):
        read = classifier(model, batch_size=size)
        assert isinstance(read.of(jnp.asarray(X[0])), kind)
        np.testing.assert_allclose(read.predict(X), wanted, atol=1e-6)


def test_batches_are_no_larger_than_said():
    sizes = []
    counted = lambda images: (sizes.append(np.asarray(images).shape), numpy_model(images))[1]
    classifier(counted, batch_size=2).predict(X)
    assert [n for n, *_ in sizes[-3:]] == [2, 2, 1]


def test_a_fitted_model_of_scikit_learn_is_explained():
    rows = RNG.normal(size=(200, 6))
    weights = np.array([2.0, 0, 0, -2.0, 0, 0])
    fitted = LogisticRegression().fit(rows, rows @ weights > 0)
    x = np.ones((1, 1, 6))
    found = fido(fitted, x, ConstantInfill(0.0), target=1, size_weight=1.0, key=jr.key(0))
    assert (found.map[0] > 0.5).tolist() == [True, *[False] * 5]
    with pytest.raises(ValueError, match=r"was fitted to 6 features, and an image of .* has 9"):
        fido(fitted, np.ones((1, 3, 3)), ConstantInfill(0.0), key=jr.key(0))


def test_gradients_may_be_given_for_a_black_box():
    """Then the search is that of a function of JAX: masks nearly 0 or 1, and slopes."""
    asked = []

    def value_and_grad(images, target):
        asked.append(len(images))
        slope = (W[1] - W[0]).reshape(1, 2, 2)
        return (images * slope).sum((1, 2, 3)), np.broadcast_to(slope, images.shape)

    two = lambda images: numpy_model(images)[:, :2]
    model = classifier(two, value_and_grad=value_and_grad, batch_size=6)
    worth = ((W[1] - W[0]) * X[0].ravel()).reshape(2, 2)
    found = fido(model, X[0], ConstantInfill(0.0), target=1, size_weight=0.3, key=jr.key(0))
    assert ((found.map > 0.5) == (worth > 0.3)).all()
    assert asked == [6, 2] * 300
    wrong = classifier(two, value_and_grad=lambda images, target: (np.zeros(3), images))
    with pytest.raises(ValueError, match=r"`value_and_grad` must give log-odds \[8\]"):
        fido(wrong, X[0], ConstantInfill(0.0), key=jr.key(0))


def test_a_module_of_torch_is_explained_by_its_own_gradients():
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(4, 3))
    net.train()
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor(W))
        net[2].bias.zero_()
    read = classifier(net)
    np.testing.assert_allclose(read.predict(X.astype(np.float32)), LOGITS, atol=1e-5)
    box = read.of(jnp.asarray(X[0]))
    values, slopes = box.value_and_grad(X.astype(np.float32), np.array([0, 1, 2, 0, 1]))
    for i, target in enumerate([0, 1, 2, 0, 1]):
        score = lambda x, c=target: log_odds(jnp.asarray(W) @ x.ravel(), c, "logits")
        value, slope = jax.value_and_grad(score)(jnp.asarray(X[i]))
        np.testing.assert_allclose(values[i], value, atol=1e-5)
        np.testing.assert_allclose(slopes[i], slope, atol=1e-5)
    ask = lambda model: fido(model, X[0].astype(np.float32), ConstantInfill(0.0), key=jr.key(0))
    ours = lambda x: jnp.asarray(W, x.dtype) @ x.ravel()
    assert ((ask(net).map > 0.5) == (ask(ours).map > 0.5)).all()
    assert net.training
    assert net[2].weight.grad is None


def test_what_is_said_wrongly_is_named():
    shares = lambda images: np.full((len(images), 2), 0.5)
    for model, outputs, message in (
        (lambda images: np.zeros(len(images)), None, r"one row an image.*made \[2\]"),
        (lambda images: np.zeros((1, 3)), None, r"one row an image, \[2, K\].*made \[1, 3\]"),
        (lambda images: np.zeros((len(images), 1)), None, "K at least 2"),
        (lambda images: np.zeros((len(images), 2), int), None, "classes alone cannot be"),
        (lambda images: numpy_model(images) * np.nan, None, "NaN or an infinite number for 2 of 2"),
        (numpy_model, "probabilities", "of sum .* If these are logits, say `outputs='logits'`"),
        (lambda x: jnp.log(x.ravel() * 0 - 1), None, "NaN or an infinite number"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            classifier(model, outputs=outputs).predict(X[:2])
    with pytest.warns(UserWarning, match="looks like probabilities"):
        classifier(shares).predict(X)
    with pytest.raises(ValueError, match=r"must give \[K\] numbers for one image.*makes \[1\]"):
        classifier(Net(jnp.ones((1, 4)), eqx.nn.Dropout(0.5))).predict(X)
    with pytest.raises(TypeError, match="dot_general"):
        classifier(Net(jnp.ones((3, 5)), eqx.nn.Dropout(0.5))).predict(X)


def test_what_is_no_classifier_is_refused():
    classifier = inspect.unwrap(explain.classifier)
    for error, message, call in (
        (TypeError, "got 3", lambda: classifier(3)),
        (TypeError, "the class Forest", lambda: classifier(Forest)),
        (TypeError, "is a classifier already", lambda: classifier(classifier(numpy_model))),
        (ValueError, "`outputs` must be", lambda: classifier(numpy_model, outputs="scores")),
        (ValueError, "has `predict_proba`", lambda: classifier(Forest(), outputs="logits")),
        (ValueError, "`batch_size` must be 1", lambda: classifier(numpy_model, batch_size=0)),
    ):
        with pytest.raises(error, match=message):
            call()


def test_a_black_box_that_changes_its_answer_is_said_to():
    rng = np.random.default_rng(0)
    noisy = lambda images: numpy_model(images) + rng.normal(size=(len(images), 3))
    with pytest.warns(UserWarning, match="`model` changes its answer.*dropout"):
        fido(noisy, X[0], ConstantInfill(0.0), steps=1, key=jr.key(0))
    batched = lambda images: numpy_model(images - images.mean(0, keepdims=True))
    with pytest.warns(UserWarning, match="mean over the batch"):
        fido(batched, X, ConstantInfill(0.0), steps=1, key=jr.key(0))


def test_nothing_to_ask_and_no_gradients_are_told():
    with pytest.raises(ValueError, match="one image at least"):
        classifier(lambda x: x[0, 0, :2]).predict(np.zeros((0, 1, 1, 2), np.float32))
    with pytest.raises(TypeError, match="`value_and_grad` must be a function"):
        inspect.unwrap(classifier)(lambda x: x, value_and_grad=3)


def test_answers_of_half_precision_are_numbers():
    logits = lambda x: jnp.stack([0 * x[0, 0, 0], 4 * x[0, 0, 0]]).astype(jnp.bfloat16)
    found = classifier(logits).predict(np.full((2, 1, 1, 1), 0.5, np.float32))
    np.testing.assert_allclose(found, [[0, 2], [0, 2]])
