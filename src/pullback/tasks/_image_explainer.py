"""`ImageExplainer`: which part of a picture decides what a user's classifier says of it."""

from numbers import Real
from typing import Any, ClassVar, cast

import jax.random as jr
import numpy as np
from jaxtyping import Float
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from pullback._inputs import positive
from pullback._on_device import on_device
from pullback.analysis.explain import (
    AbstractInfill,
    Classifier,
    deletion_curve,
    fido,
    insertion_curve,
)
from pullback.data import DataError

from ._answers import changes, says_changes
from ._image_explanations import ImageExplanations, decides
from ._image_infills import INFILLS, arrays_of, infill_of, learn_infill
from ._image_model import PictureModel
from ._page import Report
from ._pictures import Pictures, read_pictures
from ._series_predictor import blamed
from ._task import AbstractTask

_OBJECTIVES = ("sdr", "ssr", "joint")
# A pixel of the region costs one of these, over the number of pixels, in nats.
_WEIGHTS = (30.0, 10.0, 3.0)
_AT_ONCE = 8  # pictures
_PROBED = 8
_FAR = 8  # times: of pictures so much brighter or darker than those fitted, the scale is another
_POINTS, _DRAWS = 11, 4  # of the curves


class ImageExplainer(AbstractTask):
    r"""Which part of a picture decides what a classifier of one's own says of it.

    $$ \min_p\; \mathrm{E}_{z \sim p}\big[s_c(z x + (1 - z) \hat x)\big]
       + \lambda \sum_u (1 - p_u), \qquad \hat x \sim p(\cdot \mid z x) $$

    The smallest region is looked for whose removal destroys the class ("sdr", as above), or that
    alone keeps it ("ssr"), where what is removed is filled in by what pictures like these could
    have there (FIDO): a classifier is asked about pictures, and not about grey boxes. `fit` learns
    that infill from pictures of the same kind.

    The model is not fitted and not saved: `load(folder, model=...)` takes it again.

    Args:
        model: a function of pictures `(n, channels, height, width)` in NumPy to `(n, classes)`; a
            model with `predict_proba`, as scikit-learn's, which is given a row of pixels a picture;
            a `torch.nn.Module` of a batch; or a function of JAX or an Equinox module of one
            picture, `(channels, height, width)` to `(classes,)`.
        outputs: "probabilities" or "logits"; None: logits of modules, else probabilities.
        target: the class to explain, its name or number; None: of each picture the one predicted.
        objective: "sdr", what destroys the class; "ssr", what keeps it; "joint", what does both.
        infill: what fills in removed parts: "gaussian", a law learned from the pictures;
            "other", another picture of them; "mean", their mean; "blur"; "local-mean"; "noise"; or
            an infill of `pb.analysis.explain`. None: "gaussian", and of fewer than 50 "blur".
        size_weight: how many nats a pixel of the region costs; None tries three, and takes the
            smallest region that decides.
        grid: the cells of the map along the longer side, which are smoothed to pixels; None: every
            pixel up to 32, else 28; 16 and 14 of a model without gradients, whose map is noisier.
        steps: of the search, for each picture and `size_weight`.
        samples: masks in each step.
        batch_size: the most pictures that the model is given at once; None: all.
        random_state: seed, generator or None, as everywhere in scikit-learn.
        progress: show a bar on stderr; None: where stderr is a terminal.

    Attributes:
        shape_: channels, height and width of the pictures.
        infill_: what fills in removed parts, and `infill_name_`.
        report_: how far off the infill is where half of a held-out picture is hidden, and how far
            off their mean is, in deviations; None where nothing was held out.
        notes_: what was done, and what to know of model and infill, in sentences.
        data_: where the pictures came from, and how many.

    Raises:
        ValueError: a setting, the pictures or the model's answers do not fit; the message says
            which and how. What is wrong with the model is said with its file and line.

    Example:
        >>> import numpy as np, pullback as pb
        >>> random = np.random.default_rng(0)
        >>> pictures = random.uniform(0, 0.2, (6, 1, 4, 4))
        >>> pictures[:, 0, 0, 0] = 1
        >>> def lit(x):  # of any library: whether the corner is bright
        ...     p = 1 / (1 + np.exp(-20 * (x[:, 0, 0, 0] - 0.5)))
        ...     return np.stack([1 - p, p], axis=1)
        >>> explainer = pb.tasks.ImageExplainer(lit, infill="local-mean", steps=60, random_state=0)
        >>> found = explainer.fit(pictures).explain(pictures[:1])
        >>> found.target, np.unravel_index(found.map[0].argmax(), (4, 4)) == (0, 0)
        (array([1]), True)

    Source: Chang et al., Explaining Image Classifiers by Counterfactual Generation, arXiv
        1807.08024.
    """

    _found: ClassVar[tuple[str, ...]] = (
        "shape_", "infill_name_", "report_", "notes_", "data_", "seed_",
    )  # fmt: skip

    def __init__(
        self,
        model: Any = None,
        *,
        outputs: str | None = None,
        target: str | int | None = None,
        objective: str = "sdr",
        infill: Any = None,
        size_weight: float | int | None = None,
        grid: int | None = None,
        steps: int = 300,
        samples: int = 8,
        batch_size: int | None = None,
        random_state: Any = None,
        progress: bool | None = None,
    ):
        self.model = model
        self.outputs = outputs
        self.target = target
        self.objective = objective
        self.infill = infill
        self.size_weight = size_weight
        self.grid = grid
        self.steps = steps
        self.samples = samples
        self.batch_size = batch_size
        self.random_state = random_state
        self.progress = progress

    def fit(self, X: Any, y: Any = None) -> "ImageExplainer":
        """Learn what fills in removed parts, and ask the model about some pictures.

        Args:
            X: pictures of the kind that is to be explained: a folder of PNG or JPEG files, one such
                file, a .npy or .npz file, or an array `[n, height, width]` or
                `[n, channels, height, width]`. Of files they are given to the model from 0 to 1, of
                arrays as they are.
            y: not used.
        """
        self._check_settings()
        pictures = read_pictures(X)
        self.shape_ = tuple(pictures.x.shape[1:])
        self.notes_ = list(pictures.notes)
        generator = check_random_state(self.random_state)
        self.seed_ = int(generator.randint(2**31))
        model = self._model()
        self._check_samples(model)
        with blamed(self.model):
            gap = changes(model.says, pictures.x[:_PROBED])
        if gap > 1e-6:
            self.notes_.append(says_changes(gap))
        learned = learn_infill(self.infill, pictures.x, generator, self.seed_)
        self.infill_, self.infill_name_, self.report_, notes = learned
        self.notes_ += notes
        self.data_ = {
            "source": pictures.source, "rows": len(pictures.x), "file": pictures.is_file,
            "sha256": pictures.digest, "scale": _scale(pictures.x),
        }  # fmt: skip
        return self

    def explain(self, X: Any) -> ImageExplanations:
        """Which part of each picture decides.

        Args:
            X: pictures, as for `fit`, of the same size and on the same scale; also ones that were
                not fitted.

        Returns:
            A map for each picture, and what the model says without its region, and of it alone.
        """
        check_is_fitted(self)
        self._check_settings()
        pictures = read_pictures(X)
        self._check_size(pictures)
        self._check_scale(pictures)
        model = self._model()
        self._check_samples(model)
        with blamed(self.model):
            said = model.says(pictures.x)
        target = said.argmax(axis=1)
        if self.target is not None:
            target = np.full(len(said), model.place(self.target, said.shape[1]))
        weights = _WEIGHTS if self.size_weight is None else (self.size_weight * self._pixels,)
        # As even as can be, so that few pictures are searched twice.
        count = -(-len(said) // -(-len(said) // _AT_ONCE))
        parts: list[dict[str, np.ndarray]] = []
        for low in range(0, len(said), count):
            # The last pictures are filled up with the first, so that one program serves all.
            places = np.arange(low, low + count) % len(said)
            part = self._explain_some(model, pictures.take(places), target[places], weights)
            parts.append({name: array[: len(said) - low] for name, array in part.items()})
        whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        return ImageExplanations(
            pictures=pictures,
            classes=model.classes(said.shape[1]),
            target=target,
            probability=model.probability(said)[np.arange(len(said)), target],
            shares=np.round(np.linspace(0, 1, _POINTS) * self._pixels) / self._pixels,
            objective=self.objective,
            **whole,
        )

    @property
    def _pixels(self) -> int:
        return self.shape_[1] * self.shape_[2]

    def _model(self) -> PictureModel:
        return PictureModel(self.model, self.outputs, self.batch_size, self.shape_)

    def _grid(self, differentiable: bool) -> tuple[int, int]:
        """Rows and columns of the map."""
        size = self.shape_[1:]
        longer, cells = max(size), self.grid
        if cells is None:
            whole, coarse = (32, 28) if differentiable else (16, 14)
            cells = longer if longer <= whole else coarse
        rows, columns = (max(1, round(side * min(cells, longer) / longer)) for side in size)
        return rows, columns

    def _explain_some(
        self, model: PictureModel, pictures: Pictures, target: np.ndarray,
        weights: tuple[float, ...],
    ) -> dict[str, np.ndarray]:  # fmt: skip
        """All that is told of some pictures."""
        x, objective = on_device(pictures.x, float), cast(Any, self.objective)
        search, curve = jr.split(jr.key(self.seed_))
        with blamed(self.model):
            found = fido(
                model.asked, x, self.infill_, target=target, objective=objective,
                grid=self._grid(model.differentiable),
                size_weight=[each / self._pixels for each in weights], steps=self.steps,
                samples=self.samples, progress=self.progress, key=search,
            )  # fmt: skip
            told = (np.asarray(each) for each in (found.log_odds, found.only, found.without))
            good = decides(self.objective, *told)
            # The largest weight, whose region is smallest, at which the region decides.
            best = np.where(good.any(axis=1), good.argmax(axis=1), good.shape[1] - 1)
            pick = lambda array: np.asarray(array)[np.arange(len(best)), best]
            maps = pick(found.map)
            chance = np.random.RandomState(self.seed_).rand(*maps.shape).astype(maps.dtype)
            curves = {
                name: self._curve(of, model.asked, x, order, target, curve)
                for name, of, order in (
                    ("deletion", deletion_curve, maps), ("insertion", insertion_curve, maps),
                    ("chance", deletion_curve, chance),
                )
            }  # fmt: skip
        return {
            "map": maps,
            "log_odds": np.asarray(found.log_odds)[:, 0],
            **{
                name: pick(getattr(found, name))
                for name in ("only", "only_error", "without", "without_error", "area")
            },
            "size_weight": np.asarray(weights)[best] / self._pixels,
            # What it says of the picture was asked before, too.
            "evaluations": np.full(
                len(best), 1 + found.evaluations + sum(asked for _, asked in curves.values())
            ),
            **{name: log_odds for name, (log_odds, _) in curves.items()},
        }

    def _curve(
        self, of: Any, asked: Classifier, x: Any, order: np.ndarray, target: np.ndarray, key: Any
    ) -> tuple[Float[np.ndarray, "n p"], int]:
        """The log-odds of each picture, as pixels are taken in some order, and what each asked."""
        found = [
            of(
                asked, x[k], order[k], self.infill_, target=int(target[k]), fresh=_DRAWS,
                points=_POINTS - 1, key=key,
            )
            for k in range(len(x))
        ]  # fmt: skip
        return np.stack([np.asarray(each.log_odds) for each in found]), found[0].evaluations

    def _check_size(self, pictures: Pictures) -> None:
        if tuple(pictures.x.shape[1:]) == self.shape_:
            return
        (c, h, w), (channels, height, width) = pictures.x.shape[1:], self.shape_
        remedy = "resize them" if (h, w) != (height, width) else "bring them to as many channels"
        raise DataError(
            pictures.source,
            f"its pictures are of {c} channels, {h} pixels high and {w} wide, and the explainer "
            f"was fitted to {channels} channels, {height} high and {width} wide; {remedy}, or "
            "fit to pictures of this size.",
        )

    def _check_scale(self, pictures: Pictures) -> None:
        """Refuse pictures of 0 to 1 beside an infill of 0 to 255: what they get would be noise."""
        (low, high), (least, most) = self.data_["scale"], _scale(pictures.x)
        if not 0 < most < low / _FAR and not least > _FAR * high:
            return
        raise DataError(
            pictures.source,
            f"its pictures reach up to {most:.3g}, and those that the explainer was fitted to "
            f"({self.data_['source']}) up to {high:.3g}; bring both to the scale that the model "
            "was trained on. Picture files are read from 0 to 1, arrays as they are.",
        )

    def _check_settings(self) -> None:
        if self.objective not in _OBJECTIVES:
            raise ValueError(
                f"`objective` must be one of {', '.join(_OBJECTIVES)}; got {self.objective!r}."
            )
        if self.outputs not in (None, "probabilities", "logits"):
            raise ValueError(
                f"`outputs` must be 'probabilities' or 'logits', got {self.outputs!r}."
            )
        known = self.infill is None or isinstance(self.infill, AbstractInfill)
        if not known and self.infill not in INFILLS:
            raise ValueError(
                f"`infill` must be one of {', '.join(INFILLS)}, or an infill of "
                f"`pb.analysis.explain`; got {self.infill!r}."
            )
        weight = self.size_weight
        if weight is not None and not (isinstance(weight, Real) and 0 < weight < np.inf):
            raise ValueError(f"`size_weight` must be above 0 and finite, got {weight!r}.")
        positive(steps=self.steps, samples=self.samples)
        if self.grid is not None:
            positive(grid=self.grid)

    def _check_samples(self, model: PictureModel) -> None:
        if self.samples < 2 and not model.differentiable:
            raise ValueError(
                "`samples` must be 2 or more: the masks of a model without gradients are compared "
                f"with each other; got {self.samples}."
            )

    def _settings(self) -> dict[str, Any]:
        model, self.model = self.model, None  # a function is no JSON
        try:
            return super()._settings()
        finally:
            self.model = model

    def _arrays(self) -> dict[str, np.ndarray]:
        if isinstance(self.infill, AbstractInfill):
            raise ValueError(
                "an explainer with an infill of your own cannot be saved: give `infill` by name."
            )
        return arrays_of(self.infill_)

    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        self.shape_ = tuple(self.shape_)
        self.infill_ = infill_of(self.infill_name_, arrays)

    def _card(self) -> list[str]:
        channels, height, width = self.shape_
        return [
            f"ImageExplainer, fitted to {self.data_['source']}: {self.data_['rows']} pictures of "
            f"{channels} x {height} x {width}; removed parts are filled in by: {self.infill_name_}",
            *self.notes_,
        ]

    def _commands(self, name: str) -> list[str]:
        return [f"pullback explain {name} PICTURES --model my.py:predict --out why"]

    def _report(self, given: Any) -> Report:
        from ._image_explainer_page import explainer_page

        found = given if isinstance(given, ImageExplanations) else self.explain(given)
        return explainer_page(self, found)


def _scale(x: Float[np.ndarray, "n c h w"]) -> list[float]:
    """How far from 0 pictures reach: nearly the least of them, for some are empty, and the most."""
    reach = np.abs(x).max(axis=(1, 2, 3))
    return [float(np.quantile(reach, 0.05)), float(reach.max())]
