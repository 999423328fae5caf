"""The recipe `dna-design`: what is shown to its models, and its own arithmetic."""

import dataclasses
import os
from pathlib import Path

import jax
import numpy as np
import pytest

from pullback._promotion import standard_promotion
from pullback.data import planted_motif
from pullback.recipes import load
from pullback.recipes.dna_design import low_scorers, measure, splice, uniprobe
from pullback.runs import run

DATA = Path(os.environ.get("PULLBACK_DATA", "data"))


def test_models_see_low_scorers_alone_and_no_held_out_one():
    scores = planted_motif(500).sequences.scores
    held_out, training = low_scorers(scores, 3)
    assert len(held_out) == 30
    assert {*held_out, *training} == {*np.argsort(scores)[:300]}
    assert not {*held_out} & {*training}
    assert low_scorers(scores, 4)[1].tolist() != training.tolist()


def test_dim_probes_come_with_the_brightest_first_and_the_bright_ones_are_hidden():
    scores = np.random.default_rng(0).normal(size=50)
    hidden, shown = uniprobe.dim(scores, 100, [0, 1])
    assert len(hidden) == 20
    np.testing.assert_array_equal([*hidden, *shown], np.argsort(-scores))
    some, others = uniprobe.dim(scores, 10, [0, 1])
    assert (len(some), len(others)) == (4, 6)
    assert scores[some].min() > scores[others].max()


def test_groups_are_judged_by_the_oracle_and_by_the_predictor():
    groups = {"first": ["AAAC", "CCCC"], "second": ["GGGG"]}
    count = lambda strings: np.array([float(string.count("C")) for string in strings])
    found = measure.judged(groups, count, 1.0, lambda x: x[:, 2].sum())
    assert [float(found["first"][of]) for of in ("score", "above", "predicted")] == [2.5, 0.5, 0.0]
    assert float(found["second"]["predicted"]) == 4.0
    rows = [{"ways": found}, {"ways": {"first": {"score": 0.5}}}]
    assert measure.each(rows, "first", "score").tolist() == [2.5, 0.5]
    assert measure.mean(rows, "first", "score") == 1.5


def test_shares_are_of_letters_at_each_place():
    shares = measure.letter_shares(["AC", "AG"])
    np.testing.assert_allclose(shares, [[1, 0, 0, 0], [0, 0.5, 0.5, 0]])


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("dna-design", {"sequences": 20}, "sequences must be at least 50, got 20"),
        ("dna-design", {"beta": -1.0}, "beta must be above 0"),
        ("dna-design/uniprobe", {"avoid": 0.0}, "avoid must be above 0"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_refused(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(load(name).presets["smoke"], **wrong)


@pytest.mark.skipif(not (DATA / "splice_junction").exists(), reason="PULLBACK_DATA has no genes")
def test_the_signals_of_splicing_stand_where_the_genes_have_them():
    genes = splice.splice_junctions(folder=DATA)
    for kind, at, pair in splice.SIGNALS.values():
        letters = genes.sequences.take(np.array(genes.kinds) == kind).letters
        assert np.mean([string[at : at + 2] == pair for string in letters]) > 0.98


@pytest.mark.slow
@pytest.mark.usefixtures("shared_programs")
@pytest.mark.skipif(not (DATA / "uniprobe_pbm").exists(), reason="PULLBACK_DATA has no arrays")
@pytest.mark.parametrize("name", ["dna-design/uniprobe", "dna-design/splice"])
def test_real_data_run_from_the_folder_above(name, tmp_path):
    recipe = load(name)
    with jax.enable_x64(False), standard_promotion():
        record = run(
            recipe, recipe.presets["smoke"], preset="smoke", folder=tmp_path / "run", data=DATA
        )
    assert all(np.isfinite(claim["value"]) for claim in record["claims"])
    if name == "dna-design/splice":  # held-out genes have the signals
        for claim in record["claims"][:2]:
            assert 0.95 < float(claim["reference"].split()[0]) <= 1
