"""The built book, served with compression as any host does, and Debian's Chromium to visit it."""

import os
import shutil

import pytest
from built import HTML, PAGES
from host import compressed, served

ARGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Each move of something that was already painted, but not those that a click asked for.
SHIFTS = """
  window.shifts = [];
  new PerformanceObserver(list => list.getEntries().forEach(e => {
    const moved = e.sources.map(s => s.node?.outerHTML?.slice(0, 90));
    if (!e.hadRecentInput) window.shifts.push([e.value, moved]);
  })).observe({ type: "layout-shift", buffered: true });
"""


def unavailable(reason):
    """Skip, with the reason; where CI is set there is no excuse."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and CI is set")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def site():
    """The address of the served book."""
    if not (HTML / "index.html").exists():
        unavailable("the book is not built: run `make book` first")
    missing = [name for name in PAGES if not (HTML / f"{name}.html").exists()]
    if missing:
        unavailable(f"the built book lacks {', '.join(missing)}: run `make book` again")
    with served(HTML) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
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
        self.asked, self.outside, self.complaints = [], [], []
        self.context.route(lambda url: not url.startswith(site), self._block)
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("response", lambda r: r.ok or self.complaints.append(f"{r.status}: {r.url}"))
        self.page.on("requestfailed", self._failed)
        if options.get("java_script_enabled", True):
            self.page.add_init_script(SHIFTS)

    def _block(self, route):
        if route.request.url.startswith(("data:", "blob:", "file:")):
            route.continue_()
            return
        self.outside.append(route.request.url)
        route.abort()

    def _failed(self, request):
        # The browser itself asks for the icon, and gives up when the page is left.
        if "favicon" not in request.url:
            self.complaints.append(f"failed: {request.url}")

    def _console(self, message):
        if message.type in {"error", "warning"}:
            self.complaints.append(message.text)

    def open(self, name):
        """Go to a page by its name, or by an address."""
        url = name if "://" in name else f"{self.site}/{name}.html"
        self.page.goto(url, wait_until="load")
        return self.page

    def shift(self):
        """The sum of all moves so far, and what moved."""
        moves = self.page.evaluate("() => window.shifts")
        return sum(value for value, _ in moves), moves

    def files(self):
        """What was asked of the site, as files."""
        names = (url.removeprefix(self.site).partition("?")[0] for url in self.asked)
        return {HTML / name.lstrip("/") for name in names if name.startswith("/")}


@pytest.fixture
def visit(browser, site):
    """A function that opens a window; all are closed at the end."""
    visits = []

    def open_window(**options):
        visits.append(Visit(browser, site, **options))
        return visits[-1]

    yield open_window
    for one in visits:
        one.context.close()


@pytest.fixture(scope="session")
def weigh():
    """A function that gives the bytes which files take on the wire."""
    return lambda files: sum(len(compressed(path)) for path in files)
