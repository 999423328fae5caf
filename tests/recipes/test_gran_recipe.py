"""The recipe `gran`: what is held out, and its own arithmetic."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import Graph
from pullback.recipes import load
from pullback.recipes.gran import claims, measure
from pullback.recipes.gran.measure import CHANCE, SAMPLES, TRAINING
from pullback.runs import run

DATA = Path(os.environ.get("PULLBACK_DATA", "data"))


def path(nodes):
    return Graph(nodes, np.array([[i, i + 1] for i in range(nodes - 1)]))


def mmd(samples, chance, training):
    of = lambda values: dict(zip(measure.STATISTICS, (*values, 1.0), strict=True))
    return {SAMPLES: of(samples), CHANCE: of(chance), TRAINING: of(training)}


def test_a_fifth_is_held_out_at_random_and_the_largest_graph_is_trained_on():
    graphs = [path(nodes) for nodes in range(2, 22)]
    for seed in range(8):
        training, held_out = measure.split(graphs, 0.2, seed)
        assert (len(training), len(held_out)) == (16, 4)
        sizes = [graph.nodes for graph in training]
        assert max(sizes) == 21
        assert sorted([*sizes, *(graph.nodes for graph in held_out)]) == [*range(2, 22)]
    first, second = (measure.split(graphs, 0.2, seed)[1] for seed in (0, 1))
    assert {graph.nodes for graph in first} != {graph.nodes for graph in second}


def test_ratios_are_of_the_statistics_that_vary():
    found = mmd((0.2, 0.0, 0.1), (0.8, 0.0, 0.2), (0.1, 0.0, 0.04))
    assert measure.over_chance(found) == {"degree": pytest.approx(0.25), "orbits": 0.5}
    assert measure.quality(found) == pytest.approx(0.375)
    [degree, orbits] = claims.between("Graphs", {"mmd": found})
    assert degree.holds
    assert orbits.value == 0.5
    assert degree.reference.startswith("0.125: training graphs")
    assert claims.when_not({"mmd": found}).value == pytest.approx(2.5)


def test_larger_blocks_are_quicker_and_a_stride_gives_quality_back():
    row = lambda seconds, quality: {"seconds": seconds, "quality": quality}
    curve = {(1, 1): row(4.0, 0.1), (4, 1): row(5.0, 0.3), (4, 4): row(1.0, 0.6)}
    [quicker, back] = claims.trade(curve)
    assert (quicker.value, back.value) == (4.0, 0.5)
    assert "from 0.100 to 0.600" in quicker.reference


def test_steps_are_those_of_the_widest_stride_and_none_may_be_off():
    row = lambda off: {"nodes": 100, "steps": 13, "steps_off": off}
    claim = claims.steps({(1, 1): row(0), (8, 8): row(0)})
    assert claim.holds
    assert claim.reference == "13 steps for 100 nodes, 8 rows each; edge by edge it is 4,950"
    assert not claims.steps({(1, 1): row(1), (8, 8): row(0)}).holds


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("gran", {"blocks": (4, 1)}, "blocks must be 1 or more numbers that rise"),
        ("gran/dd", {"held_out": 1.0}, "held_out must be between 0 and 1"),
        ("gran/enzymes", {"strides": (0,)}, "strides must be"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(load(name).presets["smoke"], **wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("shared_programs")
@pytest.mark.skipif(not (DATA / "graphs").exists(), reason="PULLBACK_DATA has no graphs")
@pytest.mark.parametrize("name", ["gran/enzymes", "gran/dd", "gran/firstmm"])
def test_real_graphs_run_from_the_folder_above(name, tmp_path):
    recipe = load(name)
    with jax.enable_x64(False), standard_promotion():
        record = run(
            recipe, recipe.presets["smoke"], preset="smoke", folder=tmp_path / "run", data=DATA
        )
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
