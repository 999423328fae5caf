"""Flow posteriors, against integrals on a grid, Jacobians and a conjugate model."""

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.test_util import check_grads

from pullback.bounds import (
    ELBO,
    AuxiliaryFlow,
    CouplingFlow,
    InverseAutoregressiveFlow,
    LatentModel,
)
from pullback.sampling import PathDerivative, Reparameterised

pytestmark = pytest.mark.usefixtures("promotion")


def bent(family, key, size=0.7):
    """The same family with random weights: at first a flow is the identity, and hides mistakes."""
    arrays, rest = eqx.partition(family, eqx.is_inexact_array)
    leaves, tree = jax.tree.flatten(arrays)
    keys = jr.split(key, len(leaves))
    leaves = [size * jr.normal(k, a.shape, a.dtype) for k, a in zip(keys, leaves, strict=True)]
    return eqx.combine(jax.tree.unflatten(tree, leaves), rest)


def families(dim, layers=3, context=2):
    sizes = {"layers": layers, "width": 6, "context": context}
    return {
        "coupling": CouplingFlow(dim, **sizes, key=jr.key(0)),
        "iaf": InverseAutoregressiveFlow(dim, **sizes, key=jr.key(1)),
    }


def some_params(family, key):
    return 0.4 * jr.normal(key, family.shape)


KINDS = ("coupling", "iaf")


