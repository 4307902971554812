"""Formulas, pictures and style sheets of a page, without a build."""

import base64
import io
import re
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
from docutils import nodes
from docutils.utils import new_document
from matplotlib.figure import Figure
from PIL import Image
from sphinx.config import Config
from sphinx.util.images import get_image_size

from bookbuild.sphinx_ext import drawings, mathjax, pictures, social, styles, theme
from bookbuild.sphinx_ext.mathjax import Typesetter


@pytest.fixture(scope="module")
def setter():
    return Typesetter({"mean": [r"\left\langle #1 \right\rangle", 1]})


def test_a_formula_is_a_drawing_of_known_glyphs_and_its_mathml(setter):
    found = setter.formula(r"\mean{x}+1", display=False)
    assert 'aria-hidden="true"' in found.svg.partition(">")[0]
    assert "<mi>x</mi>" in found.mathml
    assert "MJX-TEX-I-1D465" in setter.glyphs
    assert found.least == ""


def test_groups_that_say_nothing_go_and_no_shape_moves():
    start = '<svg xmlns="http://www.w3.org/2000/svg"><g transform="scale(1,-1)">'
    nested = '<g><g transform="translate(1,2)"><g><a/></g></g></g><g><g><b/></g><c/></g>'
    flat = '<g transform="translate(1,2)"><a/></g><b/><c/>'
    found, wanted = (ElementTree.fromstring(f"{start}{s}</g></svg>") for s in (nested, flat))
    mathjax._flatten(found)
    assert ElementTree.tostring(found) == ElementTree.tostring(wanted)


def test_an_edited_or_new_asset_has_every_page_written_again(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/book.css").write_text("p {}")
    app = SimpleNamespace(srcdir=tmp_path)

    def noted():
        config = Config({}, {"html_static_path": ["assets"]})
        config.add("html_static_path", [], "html", list)
        config.add("book_assets", "", "html", str)
        theme.configure(app, config)
        return config.book_assets

    first = noted()
    assert noted() == first
    (tmp_path / "assets/book.css").write_text("p { color: red }")
    second = noted()
    (tmp_path / "assets/new.js").touch()
    assert len({first, second, noted()}) == 3


def test_a_numbered_display_knows_its_least_width(setter):
    assert setter.formula(r"y=x \tag{BN.4}", display=True).least.endswith("ex")


def test_wrong_tex_is_an_error_that_quotes_it(setter):
    with pytest.raises(ValueError, match=r"\\\\frac.*Missing argument"):
        setter.formula(r"\frac", display=False)


def test_only_rules_that_can_match_stay():
    css = '.used{a:b} .not{c:d} .x:not(.gone){e:f} @media print{.not{g:h}} .used .not{i:"}"}'
    font = "@font-face{font-family:icons;src:url(icons.woff2)}"
    assert styles.shrink(css + font, {"used", "x"}) == ".used{a:b}.x:not(.gone){e:f}"


@pytest.fixture
def drawing():
    """A drawing with a line and a picture of many colors, some of them clear, and its pixels."""
    pixels = np.random.default_rng(0).integers(0, 255, (9, 9, 4), dtype=np.uint8)
    pixels[::2, :, 3] = 255
    ax = Figure(figsize=(3, 2)).add_subplot()
    ax.imshow(pixels)
    ax.plot([0, 4.23456789, 8], [0, 7, 1], color="#123456", lw=3.25, label="line")
    ax.legend()
    buffer = io.StringIO()
    ax.figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def rasters(svg):
    found = re.findall(r"data:image/png;base64,\s*([A-Za-z0-9+/=\s]+)", svg)
    return [Image.open(io.BytesIO(base64.b64decode(one))) for one in found]


def test_a_lightened_drawing_has_its_size_its_lines_and_its_very_pixels(drawing, tmp_path):
    light = drawings.lighten(drawing)
    assert len(light) < 0.7 * len(drawing)
    for name, svg in (("old.svg", drawing), ("new.svg", light)):
        (tmp_path / name).write_text(svg)
    assert get_image_size(str(tmp_path / "new.svg")) == get_image_size(str(tmp_path / "old.svg"))
    # A rule for all elements would win over what scour writes at an element.
    assert "*{" not in light
    assert 'stroke-linejoin="round"' in light.split(">")[0]
    assert "#123456" in light
    assert 'stroke-width="3.25"' in light
    (before,), (after,) = rasters(drawing), rasters(light)
    assert (before.mode, after.mode) == ("RGBA", "P")
    np.testing.assert_array_equal(np.asarray(before), np.asarray(after.convert("RGBA")))


def test_a_picture_of_more_colors_than_a_table_holds_stays(drawing):
    many = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 40, 4), dtype=np.uint8))
    buffer = io.BytesIO()
    many.save(buffer, "png")
    text = base64.b64encode(buffer.getvalue()).decode()
    whole = drawing.replace("</svg>", f'<image href="data:image/png;base64,{text}"/></svg>')
    assert [one.mode for one in rasters(drawings.lighten(whole))] == ["P", "RGBA"]


