"""Formulas, pictures and style sheets of a page, without a build."""

from types import SimpleNamespace
from xml.etree import ElementTree

import pytest
from docutils import nodes
from sphinx.errors import ExtensionError

from bnlib.publish.sphinx_ext import mathjax, pictures, social, styles, theme
from bnlib.publish.sphinx_ext.mathjax import Typesetter


@pytest.fixture(scope="module")
def setter():
    return Typesetter({"mean": [r"\left\langle #1 \right\rangle", 1]})


def test_a_formula_is_a_drawing_of_known_glyphs_and_its_mathml(setter):
    found = setter.formula(r"\mean{x}+1", display=False)
    assert 'aria-hidden="true"' in found.svg.partition(">")[0]
    assert "<mi>x</mi>" in found.mathml
    assert "MJX-TEX-I-1D465" in setter.glyphs
    assert found.least == ""


def placed(element, above=()):
    """Every glyph and line of a drawing with all that moves it, from outside in."""
    moved = (*above, *element.get("transform", "").replace(") ", ")|").split("|"))
    if len(element) == 0:
        return [(element.tag, sorted(element.attrib.items() - {("transform", moved[-1])}), moved)]
    return [place for child in element for place in placed(child, moved)]


def test_flattening_takes_groups_and_moves_nothing():
    inner = '<g transform="translate(1,2)"><g><use href="#a"/></g></g><g><rect x="3"/></g>'
    nested = f'<g><g transform="scale(2) translate(5)">{inner}</g><svg><use href="#b"/></svg></g>'
    drawing = (
        f'<svg xmlns="http://www.w3.org/2000/svg"><g transform="scale(1,-1)">{nested}</g></svg>'
    )
    before, after = (ElementTree.fromstring(drawing) for _ in range(2))
    mathjax._flatten(after)
    assert [[step for step in way if step] for *_, way in placed(after)] == [
        [step for step in way if step] for *_, way in placed(before)
    ]
    assert len(list(before.iter())) == 11
    assert len(list(after.iter())) == 7
    lonely = ElementTree.fromstring(
        '<svg xmlns="http://www.w3.org/2000/svg"><g transform="scale(2)"><svg/></g></svg>'
    )
    mathjax._flatten(lonely)
    assert "transform" not in lonely[0][0].attrib, "some browsers do not move an inner drawing"


def test_the_script_of_the_theme_is_calmed_once_and_another_one_is_refused(tmp_path):
    script = tmp_path / "_static/scripts/pydata-sphinx-theme.js"
    script.parent.mkdir(parents=True)
    app = SimpleNamespace(outdir=tmp_path, builder=SimpleNamespace(name="html"))
    script.write_text(f"document.querySelectorAll({theme._MEASURES}'.x'].join()).forEach(f)")
    for _ in range(2):
        theme.calm_script(app, None)
        assert script.read_text().startswith('document.querySelectorAll(["bn-none"]||[')
    script.write_text("another version")
    with pytest.raises(ExtensionError, match="another version"):
        theme.calm_script(app, None)


def test_an_edited_asset_has_every_page_read_again_once(tmp_path):
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets/book.css").write_text("p {}")
    app = SimpleNamespace(srcdir=tmp_path, config=SimpleNamespace(html_static_path=["assets"]))
    env = SimpleNamespace(found_docs={"b", "a"})
    assert theme.restyled(app, env) == [], "a first build reads every page anyway"
    (tmp_path / "assets/book.css").write_text("p { color: red }")
    assert theme.restyled(app, env) == ["a", "b"]
    assert theme.restyled(app, env) == []
    (tmp_path / "assets/new.js").touch()
    assert theme.restyled(app, env) == ["a", "b"]


def test_a_numbered_display_knows_its_least_width(setter):
    assert setter.formula(r"y=x \tag{BN.4}", display=True).least.endswith("ex")


def test_wrong_tex_is_an_error_that_quotes_it(setter):
    with pytest.raises(ValueError, match=r"\\\\frac.*Missing argument"):
        setter.formula(r"\frac", display=False)


def test_only_rules_that_can_match_stay():
    css = '.used{a:b} .not{c:d} .x:not(.gone){e:f} @media print{.not{g:h}} .used,.not{i:"}"}'
    assert styles.shrink(css, {"used", "x"}) == '.used{a:b}.x:not(.gone){e:f}.used{i:"}"}'


def test_a_drawing_loses_digits_but_not_its_size(tmp_path):
    svg = '<svg width="72pt" height="36pt">\n <!-- x --> <path d="M 1.23456 -7.891"/></svg>'
    path = tmp_path / "a.svg"
    path.write_text(svg)
    assert pictures.size(path) == (96, 48)
    assert pictures.lighten(svg) == (
        '<svg width="72pt" height="36pt"><path d="M 1.23 -7.89"/></svg>\n'
    )


def app_for(outdir, address="", found=("book/index",)):
    config = SimpleNamespace(html_baseurl=address, html_theme_options={})
    builder = SimpleNamespace(name="html", format="html")
    env = SimpleNamespace(found_docs=set(found))
    return SimpleNamespace(outdir=outdir, config=config, builder=builder, env=env)


def test_the_map_of_pages_is_there_only_with_an_address(tmp_path):
    social.write_map(app_for(tmp_path, "https://book.example/"), None)
    text = (tmp_path / "sitemap.xml").read_text()
    assert "<loc>https://book.example/book/index.html</loc>" in text
    social.write_map(app_for(tmp_path), None)
    assert not (tmp_path / "sitemap.xml").exists()


@pytest.mark.parametrize("url", ["", "https://github.com/some/book"])
def test_buttons_of_the_repository_are_there_only_with_its_address(tmp_path, url):
    app = app_for(tmp_path)
    options = app.config.html_theme_options
    options["repository_url"] = url
    social.configure(app, app.config)
    assert options["use_issues_button"] is options["use_source_button"] is bool(url)
    assert bool(options["launch_buttons"]) is bool(url)


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
def test_a_picture_without_a_description_is_a_warning(tmp_path, monkeypatch, alt, classes, warned):
    found = []
    monkeypatch.setattr(pictures.logger, "warning", lambda *args, **_: found.append(args))
    doctree = nodes.container("", nodes.image(uri="a.svg", alt=alt, classes=classes))
    pictures.check_alt(app_for(tmp_path), doctree, "a")
    assert len(found) == warned
