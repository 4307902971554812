"""The built pages: self-contained, light, still, accessible, and whole at every width."""

import re
from urllib.parse import unquote, urlsplit

import pytest
from built import HTML, PAGES, parsed

WIDTHS = (320, 390, 768, 1024, 1100, 1440)
FIRST_VISIT = 700_000  # bytes on the wire, compressed, with all pictures of the page
NEXT_VISIT = 150_000
MANY_ALIKE = (
    "dl.py:not(:first-of-type), .indextable li:nth-child(n + 4), "
    "table.dataframe tbody tr:nth-child(n + 4)"
)
RESIZED = 500  # ms: the theme's script looks what scrolls 300 ms after a change of the window
STILL = 0.01  # layout shift; what search engines call good ends at 0.1

pytestmark = pytest.mark.browser

GENERATED = ["genindex", "py-modindex", "search", "404"]
FEW = [PAGES[0], "notebooks/forward", "notebooks/interactions"]  # in each run of the tests
SWEEP = [
    *FEW,
    *(pytest.param(p, marks=pytest.mark.slow) for p in [*PAGES, *GENERATED] if p not in FEW),
]


def too_wide(page):
    """What sticks out of the window and does not scroll: the theme clips it, so no width tells."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const sticksOut = e => e.getBoundingClientRect().right > width + 1;
          const scrolls = e => e.closest("article") && !sticksOut(e)
            && getComputedStyle(e).overflowX !== "visible";
          const held = e => e && (scrolls(e) || held(e.parentElement));
          const out = [...document.querySelectorAll("article *")]
            .filter(e => sticksOut(e) && !held(e.parentElement));
          return out.slice(0, 3).map(e => e.outerHTML.slice(0, 120));
        }"""
    )


