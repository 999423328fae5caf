"""The arithmetic of the recipe `neural-ode`."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from pullback.data import Labelled, Split
from pullback.models import timeseries as ts
from pullback.models.ode_net import ODEBlock, ODENet
from pullback.recipes.neural_ode import Config, measure, mnist, spirals
from pullback.runs import Context


def test_the_traps_closed_form_is_its_solution():
    solution = solve_ivp(lambda t, z: -7.0 * (z - np.cos(t)), (0, 2), [0.0], rtol=1e-11, atol=1e-12)
    exact = measure.trap_solution(jnp.asarray(7.0))
    np.testing.assert_allclose(exact, solution.y[0, -1], rtol=1e-9)


def test_what_a_tolerance_costs_and_buys(x32):
    """z' = z cos 3t, whose solution is x exp(sin(3t) / 3)."""
    block = ODEBlock(lambda t, z, args: z * jnp.cos(3 * t), t1=2.0)
    net = ODENet(eqx.nn.Lambda(jnp.ravel), block, eqx.nn.Lambda(lambda z: 2 * z))
    x = np.array([[0.1, 0.2], [0.2, 0.1], [0.3, 0.1]], np.float32)
    tolerances = (1e-1, 1e-5)
    found = measure.dial(net, Labelled(x, np.array([1, 1, 1])), tolerances)
    exact = 2 * x.astype(float) * np.exp(np.sin(6.0) / 3)
    for tolerance, error in zip(tolerances, found["logit_error"], strict=True):
        logits, solution = net(jnp.asarray(x), rtol=tolerance, atol=tolerance, throw=False)
        assert error == pytest.approx(np.abs(logits - exact).max(), rel=0.05)
        assert found["nfe"][tolerances.index(tolerance)] == int(solution.stats.nfe)
    assert found["wrong"][1] == pytest.approx(200 / 3)
    for name in ("nfe", "Backsolve"):
        assert found[name][0] < found[name][1]
        assert all((count - 2) % 6 == 0 for count in found[name])


def test_a_configuration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="tolerances must be 2 or more numbers that fall"):
        Config(tolerances=(1e-5, 1e-1))
    with pytest.raises(ValueError, match="memory_steps must be 2 or more numbers that rise"):
        Config(memory_steps=(16,))
    with pytest.raises(ValueError, match="length must be even and at least as great as each of"):
        dataclasses.replace(spirals.PRESETS["smoke"], seen=(4, 30))


def test_spirals_are_seen_at_some_of_their_points_and_scored_after_their_window():
    config = spirals.Config(length=20, seen=(7, 20), noise=1e-9)
    seen, later, truth = spirals.spirals(config, 5, 7, 3, onward=True)
    assert seen.values.shape == (5, 7, 2)
    assert truth.shape == (5, 20, 2)
    step = later[0, 1] - later[0, 0]
    np.testing.assert_allclose(later[:, 0], 20 * step, rtol=1e-6)
    assert np.all(np.diff(seen.times, axis=1) > 0.5 * step)
    assert np.all(seen.times < later[:, :1])
    # With all points seen without noise, what follows goes on from them along one curve.
    whole, _, truth = spirals.spirals(config, 5, 20, 3, onward=True)
    path = np.concatenate([whole.values, truth], axis=1)
    bends = np.linalg.norm(np.diff(path, n=3, axis=1), axis=-1)
    assert bends.max() < 0.02
    # The points of one seed are the same spiral's, however many are seen.
    for place in range(5):
        at = np.searchsorted(whole.times[place], seen.times[place] - 1e-6)
        np.testing.assert_allclose(seen.values[place], whole.values[place][at], atol=1e-6)
    # Those of a window without a continuation lie anywhere up to the curve's end.
    ends = spirals.spirals(config, 2000, 20, 0, onward=False)[0].values
    assert np.linalg.norm(np.add(ends, [5.0, 0.0]), axis=-1).max() > 14


