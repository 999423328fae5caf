"""A designer of sequences: designs that are what it says of them, saved and read, and refusals."""

import copy
import gzip
import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest
from sklearn.utils import check_random_state

from pullback import data, tasks
from pullback.analysis import sequence_report
from pullback.tasks import _sequence_judge as judged
from pullback.tasks import _sequence_nets
from pullback.tasks._sequence_checks import checks
from pullback.tasks._sequence_designs import changes
from pullback.tasks._sequence_goal import Own, goal_of, hits, values
from pullback.tasks._sequence_input import split
from pullback.tasks._sequence_scores import Range

OTHER = str.maketrans("ACGT", "TGCA")


def dna(count=70, length=12, seed=0):
    random = np.random.default_rng(seed)
    return ["".join(row) for row in random.choice(list("ACGT"), (count, length))]


def signal(letters):
    return np.array([each.count("G") + 0.1 * each.count("A") for each in letters])


TAUGHT = {}  # what the networks of `fitted` were given


@pytest.fixture(scope="module")
def fitted():
    letters = dna()
    y = signal(letters)
    y[3] = np.nan

    def telling(name):
        train = getattr(_sequence_nets, name)
        return lambda *given, **settings: (
            TAUGHT.setdefault(name, given) and train(*given, **settings)
        )

    with pytest.MonkeyPatch.context() as patch:
        for name in ("train_generator", "train_ensemble"):
            patch.setattr(_sequence_nets, name, telling(name))
        model = tasks.SequenceDesigner(max_steps=3, random_state=0, progress=False)
        return model.fit(letters, y)


@pytest.fixture(scope="module")
def unscored():
    settings = {"max_steps": 2, "random_state": 0, "progress": False}
    # As many as `fitted` learns from, so that its programs serve.
    return tasks.SequenceDesigner(one_strand=True, **settings).fit(dna(59))


@pytest.fixture(scope="module")
def designed(fitted):
    return fitted.design(6, avoid="GRC", fixed="ACN.........", random_state=0)


def test_designs_are_what_is_said_of_them(fitted, designed):
    assert len(designed.letters) == len(set(designed.letters)) == 6
    assert {each[:2] for each in designed.letters} == {"AC"}
    found = fitted.score(designed.letters)
    np.testing.assert_allclose(designed.mean, found.mean, rtol=1e-5)
    np.testing.assert_allclose(designed.sd, found.sd, rtol=1e-4, atol=1e-7)
    assert designed.outside == found.outside
    np.testing.assert_allclose(designed.scores["score"], found.mean, rtol=1e-5)
    x = data.one_hot(designed.letters)
    goal = goal_of(None, "GRC", None, fitted._own())
    np.testing.assert_allclose(designed.goal, values(goal.climbed, x), rtol=1e-4)
    clean = designed.hits["GRC"] == 0
    assert clean.tolist() == sorted(clean.tolist(), reverse=True)
    for part in (designed.goal[clean], designed.goal[~clean]):
        assert (np.diff(part) <= 0).all()


def test_of_twice_as_many_the_best_are_taken_once_and_those_with_a_site_last(fitted, monkeypatch):
    letters = ["ACGGCAAAAAAA", *["ACAAAAAAAAAA"] * 2, "ACTTTTTTTTTT", "ACCCCCCCCCCC"]
    goal = np.array([9.0, 1.0, 1.0, 2.0, 0.0])
    asked = []

    def climbed(generator, score, count, **settings):
        asked.append(count)
        return _sequence_nets.Drawn(letters, data.one_hot(letters), goal, goal)

    monkeypatch.setattr(_sequence_nets, "climb", climbed)
    found = fitted.design(3, avoid="GGC")
    assert found.letters == ("ACTTTTTTTTTT", "ACAAAAAAAAAA", "ACCCCCCCCCCC")
    assert fitted.design(4, avoid="GGC").letters[3] == letters[0]
    assert asked == [6, 8]


