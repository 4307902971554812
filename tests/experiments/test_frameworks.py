"""PyTorch and the reference agree, and the comparison can tell when they do not."""

import numpy as np
import pytest

from bnlib import reference
from bnlib.experiments import frameworks


# Every layout with float64: about 100 terms of size 10, so a few hundred units of 2e-16 at most.
@pytest.mark.parametrize(("shape", "channel_axis"), frameworks.LAYOUTS, ids=str)
@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-13), ("float32", 1e-5)])
def test_all_layouts_agree(shape, channel_axis, dtype, limit):
    rng = np.random.default_rng(3)
    gaps = frameworks.compare(shape, channel_axis, eps=1e-3, dtype=dtype, rng=rng)
    assert set(gaps) == {"output", "buffer", "layout"}
    assert max(gaps.values()) <= limit


def test_another_eps_shows_in_output_and_layout_but_not_in_the_buffers(monkeypatch):
    forward = reference.forward
    monkeypatch.setattr(reference, "forward", lambda x, g, b, *, eps: forward(x, g, b, eps=2 * eps))
    gaps = frameworks.compare((12, 3), 1, eps=0.3, dtype="float64", rng=np.random.default_rng(3))
    assert gaps["output"] > 1e-3
    assert gaps["layout"] > 1e-3
    assert gaps["buffer"] <= 1e-13
