"""The look: told apart without color, readable on white, the same bytes twice."""

import io
import itertools

import matplotlib as mpl
import pytest
from matplotlib import colors
from matplotlib import pyplot as plt

from bnlib.plots import style


@pytest.fixture(autouse=True)
def restored():
    with mpl.rc_context():
        yield
    plt.close("all")


def luminance(color):
    linear = [
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colors.to_rgb(color)
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("name", style.COLORS)
def test_every_color_reaches_the_contrast_of_graphics_on_white(name):
    assert contrast(style.COLORS[name], "white") >= 3.0  # WCAG 1.4.11


def lightness(color):
    """CIE L*, from 0 (black) to 100 (white)."""
    y = luminance(color)
    return 903.3 * y if y <= 0.008856 else 116 * y ** (1 / 3) - 16


def test_any_two_colors_differ_in_grey():
    used = {*style.COLORS.values()}
    used |= {colors.to_hex(entry["color"]).upper() for entry in cycle()}
    grey = sorted(lightness(color) for color in used)
    # From near black to the lightest that still reaches the contrast of graphics on white there
    # are 52 steps of L*; eight colors leave seven to each gap.
    assert min(b - a for a, b in itertools.pairwise(grey)) >= 6.9


def cycle():
    return mpl.rc_params_from_file(style.SHEET, use_default_template=False)["axes.prop_cycle"]


def test_looks_keep_quantities_and_tell_six_others_apart_three_times_over():
    found = style.looks(["measured", *"abcde"])
    assert found["measured"].color == style.COLORS["measured"]
    for cue in ("color", "marker", "linestyle"):
        seen = [str(getattr(look, cue)).lower().lstrip("#") for look in found.values()]
        assert len(set(seen)) == 6, cue


def test_figures_are_opaque_white_and_fit_the_column():
    style.use_style()
    fig, _ = plt.subplots()
    assert colors.to_rgba(fig.get_facecolor()) == (1, 1, 1, 1)
    assert mpl.rcParams["savefig.transparent"] is False
    assert fig.get_figwidth() * 96 <= 700


def test_svg_repeats_byte_for_byte():
    def drawn():
        style.use_style()
        fig, ax = plt.subplots()
        ax.plot([1, 3, 2], label="line")
        ax.legend()
        buffer = io.BytesIO()
        fig.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()

    one, two = drawn(), drawn()
    assert one == two
    assert b"<dc:date>" not in one