def test_a_score_is_the_mean_of_the_members_on_either_strand(fitted):
    letters = dna(5, seed=3)
    x = jnp.asarray(data.one_hot(letters))
    members = np.stack([np.asarray(fitted.ensemble_.members(each)) for each in x])
    found = fitted.score(letters)
    np.testing.assert_allclose(found.mean, members.mean(axis=1), rtol=1e-5)
    np.testing.assert_allclose(found.sd, members.std(axis=1), rtol=1e-4)
    back = fitted.score([each.translate(OTHER)[::-1] for each in letters])
    np.testing.assert_allclose(found.mean, back.mean, rtol=1e-5)


def test_a_saved_model_says_the_same_to_the_bit(fitted, designed, tmp_path):
    again = tasks.load(fitted.save(tmp_path))
    assert again.sample(5, random_state=1) == fitted.sample(5, random_state=1)
    letters = dna(4, seed=1)
    np.testing.assert_array_equal(again.score(letters).mean, fitted.score(letters).mean)
    found = again.design(6, avoid="GRC", fixed="ACN.........", random_state=0)
    assert found.letters == designed.letters
    np.testing.assert_array_equal(found.goal, designed.goal)
    for name in ("report_", "notes_", "range_", "curve_", "score_name_", "letters_", "length_"):
        assert getattr(again, name) == getattr(fitted, name), name
    np.testing.assert_array_equal(again.scores_, fitted.scores_)


def test_what_is_held_out_teaches_nothing_and_judges_all(fitted):
    train, test = split(fitted.letters_, int(check_random_state(0).randint(2**31)))
    letters = np.asarray(fitted.letters_)
    measured = train[np.isfinite(fitted.scores_[train])]
    x, y = TAUGHT["train_ensemble"][:2]
    assert data.from_one_hot(TAUGHT["train_generator"][0]) == letters[train].tolist()
    assert data.from_one_hot(x) == letters[measured].tolist()
    np.testing.assert_array_equal(y, fitted.scores_[measured])
    assert fitted.range_ == Range.of(y, fitted.score(letters[test].tolist()).sd)
    asked = test[np.isfinite(fitted.scores_[test])]
    ridge = judged.fit_ridge(letters[measured].tolist(), y, True)(letters[asked].tolist())
    ours = fitted.score(letters[asked].tolist()).mean
    said = fitted.report_["predictor"]
    assert said["rows"] == len(asked)
    for name, told in ((judged.RIDGE, ridge), (judged.OURS, ours)):
        error = np.sqrt(np.mean((told - fitted.scores_[asked]) ** 2))
        assert said[name]["rmse"] == pytest.approx(error, rel=1e-6)
    best = measured[np.argsort(-fitted.scores_[measured], kind="stable")[:32]]
    sets = fitted.report_["sets"]
    mean = fitted.score(letters[best].tolist()).mean.mean()
    assert sets[judged.BEST]["mean"] == pytest.approx(mean, rel=1e-6)
    held = sequence_report(letters[test].tolist(), letters[train].tolist(), k=3)
    assert sets[judged.HELD]["kmers"] == pytest.approx(held.kmer_divergence)
    assert sets[judged.JOINT]["mean"] >= sets[judged.SAMPLES]["mean"]


def test_the_files_of_designs_are_read_back(designed, tmp_path):
    files = designed.save(tmp_path / "new")
    assert sorted(file.name for file in files) == ["designs.csv", "designs.fasta", "logos.png"]
    fasta = data.read_sequences(tmp_path / "new" / "designs.fasta")
    assert fasta.letters == designed.letters
    np.testing.assert_array_equal(fasta.scores, designed.mean)
    table = data.read_sequences(tmp_path / "new" / "designs.csv", score="mean")
    assert (table.names, table.letters) == (fasta.names, designed.letters)
    np.testing.assert_array_equal(table.scores, designed.mean)
    assert list(designed.to_frame()) == [
        "name", "sequence", "mean", "sd", "outside", "score_score", "score_avoid GRC", "goal",
        "goal_soft", "hits_GRC", "changes",
    ]  # fmt: skip


