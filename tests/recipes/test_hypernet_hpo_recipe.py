"""The recipe `hypernet-hpo`: what it holds its networks against."""

import dataclasses

import jax
import jax.random as jr
import numpy as np
import pytest

from pullback.data import digits
from pullback.recipes.hypernet_hpo import Config, measure, mnist
from pullback.recipes.hypernet_hpo.models import (
    ExactResponse,
    end_losses,
    inner,
    outer,
    outer_losses,
    problem_of,
)


def test_the_exact_response_is_where_training_ends():
    problem = problem_of(digits(test_fraction=0.9, seed=0), 20, 30)
    assert [len(x) for x, _ in problem] == [20, 30, 1618]
    for shape in ((), (10,), (65, 10)):
        hyper = 2 * jr.normal(jr.key(0), shape) - 3
        response = ExactResponse(hyper, problem.train)

        @jax.jit
        def found(hyper, response=response):
            weights = response(hyper)
            loss = lambda w: inner(w, hyper, problem.train, key=None)[0]
            return weights, jax.grad(loss)(weights)

        weights, gradient = found(hyper)
        np.testing.assert_allclose(gradient, 0, atol=1e-12)
        losses = outer_losses(response, hyper[None], problem.test)
        x, y = problem.test
        np.testing.assert_allclose(losses, [np.sum((x @ weights - y) ** 2) / (2 * len(x))])
    ends = end_losses(hyper, problem)
    np.testing.assert_allclose(ends["test"], losses[0])
    np.testing.assert_allclose(
        ends["validation"], outer(weights, hyper, problem.validation, key=None)[0]
    )


def test_bayesian_optimisation_finds_a_minimum_that_chance_does_not():
    centre = np.linspace(-6, -2, 3)
    evaluate = lambda x: float(np.sum((x - centre) ** 2))
    found = measure.bayesian_optimisation(evaluate, 3, 40, np.random.default_rng(0))
    chance = np.random.default_rng(0).uniform(measure.LOW, measure.HIGH, (40, 3))
    assert evaluate(found) < 0.2 * min(map(evaluate, chance))


def test_trials_cost_what_the_run_costs():
    config = Config(warmup=100, steps=300, draws=4, trial_steps=200)
    assert config.trials == 8


@pytest.mark.parametrize("config", [Config, mnist.Config])
@pytest.mark.parametrize("wrong", [{"seeds": 0}, {"scale": 0.0}, {"rank": 0}, {"steps": -1}])
def test_a_configuration_that_makes_no_sense_is_refused(config, wrong):
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be"):
        dataclasses.replace(config(), **wrong)
