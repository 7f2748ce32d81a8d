"""Classifiers kept as tensors answer as scikit-learn does."""

import numpy as np
import pytest
import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.svm import SVC, LinearSVC

from ttfs.methods._fitted import Kernel, Linear, Trees


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("form", "estimator"),
    [
        (Linear, LogisticRegression()),
        (Linear, LinearSVC()),
        (Kernel, SVC(break_ties=True)),
        (Trees, HistGradientBoostingClassifier(max_iter=5)),
    ],
)
def test_tensors_answer_as_the_estimator(form, estimator, classes):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, classes, 300)
    items = (rng.random((300, 6)) + 0.4 * np.eye(6)[labels]).astype(np.float32)
    estimator.fit(items, labels)
    made = form(dict(form.of(estimator).state_dict()))
    if form is Linear:
        assert made.numbers == estimator.coef_.size + estimator.intercept_.size
    logits = made(torch.from_numpy(items))
    assert logits.shape == (300, classes)
    assert (logits.argmax(1).numpy() == estimator.predict(items)).all()
    own = estimator.decision_function(items)
    found = logits[:, 1] - logits[:, 0] if classes == 2 and form is not Kernel else logits
    if classes > 2 or form is not Kernel:
        assert np.allclose(found.numpy(), own, atol=1e-5)