def test_where_the_predictor_leaves_what_it_has_seen_is_said(fitted, designed):
    known = Range.of(np.array([1.0, 3.0]), np.linspace(0, 1, 101))
    assert known == Range(1.0, 3.0, 0.99)
    mean, sd = np.array([2.0, 3.1, 0.9, 4.0]), np.array([0.99, 0.1, 0.1, 1.0])
    assert known.outside(mean, sd) == ("", "above", "below", "above, unsure")
    seen = signal(fitted.letters_)[~np.isnan(fitted.scores_)]
    assert seen.min() <= fitted.range_.low < fitted.range_.high <= seen.max()
    low = designed._replace(outside=("above",) * 4 + ("",) * 2)
    notes = " ".join(tasks._sequence_designs.notes_on(low, 9, fitted.range_))
    assert "6 designs and not 9" in notes
    assert "4 of 6 designs are predicted to be above every score of the fit" in notes


def test_what_repeats_is_on_one_side():
    letters = dna(80) + dna(40)
    train, test = split(letters, 0)
    assert sorted([*train.tolist(), *test.tolist()]) == list(range(120))
    assert not {letters[p] for p in train} & {letters[p] for p in test}
    assert 8 <= len({letters[p] for p in test}) <= 16
    assert len(split(dna(50), 0)[1]) == 0


def test_the_one_score_that_differs_is_learned_from():
    letters = dna(80) + dna(40)
    _, held = split(letters, 0)
    for row in range(80):
        y = np.where(np.array(letters) == letters[row], 1.0, 0.0)
        train, test = split(letters, 0, y)
        assert np.ptp(y[train]) == 1
        assert not {letters[p] for p in train} & {letters[p] for p in test}
        assert sorted([*train, *test]) == list(range(120))
        assert set(held) - set(test) == (set(np.flatnonzero(y)) & set(held))


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("site", ["GA", "GRC", "ACGT", "NNA"])
def test_sites_are_counted_as_by_hand(site, both):
    letters = dna(40, 9, seed=2)
    codes = {"R": "[AG]", "N": "[ACGT]"}
    word = lambda text: re.compile(f"(?=({''.join(codes.get(c, c) for c in text)}))")
    back = {"GA": "TC", "GRC": "GYC", "ACGT": "ACGT", "NNA": "TNN"}[site]
    words = {site, back} if both else {site}
    codes["Y"] = "[CT]"
    want = [sum(len(word(w).findall(each)) for w in words) for each in letters]
    assert hits(letters, site, "ACGT", both).tolist() == want


def test_changes_are_the_letters_that_differ_from_the_nearest():
    some, seen = dna(7, 9, seed=5), dna(30, 9, seed=6)
    want = [min(sum(a != b for a, b in zip(x, y, strict=True)) for y in seen) for x in some]
    assert changes(data.one_hot(some), data.one_hot(seen)).tolist() == want


def own(score=None, name="score"):
    return Own(name, score, data.one_hot(dna(60)), "ACGT", True)


def gc(x):
    return x[:, 1:3].sum()


def test_a_goal_is_made_of_scores_weighed_by_their_spreads():
    x = data.one_hot(dna(9, seed=8))
    known = own(gc, "signal")
    plain = goal_of("signal", None, None, known)
    sd = known.x[:, :, 1:3].sum((1, 2)).std()
    np.testing.assert_allclose(values(plain.climbed, x), x[:, :, 1:3].sum((1, 2)) / sd, rtol=1e-5)
    first = lambda x: x[0, 0]
    both = goal_of(None, ["GATC", first], None, known)
    assert [part.name for part in both.parts] == ["signal", "avoid GATC", "avoid <lambda>"]
    assert both.sites == ["GATC"]
    want = 0.0
    for sign, part in zip((1, -1, -1), both.parts, strict=True):
        want = want + sign * values(part.score, x) / values(part.score, known.x).std()
    np.testing.assert_allclose(values(both.climbed, x), want, rtol=1e-4)
    near = goal_of(None, None, 4, known)
    np.testing.assert_allclose(
        values(near.climbed, x), -0.5 * ((x[:, :, 1:3].sum((1, 2)) - 4) / sd) ** 2, rtol=1e-4
    )
    motif = data.Motif("M1", "MAX", np.eye(4)[[1, 0, 1, 2, 3, 2]])
    named = goal_of(motif, [motif, motif], None, own())
    assert [part.name for part in named.parts] == ["MAX", "avoid MAX", "avoid MAX 2"]
    sites = goal_of(motif, ["GGA", "GG", "GGA"], None, own())
    assert [part.name for part in sites.parts[1:]] == ["avoid GGA", "avoid GG", "avoid GGA 2"]


