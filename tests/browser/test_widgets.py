"""The widgets in Debian's Chromium, opened as files: every control, against the library's numbers.

`BN_PICTURES=write pytest tests/browser/test_widgets.py -k static` writes the static pictures anew.
"""

import os
import re

import numpy as np
import pytest
from built import HTML, ROOT
from oracles import widgets

from bnlib import chains

ASSETS = ROOT / "book/assets"
NAMES = ("bend", "identity", "area", "chain", "gradient")
RAW_LIMIT = 12_000  # bytes of a script; a page loads two or three
PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>Widgets</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
body {{ font: 16px/1.6 sans-serif; margin: 0; }}
main {{ margin: auto; max-width: 816px; padding: 0 16px; }}
html[data-theme="dark"] {{ --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;
  --pst-color-background: #14181e; background: #14181e; color: #ced6dd; }}
</style>
<link rel="stylesheet" href="{assets}/widgets.css">{scripts}</head>
<body><main><h1>Widgets</h1>{widgets}<p id="after">After.</p></main></body></html>
"""
HOLDER = (
    '<bn-{0}>\n<p><img src="{1}/widgets/{0}.svg" alt="A static picture of {0}"></p>\n</bn-{0}>\n'
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """A page as a file, with all widgets."""
    path = tmp_path_factory.mktemp("widgets") / "page.html"
    assets = ASSETS.as_uri()
    scripts = "".join(
        f'<script defer src="{assets}/widgets/{name}.js"></script>' for name in ("core", *NAMES)
    )
    holders = "".join(HOLDER.format(name, assets) for name in NAMES)
    path.write_text(PAGE.format(assets=assets, scripts=scripts, widgets=holders), encoding="utf-8")
    return path.as_uri()


class Widget:
    """One widget on the page, and what it says of itself."""

    def __init__(self, page, name):
        self.page, self.name = page, name
        self.root = page.locator(f"bn-{name}")

    @property
    def data(self):
        """What the widget shows, at full precision: numbers, arrays, words."""
        raw = self.root.evaluate("e => ({...e.dataset})")
        return {re.sub("[A-Z]", lambda k: "-" + k[0].lower(), k): parse(v) for k, v in raw.items()}

    def control(self, name):
        return self.root.locator(f"[name={name}]")

    def answer(self, number=0):
        self.root.locator(".bw-options button").nth(number).click()
        return self

    def fact(self, number):
        """The first number that the widget displays in one of its fields."""
        return displayed(self.root.locator("dd").nth(number).inner_text())

    def press(self, name):
        self.control(name).click()

    def choose(self, name, value):
        option = self.root.locator(f"[data-name={name}] input[value={value}]")
        option.locator("xpath=..").click()  # its label
        assert option.is_checked()

    def click(self, name, share):
        """Press the mouse on a slider, this share of the way along."""
        self.control(name).scroll_into_view_if_needed()
        box = self.control(name).bounding_box()
        self.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)

    def said(self):
        self.page.wait_for_timeout(450)  # it waits until the hand rests
        return self.root.locator("[role=status]").inner_text()


@pytest.fixture
def visit(visit, bench):
    """Open the page of all widgets, or another; none may complain."""
    windows = []

    def go(*, url=bench, **options):
        windows.append(visit(**{"viewport": {"width": 1000, "height": 900}, **options}))
        return windows[-1].open(url)

    yield go
    for window in windows:
        # A page preloads scripts that a browser without scripts then refuses.
        assert [c for c in window.complaints if not (".js" in c and "failed" in c)] == []


def parse(raw):
    numbers = [_number(word) for word in raw.split(" ")] if raw else []
    if any(number is None for number in numbers):
        return raw
    return numbers[0] if len(numbers) == 1 else np.array(numbers)


def _number(word):
    try:
        return float(word)
    except ValueError:
        return None


def displayed(words):
    """A number as people read it: 0.25, −3, 1.2·10⁻⁵."""
    plain = words.replace("−", "-").translate(str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻", "0123456789-"))
    found = re.search(r"(-?[\d.]+)(?:·10(-?\d+))?", plain)
    assert found, words
    return float(found[1]) * 10.0 ** int(found[2] or 0)


def close(found, want, *, rel=1e-9, floor=1e-24):
    np.testing.assert_allclose(np.atleast_1d(found), np.atleast_1d(want), rtol=rel, atol=floor)


def reads(found, want):
    """A displayed number has three digits, two with a power of ten; rounding shows as 0."""
    assert found == pytest.approx(
        want, rel=0.06 if abs(want) < 1e-3 or abs(want) > 9e4 else 6e-3, abs=1.1e-11
    )


def check_identity(widget):
    data = widget.data
    m, first, stored = int(data["m"]), int(data["first"]), data["mode"] == "evaluation"
    want = widgets.identity_numbers(
        m, first, data["gamma"], data["beta"], stored=stored, batches=widgets.SHOWN
    )
    for key in ("means", "deviations", "law", "stopped"):
        close(data[key], want[key], floor=1e-13)
    # Errors are squares of differences of numbers of order one: below 1e-24 all is rounding.
    close(data["errors"], want["errors"])
    close(data["mean-error"], want["mean-error"])
    reads(widget.fact(0), np.sqrt(want["mean-error"]))
    # The law is a difference of numbers of order one: its root is known to the root of rounding.
    assert widget.fact(1) == pytest.approx(np.sqrt(max(want["law"], 0)), rel=6e-3, abs=1e-7)
    assert widget.fact(2) == m - want["stopped"]
    assert widget.root.locator("[data-chart=plane] .bw-fill-batch").count() == widgets.SHOWN
    return data


def check_area(widget):
    data = widget.data
    w, grads = np.array([2.0, 1.0]), np.array([1.0, 2.0])
    orders = chains.chain_orders(w, grads, 1.0, step=data["step"])
    first, second = -data["step"] * grads * w[::-1]
    parts = {"first": first, "second": second}
    chosen = parts if data["move"] == "both" else {data["move"]: parts[data["move"]]}
    corner = orders[2] if data["move"] == "both" else 0.0
    close([data["first"], data["second"]], list(parts.values()), floor=1e-15)
    close(data["corner"], orders[2], floor=1e-15)
    close(data["predicted"], sum(chosen.values()), floor=1e-15)
    close(data["change"], sum(chosen.values()) + corner, floor=1e-15)
    reads(widget.fact(3), data["change"])
    assert widget.root.locator(".bw-part-order2").count() == (2 if data["move"] == "both" else 1)
    return data


def check_chain(widget):
    data = widget.data
    # Over [0.4, 1.6] with spread up to 0.8, as the sliders say.
    mean, spread = (float(widget.control(name).input_value()) for name in ("mean", "spread"))
    w = widgets.chain_weights(int(data["depth"]), mean, spread)
    close(data["weights"], w)
    fixed = data["rule"] == "fixed"
    given = {"step": data["step"]} if fixed else {"promise": data["promise"]}
    want = widgets.chain_numbers(w, normalized=data["norm"] == "on", **given)
    for key in ("step", "promise", "output", "leak", "first"):
        close(data[key], want[key])
    # Orders of a normalized chain are alternating sums over subsets: they carry rounding. So does
    # the pull of its lower factors, a difference of order one that leaves the leak.
    floor = 64 * want["rounding"]
    assert np.all(np.abs(data["orders"] - want["orders"]) <= 1e-9 * np.abs(want["orders"]) + floor)
    close(data["above"], want["above"], floor=floor.sum())
    close(data["bound"], want["bound"])
    ratio = (1 - want["actual"]) if want["actual"] < 0 else 1.0
    close(data["actual"], want["actual"], floor=1e-13 * ratio)
    reads(widget.fact(0), want["first"])
    if data["view"] == "sizes":
        assert widget.root.locator(".bw-bar").count() == int(data["depth"])
    else:
        assert widget.root.locator(".bw-part").count() == min(int(data["depth"]), 4) + 1
    return data


def check_gradient(widget):
    data = widget.data
    m = int(data["m"])
    want = widgets.gradient_numbers(
        m, np.atleast_1d(data["dy"]), gamma=data["gamma"], eps=data["eps"]
    )
    close(data["x"], widgets.X[:m])
    for key in ("x-hat", "gain", "mean", "along", "part", "dx", "dgamma", "dbeta"):
        close(data[key], want[key], floor=1e-14)
    close(data["passed"], want["passed"], floor=1e-28)
    reads(widget.fact(0), want["mean"])
    reads(widget.fact(2), 100 * want["passed"])
    assert widget.root.locator("[role=slider]").count() == m
    return data


def check_bend(widget):
    data = widget.data
    want = widgets.bend_numbers(
        data["curve"],
        int(data["width"]),
        reach=2 * data["spread"],
        gamma=data["gamma"],
        activation=data["activation"],
    )
    close(data["x"], widgets.BEND_X)
    close(data["kinks"], want["kinks"])
    # The least squares are solved twice, by reflections and by singular values: each loses up to
    # the condition number, 1 / sqrt(penalty), of rounding.
    close(data["fit"], want["fit"], rel=0, floor=64 * 2.2e-16 / np.sqrt(widgets.BEND_PENALTY))
    assert widget.fact(0) == pytest.approx(max(100 * want["left"], 0.05), abs=0.51)
    return data


CHECKS = {
    "bend": check_bend,
    "identity": check_identity,
    "area": check_area,
    "chain": check_chain,
    "gradient": check_gradient,
}
SLIDERS = {
    "bend": ("spread", "width"),
    "identity": ("gamma", "beta", "m"),
    "area": ("step",),
    "chain": ("depth", "mean", "spread", "promise"),
    "gradient": ("m", "gamma", "eps"),
}
OTHERS = {
    "bend": {"gamma", "activation", "curve"},
    "identity": {"batch", "population", "fresh", "mode"},
    "area": {"move"},
    "chain": {"rule", "norm", "view"},
    "gradient": {"one", "equal", "along", "again", "0", "1", "2", "3", "4"},
}
RIGHT = {
    "bend": lambda data: data["places"] == 1 and data["left"] > 0.8,
    "identity": lambda data: 0.35 < np.sqrt(data["mean-error"]) < 0.5,
    "area": lambda data: -0.5 < data["change"] < -0.4,
    "chain": lambda data: data["above"] < data["first"] / 5,
    "gradient": lambda data: np.abs(data["dx"]).min() > 1e-3 and abs(data["dx"].sum()) < 1e-12,
}


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_revealed_before_the_reader_commits(visit, name):
    widget = Widget(visit(), name)
    options = widget.root.locator(".bw-options button")
    assert set(widget.root.locator("dd").all_inner_texts()) == {"?"}
    assert widget.root.locator(".bw-right").count() == 0
    for control in widget.root.locator("fieldset input, fieldset button").all():
        assert control.is_disabled()
    before = widget.data
    for handle in widget.root.locator("[role=slider]").all():
        handle.dispatch_event("keydown", {"key": "ArrowUp"})
    assert str(widget.data) == str(before)
    widget.answer(1)
    assert "?" not in widget.root.locator("dd").all_inner_texts()
    assert not widget.root.locator("fieldset.bw-controls").evaluate("e => e.disabled")
    options.nth(2).dispatch_event("click")  # too late
    assert widget.data["answer"] == 1
    assert widget.said().startswith("Not so.")
    assert widget.root.locator(".bw-right").inner_text()[:5] == options.nth(2).inner_text()[:5]
    assert RIGHT[name](CHECKS[name](widget))
    assert Widget(visit(), name).answer(2).said().startswith("Right.")


@pytest.mark.parametrize("name", NAMES)
def test_every_slider_by_mouse_and_by_keyboard(visit, name):
    widget = Widget(visit(), name).answer()
    for slider in SLIDERS[name]:
        values, words = set(), set()
        for share in (0.03, 0.3, 0.62, 0.97):
            widget.click(slider, share)
            CHECKS[name](widget)
            values.add(widget.control(slider).input_value())
        for key in ("Home", "ArrowRight", "ArrowUp", "End", "ArrowLeft", "ArrowDown"):
            widget.control(slider).press(key)
            CHECKS[name](widget)
            shown = widget.root.locator(f".bw-slider:has([name={slider}]) .bw-value").inner_text()
            assert widget.control(slider).get_attribute("aria-valuetext") == shown
            words.add(shown)
        assert len(values) == 4
        assert len(words) >= 4


def test_beta_bends_a_relu_layer_and_gamma_only_a_tanh_layer(visit):
    widget = Widget(visit(), "bend").answer()
    flat = check_bend(widget)["left"]
    widget.choose("gamma", "varied")
    assert check_bend(widget)["left"] == pytest.approx(flat, rel=1e-6)
    widget.control("spread").press("End")
    assert check_bend(widget)["left"] < 0.01
    widget.choose("curve", "bands")
    check_bend(widget)
    widget.choose("activation", "tanh")
    widget.control("spread").press("Home")
    varied = check_bend(widget)["left"]
    widget.choose("gamma", "one")
    assert varied < 0.7 * check_bend(widget)["left"]


def test_buttons_of_the_identity(visit):
    widget = Widget(visit(), "identity").answer()
    fresh = check_identity(widget)["means"]
    widget.press("batch")
    data = check_identity(widget)
    assert data["errors"][0] == 0
    assert data["mean-error"] > 0.1
    widget.control("m").press("End")  # more rows: the cloud draws together around the point
    widget.press("population")
    assert check_identity(widget)["mean-error"] < 0.01
    widget.choose("mode", "evaluation")
    data = check_identity(widget)
    assert data["mean-error"] == 0
    assert "every batch to come" in widget.said()
    widget.press("fresh")
    assert check_identity(widget)["mean-error"] == 0
    widget.choose("mode", "training")
    assert not np.isin(check_identity(widget)["means"], fresh).any()


def test_the_point_follows_the_mouse_and_stays_in_the_plane(visit):
    widget = Widget(visit(), "identity").answer()
    mouse = widget.page.mouse
    for dx, dy in ((40, -30), (-60, 50), (-900, -900)):
        before = widget.data
        x, y = middle(widget.root.locator(".bw-handle"))
        unit = widget.root.evaluate("e => e.unit")
        mouse.move(x, y)
        mouse.down()
        mouse.move(x + dx, y + dy, steps=4)
        mouse.up()
        mouse.move(x, y)  # released: nothing more
        data = check_identity(widget)
        assert data["gamma"] == pytest.approx(max(before["gamma"] + dx / unit, 0), abs=0.01)
        assert data["beta"] == pytest.approx(min(before["beta"] - dy / unit, 2.25), abs=0.01)


def test_one_factor_makes_a_strip_and_both_share_a_corner(visit):
    widget = Widget(visit(), "area").answer()
    changes = {}
    for move in ("first", "second", "both"):
        widget.choose("move", move)
        changes[move] = check_area(widget)["change"]
    assert changes["both"] == pytest.approx(changes["first"] + changes["second"] + 0.02)
    widget.control("step").press("End")
    assert check_area(widget)["change"] == pytest.approx(1.7 * 0.4 - 2)


def test_the_chain_at_the_corners_of_its_settings(visit):
    widget = Widget(visit(), "chain").answer()
    assert not widget.control("eta").is_visible()
    widget.choose("norm", "on")
    assert check_chain(widget)["above"] < 1e-6
    for norm in ("on", "off"):
        widget.choose("norm", norm)
        for rule in ("matched", "fixed"):
            widget.choose("rule", rule)
            for keys in (("Home", "Home"), ("Home", "End"), ("End", "Home"), ("End", "End")):
                for name, key in zip(("mean", "spread"), keys, strict=True):
                    widget.control(name).press(key)
                check_chain(widget)
    assert not widget.control("promise").is_visible()
    for share in (0.05, 0.6, 0.95):
        widget.click("eta", share)
        tenths = float(widget.control("eta").input_value()) / 20
        assert check_chain(widget)["step"] == pytest.approx(10**tenths, rel=1e-12)


def test_the_waterfall_walks_from_the_first_order_to_the_change(visit):
    widget = Widget(visit(), "chain").answer()
    widget.choose("view", "waterfall")

    def bars():
        boxes = widget.root.locator(".bw-part").evaluate_all(
            "bars => bars.map(b => [Number(b.getAttribute('y')), b.height.baseVal.value])"
        )
        return np.array(boxes)

    heights = {}
    for promise in ("Home", "End"):
        widget.control("promise").press(promise)
        orders = check_chain(widget)["orders"][1:]
        tops, sizes = bars().T
        parts = np.array([*orders[:3], orders[3:].sum(), orders.sum()])
        unit = sizes[0] / abs(parts[0])
        np.testing.assert_allclose(sizes, unit * np.abs(parts), atol=1e-6)
        ends = np.cumsum(parts[:-1])  # downwards from 0, where the first bar and the last begin
        np.testing.assert_allclose(tops[0] + unit * -ends[-1], tops[-1] + sizes[-1], atol=1e-6)
        np.testing.assert_allclose(tops[1:-1] - tops[0], unit * -np.maximum(ends[:-1], ends[1:]))
        heights[promise] = unit
    assert heights["Home"] == pytest.approx(heights["End"])  # the axis stays
    widget.choose("rule", "fixed")
    check_chain(widget)
    assert bars()[:, 1].max() == pytest.approx(1.25 * heights["End"])  # cut at the axis' ends
    assert widget.root.locator("text", has_text="↓").count() > 0


def test_buttons_of_the_gradient(visit):
    widget = Widget(visit(reduced_motion="reduce"), "gradient").answer()
    for name in ("equal", "along"):
        widget.press(name)
        assert np.abs(check_gradient(widget)["dx"]).max() < 1e-14
    widget.press("one")
    data = check_gradient(widget)
    assert np.count_nonzero(data["dy"]) == 1
    charts = [widget.root.evaluate("e => e.querySelector('.bw-stage').innerHTML")]
    for _ in range(3):  # without motion each press is a step
        widget.press("again")
        assert str(check_gradient(widget)) == str(data)
        charts.append(widget.root.evaluate("e => e.querySelector('.bw-stage').innerHTML"))
    assert len(set(charts)) == 3
    assert charts[0] == charts[3]
    widget.control("m").press("Home")
    widget.press("one")
    assert check_gradient(widget)["passed"] < 1e-28
    assert "two rows nothing passes" in widget.said()


def middle(handle):
    handle.scroll_into_view_if_needed()
    box = handle.bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def test_arrows_follow_the_mouse_and_the_keys(visit):
    widget = Widget(visit(reduced_motion="reduce"), "gradient").answer()
    mouse = widget.page.mouse
    for row, pull in ((0, 1.0), (3, -1.5), (2, 5.0)):
        handle = widget.root.locator(f"[data-row='{row}']")
        before = widget.data["dy"][row]
        x, y = middle(handle)
        mouse.move(x, y)
        mouse.down()
        mouse.move(x, y - 33 * (pull - before), steps=4)
        mouse.up()
        mouse.move(x, y - 100)  # released: nothing more
        assert check_gradient(widget)["dy"][row] == pytest.approx(min(pull, 2.0), abs=0.05)
        assert handle.evaluate("e => e === document.activeElement")
    handle, before = widget.root.locator("[data-row='1']"), widget.data["dy"][1]
    steps = {"ArrowUp": 0.1, "ArrowRight": 0.2, "PageUp": 0.7, "ArrowDown": 0.6, "ArrowLeft": 0.5}
    wanted = {key: before + step for key, step in steps.items()} | {"End": 2.0, "Home": -2.0}
    for key, want in wanted.items():
        handle.press(key)
        assert check_gradient(widget)["dy"][1] == pytest.approx(want, abs=1e-12)
        assert displayed(handle.get_attribute("aria-valuetext")) == pytest.approx(want)
        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(want)


def test_arrows_follow_a_finger_and_the_page_does_not_scroll(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    widget = Widget(page, "gradient")
    widget.root.locator(".bw-options button").nth(2).tap()
    widget.root.locator("[data-row='1']").scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    (x, y), top = middle(widget.root.locator("[data-row='1']")), page.evaluate("scrollY")
    client = page.context.new_cdp_session(page)
    for kind, dy in (("touchStart", 0), ("touchMove", -20), ("touchMove", -33), ("touchEnd", None)):
        points = [] if dy is None else [{"x": x, "y": y + dy}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(60)  # moves are delivered once a frame
    assert check_gradient(widget)["dy"][1] == pytest.approx(1.0, abs=0.05)
    assert page.evaluate("scrollY") == top


def test_everything_is_reached_and_used_by_keyboard_alone(visit):
    page = visit(reduced_motion="reduce")
    reached = {name: set() for name in NAMES}
    script = """() => { const e = document.activeElement;
      const widget = e.closest(".bw-body")?.parentElement;
      return [widget?.tagName.slice(3).toLowerCase(),
        e.name?.replace(/^bw\\d+-/, '') || e.dataset.row || e.textContent]; }"""
    for _ in range(110):
        page.keyboard.press("Tab")
        name, control = page.evaluate(script)
        if name:
            if not reached[name]:
                page.keyboard.press("Enter")  # the first answer
            reached[name].add(control)
    for name in NAMES:
        assert {*SLIDERS[name], *OTHERS[name]} <= reached[name]
        CHECKS[name](Widget(page, name))


@pytest.mark.parametrize("width", [320, 390, 600, 768, 1440])
def test_nothing_overflows_or_moves_and_targets_are_large_enough(visit, width):
    page = visit(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    for name in NAMES:
        root = page.locator(f"bn-{name}")
        room = root.evaluate("e => parseFloat(getComputedStyle(e, '::before').minHeight)")
        height = "e => e.getBoundingClientRect().height"
        assert root.evaluate(height) <= room + 1
        Widget(page, name).answer().said()
        assert root.evaluate(height) <= room + 1
        needed = root.evaluate(
            "e => e.querySelector('.bw-status').getBoundingClientRect().bottom"
            " - e.getBoundingClientRect().top + 16"
        )
        assert room - needed < 340, f"{name} leaves {room - needed} empty"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    # Words of a drawing may not stick out of it.
    out = page.evaluate(
        "() => [...document.querySelectorAll('.bw-chart text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();"
        " return a.left < b.left - 1 || a.right > b.right + 1; }).map(t => t.textContent)"
    )
    assert out == []
    page.locator("bn-gradient input[name=m]").press("End")
    small = page.evaluate(
        "() => [...document.querySelectorAll('.bw-body button, .bw-slider input, .bw-choice label,"
        " .bw-handle')].map(e => [e.outerHTML, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.width && Math.round(10 * Math.min(b.width, b.height)) < 240)"
    )
    assert small == []
    if width in (320, 1440):  # between them three columns leave eight rows a little less
        script = "all => all.map(e => e.getBoundingClientRect().left)"
        lefts = page.locator("bn-gradient .bw-handle").evaluate_all(script)
        assert np.diff(np.sort(lefts)).min() >= 24


@pytest.mark.parametrize("name", NAMES)
def test_settings_stand_in_the_address_and_come_back(visit, bench, name):
    widget = Widget(visit(), name).answer()
    for slider in SLIDERS[name]:
        widget.control(slider).press("End")
    widget.said()
    address = widget.page.evaluate("location.search")
    again = Widget(visit(url=f"{bench}{address}"), name)
    assert not again.root.locator("fieldset.bw-controls").evaluate("e => e.disabled")
    for slider in SLIDERS[name]:
        assert again.control(slider).input_value() == widget.control(slider).input_value()
    CHECKS[name](again)


def test_an_address_sets_only_what_a_control_could(visit, bench):
    query = "chain.depth=1e9&chain.mean=lots&chain.norm=on&chain.rule=none&identity.m=-3&bend.x=1"
    page = visit(url=f"{bench}?{query}")
    data = check_chain(Widget(page, "chain"))
    assert (data["depth"], data["norm"], data["rule"]) == (12, "on", "matched")
    assert check_identity(Widget(page, "identity"))["m"] == 2
    assert Widget(page, "bend").control("spread").is_disabled()


def test_motion_only_where_it_is_welcome(visit):
    stems = "() => document.querySelector('[data-chart=rest]').innerHTML"
    for preference, moves in (("no-preference", True), ("reduce", False)):
        page = visit(reduced_motion=preference)
        widget = Widget(page, "gradient").answer()
        first = page.evaluate(stems)
        page.wait_for_timeout(2300)
        assert (page.evaluate(stems) != first) is moves
        bar = page.locator(".bw-bar").first
        seconds = bar.evaluate("e => getComputedStyle(e).transitionDuration")
        assert (float(seconds.split("s")[0]) > 0) is moves
        check_gradient(widget)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_and_marks_have_contrast(visit, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(reduced_motion="reduce")
    page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{scheme}'; }}")
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    for answered in (False, True):
        for name in NAMES if answered else ():
            Widget(page, name).answer()
        page.wait_for_timeout(500)
        found = Axe().run(page, options={"preload": False, "runOnly": tags})
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found.response["violations"]] == []
    # Of what is no text, axe knows nothing.
    marks = ["batch", "gradient", "neutral", "theory", "exact", "edge", "page"]
    script = "(e, n) => n.map(k => getComputedStyle(e).getPropertyValue('--bw-' + k).trim())"
    *colors, ground = map(luminance, page.locator("bn-chain").evaluate(script, marks))
    ratios = [(max(c, ground) + 0.05) / (min(c, ground) + 0.05) for c in colors]
    assert min(ratios) >= 3, dict(zip(marks, ratios, strict=False))


def luminance(color):
    digits = color.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_on_paper_there_are_drawings_and_numbers(visit):
    page = visit(reduced_motion="reduce")
    for name in NAMES:
        Widget(page, name).answer()
    page.emulate_media(media="print")
    assert not page.locator(".bw-buttons").first.is_visible()
    for name in NAMES:
        root = page.locator(f"bn-{name}")
        assert root.locator(".bw-chart").first.is_visible()
        assert root.locator("dd").first.is_visible()


def test_scripts_are_small_and_ask_for_nothing():
    scripts = sorted((ASSETS / "widgets").glob("*.js"))
    assert max(path.stat().st_size for path in scripts) < RAW_LIMIT
    address = r"https?://(?!www\.w3\.org/2000/svg)"
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        assert not re.search(rf"fetch\(|XMLHttpRequest|\bimport\b|{address}", text), path.name


# --- the static pictures are what the widgets draw ---

SNAP = """e => [...e.querySelectorAll('.bw-chart')].map(svg => {
  const origin = e.querySelector('.bw-stage').getBoundingClientRect();
  const box = svg.getBoundingClientRect();
  const kept = ['fill', 'stroke', 'stroke-width', 'stroke-dasharray', 'opacity', 'text-anchor',
    'font-size', 'font-weight'];
  const usual = { fill: 'rgb(0, 0, 0)', stroke: 'none', 'stroke-width': '1px', opacity: '1',
    'stroke-dasharray': 'none', 'text-anchor': 'start', 'font-weight': '400' };
  const marks = [...svg.children].filter(m => !m.matches('.bw-handle, .bw-grip')).map(mark => {
    const copy = mark.cloneNode(true), style = getComputedStyle(mark);
    copy.removeAttribute('class');
    for (const name of kept) {
      const value = style.getPropertyValue(name);
      const words = name.startsWith('font') || name === 'text-anchor';
      if (value === usual[name] || (words && mark.tagName !== 'text')) continue;
      copy.setAttribute(name, value);
    }
    return new XMLSerializer().serializeToString(copy).replace(/ xmlns="[^"]*"/, '');
  });
  return { x: box.left - origin.left, y: box.top - origin.top, h: box.height, marks };
})"""
FONT = "-apple-system, 'Segoe UI', 'DejaVu Sans', 'Noto Sans', Helvetica, Arial, sans-serif"


def picture(visit, name):
    """An SVG of the widget after the answer, and of the state that its point is the change from."""
    page = visit(viewport={"width": 720, "height": 900}, reduced_motion="reduce")
    widget = Widget(page, name)
    views = (
        [("Fixed step: the high orders tower", widget.root.evaluate(SNAP))]
        if name == "chain"
        else []
    )
    widget.answer()
    page.wait_for_timeout(600)
    if name == "bend":
        views = [
            ("64 units without β: all bend at the mean of the data", widget.root.evaluate(SNAP))
        ]
        widget.control("spread").press("End")
    titles = {
        "bend": "The same units with β between −2 and 2",
        "identity": "32 batches of 8 rows, with the population's γ and β (cross)",
        "area": "Both factors move: two strips, and a corner covered twice",
        "chain": "Matched promise: they are small",
        "gradient": "One row is pulled; its mean and its part along x̂ are taken out",
    }
    views.append((titles[name], widget.root.evaluate(SNAP)))
    parts, top = [], 12
    for title, charts in views:
        parts.append(f'<text x="12" y="{top + 18}" font-size="17" font-weight="700">{title}</text>')
        for chart in charts:
            x, y = round(chart["x"]) + 12, round(chart["y"]) + top + 32
            parts.append(f'<g transform="translate({x} {y})">{"".join(chart["marks"])}</g>')
        top += 32 + round(max(c["y"] + c["h"] for c in charts)) + 12
    body = re.sub("<[^>]+>", _shorter, "\n".join(parts)).replace(": pull the arrows", "")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="684" height="{top}" '
        f'viewBox="0 0 684 {top}" font-family="{FONT}" fill="#222832">\n'
        f'<rect width="684" height="{top}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _shorter(tag):
    return re.sub(r"\d+\.\d{3,}", lambda k: f"{float(k[0]):.2f}", tag[0])


@pytest.mark.parametrize("name", NAMES)
def test_the_static_picture_is_what_the_widget_draws(visit, name):
    path, found = ASSETS / f"widgets/{name}.svg", picture(visit, name)
    if os.environ.get("BN_PICTURES") == "write":
        path.write_text(found, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == found


# --- in the book ---


def test_built_pages_load_their_widgets_and_hold_them_in_view(visit, site):
    """And no other page loads any; where scripts are off, the picture stays."""
    held = []
    for path in HTML.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        names = re.findall(r"<bn-([a-z]+)>", text)
        assert ("widgets/core.js" in text) is ("widgets.css" in text) is bool(names), path.name
        held += [(name, path.as_uri()) for name in names]
    assert {name for name, _ in held} == set(NAMES)
    for name, url in held:
        for width, scheme in ((390, "dark"), (1440, "light")):
            shape = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
            widget = Widget(visit(url=url, reduced_motion="reduce", **shape), name)
            before = widget.root.bounding_box()
            widget.answer(2).said()
            CHECKS[name](widget)
            after = widget.root.bounding_box()
            assert (after["width"], after["height"]) == (before["width"], before["height"])
            assert 0 <= after["x"] <= width - after["width"]
            assert widget.root.locator("img").count() == 0
        picture = visit(url=url, java_script_enabled=False).locator(f"bn-{name} img")
        assert picture.evaluate("e => e.complete && e.naturalWidth > 200")
        assert len(picture.get_attribute("alt")) > 100
