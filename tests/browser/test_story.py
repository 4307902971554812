"""What a reader meets before opening anything, held to a budget."""

import pytest
from built import PAGES

CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
WORDS = {
    "notebooks/gradient": 2000,  # its nine steps are the chapter
    "notebooks/misconceptions": 1700,  # 36 entries
}
SCREEN = 900  # pixels
PICTURES = ".bw-body, .cell_output :is(img, svg), figure img"
# A formula counts as one word; code and tables are counted apart.
IN_SIGHT = """(pictures) => {
  const article = document.querySelector("article");
  const seen = (e) => e.checkVisibility() && !e.closest("details:not([open]) > :not(summary)");
  const first = [...article.querySelectorAll(pictures)].find(seen);
  const cells = [...article.querySelectorAll(".cell_input")].filter(seen);
  const lines = cells.map((cell) => cell.innerText.trim().split("\\n").length);
  const picture = first ? first.getBoundingClientRect().top + scrollY : 1e9;
  article.querySelectorAll(".math").forEach((formula) => formula.replaceWith(" x "));
  article.querySelectorAll(".cell_input, table").forEach((other) => other.remove());
  const words = article.innerText.split(/\\s+/).length;
  return { words, cells: cells.length, longest: Math.max(0, ...lines), picture };
}"""

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_a_chapter_tells_its_story_within_its_budget(visit, chapter):
    page = visit(viewport={"width": 1440, "height": SCREEN}).open(chapter)
    sight = page.evaluate(IN_SIGHT, PICTURES)
    assert sight["words"] <= WORDS.get(chapter, 1500)
    assert sight["cells"] <= 6
    assert sight["longest"] <= 12
    assert sight["picture"] <= 1.5 * SCREEN
    assert page.locator(".in-short").bounding_box()["y"] < SCREEN / 2


@pytest.mark.parametrize(
    ("page", "place"),
    [
        ("notebooks/identity", "section:has(> details.fold)"),
        ("notebooks/residual", "span:has(+ details.fold)"),  # a label of our own
    ],
)
def test_a_link_into_folded_evidence_opens_it(visit, page, place):
    page = visit().open(page)
    anchor = page.locator(place).first.get_attribute("id")
    page.evaluate("(anchor) => { location.hash = anchor; }", anchor)
    box = page.locator(f"#{anchor} > details.fold, #{anchor} + details.fold")
    assert box.get_attribute("open") is not None


def test_home_tells_its_story_within_700_words(visit):
    page = visit(viewport={"width": 1440, "height": SCREEN}).open("book/index")
    sight = page.evaluate(IN_SIGHT, PICTURES)
    assert sight["words"] <= 700
    assert sight["picture"] < SCREEN / 2