def test_a_spread_is_that_of_all_the_sequences_where_a_file_is_sorted():
    letters = sorted(dna(4000, seed=4), key=lambda each: each.count("G") + each.count("C"))
    x = data.one_hot(letters)
    climbed = goal_of(gc, None, None, own()._replace(x=x)).climbed
    sd = x[:, :, 1:3].sum((1, 2)).std()
    np.testing.assert_allclose(values(climbed, x[-3:]), x[-3:, :, 1:3].sum((1, 2)) / sd, rtol=0.01)


@pytest.mark.parametrize("unit", [2.0**-100, 2.0**90])
@pytest.mark.parametrize("asked", [{}, {"target": 3.0}, {"avoid": "GG"}])
def test_a_goal_and_its_slope_have_no_unit(unit, asked):
    x = jnp.asarray(data.one_hot(dna(1, seed=8))[0])
    small = {**asked, **({"target": 3 * unit} if "target" in asked else {})}
    told = [
        jax.value_and_grad(goal_of(None, what.get("avoid"), what.get("target"), each).climbed)(x)
        for each, what in ((own(gc), asked), (own(lambda x: unit * gc(x)), small))
    ]
    for part, wanted in zip(*told, strict=True):
        np.testing.assert_array_equal(part, wanted)


def test_designs_do_not_hang_on_the_unit_of_scores(fitted, designed):
    unit = 2.0**-100  # a power of two, so that nothing is rounded otherwise
    settings = {"max_steps": 3, "random_state": 0, "progress": False}
    small = tasks.SequenceDesigner(**settings).fit(fitted.letters_, unit * fitted.scores_)
    found = small.design(6, avoid="GRC", fixed="ACN.........", random_state=0)
    assert found.letters == designed.letters
    np.testing.assert_array_equal(found.mean / unit, designed.mean)
    np.testing.assert_array_equal(found.goal, designed.goal)
    assert small.report_["designs"] == fitted.report_["designs"]
    near = [
        model.design(4, target=5 * scale, random_state=0).letters
        for model, scale in ((small, unit), (fitted, 1.0))
    ]
    assert near[0] == near[1]


def by_numpy(x):
    return np.asarray(x).sum()


def by_value(x):
    return x.sum() if x[0, 0] > 0 else 0.0


def raises(x):
    return x.nothing


def never(x):
    return jnp.log(x[0, 0] - x[0, 0] - 1)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (by_numpy, "`score`, by_numpy, must be made of jax.numpy alone"),
        (by_value, "`score`, by_value, must be made of jax.numpy alone"),
        (raises, r"`score`, asked of one sequence of the shape \(12, 4\), raised AttributeError"),
        (never, "`score`: never is no finite number of some sequences of the fit"),
    ],
)
def test_what_a_function_of_ones_own_breaks_is_said_with_its_place(score, message):
    with pytest.raises(ValueError, match=message) as caught:
        goal_of(score, None, None, own())
    assert score is never or "test_sequence_designer.py" in str(caught.value)


