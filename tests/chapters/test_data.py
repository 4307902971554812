"""Every chapter that takes a reader's data: what is refused before anything is trained."""

import importlib

import numpy as np
import pytest

LOADERS = {
    "capacity": "real_data",
    "covariate_shift": "theorem",
    "learning_rate": "register",
}
X, Y = np.arange(160.0).reshape(80, 2), np.arange(80) % 2
REFUSED = {
    "labels that are objects": (X, np.array(["a", "b"] * 40, dtype=object), "y: .*tolist"),
    "one class": (X, 0 * Y, "y: .*two classes or more"),
    "features that do not vary": (0 * X, Y, "X: .*rows that differ"),
    "a number whose square overflows": (1e200 * X, Y, r"X: .*1e\+15.*rescale"),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("slug", LOADERS)
def test_own_data_are_refused_with_file_key_and_repair(slug, what, tmp_path):
    x, y, message = REFUSED[what]
    np.savez(tmp_path / "own.npz", X=x, y=y)
    chapter = importlib.import_module(f"bnlib.chapters.{slug}")
    given = chapter.Settings(dataset=str(tmp_path / "own.npz"))
    with pytest.raises(ValueError, match=rf"own\.npz: {message}"):
        getattr(chapter, LOADERS[slug])(given)
