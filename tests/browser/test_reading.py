"""What a reader does: search, keys only, a folder without a server."""

import pytest
from built import HTML

CHAPTER = "notebooks/forward"
FOCUS = """() => {
  const e = document.activeElement, s = getComputedStyle(e), b = e.getBoundingClientRect();
  const marked = (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2)
    || s.boxShadow !== "none";
  const seen = b.width > 0 && b.height > 0 && b.right > 0;
  const key = [...document.querySelectorAll("*")].indexOf(e);
  return { tag: e.tagName, name: e.className, text: e.textContent.trim(), marked, seen, key };
}"""
BOXES = """() => [...document.querySelectorAll("body *")].map(e => {
  const b = e.getBoundingClientRect();
  return [e.tagName, b.x, b.y, b.width, b.height];
})"""

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("served", [True, False], ids=["served", "folder"])
def test_search_lists_pages_with_the_words_around_the_hit(visit, site, served):
    start = f"{site}/{CHAPTER}.html" if served else (HTML / f"{CHAPTER}.html").as_uri()
    window = visit()
    page = window.open(start)
    page.keyboard.press("Control+k")
    page.keyboard.type("whitening")
    page.keyboard.press("Enter")
    hit = page.locator("#search-results li", has=page.locator(f"a[href*='{CHAPTER}.html']")).first
    hit.wait_for()
    assert "whitening" in hit.locator("p.context").inner_text()
    hit.locator("a").first.click()
    page.wait_for_url(f"**/{CHAPTER}.html*")
    assert "whitening" in page.locator("article").inner_text()
    assert window.outside == []
    assert window.complaints == []


def test_the_ledger_is_narrowed_down_by_words_chapter_and_verdict(visit):
    page = visit().open("book/claims")
    rows, told = (
        page.locator("table.ledger tbody tr:visible"),
        page.locator(".ledger-filter output"),
    )
    whole = rows.count()
    assert told.inner_text() == f"{whole} of {whole} claims"
    page.get_by_label("Verdict").select_option("fails")
    failed = rows.count()
    assert 0 < failed < whole
    assert set(rows.locator(".verdict").all_inner_texts()) == {"fails"}
    page.get_by_label("Chapter").select_option("Identity")
    assert 0 < rows.count() < failed
    page.get_by_label("Words").fill("no such words anywhere")
    assert rows.count() == 0
    assert told.inner_text() == f"0 of {whole} claims"


@pytest.mark.slow
def test_a_page_in_a_folder_has_the_layout_of_the_served_one(visit, site):
    looks = []
    for url in (f"{site}/{CHAPTER}.html", (HTML / f"{CHAPTER}.html").as_uri()):
        window = visit(viewport={"width": 1000, "height": 900})
        looks.append(window.open(url).evaluate(BOXES))
        assert window.outside == []
        assert window.complaints == []
    assert looks[0] == looks[1]


def test_every_control_is_reached_by_tab_and_shows_it(visit):
    page = visit(viewport={"width": 1440, "height": 900}).open(CHAPTER)
    stops, unmarked = [], []
    for _ in range(400):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUS)
        if stop["tag"] == "BODY" or stop["key"] in {s["key"] for s in stops}:
            break
        stops.append(stop)
        if not stop["marked"] or not stop["seen"]:
            unmarked.append(stop)
    assert unmarked == []
    assert stops[0]["text"] == "Skip to main content"
    names = " ".join(stop["name"] for stop in stops)
    for control in ("search-button", "theme-switch-button", "primary-toggle", "nav-link"):
        assert control in names
    folded = page.locator("article summary:visible").count()  # those in a closed box wait for it
    assert sum(stop["tag"] == "SUMMARY" for stop in stops) == folded > 3


def test_keys_alone_skip_search_fold_and_switch(visit):
    page = visit(viewport={"width": 1440, "height": 900}, color_scheme="light").open(CHAPTER)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert page.evaluate("() => location.hash") == "#main-content"

    page.locator(".theme-switch-button").focus()
    for wanted in ("dark", "light"):
        page.keyboard.press("Enter")
        assert page.locator("html").get_attribute("data-theme") == wanted
    page.locator(".search-button-field").focus()
    page.keyboard.press("Enter")
    assert page.locator("#pst-search-dialog").evaluate("e => e.open")
    page.keyboard.press("Escape")
    assert not page.locator("#pst-search-dialog").evaluate("e => e.open")

    solution = page.locator("details.solution").first
    exercises = page.locator("details.fold", has=solution)
    for box in (exercises, solution):
        box.locator("> summary").focus()
        assert not box.evaluate("e => e.open")
        page.keyboard.press("Enter")
        assert box.evaluate("e => e.open")


def test_on_a_phone_the_contents_open_and_close_by_keys(visit):
    page = visit(viewport={"width": 390, "height": 800}).open(CHAPTER)
    for toggle, name in ((".primary-toggle", "primary"), (".secondary-toggle", "secondary")):
        page.locator(toggle).first.focus()
        page.keyboard.press("Enter")
        dialog = page.locator(f"#pst-{name}-sidebar-modal")
        assert dialog.evaluate("e => e.open")
        assert dialog.locator("a").first.is_visible()
        page.keyboard.press("Escape")
        assert not dialog.evaluate("e => e.open")
