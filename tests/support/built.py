"""The built book as files."""

import functools
from pathlib import Path

import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build/html"
_TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [_TOC["root"], *(c["file"] for part in _TOC["parts"] for c in part["chapters"])]


@functools.cache
def parsed(path):
    """The tree of a page."""
    return BeautifulSoup(path.read_text(), "lxml")