def test_only_drawings_of_notebooks_are_lightened_and_each_once(drawing, tmp_path):
    ours, theirs = tmp_path / "_build/jupyter_execute/a.svg", tmp_path / "book/b.svg"
    for path in (ours, theirs):
        path.parent.mkdir(parents=True)
        path.write_text(drawing)
    names = [str(path.relative_to(tmp_path)) for path in (ours, theirs)]
    app = SimpleNamespace(srcdir=tmp_path, builder=SimpleNamespace(name="html"))
    drawn = ours.stat()
    drawings.lighten_all(app, SimpleNamespace(images=dict.fromkeys(names)))
    assert theirs.read_text() == drawing
    light = ours.stat()
    assert light.st_size < drawn.st_size
    assert light.st_mtime_ns == drawn.st_mtime_ns, "a newer one has its page read again"
    drawings.lighten_all(app, SimpleNamespace(images=dict.fromkeys(names)))
    assert ours.stat().st_ino == light.st_ino, "it was written again"
    assert list(ours.parent.iterdir()) == [ours]


@pytest.mark.parametrize(
    ("alt", "classes", "warned"),
    [
        ("", [], 1),
        ("_build/jupyter_execute/a.svg", [], 1),
        ("A finding, said in one sentence", [], 0),
        ("", ["decorative"], 0),
        ("A text that nobody needs", ["decorative"], 1),
    ],
)
def test_a_picture_without_a_description_is_a_warning(monkeypatch, alt, classes, warned):
    found = []
    monkeypatch.setattr(pictures.logger, "warning", lambda *args, **_: found.append(args))
    doctree = nodes.container("", nodes.image(uri="a.svg", alt=alt, classes=classes))
    app = SimpleNamespace(builder=SimpleNamespace(format="html"))
    pictures.check_alt(app, doctree, "a")
    assert len(found) == warned


@pytest.mark.parametrize("address", ["", "https://book.example/bn/"])
def test_the_address_that_the_publisher_sets_makes_the_card_of_a_page_absolute(
    monkeypatch, tmp_path, address
):
    monkeypatch.setenv("BOOK_BASEURL", address)
    config = Config({"project": "Book"})
    config.add("html_additional_pages", {}, "html", dict)
    config.add("html_baseurl", "", "html", str)
    config.add("html_theme_options", {}, "html", dict)
    env = SimpleNamespace(found_docs={"book/index"})
    builder = SimpleNamespace(name="html", format="html")
    app = SimpleNamespace(config=config, env=env, builder=builder, outdir=tmp_path)
    social.configure(app, config)
    contexts = {"notebooks/one": {"title": "One"}, "404": {}}
    for page, context in contexts.items():
        social.describe(app, page, "page.html", context, None)
    tags = dict(
        re.findall(r'property="(.*?)" content="(.*?)"', contexts["notebooks/one"]["social"])
    )
    assert tags.get("og:image") == (f"{address}_static/card.png" if address else None)
    assert tags.get("og:url") == (f"{address}notebooks/one.html" if address else None)
    assert contexts["404"].get("metatags") == (f'<base href="{address}" />' if address else None)
    social.write_map(app, None)
    places = [path.read_text() for path in tmp_path.glob("sitemap.xml")]
    assert len(places) == bool(address)
    assert all(f"<loc>{address}book/index.html</loc>" in text for text in places)


def test_a_folded_section_keeps_its_title_in_sight_and_its_id_outside():
    section = nodes.section("", nodes.title("", "Proof"), nodes.paragraph("", "Long."))
    section["ids"], section["classes"] = ["proof"], ["fold"]
    document = new_document("page")
    document += nodes.section("", nodes.title("", "Chapter"), section)
    theme.fold(SimpleNamespace(builder=SimpleNamespace(format="html")), document, "page")
    assert section["ids"] == ["proof"]
    text = "".join(node.astext() for node in section.children)
    assert text == '<details class="fold"><summary><h2>Proof</h2></summary>Long.</details>'