def violations(page, *rules):
    """Findings of axe, of any impact; of these rules only, where some are named.

    Two thirds of a chapter's nodes are strokes of formulas, which are hidden from those who listen
    and have the color of their text, and colored tokens of code, which the reproduce page has too.
    Without them axe takes a third of the time. Of the hundreds of signatures, of entries of the
    index and of rows of numbers, which are all alike, the first few stay.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.wait_for_timeout(RESIZED)
    page.evaluate("() => document.querySelectorAll('.math svg').forEach(e => e.remove())")
    flat = "e => { e.textContent = e.textContent; }"
    if "/notebooks/" in page.url:
        page.evaluate(f"() => document.querySelectorAll('.highlight pre').forEach({flat})")
    page.evaluate(f"() => document.querySelectorAll({MANY_ALIKE!r}).forEach(e => e.remove())")
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(page, options={"preload": False, "resultTypes": ["violations"], **only})
    return [
        (v["id"], v["impact"], [node["html"][:160] for node in v["nodes"][:3]])
        for v in found.response["violations"]
    ]


def shared_files(name):
    """What a reader has who comes from another page: its scripts and sheets."""
    page = HTML / f"{name}.html"
    links = [e.get("src") or e["href"] for e in parsed(page).select("script[src], link[href]")]
    found = {(page.parent / urlsplit(link).path).resolve() for link in links}
    return {path for path in found if path.suffix in {".js", ".css", ".svg"}}


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", SWEEP)
def test_page_is_self_contained_light_still_fits_every_width_and_is_accessible(
    visit, weigh, name, scheme
):
    window = visit(color_scheme=scheme, viewport={"width": WIDTHS[-1], "height": 900})
    page = window.open(name)
    assert page.locator("html").get_attribute("data-theme") == scheme
    if scheme == "light":
        asked = window.files()
        pictures = {(HTML / name).parent / e["src"] for e in parsed(HTML / f"{name}.html")("img")}
        home = shared_files(PAGES[1] if name == PAGES[0] else PAGES[0])
        assert weigh({p.resolve() for p in asked | pictures}) <= FIRST_VISIT
        assert weigh(asked - home) <= NEXT_VISIT
        assert window.shift()[0] <= STILL, window.shift()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert too_wide(page) == [], f"at {width} px"
    assert window.outside == []
    assert window.complaints == []
    # The structure is the same in both; only the colors can differ.
    assert violations(page, *(["color-contrast"] if scheme == "dark" else [])) == []


def test_what_scrolls_is_a_stop_of_the_tab_key_also_when_it_was_folded(visit):
    """Formulas, code and tables alike; and what does not scroll is none."""
    page = visit(viewport={"width": 390, "height": 900}).open("notebooks/forward")
    page.evaluate("() => document.querySelectorAll('details').forEach(e => { e.open = true; })")
    boxes = "article :is(div.math, .math-wide, pre, .output, .pst-scrollable-table-container)"
    found = page.locator(boxes).evaluate_all(
        "all => all.filter(e => e.checkVisibility()).map(e => [e.className,"
        " e.scrollWidth > e.clientWidth || e.scrollHeight > e.clientHeight, e.tabIndex === 0])"
    )
    assert [name for name, scrolls, stop in found if scrolls != stop] == []
    assert any("math" in name for name, scrolls, _ in found if scrolls)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_page_reads_without_javascript(visit, site, name):
    page = visit(java_script_enabled=False).page
    page.goto(f"{site}/{name}.html", wait_until="load")
    article = page.locator("article")
    assert len(article.inner_text()) > 150
    # What is folded a click shows, and that needs no script.
    pictures = article.evaluate(
        """article => [...article.querySelectorAll("img")]
          .filter(e => !e.closest("details:not([open])"))
          .map(e => [e.getBoundingClientRect(), getComputedStyle(e).visibility, e.src])
          .map(([box, visibility, src]) => [src, visibility, box.width, box.height])"""
    )
    for src, visibility, width, height in pictures:
        assert visibility == "visible", src
        assert min(width, height) > 40, src
    formulas = article.locator("span.math:not(details:not([open]) *) > svg")
    assert all(formulas.nth(k).bounding_box()["width"] > 1 for k in range(min(3, formulas.count())))


@pytest.mark.parametrize("name", PAGES)
def test_formulas_can_be_listened_to_and_pictures_say_what_they_show(site, name):
    soup = parsed(HTML / f"{name}.html")
    for formula in soup.select(".math.notranslate"):
        assert formula.find("svg", recursive=False)["aria-hidden"] == "true"
        spoken = formula.select_one(".math-text" if formula.find_parent("thead") else "math")
        assert spoken.get_text(strip=True)
    assert not soup.select("[data-mjx-error], merror")
    drawn = {use["xlink:href"].removeprefix("#") for use in soup.select(".math use")}
    assert drawn <= {path["id"] for path in soup.select(".math-glyphs path")}
    for picture in soup.select("article img"):
        alt = picture.get("alt", "")
        assert len(alt) > 20, picture
        assert not re.search(r"\.(svg|png)$|_build/", alt), picture
        assert min(int(picture["width"]), int(picture["height"])) > 40, picture


def test_internal_links_and_anchors_resolve(site):
    pages = {path: parsed(path) for path in HTML.rglob("*.html")}
    ids = {p: {e["id"] for e in soup.select("[id]")} for p, soup in pages.items()}
    broken = []
    for path, soup in pages.items():
        for link in soup.select("a[href]"):
            parts = urlsplit(link["href"])
            if parts.scheme or parts.netloc or link["href"] in {"", "#"}:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = unquote(parts.fragment)
            if not target.is_file() or (anchor and target in ids and anchor not in ids[target]):
                broken.append((path.relative_to(HTML).as_posix(), link["href"]))
    assert broken == []


def test_the_front_door_leads_to_the_home_page(visit, site):
    page = visit().page
    page.goto(f"{site}/index.html")
    page.wait_for_url(f"{site}/book/index.html")
