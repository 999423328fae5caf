"""Responses: exact where they can be, of the right order where they cannot, and alike in form."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import pullback as pb
from pullback.bilevel import (
    AbstractResponse,
    Bounded,
    DiagonalResponse,
    LinearResponse,
    MLPResponse,
    Positive,
)


def _model(dtype=float):
    return {
        "net": eqx.nn.MLP(2, 1, 3, 1, dtype=dtype, key=jr.key(0)),
        "count": jnp.asarray(3),
        "name": "mine",
    }


def _decays(model):
    weights = eqx.filter(model, eqx.is_inexact_array)
    return jax.tree.map(lambda w: jnp.full((*w.shape[:-1], 1), -1.0, w.dtype), weights)


def _hyper(dtype=float):
    return {
        "decay": jnp.asarray([-1.0, 2.0], dtype),
        "rate": Bounded(jnp.asarray(0.2, dtype), 0, 1),
    }


MAKE = {
    "LinearResponse": [
        lambda model: LinearResponse(model, _hyper(model["net"].layers[0].weight.dtype)),
        lambda model: LinearResponse(
            model, _hyper(model["net"].layers[0].weight.dtype), 2, key=jr.key(1)
        ),
    ],
    "DiagonalResponse": [lambda model: DiagonalResponse(model, _decays(model))],
    "MLPResponse": [
        lambda model: MLPResponse(
            model, _hyper(model["net"].layers[0].weight.dtype), 6, 2, scale=2.0, key=jr.key(1)
        )
    ],
}
FOUND = [
    name
    for name, kind in vars(pb.bilevel).items()
    if isinstance(kind, type) and issubclass(kind, AbstractResponse) and kind != AbstractResponse
]


CASES = [(name, number) for name in FOUND for number in range(len(MAKE[name]))]


@pytest.fixture(scope="module", params=CASES, ids=lambda case: f"{case[0]}{case[1]}")
def both(request):
    """A response as it is made, and one that has learned something."""
    make = MAKE[request.param[0]][request.param[1]]

    @eqx.filter_jit
    def made():
        new = make(_model())
        return new, eqx.tree_at(lambda r: r.centre, _shaken(new, jr.key(2), 0.3), new.centre)

    return made()


def _shaken(tree, key, size):
    """With noise on its floating arrays."""
    flat, back = ravel_pytree(eqx.filter(tree, eqx.is_inexact_array))
    noise = back(size * jr.normal(key, flat.shape, flat.dtype))
    return eqx.apply_updates(tree, noise)


def _flat(tree):
    return ravel_pytree(eqx.filter(tree, eqx.is_inexact_array))[0]


def test_it_starts_as_the_model_whatever_the_hyperparameters(both):
    new, _ = both
    found, model = eqx.filter_jit(lambda r: (r(_shaken(r.centre, jr.key(3), 1.0)), _model()))(new)
    assert eqx.tree_equal(found, model)
    assert found["name"] == "mine"


def test_it_is_one_function_whatever_its_centre_with_the_gradient_of_what_it_answers(both):
    _, response = both
    value = lambda response, hyper: jnp.sum(jnp.sin(_flat(response(hyper))))

    @eqx.filter_jit
    def compiled(response):
        there, other = (_shaken(response.centre, jr.key(n), 1.0) for n in (4, 5))
        moved = response.recentred(there)
        of_response, of_hyper = eqx.filter_grad(lambda both: value(*both))((response, other))
        flat, back = ravel_pytree(eqx.filter(other, eqx.is_inexact_array))
        direction = jr.normal(jr.key(7), flat.shape)
        at = lambda t: value(response, eqx.combine(back(flat + t * direction), other))
        slopes = jnp.vdot(_flat(of_hyper), direction), (at(1e-5) - at(-1e-5)) / 2e-5
        return (
            there,
            other,
            moved,
            response(other),
            moved(other),
            response(there),
            of_response,
            slopes,
        )

    there, other, moved, found, of_moved, elsewhere, of_response, slopes = compiled(response)
    assert jnp.max(jnp.abs(_flat(found) - _flat(elsewhere))) > 1e-3
    assert eqx.tree_equal(moved.centre, there)
    assert jax.tree.structure(moved) == jax.tree.structure(response)
    np.testing.assert_allclose(_flat(of_moved), _flat(found), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(_flat(response(other)), _flat(found), rtol=1e-12)  # eagerly
    assert abs(slopes[1]) > 1e-3
    np.testing.assert_allclose(*slopes, rtol=1e-6)
    # What is not trained has no gradient, and what is trained has one.
    assert not jnp.any(_flat(of_response.centre))
    assert all(jnp.any(leaf) for leaf in jax.tree.leaves(of_response.model))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}{case[1]}")
def test_it_keeps_its_dtypes(case):
    def at_centre():
        response = MAKE[case[0]][case[1]](_model(jnp.float32))
        return response(response.centre), response

    leaves = jax.tree.leaves(eqx.filter_eval_shape(at_centre))
    kinds = {str(leaf.dtype) for leaf in leaves if hasattr(leaf, "dtype")}
    assert {kind for kind in kinds if "float" in kind} == {"float32"}


def test_hyperparameters_of_another_shape_are_refused(both):
    response, _ = both
    for other in (jnp.zeros(7), jax.tree.map(lambda leaf: leaf[None], response.centre)):
        with pytest.raises(ValueError, match="structure and the shapes of the response's centre"):
            response(other)
        with pytest.raises(ValueError, match="structure and the shapes of the response's centre"):
            response.recentred(other)


def test_parameters_are_counted():
    weights, log_decay = {"w": jnp.ones((784, 10)), "b": jnp.ones(10)}, jnp.asarray(0.0)
    of_every = jnp.zeros(7850)
    count = lambda make: sum(
        leaf.size for leaf in jax.tree.leaves(eqx.filter(jax.eval_shape(make), lambda leaf: True))
    )
    for make, hypers, wanted in (
        (lambda: MLPResponse(weights, log_decay, 50, key=jr.key(0)), 1, 400_450),
        (lambda: LinearResponse(weights, log_decay), 1, 15_700),
        (lambda: LinearResponse(weights, of_every, 10, key=jr.key(0)), 7850, 164_850),
        (lambda: DiagonalResponse(weights, weights), 7850, 15_700),
    ):
        assert count(make) - hypers == wanted


REFUSED = {
    "rank must be|`rank` must be between 1 and the 2": lambda: LinearResponse(
        jnp.ones(3), jnp.zeros(2), 3, key=jr.key(0)
    ),
    "`rank` must be between 1 and the 2 numbers in `hyper`, got 0": lambda: LinearResponse(
        jnp.ones(3), jnp.zeros(2), 0, key=jr.key(0)
    ),
    "`key` is needed": lambda: LinearResponse(jnp.ones(3), jnp.zeros(2), 1),
    "no weights": lambda: LinearResponse(jnp.ones(3, int), jnp.zeros(2)),
    "complex": lambda: LinearResponse(jnp.ones(3, complex), jnp.zeros(2)),
    "real floating, got int": lambda: LinearResponse(jnp.ones(3), {"a": jnp.zeros(2, int)}),
    "real floating, got bool": lambda: DiagonalResponse(jnp.ones(3), jnp.zeros(3, bool)),
    "real floating, got complex": lambda: MLPResponse(
        jnp.ones(3), jnp.zeros(3, complex), key=jr.key(0)
    ),
    "no hyperparameters": lambda: LinearResponse(jnp.ones(3), {}),
    r"shape \(2,\) at weights of the shape \(3,\)": lambda: DiagonalResponse(
        jnp.ones(3), jnp.zeros(2)
    ),
    "structure of the weights": lambda: DiagonalResponse({"a": jnp.ones(3)}, {"b": jnp.ones(3)}),
    "one floating array at each": lambda: DiagonalResponse(
        jnp.ones(3), {"a": jnp.ones(3), "b": jnp.ones(3)}
    ),
    "`scale` must be above 0": lambda: MLPResponse(
        jnp.ones(3), jnp.zeros(2), scale=0.0, key=jr.key(0)
    ),
    "`width` must be 1 or more": lambda: MLPResponse(jnp.ones(3), jnp.zeros(2), 0, key=jr.key(0)),
}


@pytest.mark.parametrize("match", REFUSED)
def test_what_does_not_fit_is_refused(match):
    with pytest.raises((ValueError, TypeError), match=match):
        REFUSED[match]()


def test_a_record_serves_the_weights_that_it_stands_beside():
    model = {"w": jnp.ones((2, 3)), "b": jnp.ones(3)}
    response = DiagonalResponse(model, {"w": Positive(0.5), "b": Positive(jnp.full(3, 0.5))})
    response = eqx.tree_at(lambda r: r.slope["w"], response, jnp.arange(6.0).reshape(2, 3))
    moved = response({"w": Positive(2.0), "b": Positive(jnp.full(3, 2.0))})
    step = Positive(2.0).coordinate - Positive(0.5).coordinate
    np.testing.assert_allclose(moved["w"], 1 + step * jnp.arange(6.0).reshape(2, 3), rtol=1e-12)
    np.testing.assert_array_equal(moved["b"], model["b"])


# What a linear response of a ridge regression learns, in closed form.

X, Y = jr.normal(jr.key(10), (40, 8)), jr.normal(jr.key(11), (40,))
H, C = X.T @ X / 40, X.T @ Y / 40
LOG_DECAY = -1.0


def ridge(w, log_decay, batch, *, key):
    x, y = batch
    return jnp.mean((x @ w - y) ** 2) / 2 + jnp.exp(log_decay) * jnp.sum(w**2) / 2, {}


def best_of_ridge(log_decay):
    return jnp.linalg.solve(H + jnp.exp(log_decay) * jnp.eye(8), C)


def fixed_point(s):
    """The b and J that minimise the mean of the loss over a Gaussian of this width."""
    e, m, one = np.exp(LOG_DECAY), np.exp(s**2 / 2), np.eye(8)
    top = [H + e * m * one, e * s**2 * m * one]
    bottom = [e * s**2 * m * one, s**2 * H + e * m * (s**2 + s**4) * one]
    found = np.linalg.solve(np.block([top, bottom]), np.concatenate([C, np.zeros(8)]))
    return np.split(found, 2)


@eqx.filter_jit
def _minimised(response, loss, nodes, weights):
    """By one step of Newton's, for the loss is quadratic in what is trained."""
    flat, back = ravel_pytree((response.model, response.slope))

    def mean(flat):
        here = eqx.tree_at(lambda r: (r.model, r.slope), response, back(flat))
        return jnp.dot(weights, jax.vmap(lambda hyper: loss(here(hyper), hyper))(nodes))

    step = jnp.linalg.solve(jax.hessian(mean)(flat), jax.grad(mean)(flat))
    return eqx.tree_at(lambda r: (r.model, r.slope), response, back(flat - step))


