"""Every command refuses a seed that no generator takes, by the name of its flag and before work."""

import pytest

from pullback._seed import SEEDS, checked_seed

VERBS = (
    "fit density no.csv --out m", "fit classes no.csv --out m", "sample m", "explain m no.csv",
    "design m", "test no.csv", "dependence no.csv --x a --y b", "fit tasks no.csv --out m",
)  # fmt: skip


@pytest.mark.parametrize("seed", ["-1", str(2**63), str(2**32), "-1_000", "9" * 30])
@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("written", ["--seed {}", "--seed={}"])
def test_a_seed_that_no_generator_takes_is_refused(verb, seed, written, pullback, tmp_path):
    status, out, err = pullback(*verb.split(), *written.format(seed).split())
    assert (status, out) == (2, "")
    assert err == f"pullback: --seed must be 0 or more and below 2^32, got {int(seed)}\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", ["1.5", "x", "1e3", "0x10", "", "9" * 5000])
def test_a_seed_that_is_no_whole_number_is_refused(seed, pullback, tmp_path):
    status, _, err = pullback("sample", "m", f"--seed={seed}")
    assert status == 2
    assert "Traceback" not in err
    assert "--seed" in err
    assert list(tmp_path.iterdir()) == []


def test_the_ends_of_what_is_taken():
    assert checked_seed(0, below=SEEDS, name="--seed") == 0
    assert checked_seed(SEEDS - 1, below=SEEDS, name="--seed") == SEEDS - 1
    with pytest.raises(ValueError, match=r"below 5, got 5"):
        checked_seed(5, below=5, name="seed")


@pytest.mark.parametrize("seed", [1.5, True, "3", None, float("nan")])
def test_what_is_no_whole_number_is_no_seed(seed):
    with pytest.raises(TypeError, match=r"^seed must be a whole number, got "):
        checked_seed(seed, below=5, name="seed")
