"""The built pages in Debian's Chromium, with every host but this machine blocked."""

import functools
import http.server
import os
import re
import shutil
import threading
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).parents[2]
HTML = ROOT / "_build/html"
WIDTHS = (390, 768, 1440)
ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Not ours: the theme's search buttons and sidebar title, and docutils' list of citations.
KNOWN_AXE = {"label-content-name-mismatch", "region", "aria-required-children"}

pytestmark = pytest.mark.browser


def toc_pages():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    return [toc["root"], *(c["file"] for part in toc["parts"] for c in part["chapters"])]


PAGES = toc_pages()
GENERATED = ["genindex", "py-modindex", "search"]
# The API page has thousands of nodes, which take axe a minute, and no markup of its own.
AUDITED = set(PAGES) - {"book/api"}


def unavailable(reason):
    """Skip, with the reason; where CI is set there is no excuse."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site():
    if not (HTML / "index.html").exists():
        unavailable("the book is not built: run `make book` first")
    missing = [name for name in PAGES if not (HTML / f"{name}.html").exists()]
    if missing:
        unavailable(f"the built book lacks {', '.join(missing)}: run `make book` again")
    handler = functools.partial(_Quiet, directory=str(HTML))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(site):
    path = shutil.which("chromium")
    if path is None:
        unavailable("no `chromium` on the path: install Debian's package")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGS)
        yield chromium
        chromium.close()


class Visit:
    """One page in one window, and everything that it asked for or complained about."""

    def __init__(self, browser, site, **options):
        self.context = browser.new_context(**options)
        self.page = self.context.new_page()
        self.site = site
        self.outside, self.complaints = [], []
        self.context.route(lambda url: not url.startswith(site), self._block)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda r: r.ok or self.complaints.append(f"{r.status}: {r.url}"))
        self.page.on("requestfailed", lambda r: self.complaints.append(f"failed: {r.url}"))

    def _block(self, route):
        if route.request.url.startswith(("data:", "blob:", "file:")):
            route.continue_()
            return
        self.outside.append(route.request.url)
        route.abort()

    def _console(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, name):
        url = name if "://" in name else f"{self.site}/{name}.html"
        self.page.goto(url, wait_until="load")
        self.page.evaluate("() => window.MathJax ? MathJax.startup.promise.then(() => 0) : 0")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.context.close()


@functools.cache
def parsed(path):
    return BeautifulSoup(path.read_text(), "html.parser")


def formulas(name):
    """How many formulas the page's source holds for MathJax."""
    return len(parsed(HTML / f"{name}.html").select("article span.math, article div.math"))


def too_wide(page):
    """By how much the page scrolls sideways, and the elements that push it."""
    return page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const over = document.documentElement.scrollWidth - width;
          if (over <= 0) return [];
          const sticksOut = e => e.getBoundingClientRect().right > width + 1;
          const scrolls = e => e.closest("article") && !sticksOut(e)
            && getComputedStyle(e).overflowX !== "visible";
          const held = e => e && (scrolls(e) || held(e.parentElement));
          const out = [...document.querySelectorAll("article *")]
            .filter(e => sticksOut(e) && !held(e.parentElement));
          return [over, ...out.slice(0, 3).map(e => e.outerHTML.slice(0, 120))];
        }"""
    )


def violations(page, *rules):
    """Serious findings of axe; of these rules only, where some are named.

    Two thirds of a chapter's nodes are strokes of formulas, whose MathML stays, and colored tokens
    of code, which the reproduce page has too. Without them axe takes a third of the time.
    """
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("() => document.querySelectorAll('mjx-container svg').forEach(e => e.remove())")
    if "/notebooks/" in page.url:
        flat = "e => { e.textContent = e.textContent; }"
        page.evaluate(f"() => document.querySelectorAll('.highlight pre').forEach({flat})")
    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(page, options={"preload": False, **only})
    return [
        (v["id"], [node["html"][:160] for node in v["nodes"][:3]])
        for v in found.response["violations"]
        if v["impact"] in {"serious", "critical"} and v["id"] not in KNOWN_AXE
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", [*PAGES, *GENERATED])
def test_page_is_self_contained_fits_every_width_and_is_accessible(browser, site, name, scheme):
    size = {"width": WIDTHS[-1], "height": 900}
    with Visit(browser, site, color_scheme=scheme, viewport=size) as visit:
        page = visit.open(name)
        assert page.locator("html").get_attribute("data-theme") == scheme
        assert page.locator("mjx-merror, mjx-container [data-mjx-error]").count() == 0
        assert page.locator("article mjx-container").count() >= formulas(name)
        if scheme == "light":
            for width in WIDTHS:
                page.set_viewport_size({"width": width, "height": 900})
                assert too_wide(page) == [], f"at {width} px"
        assert visit.outside == []
        assert visit.complaints == []
        if name in AUDITED:
            # The structure is the same in both; only the colors can differ.
            assert violations(page, *(["color-contrast"] if scheme == "dark" else [])) == []


def test_light_and_dark_look_different(browser, site):
    pictures = []
    for scheme in ("light", "dark"):
        with Visit(browser, site, color_scheme=scheme) as visit:
            pictures.append(visit.open(PAGES[0]).screenshot())
    assert pictures[0] != pictures[1]


@pytest.mark.parametrize("name", PAGES)
def test_page_reads_without_javascript(browser, site, name):
    with Visit(browser, site, java_script_enabled=False) as visit:
        visit.page.goto(f"{site}/{name}.html", wait_until="load")
        article = visit.page.locator("article")
        assert len(article.inner_text()) > 150
        for picture in article.locator("img").all():
            assert picture.is_visible()
            box = picture.bounding_box()
            assert box["width"] > 40, picture.get_attribute("src")
            assert box["height"] > 40, picture.get_attribute("src")


@pytest.mark.parametrize("name", PAGES)
def test_every_picture_has_alt_text_that_is_not_a_file_name(site, name):
    for picture in parsed(HTML / f"{name}.html").select("article img"):
        alt = picture.get("alt", "")
        assert len(alt) > 20, picture
        assert not re.search(r"\.(svg|png)$|_build/", alt), picture


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


def test_the_front_door_leads_to_the_home_page(browser, site):
    with Visit(browser, site) as visit:
        visit.page.goto(f"{site}/index.html")
        visit.page.wait_for_url(f"{site}/book/index.html")


def test_a_copy_on_the_disk_renders_its_formulas_without_a_server(browser, site):
    with Visit(browser, site) as visit:
        page = visit.open((HTML / "book/notation.html").as_uri())
        assert page.locator("article mjx-container").count() >= formulas("book/notation") > 0
        assert visit.outside == []
        assert visit.complaints == []
