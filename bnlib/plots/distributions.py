"""A figure with as many axes as a parameter says, which several chapters share."""

from typing import Any

from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure


def panels(count: int, columns: int, **kwargs: Any) -> tuple[Figure, list[Axes]]:
    """A figure with exactly `count` axes in rows of `columns`; the places left over stay empty."""
    fig, axes = plt.subplots(-(-count // columns), columns, squeeze=False, **kwargs)
    for unused in axes.flat[count:]:
        unused.remove()
    return fig, list(axes.flat[:count])