def test_of_a_file_to_score_only_the_sequences_need_be_clear(fitted, tmp_path):
    letters = dna(3)
    want = fitted.score(letters)
    two = pd.DataFrame({"sequence": letters, "signal": ["", "high", ""], "intensity": [1, 2, 3]})
    found = fitted.score(two.assign(probe_id=list("abc"), id=list("def")))
    assert (found.letters, found.names) == (want.letters, ("1", "2", "3"))
    two.assign(probe_id=list("abc")).to_csv(tmp_path / "two.csv", index=False)
    assert fitted.score(tmp_path / "two.csv").names == ("a", "b", "c")
    text = "".join(f">p{k} score=high\n{each}\n" for k, each in enumerate(letters))
    model = copy.copy(fitted)  # as if fitted to a file with columns of these names
    model.sequence_column, model.name_column = "probe", "well"
    for name, kept in (("new.csv", text.encode()), ("new.gz", gzip.compress(text.encode()))):
        (tmp_path / name).write_bytes(kept)  # FASTA has no columns
        assert model.score(tmp_path / name).names == ("p0", "p1", "p2")
    assert model.score(tmp_path / "two.csv").names == ("a", "b", "c")
    frame = two.rename(columns={"sequence": "probe"}).assign(seq="x", well=list("def"), id=1)
    found = model.score(frame)
    assert (found.letters, found.names) == (want.letters, ("d", "e", "f"))
    with pytest.raises(ValueError, match=r"which column is the sequence; call it 'probe', as for "
                       r"the fit, or 'sequence'. The columns are mine"):  # fmt: skip
        model.score(pd.DataFrame({"mine": letters}))
    with pytest.raises(ValueError, match="That is a setting of the fit: fit again with it"):
        fitted.score(["ACGTNACGTACG"])


def test_a_site_that_is_to_stay_is_said_to(fitted):
    notes = fitted.design(3, avoid=["GGA", "GG"], fixed="NN.GGAN.....", random_state=0).notes
    for site in ("GGA", "GG"):
        assert f"Every design has {site}, which stands in `fixed`." in notes
    assert not [note for note in notes if "too few without" in note]


def test_letters_of_dna_in_another_order_are_refused_on_two_strands():
    with pytest.raises(ValueError, match="`alphabet` of DNA must be in the order 'ACGT'"):
        tasks.SequenceDesigner(alphabet="TGCA").fit(dna(30))
    tasks.SequenceDesigner(alphabet="TGCA", one_strand=True)._check_settings()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": None}, "no scores were fitted, so `score` must be a motif"),
        ({"score": "sgnal", "own": own(gc, "signal")}, "did you mean 'signal'"),
        ({"score": "CAJ"}, "`score` must be letters of a motif, a motif or a function; got 'CAJ'"),
        ({"score": gc, "target": "a"}, "`target` must be a finite number, got 'a'"),
        ({"score": "ACGTACGTACGTA"}, "ACGTACGTACGTA has 13 letters, and the sequences 12"),
        ({"score": gc, "avoid": ["GA", "J"]}, "`avoid` must be letters of a motif"),
        ({"score": lambda x: x[0]}, r"must give one number of one sequence.*\(12, 4\)"),
        ({"score": data.Motif("P", "p", np.ones((3, 2)), "AB")}, "the letters of p are AB"),
    ],
)
def test_a_goal_that_is_none_is_refused(given, message):
    asked = {"avoid": None, "target": None, "own": own(), **given}
    with pytest.raises(ValueError, match=message):
        goal_of(**asked)
    with pytest.raises(TypeError, match="name of a score"):
        goal_of(3.5, None, None, own())


def test_letters_drawn_by_place_stand_as_often_as_they_should():
    shares = np.array([[0.7, 0.1, 0.2, 0.0], [0.0, 0.0, 0.0, 1.0]])
    found = judged._by_place(shares, 4000, "ACGT", np.random.default_rng(0))
    for letter, share in zip("ACGT", shares[0], strict=True):
        told = np.mean([each[0] == letter for each in found])
        assert abs(told - share) <= 4 * np.sqrt(share * (1 - share) / 4000)
    assert {each[1] for each in found} == {"T"}


