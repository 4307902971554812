"""The look of every figure: one style sheet, one color per quantity, repeatable SVG."""

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot as plt

SHEET = Path(__file__).with_name("bnlib.mplstyle")

COLORS = {
    "measured": "#043E6E",  # dots: what an experiment gave
    "theory": "#E17715",  # lines: what a formula says
    "exact": "#191919",  # high-precision truth, fitted normal, forward pass
    "batch": "#3688B8",  # batch statistics, training mode
    "running": "#58003F",  # running statistics, evaluation mode
    "input": "#076D2D",  # x
    "normalized": "#043E6E",  # x_hat
    "output": "#E17715",  # y
    "gradient": "#9E0620",  # adjoints, backward pass
    "neutral": "#6F6F6F",  # guides, references, bands
}
"""One color per quantity in the whole book; any two differ in grey, by about 7 of 100 in L*."""

MARKERS = ("o", "s", "^", "D", "v", "P")


class Look(NamedTuple):
    """How one series is drawn; three cues, so that none is told by color alone."""

    color: str
    marker: str
    linestyle: Any


def use_style() -> None:
    """Use the style sheet, and in a notebook show figures as SVG that repeats byte for byte.

    A repeatable SVG needs both the sheet's `svg.hashsalt` and no date in its metadata.
    """
    plt.style.use(SHEET)
    ipython: Any = sys.modules.get("IPython")  # a kernel has imported it; a script need not
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and plt.get_backend().lower().endswith("inline"):
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("svg", metadata={"Date": None})


def looks(names: Iterable[str]) -> dict[str, Look]:
    """A look for each series of one figure: a quantity of `COLORS` keeps its color.

    Other names take the sheet's colors in order, skipping those already taken; from the seventh
    series on colors repeat and marker and dashes tell them apart no longer: use panels instead.
    """
    names = list(names)
    cycle = list(mpl.rc_params_from_file(SHEET, use_default_template=False)["axes.prop_cycle"])
    taken = {COLORS[name].lower() for name in names if name in COLORS}
    free = itertools.cycle([e["color"] for e in cycle if e["color"].lower() not in taken])
    return {
        name: Look(COLORS[name] if name in COLORS else next(free), marker, entry["linestyle"])
        for name, marker, entry in zip(
            names, itertools.cycle(MARKERS), itertools.cycle(cycle), strict=False
        )
    }