def test_the_recurrent_net_is_told_the_time_to_come_and_nothing_by_padding():
    cell = spirals.Told(gru=eqx.nn.GRUCell(3, 4, key=jr.key(0)), features=4)
    times = jnp.array([0.0, 0.3, 1.0, 1.0])
    values = jr.normal(jr.key(1), (4, 2))
    mask = jnp.array([[True] * 2] * 3 + [[False] * 2])
    path = ts.run_cell(cell, times, values, mask)
    first = cell.gru(jnp.concatenate([values[0], jnp.array([0.3])]), jnp.zeros(4))
    second = cell.gru(jnp.concatenate([values[1], jnp.array([0.7])]), first)
    np.testing.assert_allclose(path.before[0][1], first, rtol=1e-6)
    np.testing.assert_allclose(path.last[0], second, rtol=1e-6)
    np.testing.assert_allclose(path.last[1], values[2])


def test_the_claims_are_ratios_of_errors_beside_the_papers():
    errors = {"latent ODE": np.array([[0.2, 0.4]]), "RNN": np.array([[0.4, 0.5]])}
    errors = {kind: np.vstack([row, 2 * row**2]) for kind, row in errors.items()}
    near = {"latent ODE": np.ones((2, 2)), "RNN": np.full((2, 2), 0.5)}
    config = dataclasses.replace(spirals.Config(), seen=(30, 100))
    short = {kind: 3 * row for kind, row in errors.items()}
    first, second, own, early, piled = spirals._claims(config, errors, near, short)
    assert first.value == pytest.approx((0.5 + 0.8) / 2)
    assert second.value == pytest.approx((0.25 + 0.64) / 2)
    assert first.headline is not None
    assert first.headline.paper == pytest.approx(0.1642 / 0.3937)
    assert own.value == pytest.approx(0.3)
    assert (early.value, piled.value) == (pytest.approx(2.0), pytest.approx(3.0))


def test_a_recurrent_net_continues_in_chains_of_steps_as_long_as_it_was_trained_on():
    config = dataclasses.replace(spirals.PRESETS["smoke"], noise=1e-9, length=12, seen=(4, 12))
    seen, later, _ = spirals.spirals(config, 3, 6, 0, onward=True)
    model = spirals.rnn(config, jr.key(0))
    said = spirals.continued(model, seen, later, jr.key(1))
    for first in (0, 1):
        times, values, mask = (part[2] for part in seen)
        chain = model.forecast(times, values, mask, later[2, first::2])
        np.testing.assert_allclose(said[2, first::2], chain, rtol=1e-5)
    alone = spirals.continued(model, seen, later, jr.key(1), chains=1)
    np.testing.assert_allclose(alone[2], model.forecast(times, values, mask, later[2]), rtol=1e-5)


@pytest.mark.slow  # Compiles the training of four models.
def test_spirals_are_learned_and_continued_in_both_ways(tmp_path, x32):
    claims = spirals.run(spirals.PRESETS["smoke"], Context(tmp_path / "run"))
    assert len(claims) == 5
    assert all(np.isfinite(claim.value) for claim in claims)
    assert {path.stem for path in (tmp_path / "run" / "figures").iterdir()} == {"spirals"}


@pytest.mark.slow  # Compiles the training of three networks.
def test_images_are_read_by_convolutions_of_three_kinds(tmp_path, x32, monkeypatch):
    rng = np.random.default_rng(0)
    part = lambda n: Labelled(rng.uniform(size=(n, 20, 20)).astype(np.float32), np.arange(n) % 10)
    monkeypatch.setattr(mnist, "mnist", lambda folder: Split(part(40), part(20)))
    claims = mnist.run(mnist.PRESETS["smoke"], Context(tmp_path / "run", data=tmp_path))
    assert len(claims) == 4
    assert all(np.isfinite(claim.value) for claim in claims)
    assert [claim.headline is not None for claim in claims] == [True, False, False, False]
    assert "residual network of six blocks" in claims[0].sentence