def test_the_ridge_counts_the_words_of_both_strands():
    letters = dna(300, 10)
    of_ga = np.array([len(re.findall("GA", each)) for each in letters], float)
    ridge = judged.fit_ridge(letters, of_ga, False)
    new = dna(50, 10, seed=1)
    want = np.array([len(re.findall("GA", each)) for each in new])
    assert np.corrcoef(ridge(new), want)[0, 1] > 0.9
    both = judged.fit_ridge(letters, of_ga, True)
    other = [each.translate(OTHER)[::-1] for each in new]
    np.testing.assert_allclose(both(new), both(other), atol=1e-8)


def test_of_many_sorted_sequences_the_ridge_sees_high_and_low(monkeypatch):
    monkeypatch.setattr(judged, "_TEACH", 200)
    letters = sorted(dna(2000, 10), key=lambda each: each.count("G"))
    ridge = judged.fit_ridge(letters, np.array([each.count("G") for each in letters], float), False)
    new = ["GGGGGGAAAA", "CCTATTAACA"]
    np.testing.assert_allclose(ridge(new), [6, 0], atol=0.5)


def test_errors_and_correlations_are_those_of_numpy():
    random = np.random.default_rng(0)
    y = random.normal(size=40)
    a, b = y + 0.1 * random.normal(size=40), y + random.normal(size=40)
    found = judged.judge_predictor(y, {judged.OURS: a, judged.RIDGE: b})
    assert found[judged.OURS]["pearson"] == pytest.approx(np.corrcoef(a, y)[0, 1])
    assert found[judged.RIDGE]["rmse"] == pytest.approx(np.sqrt(np.mean((b - y) ** 2)))
    gap = (b - y) ** 2 - (a - y) ** 2
    assert found["ahead"] == pytest.approx(gap.mean())
    assert found["ahead_error"] == pytest.approx(gap.std(ddof=1) / np.sqrt(40))
    flat = judged.judge_predictor(y, {judged.OURS: a, judged.RIDGE: np.zeros(40)})
    assert flat[judged.RIDGE]["pearson"] == 0.0


def report(**changes):
    one = {"pearson": 0.9, "spearman": 0.8, "rmse": 0.5}
    predictor = {"rows": 50, "sd": 1.0, judged.OURS: one, judged.RIDGE: one,
                 "ahead": 0.1, "ahead_error": 0.01}  # fmt: skip
    said = {"kmers": 0.01, "unique": 1.0, "mean": 1.0}
    names = (judged.HELD, judged.SAMPLES, judged.SHUFFLED, judged.BEST, judged.PLAIN, judged.JOINT)
    sets = {name: dict(said) for name in names}
    sets[judged.JOINT]["mean"], sets[judged.PLAIN]["kmers"] = 2.0, 0.2
    for name, change in changes.items():
        (predictor if name == "predictor" else sets[getattr(judged, name)]).update(change)
    return {"rows": 50, "predictor": predictor, "sets": sets}


def test_samples_that_are_near_enough_are_not_said_to_be_nearest():
    found = checks(report(SAMPLES={"kmers": 0.035}))[2]
    assert found.good
    assert "though letters drawn place by place look more like them" in found.sentence


def test_what_is_good_is_said_to_be():
    found = checks(report())
    assert all(check.good for check in found)
    assert [check.sentence.split(" (")[0] for check in found] == [
        "Predictions and scores of 50 sequences held out correlate by 0.90",
        "It predicts better than a ridge regression on counts of k-mers",
        "Samples look like the sequences",
        "100 % of samples are unique.",
        "Designs are predicted to be better than the best sequences of the fit",
        "Designs look more like the sequences than what climbing the letters alone gives",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": {judged.OURS: {"pearson": 0.1, "spearman": 0, "rmse": 1}}}, "are guesses"),
        ({"predictor": {"ahead": -0.1}}, "k-mers predicts better"),
        ({"SAMPLES": {"kmers": 0.2}}, "train longer by `max_steps`"),
        ({"SAMPLES": {"unique": 0.5}}, "50 % of samples are unique: the generator draws few"),
        ({"JOINT": {"mean": 0.9}}, "no better than the best sequences of the fit"),
        ({"JOINT": {"kmers": 0.3}}, "no more like the sequences"),
    ],
)
def test_what_is_not_is_said_with_what_to_do(change, message):
    bad = [check for check in checks(report(**change)) if not check.good]
    assert len(bad) == 1
    assert message in bad[0].sentence


