"""The linear classifiers of the probes, by scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
from numpy.typing import NDArray

from i2i.errors import DataError
from i2i.seeding import derive_seed

Features = NDArray[np.float32]
Labels = NDArray[np.int64]
FOLDS = 5
STRENGTHS = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
"""The values of C that cross-validation chooses from, for inputs whose squares sum to 1 on average."""


class LinearSVM:
    """scikit-learn's linear L2-SVM on standardised inputs; C by cross-validation (of equals, the smallest).

    Args:
        inputs: (N, F).
        labels: (N,).
        seed: seed of the folds.

    Raises:
        DataError: fewer than two labels, or fewer than two images of one.
    """

    def __init__(self, inputs: Features, labels: Labels, seed: int) -> None:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.model_selection import GridSearchCV, StratifiedKFold
        from sklearn.preprocessing import StandardScaler
        from sklearn.svm import LinearSVC

        counts = np.unique(labels, return_counts=True)[1]
        if len(counts) < 2 or counts.min() < 2:
            raise DataError("a classifier needs two labels with two readable training images each: add images")
        self.inputs = inputs.shape[1]
        self._scaler = StandardScaler().fit(inputs)
        scaled = self._scale(inputs)
        # The solution lies in the span of the images: the same fit is much faster in coordinates of that span.
        self._span = np.linalg.qr(scaled.T)[0] if self.inputs > len(inputs) else None
        chance = derive_seed(seed, "folds") % 2**32
        folds = StratifiedKFold(min(FOLDS, int(counts.min())), shuffle=True, random_state=chance)
        search = GridSearchCV(LinearSVC(dual=False), {"C": STRENGTHS}, cv=folds)
        with warnings.catch_warnings():
            # A C too large for the solver to converge is judged by its accuracy like the others.
            warnings.simplefilter("ignore", ConvergenceWarning)
            self._search = search.fit(self._turn(scaled), labels)
        self.c = float(self._search.best_params_["C"])

    def predict(self, inputs: Features) -> Labels:
        """The predicted labels (N,) for inputs (N, F)."""
        labels: Labels = self._search.predict(self._turn(self._scale(inputs)))
        return labels

    def _scale(self, inputs: Features) -> Features:
        """Scales each input to mean 0 and variance 1 / F, so that C does not depend on the number of inputs."""
        scaled: Features = self._scaler.transform(inputs) / math.sqrt(self.inputs)
        return scaled

    def _turn(self, scaled: Features) -> Features:
        return scaled if self._span is None else scaled @ self._span


class MapWeights:
    """scikit-learn's logistic regression (L2 penalty, C = 1) on standardised activations.

    Args:
        activations: (N, maps), at N locations.
        positive: (N,), whether a location is inside a box.
        origin: (N,), the sample of each location.

    Attributes:
        weights: (maps,), for standardised activations; their signs are also right for unscaled ones.
        accuracy: the fraction of locations classified correctly on samples left out of the fit, in up to five folds;
            None if all locations are from one sample.
    """

    def __init__(self, activations: Features, positive: NDArray[np.bool_], origin: Labels) -> None:
        from sklearn.linear_model import LogisticRegression
        from sklearn.model_selection import GroupKFold, cross_val_predict
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        activations = activations.astype(np.float64)
        self.accuracy: float | None = None
        folds = min(FOLDS, len(np.unique(origin)))
        if folds > 1:
            told = cross_val_predict(classifier, activations, positive, groups=origin, cv=GroupKFold(folds))
            self.accuracy = float(np.mean(told == positive))
        self.weights: NDArray[np.float64] = classifier.fit(activations, positive)[-1].coef_[0]