def _at_fixed_point(s):
    nodes, weights = np.polynomial.hermite_e.hermegauss(30)
    response = LinearResponse(jnp.zeros(8), jnp.asarray(LOG_DECAY))
    loss = lambda w, hyper: ridge(w, hyper, (X, Y), key=None)[0]
    nodes = jnp.asarray(LOG_DECAY + s * nodes)
    return _minimised(response, loss, nodes, jnp.asarray(weights / weights.sum()))


def test_a_linear_response_of_ridge_is_off_by_the_square_of_the_noise():
    true, slope = best_of_ridge(LOG_DECAY), jax.jacfwd(best_of_ridge)(LOG_DECAY)
    np.testing.assert_allclose(
        slope, -jnp.exp(LOG_DECAY) * jnp.linalg.solve(H + jnp.exp(LOG_DECAY) * jnp.eye(8), true),
        rtol=1e-12,
    )  # fmt: skip
    outer = lambda w: jnp.sum((w - 0.1) ** 2)
    hypergradient = jnp.vdot(jax.grad(outer)(true), slope)
    errors = []
    for s in (0.1, 0.05):
        response = _at_fixed_point(s)
        b, a = fixed_point(s)
        np.testing.assert_allclose(response.model, b, rtol=1e-10)
        np.testing.assert_allclose(response.slope[:, 0], a, rtol=1e-8)
        through = jax.grad(lambda hyper, r=response: outer(r(hyper)))(jnp.asarray(LOG_DECAY))
        errors.append(
            [
                jnp.linalg.norm(b - true) / jnp.linalg.norm(true),
                jnp.linalg.norm(a - slope) / jnp.linalg.norm(slope),
                abs(through - hypergradient),
            ]
        )
    assert errors[0][0] < 1e-3
    assert errors[0][1] < 4e-3
    ratios = np.divide(*errors)
    assert np.all((ratios > 3.8) & (ratios < 4.2)), ratios


@pytest.mark.parametrize("s", [0.3, 5.0])
def test_a_linear_response_is_exact_where_the_loss_is_quadratic_in_both(s):
    root, couples = jr.normal(jr.key(12), (6, 4)), jr.normal(jr.key(13), (4, 3))
    square = root.T @ root
    flat = lambda hyper: jnp.concatenate([hyper["a"], hyper["b"][None]])
    loss = lambda w, hyper: w @ square @ w / 2 + w @ couples @ flat(hyper)
    centre = {"a": jnp.asarray([1.0, -2.0]), "b": jnp.asarray(0.5)}
    noise = jr.normal(jr.key(14), (20, 3))
    nodes = {"a": centre["a"][None] + s * noise[:, :2], "b": centre["b"] + s * noise[:, 2]}
    response = _minimised(LinearResponse(jnp.zeros(4), centre), loss, nodes, jnp.ones(20) / 20)
    far = {"a": jnp.asarray([10.0, 3.0]), "b": jnp.asarray(-7.0)}
    wanted = -jnp.linalg.solve(square, couples @ flat(far))
    np.testing.assert_allclose(response(far), wanted, rtol=1e-8)
    np.testing.assert_allclose(response.slope, -jnp.linalg.solve(square, couples), rtol=1e-8)
