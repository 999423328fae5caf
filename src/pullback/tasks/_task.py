"""What every task is: fitted once, kept in a folder, and able to say what it is."""

import abc
import os
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from pullback._saved import ARCHIVE, COPY, REPORT, is_page

from ._page import Report
from ._store import check_own, plain, write_model


class AbstractTask(BaseEstimator, metaclass=abc.ABCMeta):
    """A model of data of one's own with scikit-learn's contract, that is saved and read again.

    The constructor keeps settings, among them `random_state` and `progress`; `fit` returns the
    task, and what it finds has names that end in an underscore: `notes_` and `data_` always.

    Attributes:
        notes_: what was done to the data, how good the model is and who wins, in sentences.
        data_: where the data came from (`source`), how many there are (`rows`), whether from a file
            (`file`) and the digest of those fitted (`sha256`).
    """

    # What fitting finds and JSON can say; the number and the names of columns are kept beside it.
    _found: ClassVar[tuple[str, ...]]
    # What `save` writes.
    _files: ClassVar[tuple[str, ...]] = (ARCHIVE, COPY)

    notes_: list[str]
    data_: dict[str, Any]

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the fitted model; `pullback.tasks.load` reads it, in another process or tomorrow.

        Args:
            folder: for `model.safetensors`, which has all of it, with a digest of every byte; and
                `model.json`, a copy for people of what is no array.

        Raises:
            ModelError: there are files of such names in it that are no model's.
        """
        check_is_fitted(self)
        folder = Path(folder)
        check_own(folder, *self._files)
        names = (*self._found, "n_features_in_", "feature_names_in_")
        fitted = {name: plain(getattr(self, name)) for name in names if hasattr(self, name)}
        write_model(folder, type(self).__name__, self._settings(), fitted, self._arrays())
        # The report of another model that was saved here says nothing of this one.
        if is_page(folder / REPORT):
            (folder / REPORT).unlink()
        return folder

    def restore(self, fitted: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
        """Take over what another task of these settings has found.

        Args:
            fitted: what JSON said.
            arrays: of the model.
        """
        for name, value in fitted.items():
            setattr(self, name, value)
        if "feature_names_in_" in fitted:
            self.feature_names_in_ = np.asarray(fitted["feature_names_in_"], object)
        self._restore(arrays)

    def _settings(self) -> dict[str, Any]:
        settings = {name: plain(value) for name, value in self.get_params(deep=False).items()}
        settings["progress"] = None
        if not isinstance(settings["random_state"], int):
            settings["random_state"] = None
        return settings

    @abc.abstractmethod
    def _arrays(self) -> dict[str, np.ndarray]:
        """The arrays of the fitted model, by name."""

    @abc.abstractmethod
    def _restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Set what is no JSON from the arrays; what is has been set."""

    @abc.abstractmethod
    def _card(self) -> list[str]:
        """What the model is of, how good it is and beside what, in lines."""

    @abc.abstractmethod
    def _commands(self, name: str) -> list[str]:
        """What to do with the saved model, as command lines.

        Args:
            name: its folder, quoted for a shell.
        """

    @abc.abstractmethod
    def _report(self, given: Any) -> Report:
        """The page of the fit.

        Args:
            given: the data, as `fit` took them.
        """