@pytest.mark.parametrize("kind", KINDS)
def test_the_density_integrates_to_one_in_the_plane(kind, key):
    family = bent(families(2)[kind], key, 0.5)
    q = family(some_params(family, key))
    # Wide and fine: a layer scales by e^2 at most, and all is smooth, so that sums converge fast.
    z = eqx.filter_jit(q.sample)(key, (2000,))
    reach = 3 * jnp.max(jnp.abs(z))
    axis = jnp.linspace(-reach, reach, 801)
    points = jnp.stack(jnp.meshgrid(axis, axis), axis=-1)
    density = jnp.exp(eqx.filter_jit(q.log_prob)(points))
    area = (axis[1] - axis[0]) ** 2
    np.testing.assert_allclose(jnp.sum(density) * area, 1, atol=1e-4)
    # And it is the density of the samples: of their mean, within 4 standard errors.
    mean = jnp.sum(density[..., None] * points, axis=(0, 1)) * area
    assert np.all(np.abs(mean - z.mean(axis=0)) < 4 * z.std(axis=0) / np.sqrt(2000))


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("dim", [2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_the_density_of_a_sample_is_that_of_its_noise_over_the_jacobian(kind, dim, layers, key):
    family = bent(families(dim, layers)[kind], key)
    params = some_params(family, key)
    q = family(params)

    # The noise is known, for the sample is a function of the key.
    noise = jr.normal(key, (dim,))
    z = eqx.filter_jit(q.sample)(key)
    push = lambda noise: q.layers.forward(
        params[:dim] + jnp.exp(params[dim : 2 * dim]) * noise, params[2 * dim :]
    )[0]
    both = jax.jit(lambda noise: (push(noise), jax.jacfwd(push)(noise)))
    pushed, jacobian = both(noise)
    np.testing.assert_allclose(pushed, z, rtol=1e-12)
    exact = jnp.sum(dist.Normal(0.0, 1.0).log_prob(noise)) - jnp.linalg.slogdet(jacobian)[1]
    np.testing.assert_allclose(eqx.filter_jit(q.log_prob)(z), exact, rtol=1e-9)
    if dim == 5 and layers == 2:
        # Each entry hangs on others, and not in the same order throughout.
        assert np.count_nonzero(np.abs(jacobian) > 1e-9) > 5 + 5


@pytest.mark.parametrize("kind", [*KINDS, "auxiliary"])
def test_gradients_are_those_of_finite_differences(kind, key):
    made = families(3, layers=2) | {"auxiliary": AuxiliaryFlow(2, 2, 4, 1, key=key)}
    family = bent(made[kind], key, 0.4)
    params = some_params(family, key)
    weights, rest = eqx.partition(family, eqx.is_inexact_array)
    z = jax.tree.map(lambda leaf: leaf + 0.3, family(params).sample(key))

    def values(weights, params, z):
        q = eqx.combine(weights, rest)(params)
        bent_sum = jax.tree.map(lambda leaf: jnp.sum(jnp.sin(leaf)), q.sample(key))
        return q.log_prob(z) + sum(jax.tree.leaves(bent_sum))

    check_grads(jax.jit(values), (weights, params, z), order=1, modes=["rev"], rtol=1e-5)


def test_a_flow_begins_as_its_normal_whatever_the_context(key):
    mean, std = jnp.array([0.3, -1.0, 2.0]), jnp.array([0.5, 1.0, 2.0])
    z = jr.normal(key, (4, 3))
    for family in families(3).values():
        params = jnp.concatenate([mean, jnp.log(std), jnp.array([1.7, -0.4])])
        exact = dist.Normal(mean, std).to_event(1).log_prob(z)
        np.testing.assert_allclose(family(params).log_prob(z), exact, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_context_bends(kind, key):
    family = bent(families(3)[kind], key)
    params = some_params(family, key)
    there = jax.jit(lambda params: family(params).sample(key))
    assert np.all(np.abs(there(params) - there(params.at[-1].add(1.0))) > 1e-6)


X, DIM = 1.3, 1
MODEL = LatentModel(
    lambda z: jnp.sum(dist.Normal(z, 0.7).log_prob(X)),
    dist.Normal(jnp.zeros(DIM), 1.0).to_event(1),
)
EVIDENCE = float(dist.Normal(0.0, np.sqrt(1 + 0.49)).log_prob(X))


def test_the_auxiliary_elbo_is_a_bound_by_integrals_over_the_plane(key):
    family = bent(AuxiliaryFlow(DIM, 4, 5, 2, key=key), key, 0.25)
    params = some_params(family, key)
    model, q = family.augment(MODEL, params), family(params)
    axis = jnp.linspace(-14, 14, 1401)
    step = axis[1] - axis[0]
    points = [points[..., None] for points in jnp.meshgrid(axis, axis, indexing="ij")]
    points = tuple(points)  # z, v
    joint = jax.jit(jax.vmap(jax.vmap(model)))(points)
    log_q = eqx.filter_jit(q.log_prob)(points)
    density = jnp.exp(log_q)
    np.testing.assert_allclose(jnp.sum(density) * step**2, 1, atol=1e-5)
    # The evidence of the augmented model is that of the model.
    evidence = jnp.log(jnp.sum(jnp.exp(joint)) * step**2)
    np.testing.assert_allclose(evidence, EVIDENCE, atol=1e-5)
    elbo = jnp.sum(density * (joint - log_q)) * step**2
    assert elbo < EVIDENCE
    # It is below the ELBO of q(z) alone by the divergence of q(v | z) from r(v | z).
    q_z = jnp.sum(density, axis=1) * step
    joint_z = jax.vmap(MODEL)(axis[:, None])
    alone = jnp.sum(jax.scipy.special.xlogy(q_z, jnp.exp(joint_z) / q_z)) * step
    log_r = joint - joint_z[:, None]
    looseness = jnp.sum(density * (log_q - jnp.log(q_z)[:, None] - log_r)) * step**2
    assert looseness > 0.01
    np.testing.assert_allclose(alone - looseness, elbo, atol=1e-4)
    # The sampled ELBO is that of the plane, within 4 standard errors.
    one = lambda key: ELBO()(model, q, key=key)
    draws = jax.jit(jax.vmap(one))(jr.split(key, 4000))
    assert abs(draws.mean() - elbo) < 4 * draws.std() / np.sqrt(4000)
    # And draws of the augmented prior are of its density.
    v = model.prior.sample(key, (4000,))[1]
    prior = jnp.exp(joint - jax.vmap(MODEL.log_likelihood)(axis[:, None])[:, None])
    mean = jnp.sum(prior * points[1][..., 0]) * step**2
    assert abs(v.mean() - mean) < 4 * v.std() / np.sqrt(4000)


def test_the_reverse_model_is_learned_by_any_estimator_alike(key):
    # The mean gradient of the path derivative is the total one: r is no part of what is held.
    family = bent(AuxiliaryFlow(DIM, 2, 3, 0, key=key), key, 0.4)
    weights, rest = eqx.partition(family, eqx.is_inexact_array)

    def gradient(estimator):
        def bound(weights, key):
            here = eqx.combine(weights, rest)
            params = jnp.array([0.4, -0.3])
            model = here.augment(MODEL, params)
            return ELBO()(model, here(params), estimator=estimator, key=key)

        found = jax.jit(jax.vmap(jax.grad(bound), in_axes=(None, 0)))(weights, jr.split(key, 3000))
        return np.concatenate([leaf.reshape(3000, -1) for leaf in jax.tree.leaves(found)], axis=1)

    apart = gradient(Reparameterised()) - gradient(PathDerivative())
    error = apart.std(axis=0) / np.sqrt(3000)
    assert np.all(np.abs(apart.mean(axis=0)) < 4 * error + 1e-12)
    assert np.any(error > 0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda key: CouplingFlow(1, key=key), "`dim` must be 2 or more .* got 1: take `Diagonal"),
        (lambda key: CouplingFlow(2, layers=0, key=key), "`layers` must be 1 or more, got 0"),
        (lambda key: AuxiliaryFlow(1, width=0, key=key), "`width` must be 1 or more, got 0"),
        (
            lambda key: InverseAutoregressiveFlow(2, context=-1, key=key),
            "`context` must be 0 or more, got -1",
        ),
    ],
)
def test_sizes_that_make_no_sense_are_refused(make, message, key):
    with pytest.raises(ValueError, match=message):
        make(key)
