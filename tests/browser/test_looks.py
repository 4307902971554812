"""How a page looks: sizes, colors, paper, the dark."""

import pytest
from bs4 import BeautifulSoup
from built import HTML, parsed

CHAPTER = "notebooks/interactions"
STYLE = "(e, names) => names.map(n => getComputedStyle(e)[n])"

pytestmark = pytest.mark.browser


def light(color):
    """How light a color of CSS is, from 0 to 1."""
    numbers = [float(n) for n in color.partition("(")[2].rstrip(")").split(",")]
    return sum(numbers[:3]) / 765


@pytest.mark.parametrize("width", [390, 1440])
def test_a_heading_is_larger_than_those_below_it_and_none_is_thinner(visit, width):
    page = visit(viewport={"width": width, "height": 900}).open("notebooks/misconceptions")
    first = [page.locator(f"article h{n}:not(summary *)").first for n in (1, 2, 3)]
    sizes, weights = zip(
        *(h.evaluate(STYLE, ["fontSize", "fontWeight"]) for h in first), strict=True
    )
    assert [float(s[:-2]) for s in sizes] == sorted((float(s[:-2]) for s in sizes), reverse=True)
    assert len(set(sizes)) == 3
    assert len(set(weights)) == 1


def test_on_paper_there_are_title_solutions_and_code_in_dark_ink_and_no_controls(visit):
    page = visit(color_scheme="dark").open(CHAPTER)
    solution = page.locator("details.solution").first
    page.emulate_media(media="print", color_scheme="dark")
    page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
    for hidden in (".bd-sidebar-primary", ".bd-header-article", ".prev-next-footer", ".headerlink"):
        assert not page.locator(hidden).first.is_visible(), hidden
    assert page.locator("article h1").first.is_visible()
    assert solution.locator("p").last.is_visible()
    assert page.locator("article p").first.evaluate(STYLE, ["color"]) == ["rgb(0, 0, 0)"]
    assert page.locator("body").evaluate(STYLE, ["backgroundColor"]) == ["rgb(255, 255, 255)"]
    code = page.locator("details.hide .cell_input").first
    assert code.is_visible()
    assert code.evaluate(STYLE, ["animationName", "opacity"]) == ["none", "1"]
    inks = page.locator("article .highlight span").evaluate_all(
        "all => [...new Set(all.map(e => getComputedStyle(e).color))]"
    )
    assert max(map(light, inks)) < 0.6, inks
    assert page.locator("article img").first.evaluate(STYLE, ["filter"]) == ["none"]
    page.evaluate("() => dispatchEvent(new Event('afterprint'))")
    assert page.locator("html").get_attribute("data-theme") == "dark"
    assert not solution.evaluate("e => e.open")


def test_in_the_dark_a_figure_has_its_size_and_no_plate_and_comments_recede(visit):
    sizes = []
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme, viewport={"width": 1440, "height": 900}).open(CHAPTER)
        picture = page.locator("article .cell_output img").first
        sizes.append(picture.bounding_box()["height"])
    assert sizes[0] == sizes[1]
    names = ["backgroundColor", "padding", "filter"]
    background, padding, shown = picture.evaluate(STYLE, names)
    assert background == "rgba(0, 0, 0, 0)"
    assert padding == "0px"
    assert shown.startswith("invert")
    comment, code = (
        page.locator(f"article .highlight {e}").first.evaluate(STYLE, ["color"])[0]
        for e in (".c1", "pre")
    )
    assert light(comment) < light(code)


def test_on_a_phone_no_word_of_a_table_lies_on_the_next(visit):
    page = visit(viewport={"width": 390, "height": 900}).open("book/notation")
    cells = page.locator("article :is(td, th)").evaluate_all(
        "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.textContent)"
    )
    assert cells == []


def test_the_ring_of_a_claim_that_was_linked_to_is_inside_its_box(visit, site):
    page = visit().page
    page.goto(
        f"{site}/{CHAPTER}.html#{parsed(HTML / f'{CHAPTER}.html').select_one('.bn-claim')['id']}"
    )
    style, offset = page.locator(".bn-claim:target").evaluate(
        STYLE, ["outlineStyle", "outlineOffset"]
    )
    assert style == "solid"
    assert float(offset[:-2]) <= -2


def test_the_search_field_has_its_lens_before_the_words_and_one_ring(visit):
    page = visit().open("search")
    field, lens = (
        page.locator(".bd-article-container input[name=q]"),
        page.locator(".bd-search i").last,
    )
    padding, outline = field.evaluate(STYLE, ["paddingLeft", "outlineStyle"])
    assert outline == "none"
    assert field.bounding_box()["x"] + float(padding[:-2]) >= lens.bounding_box()["x"] + 16


def test_search_shows_symbols_puts_answers_before_functions_and_leads_to_the_words(visit, site):
    page = visit().page
    page.goto(f"{site}/search.html?q=identity")
    hits = page.locator("#search-results li a")
    hits.first.wait_for()
    page.wait_for_timeout(1000)
    pages = [a.get_attribute("href").partition(".html")[0] for a in hits.all()]
    assert pages[0] == "notebooks/identity"
    assert "book/api" not in pages[:5]
    assert "book/api" in pages
    assert "γ" in page.locator("#search-results").inner_text()
    link = page.locator("#search-results li > a:not([href*='#'])").first
    leads = """e => { e.addEventListener('click', event => event.preventDefault()); e.click();
      return e.getAttribute('href'); }"""
    assert "#:~:text=identity" in link.evaluate(leads)


def test_the_root_says_what_it_leads_to_and_a_wrong_address_where_to_go(visit, site):
    root = BeautifulSoup((HTML / "index.html").read_text(), "lxml")
    assert root.title.string
    assert len(root.select_one("meta[name=description]")["content"]) > 60
    page = visit().open("404")
    assert page.locator("h1").inner_text() == "Page not found"
    assert page.locator("article input[name=q], .bd-search-container input[name=q]").count()


def test_no_page_has_an_id_twice_two_viewports_or_the_title_twice():
    for path in (p for p in HTML.rglob("*.html") if "_static" not in p.parts):
        soup = parsed(path)
        ids = [e["id"] for e in soup.select("[id]")]
        assert sorted(ids) == sorted(set(ids)), path
        assert len(soup.select("meta[name=viewport]")) == 1, path
        words = soup.title.get_text().split(" — ")
        assert len(words) == len(set(words)), path
        assert not soup.select("#pst-back-to-top"), "it has no contrast, and lies on the text"
