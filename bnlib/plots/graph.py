"""The computational graph of batch normalization, forward in black and backward in red."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from bnlib.plots.style import COLORS

# Where each node stands (column, row) and what it computes.
NODES = {
    "x": (0.0, 1.0, r"$x$"),
    "mu": (0.95, 0.0, r"$\mu=\langle x\rangle$"),
    "c": (1.9, 1.0, r"$c=x-\mu$"),
    "q": (2.6, 0.0, r"$q=c^2$"),
    "v": (3.95, 0.0, r"$v=\langle q\rangle$"),
    "tau": (5.55, 0.0, r"$\tau=\sqrt{v+\varepsilon}$"),
    "i": (7.1, 0.0, r"$i=1/\tau$"),
    "x_hat": (7.1, 1.0, r"$\hat x=c\,i$"),
    "z": (8.6, 1.0, r"$z=\gamma\hat x$"),
    "y": (10.1, 1.0, r"$y=z+\beta$"),
    "gamma": (8.6, 0.0, r"$\gamma$"),
    "beta": (10.1, 0.0, r"$\beta$"),
}

# (from, to, local derivative, share of the way at which it is written)
EDGES = (
    ("x", "c", r"$1$", 0.42),
    ("x", "mu", r"$1/m$", 0.5),
    ("mu", "c", r"$-1$", 0.5),
    ("c", "q", r"$2c$", 0.5),
    ("c", "x_hat", r"$i$", 0.5),
    ("q", "v", r"$1/m$", 0.44),
    ("v", "tau", r"$\frac{1}{2\tau}$", 0.43),
    ("tau", "i", r"$-\frac{1}{\tau^2}$", 0.52),
    ("i", "x_hat", r"$c$", 0.5),
    ("x_hat", "z", r"$\gamma$", 0.47),
    ("gamma", "z", r"$\hat x$", 0.5),
    ("z", "y", r"$1$", 0.45),
    ("beta", "y", r"$1$", 0.5),
)


def computational_graph(ax: Axes, values: Mapping[str, Any], adjoints: Mapping[str, Any]) -> Axes:
    """Draw the nine steps of the forward pass with the local derivative on every arrow.

    values: node name -> its number or numbers, in black beside the node, written as fractions
    with denominators below 100.  adjoints: the gradients with respect to them, in red beyond.
    A node that a mapping does not name stays blank, so one picture can serve without numbers.

    Raises ValueError for a name that is no node, with the names that are.
    """
    unknown = sorted((set(values) | set(adjoints)) - set(NODES))
    if unknown:
        raise ValueError(f"no node is called {unknown[0]!r}; the nodes are {', '.join(NODES)}")
    box = {"boxstyle": "round,pad=0.3", "facecolor": "white", "edgecolor": "black", "lw": 0.8}
    boxes = {}
    for name, (column, row, symbol) in NODES.items():
        text = ax.text(column, row, symbol, ha="center", va="center", fontsize=10, bbox=box)
        boxes[name] = text.get_bbox_patch()
        # Numbers stand outside the two rows, where no arrow crosses them.
        away = 1 if row else -1
        ax.text(
            column,
            row + 0.24 * away,
            _fractions(values.get(name, ())),
            **_TEXT,
            color=COLORS["exact"],
        )
        gradient = _fractions(adjoints.get(name, ()))
        ax.text(column, row + 0.41 * away, gradient, **_TEXT, color=COLORS["gradient"])
    for start, end, label, share in EDGES:
        _arrow(ax, start, end, label, share, boxes)
    ax.set_xlim(-0.7, 10.8)
    ax.set_ylim(-0.55, 1.55)
    ax.axis("off")
    return ax


_TEXT: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 8.5, "zorder": 4}


def _fractions(numbers: Any) -> str:
    """(2/3, −2/3, 0) for several numbers, 2/3 for one, nothing for none."""
    parts = [str(Fraction(float(v)).limit_denominator(99)) for v in np.ravel(numbers)]
    text = ", ".join(parts).replace("-", "−")
    return f"({text})" if len(parts) > 1 else text


def _arrow(
    ax: Axes, start: str, end: str, label: str, share: float, boxes: Mapping[str, Any]
) -> None:
    """Draw one arrow from box to box and write the local derivative of that step on it."""
    (x0, y0, _), (x1, y1, _) = NODES[start], NODES[end]
    style = {"arrowstyle": "-|>", "color": "0.45", "lw": 0.9, "shrinkA": 1, "shrinkB": 1}
    style |= {"patchA": boxes[start], "patchB": boxes[end]}
    # Above the boxes in drawing order: a box knows its size only once it is drawn.
    ax.annotate("", (x1, y1), (x0, y0), arrowprops=style, zorder=4)
    where = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
    patch = {"boxstyle": "round,pad=0.08", "facecolor": "white", "edgecolor": "none"}
    ax.text(*where, label, ha="center", va="center", fontsize=9, color="0.25", bbox=patch, zorder=5)
