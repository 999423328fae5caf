"""`MoleculeDesigner`: a continuous code of molecules, and new ones that are better by it."""

import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback._numbers import as_numbers, check_number
from pullback.analysis import molecule_properties
from pullback.data import Vocabulary
from pullback.models.sequences import LatentSpace

from . import _molecule_nets as nets
from ._designer import AbstractDesigner
from ._molecule_checks import told
from ._molecule_chemistry import nearest
from ._molecule_designs import MoleculeDesigns, MoleculePath, table_of_samples, table_of_scores
from ._molecule_found import designs_of, path_of
from ._molecule_input import (
    COMPUTED,
    Asked,
    Reading,
    asked,
    check,
    check_settings,
    described,
    digest,
    in_rows,
    read,
    split,
    vocabulary_of,
)
from ._molecule_judge import judge
from ._molecule_search import (
    decoded,
    goal_of,
    named,
    sampled,
    search,
    starts_of,
)
from ._net_arrays import arrays_of
from ._outputs import table_writer
from ._page import Report
from ._settings import check_max_steps

_RADIUS = 4.0
_NUMBERS = (*COMPUTED, "alerts")


class MoleculeDesigner(AbstractDesigner):
    r"""A continuous code of molecules, what was measured predicted from it, and a search in it.

    $$ z \sim N(\mu(x), \sigma^2(x)), \qquad \hat y = f(\mu(x)), \qquad
       z \leftarrow z + \eta \frac{\nabla m(z)}{|\nabla m(z)|} $$

    An autoencoder of SMILES, or of SELFIES, is trained together with a network that predicts what
    was measured. `design` climbs the mean m of a Gaussian process on the codes, from molecules that
    are known and no farther from them than a radius, decodes along the way, and gives back each
    molecule once, with what RDKit says of it. `report_` says how good the predictions are on
    molecules held out, beside a ridge regression on Morgan fingerprints, how many molecules come
    back from their codes, and how many of what is drawn are molecules, unique and new. `notes_` say
    who wins.

    Args:
        properties: what is to be predicted: columns of a file, or "logP", "QED" or "SAS", which
            RDKit computes where a file has no such column; of arrays, what the columns of `y` are
            called.
        smiles_column: of a file, that of SMILES; None takes the one with a usual name.
        name_column: of a file, that of names, likewise.
        selfies: write molecules as SELFIES, of which nearly all that is drawn is a molecule.
        skip_invalid: leave out molecules that cannot be read or written, and say which; of those
            asked of later the rows are NaN.
        max_length: the most tokens that a molecule may have; None takes 120.
        max_steps: training steps; None takes 3000.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        properties_: what is predicted, by name.
        computed_: those of them that RDKit computed.
        smiles_: the molecules of the fit, canonical.
        targets_: what was measured of them, a column a property, NaN where nothing was.
        report_: how good it is, as above; None of fewer than 100 different molecules.
        curve_: the distortion and the rate over training, in nats a molecule.
        notes_: what was done and who wins, in sentences.
        data_: where the molecules came from, their number and the digest of those fitted.

    Raises:
        ValueError: a setting or the molecules do not fit; the message says which and how.
        TypeError: what is given as molecules is no path and no SMILES.
        ImportError: RDKit or selfies is not installed; the message says how.

    Example:
        >>> import pullback as pb
        >>> smiles = ["C" * n + end for n in range(1, 12) for end in "ON"]
        >>> model = pb.tasks.MoleculeDesigner(properties=["logP"], max_steps=2, random_state=0)
        >>> model = model.fit(smiles)
        >>> model.transform(["OCC"]).shape, model.predict(["CCO", "CCN"]).shape
        ((1, 32), (2,))

    Source: Gomez-Bombarelli et al., Automatic Chemical Design, arXiv 1610.02415.
    """

    things = "molecules"

    report_: dict[str, Any] | None

    _found = ("notes_", "data_", "report_", "properties_", "computed_", "curve_", "tokens_")

    def __init__(
        self,
        *,
        properties: Any = (),
        smiles_column: str | None = None,
        name_column: str | None = None,
        selfies: bool = False,
        skip_invalid: bool = False,
        max_length: int | None = None,
        max_steps: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.properties = properties
        self.smiles_column = smiles_column
        self.name_column = name_column
        self.selfies = selfies
        self.skip_invalid = skip_invalid
        self.max_length = max_length
        self.max_steps = max_steps
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "MoleculeDesigner":
        """Fit molecules, and what was measured of them where something was.

        Args:
            X: SMILES, a list of them; the path of a file of SMILES, a CSV, Parquet or SDF file; a
                data frame; or `pullback.data.Molecules`.
            y: a number for each, or a row of them, in any unit, NaN where a molecule was not
                measured; None: the properties of the file.
        """
        self._check_settings()
        found, computed = read(X, y, self._reading())
        check(found)
        vocabulary, found = vocabulary_of(found, self.selfies, self.max_length, self.skip_invalid)
        check(found)  # again, where some were left out
        seed = int(check_random_state(self.random_state).randint(2**31))
        train, test = split(found.smiles, seed)
        self.properties_, self.computed_ = list(found.properties), computed
        columns = list(found.properties.values())
        self.targets_ = np.stack(columns, 1) if columns else np.zeros((len(found.smiles), 0))
        self.smiles_, self.tokens_ = found.smiles, vocabulary.to_dict()
        self.__dict__.pop("codes_", None)  # of another fit
        self.__dict__.pop("space_", None)
        vae, self.curve_ = nets.train(
            vocabulary.encode([found.smiles[k] for k in train]), self.targets_[train],
            vocabulary.size, steps=self.max_steps, seed=seed, progress=self.progress,
        )  # fmt: skip
        self.coder_ = nets.Coder(vae, vocabulary)
        self.data_ = {
            "source": found.source,
            "rows": len(found.smiles),
            "file": isinstance(X, str | os.PathLike),
            "sha256": digest(found),
        }
        self.report_ = judge(self, train, test, seed) if len(test) else None
        self.notes_ = [*described(found), *told(self.report_, self.selfies)]
        return self

    def transform(self, X: Any) -> Float[np.ndarray, "n 32"]:
        """The codes of molecules: the means of their posteriors.

        Args:
            X: as for `fit`.

        Returns:
            A row for each, which is NaN, with a warning that says why, where a model that was
            fitted with `skip_invalid` cannot take the molecule.

        Raises:
            ValueError: a molecule cannot be read, is longer than those of the fit, or has a token
                that none of them had, and the model was fitted without `skip_invalid`; or all are
                such.
        """
        check_is_fitted(self)
        found = self._new(X)
        return in_rows(self.coder_.encode(found.molecules.smiles), found)

    def inverse_transform(self, X: Any) -> list[str]:
        """The molecules at codes, as canonical SMILES: the likeliest string that there is, or where
        that is no molecule the nearest one of some that are drawn; "" where none is.

        Args:
            X: codes, a row each.
        """
        check_is_fitted(self)
        z = as_numbers("X", X).astype(self.coder_.dtype)
        if z.ndim != 2 or z.shape[1] != nets.LATENT or not np.isfinite(z).all() or not len(z):
            raise ValueError(
                f"`X` must be finite codes, [n, {nets.LATENT}], n at least 1; got the shape "
                f"{z.shape}."
            )
        return decoded(self, z)

    def predict(self, X: Any) -> Float[np.ndarray, "n ..."]:
        """What is predicted of molecules, in the units of what was fitted.

        Args:
            X: as for `transform`.

        Returns:
            A number for each, or of several properties a row; NaN as of `transform`.
        """
        check_is_fitted(self)
        if not self.properties_:
            raise ValueError(
                "no property was fitted, so there is nothing to predict: fit with `properties`."
            )
        given = self._new(X)
        values = self.coder_.predict(self.coder_.encode(given.molecules.smiles))
        found = in_rows(values, given)
        return found[:, 0] if len(self.properties_) == 1 else found

    def sample(self, n_samples: int = 1, *, random_state: Any = None) -> list[str]:
        """New molecules like those of the fit, as canonical SMILES.

        Codes are drawn from a Gaussian that has the mean and the covariance of those of the fit;
        what decodes to no molecule is drawn again. `report_` says how much that is.

        Args:
            n_samples: how many; one may be there twice.
            random_state: seed, generator or None.

        Raises:
            ValueError: too little of what is drawn is a molecule.
        """
        check_is_fitted(self)
        positive(n_samples=n_samples)
        return sampled(self, n_samples, int(check_random_state(random_state).randint(2**31)))

    def design(
        self,
        n: int = 100,
        *,
        property: str | None = None,
        target: float | int | None = None,
        start: Any = None,
        radius: float | int = _RADIUS,
        random_state: Any = None,
    ) -> MoleculeDesigns:
        """New molecules near known ones, of which a property is high.

        A Gaussian process on the codes of the molecules of the fit is climbed from each start; what
        is decoded along the way is encoded again, and kept where its own code is within the radius.

        Args:
            n: how many, at most.
            property: what is to be high: what was fitted, by its name, or "logP", "QED" or "SAS",
                of which RDKit's own number then counts; None takes the first that was fitted, or
                "QED".
            target: the value to come near to; None: as high as can be.
            start: a molecule, or several, as SMILES; None takes the 20 of the fit that are best.
            radius: how far a design may lie from its start, in standard deviations of the codes.
                The farther, the better it may be, and the fewer strings are molecules.
            random_state: seed, generator or None.

        Raises:
            ValueError: an argument does not fit, or nothing is found; the message says what to do.
        """
        check_is_fitted(self)
        positive(n=n)
        check_number("radius", radius, "above 0 and finite", lambda value: value > 0)
        goal = goal_of(self, property, target)
        starts = starts_of(self, start, goal)
        seed = int(check_random_state(random_state).randint(2**31))
        found = search(self, goal, starts, n, float(radius), seed)
        if not found.smiles:
            raise ValueError(
                f"of {found.drawn} strings drawn along the way {100 * found.valid:.0f} % are "
                f"molecules, and none but the starts lies within {radius:g} standard deviations: "
                "give a greater `radius`, other starts, or fit for longer or with `selfies`."
            )
        return designs_of(self, found, goal, starts, n, float(radius))

    def interpolate(self, a: str, b: str, n: int = 12, *, random_state: Any = None) -> MoleculePath:
        """Molecules on the way from one to another, along a great circle of the codes.

        Args:
            a: where it starts, as SMILES.
            b: where it ends.
            n: how many codes, both ends included.
            random_state: seed, generator or None.

        Raises:
            ValueError: RDKit cannot read a molecule, or it has no code; or `n` is below 2.
        """
        check_is_fitted(self)
        positive(n=n)
        if n < 2:
            raise ValueError("`n` must be 2 or more, to hold both ends; got 1.")
        (a,), (b,) = named("a", [a]), named("b", [b])
        seed = int(check_random_state(random_state).randint(2**31))
        return path_of(self, a, b, n, seed)

    def _said(self, smiles: Any) -> dict[str, Float[np.ndarray, " n"]]:
        """What the network predicts of molecules, NaN of those without a code, and RDKit's word."""
        said = {}
        if self.properties_:
            z = self.coder_.encode(smiles)
            values = self.coder_.predict(z) if len(z) else np.zeros((0, len(self.properties_)))
            said = {f"predicted_{name}": values[:, k] for k, name in enumerate(self.properties_)}
        return said | molecule_properties(smiles, _NUMBERS)

    def _new(self, X: Any) -> Asked:
        how = Reading(self.smiles_column, (), self.name_column, self.skip_invalid)
        return asked(X, how, self.coder_.vocabulary)

    def _write_samples(self, count: int, out: Path, seed: int) -> list[Path]:
        smiles = self.sample(count, random_state=seed)
        with table_writer(out) as write:
            write(table_of_samples(smiles, set(self.smiles_), self._said(smiles)))
        return [out]

    def _write_scores(self, file: Path, out: Path) -> int:
        given = self._new(file)
        smiles, fitted = given.molecules.smiles, set(self.smiles_)
        near = {"similarity": nearest(smiles, self.smiles_)}
        with table_writer(out) as write:
            write(table_of_scores(given, fitted, {**near, **self._said(smiles)}))
        return len(smiles)

    @functools.cached_property
    def codes_(self) -> Float[np.ndarray, "n 32"]:
        """The codes of the molecules of the fit."""
        return self.coder_.encode(self.smiles_)

    @functools.cached_property
    def space_(self) -> LatentSpace:
        """Those codes as a space to move about in."""
        return LatentSpace.from_data(self.codes_)

    def _reading(self) -> Reading:
        return Reading(
            self.smiles_column, tuple(self.properties), self.name_column, self.skip_invalid
        )

    def _arrays(self) -> dict[str, np.ndarray]:
        letters = np.frombuffer("\n".join(self.smiles_).encode(), np.uint8)
        return {"smiles": letters, "targets": self.targets_, **arrays_of(self.coder_.vae)}

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.smiles_ = tuple(arrays["smiles"].tobytes().decode().split("\n"))
        self.targets_ = arrays["targets"]
        self.curve_ = nets.Curve(*self.curve_)
        vocabulary = Vocabulary.from_dict(self.tokens_)
        length = vocabulary.encode([self.smiles_[0]]).shape[1]
        vae = nets.from_arrays(arrays, vocabulary.size, length, len(self.properties_))
        self.coder_ = nets.Coder(vae, vocabulary)

    def _card(self) -> list[str]:
        data = self.data_
        what = f", {', '.join(self.properties_)} predicted" if self.properties_ else ""
        written = "SELFIES" if self.selfies else "SMILES"
        return [
            f"MoleculeDesigner of {data['source']}: {data['rows']} molecules as {written}{what}",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        one = f"'{min(self.smiles_, key=lambda s: abs(len(s) - 20))}'"
        other = f"'{max(self.smiles_[:200], key=len)}'"
        found = [
            f"pullback design {name} -n 100 --out designs",
            f"pullback design {name} --start {one} --radius 3 --out designs",
            f"pullback design {name} --start {one} --to {other} --out way",
            f"pullback sample {name} -n 1000 --out samples.csv",
        ]
        return [*found, f"pullback predict {name} FILE --out predicted.csv"]

    def _report(self, given: Any) -> Report:
        from ._molecule_page import molecule_page

        return molecule_page(self)

    def _check_settings(self) -> None:
        check_settings(self.properties, self.max_length)
        check_max_steps(self.max_steps, least=1)