def test_without_scores_designs_are_by_a_motif(unscored, tmp_path):
    assert unscored.report_ is None
    assert "Too few different sequences to hold any out" in unscored.notes_[-1]
    found = unscored.design(4, score="CACGTG", random_state=0)
    assert found.mean is None
    assert "mean" not in found.columns()
    assert "CACGTG" in found.letters[0]
    for ask in (lambda: unscored.score(dna(3)), lambda: unscored.design(2)):
        with pytest.raises(ValueError, match="no scores were fitted"):
            ask()
    again = tasks.load(unscored.save(tmp_path))
    assert again.ensemble_ is None
    assert again.sample(2, random_state=0) == unscored.sample(2, random_state=0)


BAD = [
    (dna(10), None, {}, "10 sequences are too few to learn from; give 20 or more"),
    ([], None, {}, "there is no sequence"),
    ([*dna(29), "ACG"], None, {}, "string 30: has 3 letters, and most have 12"),
    ([*dna(29), "ACGTNACGTACG"], None, {}, r"string 30: letter 5 is 'N'.*average"),
    ([each[:4] for each in dna(30)], None, {}, "sequences of 4 letters are too short"),
    (dna(30), np.ones(30), {}, "every score is 1, which teaches nothing"),
    (dna(30), np.ones(29), {}, "one score for each of 30 sequences"),
    (dna(30), ["high"] * 30, {}, "`y` must be numbers"),
    (dna(30), np.r_[np.inf, np.ones(29)], {}, "the score of sequence 1 is no finite number"),
    (dna(30), np.r_[np.ones(9), np.full(21, np.nan)], {}, "9 sequences have a score, too few"),
    (dna(1) * 99, np.arange(99.0), {}, "of 99 sequences with a score 1 differ, too few"),
    (dna(19) * 9, None, {}, "of 171 sequences 19 differ, too few"),
    (dna(30), None, {"alphabet": "AAC"}, "`alphabet` must be two letters or more"),
    (dna(30), None, {"alphabet": "acgt"}, "`alphabet` must be of capital letters"),
    (dna(30), None, {"ambiguous": "skip"}, "`ambiguous` must be one of error, drop, average"),
    (dna(30), None, {"max_steps": 0}, "`max_steps` must be 1 or more"),
    (dna(30), None, {"max_steps": -1}, "`max_steps` must be 1 or more"),
]


@pytest.mark.parametrize(("letters", "y", "settings", "message"), BAD)
def test_what_cannot_be_learned_from_is_refused(letters, y, settings, message):
    with pytest.raises(ValueError, match=message):
        tasks.SequenceDesigner(**settings).fit(letters, y)


