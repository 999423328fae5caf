"""Draw the pictures of the docs that are not of a recipe: `python docs/make_images.py`."""

import tempfile
from pathlib import Path

import jax
import numpy as np
from sklearn.neural_network import MLPClassifier

from pullback import data, plots, tasks
from pullback.analysis import sequence_report
from pullback.models.sequences import MotifScore, maximise

IMAGES = Path(__file__).parent / "images"
COLUMNS = ["bmi", "bp", "s5", "progression"]
HOURS, VITALS = 24, ("heart", "breath", "oxygen", "temperature")


def main() -> None:
    fit_density()
    explain_pictures()
    explain_series()
    recommend()
    design_dna()
    design_molecules()
    generate_graphs()


def fit_density() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = data.fetch("diabetes", folder) / "diabetes.csv"
        model = tasks.FlowDensity(columns=COLUMNS, random_state=0, progress=False).fit(file)
        picture = model._report(file).parts[0]
    picture.figure.savefig(IMAGES / "fit-density.png", dpi=90)


def explain_pictures() -> None:
    """Digits on smooth backgrounds, as a network of scikit-learn's sees them."""
    train, test = data.digit_scenes(copies=4)
    rows = lambda x: x.reshape(len(x), -1)
    model = MLPClassifier((128,), early_stopping=True, random_state=0).fit(rows(train.x), train.y)
    explainer = tasks.ImageExplainer(model, random_state=0, progress=False).fit(train.x)
    sure = np.flatnonzero(model.predict_proba(rows(test.x)).max(axis=1) > 0.98)[:4]
    found = explainer.explain(test.x[sure])
    found.figure(range(4)).savefig(IMAGES / "explain-pictures.png", dpi=80)


def explain_series() -> None:
    """A made-up ward: oxygen falls in some, and a rule of thumb sees it."""
    random = np.random.default_rng(0)
    series = [_patient(random) for _ in range(80)]
    ids = [f"patient {k}" for k in range(len(series))]
    ward = data.irregular_series(series, ids=ids, variables=VITALS, time_unit="h")
    explainer = tasks.SeriesExplainer(_risk, random_state=0, progress=False).fit(ward)
    last = _risk(np.where(ward.mask, ward.values, np.nan))[:, 1]
    ill = int(np.flatnonzero(last > 0.9)[0])
    found = explainer.explain(ward.take(np.array([ill])))
    found.figure(0).savefig(IMAGES / "explain-series.png", dpi=90)


def recommend() -> None:
    """Made-up films of three kinds, of which some are liked by all: curves over k."""
    random = np.random.default_rng(0)
    users, films = 400, 150
    taste, kind = random.dirichlet([0.4] * 3, users), random.dirichlet([0.3] * 3, films)
    quality = random.normal(size=films)
    stars = 2.2 + 2.2 * taste @ kind.T + 0.5 * quality + 0.4 * random.normal(size=(users, films))
    seen = random.random(stars.shape) < 0.3 / (1 + np.exp(-quality))
    who, what = np.nonzero(seen)
    names = [tuple(f"{of} {k}" for k in range(n)) for of, n in (("user", users), ("film", films))]
    rated = np.clip(stars.round(), 1, 5)[seen]
    ratings = data.Ratings(who, what, rated, names[0], names[1], source="films.csv")
    model = tasks.Recommender(max_steps=400, random_state=0, progress=False).fit(ratings)
    print(*model.notes_, sep="\n")
    picture = model._report(ratings).parts[0]
    picture.figure.savefig(IMAGES / "recommend.png", dpi=90)


