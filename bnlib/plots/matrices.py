"""Square matrices as pictures: signed entries in color and in writing."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

_DARK = 0.6  # share of the color range beyond which black writing is hard to read


def heatmap(ax: Axes, matrix: ArrayLike, *, limit: float, decimals: int = 2) -> Axes:
    """Draw a matrix with one symmetric color range and every entry written in its cell.

    matrix: (rows, columns).  limit: the value of full color; entries of several panels can be
    compared only if all get the same one.  Zero is white, positive red, negative blue, and the
    sign is written, so nothing is told by color alone.

    Raises ValueError if `limit` is not positive: the color range would be empty or reversed.
    """
    if limit <= 0:
        raise ValueError(f"need limit > 0 for a color range around zero, got {limit}")
    entries = np.asarray(matrix, dtype=float)
    ax.imshow(entries, cmap="RdBu_r", vmin=-limit, vmax=limit)
    for (row, column), value in np.ndenumerate(entries):
        color = "white" if abs(value) > _DARK * limit else "black"
        text = _short(value, decimals)
        ax.text(column, row, text, ha="center", va="center", fontsize=6.5, color=color)
    ax.set_xticks(range(entries.shape[1]), [str(i + 1) for i in range(entries.shape[1])])
    ax.set_yticks(range(entries.shape[0]), [str(i + 1) for i in range(entries.shape[0])])
    ax.tick_params(length=0, labelsize=7)
    ax.grid(False)
    return ax


def parts(
    axes: ArrayLike, terms: list[ArrayLike], titles: list[str], signs: list[str], *, limit: float
) -> ArrayLike:
    """Draw a matrix and the terms it is made of side by side, with the signs between the panels.

    axes: one Axes a term.  signs: the sign written to the left of each panel, "" for none.
    All panels share one color range, so equal colors are equal numbers.
    """
    panels = np.ravel(np.asarray(axes, dtype=object))
    for ax, term, title, sign in zip(panels, terms, titles, signs, strict=True):
        heatmap(ax, term, limit=limit)
        ax.set_title(title, fontsize=9)
        ax.text(-0.12, 0.5, sign, transform=ax.transAxes, ha="right", va="center", fontsize=14)
    return axes


def _short(value: float, decimals: int) -> str:
    """Write a number without its leading zero, and a rounded zero as 0."""
    text = f"{value:.{decimals}f}".replace("-", "−")
    if round(value, decimals) == 0:
        return "0"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
