"""What a small run of each chapter hands over and draws, as one number for each thing.

    python tests/support/fingerprints.py [slug ...]

writes `tests/notebooks/smoke/<slug>.json` anew: each fingerprint twice, as usual and with the
arithmetic of an old processor, so that how much may move is measured and not guessed.
"""

import importlib
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import collections, colors, image, lines, patches, text
from matplotlib import pyplot as plt

from bnlib.plots.style import use_style
from bookbuild.reproduce import FACTOR, OLD_PROCESSOR

ROOT = Path(__file__).parents[2]
KEPT = ROOT / "tests" / "notebooks" / "smoke"
SEEN = lines.Line2D, collections.Collection, patches.Patch, image.AxesImage, text.Text
LEAST = 1e-9  # below it, numbers are rounding
FLOOR = 1e-6  # what a fingerprint may move at least


def smoke(slug):
    """The small parameters of a chapter."""
    return tomllib.loads((ROOT / "notebooks" / "smoke.toml").read_text()).get(slug, {})


def chapter(slug):
    """The package of a chapter."""
    return importlib.import_module(f"bnlib.chapters.{slug.replace('-', '_')}")


def of_numbers(numbers):
    """One number that moves with each of the given, by relative size, and with their order."""
    logs = np.arcsinh(np.array(numbers, dtype=float) / LEAST)
    logs = np.nan_to_num(logs, nan=1e3)
    return float(logs @ np.cos(np.arange(len(logs)))) + len(logs)


def of_text(words):
    """The fingerprint of the numbers in a text."""
    return of_numbers(re.findall(r"[-−+]?\d*\.?\d+(?:e[-+]?\d+)?", words.replace("−", "-")))


def of_figure(figure):
    """The fingerprint of where everything visible is drawn, in pixels, and of its colors."""
    numbers = []
    for artist in figure.findobj(lambda artist: isinstance(artist, SEEN) and artist.get_visible()):
        for points in _points(artist):
            points = points[np.isfinite(points).all(axis=1)]
            if len(points):
                numbers += [len(points), *points.mean(axis=0), *points.std(axis=0).round(3)]
        numbers += [1 + channel for color in _colors(artist) for channel in color]
    return of_numbers(numbers)


def _points(artist):
    """Arrays (n, 2) of points."""
    if isinstance(artist, text.Text):
        return [np.array([artist.get_transform().transform(artist.get_position())])]
    if isinstance(artist, image.AxesImage):
        values = np.ma.filled(artist.get_array(), 0).reshape(-1, 1)
        return [np.hstack([values, np.arange(len(values))[:, None]])]
    place = artist.get_transform()
    if isinstance(artist, collections.Collection):
        offsets = artist.get_offset_transform().transform(artist.get_offsets())
        return [np.asarray(offsets), *(place.transform(p.vertices) for p in artist.get_paths())]
    return [place.transform(artist.get_path().vertices)]


def _colors(artist):
    if isinstance(artist, lines.Line2D | text.Text):
        return [colors.to_rgba(artist.get_color())]
    return (
        [] if isinstance(artist, image.AxesImage) else colors.to_rgba_array(artist.get_facecolor())
    )


def drawn(sections):
    """Name and figure of all figures, drawn as a page draws them."""
    for title, section in sections.items():
        for name, draw in section.figures.items():
            with mpl.rc_context():
                use_style()
                figure = draw()
                figure.canvas.draw()  # a bad label or limit warns only here
                yield f"figure {title}, {name}", figure
                plt.close(figure)


def of_sections(sections):
    """Kind and name of all that sections hand over, but for figures -> fingerprint."""
    found = {}
    for title, section in sections.items():
        for record in section.records:
            found[f"record {record.key}"] = of_text(f"{record.value} {record.low} {record.high}")
        found |= {f"evidence {claim.id}": of_text(claim.evidence) for claim in section.claims}
        found |= {f"table {title}, {k}": of_text(v.to_csv()) for k, v in section.tables.items()}
    return found


def moved(slug, found):
    """What differs from the kept fingerprints by more than another processor would."""
    kept = json.loads((KEPT / f"{slug}.json").read_text())
    apart = {name: abs(found[name] - kept[name][0]) for name in kept.keys() & found.keys()}
    far = [n for n, by in apart.items() if not by <= FLOOR + FACTOR * abs(np.subtract(*kept[n]))]
    return sorted([*far, *(f"{name}, not in both" for name in kept.keys() ^ found.keys())])


def _measured(slug):
    package = chapter(slug)
    sections = package.run(package.Settings(**smoke(slug)))
    return of_sections(sections) | {name: of_figure(figure) for name, figure in drawn(sections)}


def _write(slug):
    command = [sys.executable, __file__, "--measure", slug]
    other = subprocess.Popen(command, env=os.environ | OLD_PROCESSOR, stdout=subprocess.PIPE)
    here, elsewhere = _measured(slug), json.loads(other.communicate()[0])
    lines = (f"{json.dumps(name)}: {[here[name], elsewhere[name]]}" for name in here)
    (KEPT / f"{slug}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        json.dump(_measured(sys.argv[2]), sys.stdout)
    else:
        for slug in sys.argv[1:] or sorted(p.stem for p in (ROOT / "notebooks").glob("*.ipynb")):
            _write(slug)