def design_dna() -> None:
    """Weak binders of a made-up protein: none that is shown scores above the 60 % quantile."""
    planted = data.planted_motif()
    whole = planted.sequences
    scores = np.asarray(whole.scores)
    weak = whole.take(scores < np.quantile(scores, 0.6))
    model = tasks.SequenceDesigner(random_state=0, progress=False).fit(weak)
    found = model.design(100, random_state=0)
    print(*model.notes_, *found.notes, sep="\n")
    found.figure().savefig(IMAGES / "design-dna.png", dpi=90)
    truth = MotifScore(planted.motif, planted.background, both_strands=False, smoothing=0.0)
    seen = np.asarray(weak.scores)
    plain = maximise(model.ensemble_, count=100, length=model.length_, key=jax.random.key(0))
    best = [weak.letters[place] for place in np.argsort(-seen)[:100]]
    drawn = model.sample(1000, random_state=0)
    for name, letters in (
        ("best 100 of the fit", best), ("samples", drawn), ("plain maximisation", plain.letters),
        ("designs", found.letters),
    ):  # fmt: skip
        true = np.asarray(jax.vmap(truth)(data.one_hot(letters)))
        told = sequence_report(letters, weak.letters)
        print(f"{name}: predicted {model.score(letters).mean.mean():.2f}, true {true.mean():.2f}, "
              f"above all shown {np.mean(true > seen.max()):.2f}, "
              f"divergence of 3-mers {told.kmer_divergence:.3f}")  # fmt: skip


def design_molecules() -> None:
    """Measured solubilities; the data lie where the environment variable PULLBACK_DATA says."""
    settings = {"selfies": True, "skip_invalid": True, "random_state": 0, "progress": False}
    model = tasks.MoleculeDesigner(**settings).fit(data.molnet("esol"))
    found = model.design(100, start="CCOc1ccc(NC(C)=O)cc1", random_state=0)
    print(*model.notes_, *found.notes, sep="\n")
    (IMAGES / "design-molecules.png").write_bytes(found.drawing())


def generate_graphs() -> None:
    """Proteins as graphs, and others like them; the data lie as above."""
    proteins = data.tu_graphs("ENZYMES")
    model = tasks.GraphGenerator(random_state=0, progress=False).fit(proteins)
    print(*model.notes_, model.report_, sep="\n")
    drawn = model.sample(18, connected=True, random_state=0)
    random = np.random.default_rng(0)
    some = [proteins.graphs[place] for place in random.choice(len(proteins.graphs), 18).tolist()]
    rows = [part[at : at + 9] for part in (some, drawn) for at in (0, 9)]
    with plots.house_style(math=False):
        fig, ax = plots.figure(width=10, height=4.6)
        plots.graph_sheet(ax, rows, rows=["ENZYMES", "", "drawn", ""])
    fig.savefig(IMAGES / "generate-graphs.png", dpi=90)


def _patient(random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A day: four vital signs that drift together, and half of the time a fall of the oxygen."""
    drift = np.zeros((HOURS, 4))
    for hour in range(1, HOURS):
        shared = random.normal()
        step = 0.35 * random.normal(size=4) + 0.35 * shared * np.array([1, 1, -0.5, 0.3])
        drift[hour] = 0.85 * drift[hour - 1] + step
    if random.random() < 0.5:
        begin = random.integers(8, 18)
        drift[begin:, 2] -= np.minimum(4, 1.2 * np.arange(1, HOURS - begin + 1))
        drift[begin + 2 :, 1] += 2
    values = np.array([80, 16, 96, 37.0]) + drift * np.array([8, 2, 1.5, 0.4])
    measured = random.random((HOURS, 4)) < np.array([0.95, 0.9, 0.9, 0.4])
    measured[0] = True
    return np.arange(HOURS, dtype=float), values, measured


def _risk(prefixes: np.ndarray) -> np.ndarray:
    """A rule of thumb: of what was measured last, low oxygen and quick breath."""
    seen = ~np.isnan(prefixes)
    place = prefixes.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1)
    last = np.take_along_axis(prefixes, place[:, None], axis=1)[:, 0]
    odds = 0.9 * (92 - last[:, 2]) + 0.25 * (last[:, 1] - 18) + 1.0 * (last[:, 3] - 38)
    p = 1 / (1 + np.exp(-odds))
    return np.stack([1 - p, p], axis=1)


if __name__ == "__main__":
    main()