def test_what_are_no_sequences_is_refused(fitted):
    with pytest.raises(
        TypeError, match="sequences are strings, a data frame or the path of a file; got int"
    ):
        fitted.score(3)
    for several in (dict.fromkeys(dna(30), 1.0), set(dna(30))):
        with pytest.raises(TypeError, match="sequences are strings, a data frame or the path"):
            tasks.SequenceDesigner().fit(several)
    with pytest.raises(TypeError, match="number 2 is 7"):
        tasks.SequenceDesigner().fit(["ACGT", 7])
    frame = pd.DataFrame({"letters": dna(3), "note": "new"})
    np.testing.assert_array_equal(fitted.score(frame).mean, fitted.score(dna(3)).mean)
    with pytest.raises(ValueError, match="sequence"):
        fitted.score(frame[["note"]])
    with pytest.raises(ValueError, match="have 5 letters, and those of the fit 12"):
        fitted.score(["ACGTA"])
    for bad, message in (
        ({"n": 0}, "`n` must be 1 or more"),
        ({"fixed": "ACN"}, "`fixed` has 3 letters, and the generator's sequences 12"),
        ({"fixed": ""}, "`fixed` must be a string of one letter or more, got ''"),
        ({"score": ""}, "`score` must be 'score', what was fitted, or letters of a motif"),
        ({"avoid": ""}, "`avoid` must be 'score', what was fitted, or letters of a motif"),
        ({"fixed": "J" + "N" * 11}, "`fixed` has 'J' at place 1"),
        ({"target": np.nan}, "`target` must be a finite number"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted.design(**bad)


def test_other_letters_are_left_out_or_averaged(tmp_path):
    letters = [*dna(), "ACGTNACGTACG"]
    settings = {"max_steps": 1, "random_state": 0, "progress": False}
    model = tasks.SequenceDesigner(ambiguous="drop", **settings).fit(letters)
    assert model.data_["rows"] == 70
    assert "1 of 71 sequences were left out" in model.notes_[0]
    assert len(model._x) == 70
    model = model.set_params(ambiguous="average").fit(letters[1:])
    assert (model._x[-1, 4] == 0.25).all()  # of this fit, and not of the one before
    assert tasks.load(model.save(tmp_path)).letters_[-1] == "ACGTNACGTACG"


def test_what_has_other_letters_keeps_its_row(fitted, tmp_path):
    model = copy.copy(fitted)  # as if fitted so
    model.ambiguous, model.sequence_column = "drop", "dna"
    some = dna(2, seed=9)
    letters = [some[0], "N" * 12, some[1]]
    want = fitted.score(some)
    frame = pd.DataFrame({"name": list("abc"), "dna": letters})
    frame.to_csv(tmp_path / "a.csv", index=False)
    read_before = data.read_sequences(frame, ambiguous="average")
    for given in (letters, frame, tmp_path / "a.csv", read_before):
        with pytest.warns(UserWarning, match=r"1 of 3 .*(Row|Line|String|Number) \d: it has"):
            found = model.score(given)
        assert found.letters == tuple(letters)
        np.testing.assert_allclose(found.mean, [want.mean[0], np.nan, want.mean[1]], rtol=1e-6)
        np.testing.assert_allclose(found.sd, [want.sd[0], np.nan, want.sd[1]], rtol=1e-4)
        assert found.outside == (want.outside[0], "", want.outside[1])
    with pytest.warns(UserWarning, match="1 of 3"):
        assert tasks.score_file(model, tmp_path / "a.csv", tmp_path / "s.csv") == 2
    table = pd.read_csv(tmp_path / "s.csv")
    assert list(table) == ["name", "dna", "mean", "sd", "outside"]
    assert list(table.name) == list("abc")
    assert table["mean"].isna().tolist() == [False, True, False]
    with pytest.raises(ValueError, match="1 of 1"):
        model.score(letters[1:2])
    model._write_samples(2, tmp_path / "drawn.csv", 0)
    assert list(pd.read_csv(tmp_path / "drawn.csv")) == ["name", "dna", "mean", "sd", "outside"]


def test_letters_of_another_kind_have_one_strand(tmp_path):
    letters = [each.translate(str.maketrans("ACGT", "HPQR")) for each in dna(59)]
    settings = {"max_steps": 1, "random_state": 0, "progress": False}
    model = tasks.SequenceDesigner(alphabet="HPQR", **settings).fit(letters, range(59))
    found = model.design(3, avoid="HH", random_state=0)
    assert set("".join(found.letters)) <= set("HPQR")
    assert not model._both_strands
    assert len(found.save(tmp_path)) == 3


def test_scores_that_single_precision_cannot_tell_apart_are_refused_before_a_training(monkeypatch):
    monkeypatch.setattr("pullback.tasks._sequence_nets.train_generator", None)
    letters = ["".join(each) for each in itertools.product("AC", repeat=6)]
    with pytest.raises(ValueError, match=r"goes to 1e\+08 in size .* Take its mean away"):
        tasks.SequenceDesigner(random_state=0).fit(letters, 1e8 + np.arange(64) % 7)
