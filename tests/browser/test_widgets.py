"""The widgets in Debian's Chromium, opened as files: every control, against the library's numbers.

`BN_PICTURES=write pytest tests/browser/test_widgets.py -k static` writes the static pictures anew.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from oracles import widgets

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "book/assets"
HTML = ROOT / "_build/html"
NAMES = ("bend", "identity", "chain", "gradient")
RAW_LIMIT = 48_000  # bytes of all scripts together
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
        f'<script defer src="{assets}/widgets/{name}.js"></script>'
        for name in ("core", "sample", *NAMES)
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

    def said(self):
        self.page.wait_for_timeout(450)  # it waits until the hand rests
        return self.root.locator("[role=status]").inner_text()


@pytest.fixture
def visit(browser, bench, request):
    """Open the page of all widgets; complain about whatever it complains about."""
    contexts, complaints = [], []

    def go(*, url=bench, **options):
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 900}, **options})
        contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda m: m.type == "error" and complaints.append(m.text))
        # A page preloads scripts that a browser without scripts then refuses.
        refused = options.get("java_script_enabled") is False
        page.on(
            "requestfailed",
            lambda r: (refused and ".js" in r.url) or complaints.append(f"failed: {r.url}"),
        )
        page.goto(url, wait_until="load")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []


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
    m, number, seen = (int(data[key]) for key in ("m", "number", "seen"))
    want = widgets.identity_numbers(
        m, number, data["gamma"], data["beta"], eps=data["eps"], seen=seen
    )
    for key in ("x", "mu", "var", "x-hat", "y", "law"):
        close(data[key], want[key], floor=1e-13)
    # Errors are squares of differences of numbers of order one: below 1e-24 all is rounding.
    close(data["error"], want["error"])
    close(data["errors"], want["errors"])
    reads(widget.fact(0), np.sqrt(want["error"]))
    reads(widget.fact(2), np.sqrt(want["law"]))
    if seen:
        close(data["mean-error"], want["mean-error"])
        reads(widget.fact(1), np.sqrt(want["mean-error"]))
    dots = widget.root.locator("[data-chart=lines] .bw-fill-output")
    assert dots.count() == m
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
    assert widget.root.locator(".bw-bar").count() == int(data["depth"])
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
    shown = widget.fact(0)
    assert shown == pytest.approx(max(100 * want["left"], 0.05), abs=0.51)
    return data


CHECKS = {
    "bend": check_bend,
    "identity": check_identity,
    "chain": check_chain,
    "gradient": check_gradient,
}
SLIDERS = {
    "bend": ("spread", "width"),
    "identity": ("gamma", "beta", "eps", "m"),
    "chain": ("depth", "mean", "spread", "promise"),
    "gradient": ("m", "gamma", "eps"),
}
EVERY = [(name, slider) for name in NAMES for slider in SLIDERS[name]]


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_revealed_before_the_reader_commits(visit, name):
    widget = Widget(visit(), name)
    assert set(widget.root.locator("dd").all_inner_texts()) == {"?"}
    assert widget.root.locator("fieldset.bw-controls").evaluate("e => e.disabled")
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
    pressed = widget.root.locator(".bw-options [aria-pressed=true]")
    assert pressed.count() == 1
    widget.root.locator(".bw-options button").nth(2).dispatch_event("click")  # too late
    assert widget.data["answer"] == 1
    assert widget.said().startswith("Not so.")
    CHECKS[name](widget)


@pytest.mark.parametrize("name", NAMES)
def test_the_right_answer_is_called_right_and_is_right(visit, name):
    widget = Widget(visit(), name).answer(2)
    assert widget.said().startswith("Right.")
    assert (
        widget.root.locator(".bw-right")
        .inner_text()
        .startswith(widget.root.locator(".bw-options button").nth(2).inner_text()[:5])
    )
    data = CHECKS[name](widget)
    if name == "bend":
        assert data["places"] == 1
        assert data["left"] > 0.8
    elif name == "identity":
        assert 0.35 < np.sqrt(data["mean-error"]) < 0.5
    elif name == "chain":
        assert data["above"] < data["first"] / 5
    else:
        assert np.abs(data["dx"]).min() > 1e-3
        assert abs(data["dx"].sum()) < 1e-12


@pytest.mark.parametrize(("name", "slider"), EVERY)
def test_slider_by_mouse(visit, name, slider):
    widget = Widget(visit(), name).answer()
    seen = set()
    for share in (0.03, 0.3, 0.62, 0.97):
        control = widget.control(slider)
        control.scroll_into_view_if_needed()
        box = control.bounding_box()
        widget.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        CHECKS[name](widget)
        seen.add(control.input_value())
    assert len(seen) == 4


@pytest.mark.parametrize(("name", "slider"), EVERY)
def test_slider_by_keyboard(visit, name, slider):
    widget = Widget(visit(), name).answer()
    seen = set()
    for key in ("Home", "ArrowRight", "ArrowUp", "End", "ArrowLeft", "ArrowDown"):
        control = widget.control(slider)
        control.press(key)
        CHECKS[name](widget)
        said = control.get_attribute("aria-valuetext")
        assert (
            said == widget.root.locator(f".bw-slider:has([name={slider}]) .bw-value").inner_text()
        )
        seen.add(said)
    assert len(seen) >= 4


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_beta_bends_a_relu_layer_and_gamma_only_a_tanh_layer(visit, how):
    widget = Widget(visit(), "bend").answer()
    flat = check_bend(widget)["left"]
    choose(widget, "gamma", "varied", how)
    assert check_bend(widget)["left"] == pytest.approx(flat, rel=1e-6)
    widget.control("spread").press("End")
    assert check_bend(widget)["left"] < 0.01
    choose(widget, "curve", "bands", how)
    check_bend(widget)
    choose(widget, "activation", "tanh", how)
    check_bend(widget)
    widget.control("spread").press("Home")
    varied = check_bend(widget)["left"]
    choose(widget, "gamma", "one", how)
    assert varied < 0.7 * check_bend(widget)["left"]


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_buttons_of_the_identity(visit, how):
    widget = Widget(visit(), "identity").answer()
    press(widget, "batch", how)
    data = check_identity(widget)
    assert data["error"] < 1e-28
    assert data["gamma"] == pytest.approx(np.sqrt(data["var"] + data["eps"]), rel=1e-15)
    press(widget, "population", how)
    data = check_identity(widget)
    assert data["beta"] == widgets.MU
    assert data["gamma"] == pytest.approx(np.sqrt(widgets.SIGMA**2 + data["eps"]), rel=1e-15)
    widget.control("m").press("Home")  # another size forgets the batches that were seen
    assert widget.data["seen"] == 0
    for count in (1, 2, 3):
        press(widget, "fresh", how)
        data = check_identity(widget)
        assert (data["seen"], data["number"]) == (count, count)
    press(widget, "many", how)
    assert check_identity(widget)["seen"] == widgets.BATCHES - 1
    press(widget, "fresh", how)  # after the last comes the first
    assert check_identity(widget)["number"] == 1


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_step_rule_and_batch_norm_of_the_chain(visit, how):
    widget = Widget(visit(), "chain").answer()
    assert not widget.control("eta").is_visible()
    choose(widget, "norm", "on", how)
    assert check_chain(widget)["above"] < 1e-6
    choose(widget, "rule", "fixed", how)
    check_chain(widget)
    assert not widget.control("promise").is_visible()
    for key in ("Home", "PageUp", "ArrowRight", "End"):
        if how == "keyboard":
            widget.control("eta").press(key)
        else:
            box = widget.control("eta").bounding_box()
            share = {"Home": 0.05, "PageUp": 0.3, "ArrowRight": 0.6, "End": 0.95}[key]
            widget.page.mouse.click(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
        data = check_chain(widget)
        assert data["step"] == pytest.approx(
            10 ** (float(widget.control("eta").input_value()) / 20), rel=1e-12
        )
    choose(widget, "norm", "off", how)
    check_chain(widget)
    choose(widget, "rule", "matched", how)
    check_chain(widget)


def test_the_chain_at_the_corners_of_its_settings(visit):
    widget = Widget(visit(), "chain").answer()
    for norm in ("on", "off"):
        choose(widget, "norm", norm, "mouse")
        for rule in ("matched", "fixed"):
            choose(widget, "rule", rule, "mouse")
            for keys in (("Home", "Home"), ("Home", "End"), ("End", "Home"), ("End", "End")):
                for name, key in zip(("mean", "spread"), keys, strict=True):
                    widget.control(name).press(key)
                    check_chain(widget)


@pytest.mark.parametrize("how", ["mouse", "keyboard"])
def test_buttons_of_the_gradient(visit, how):
    widget = Widget(visit(reduced_motion="reduce"), "gradient").answer()
    for name in ("equal", "along"):
        press(widget, name, how)
        data = check_gradient(widget)
        assert np.abs(data["dx"]).max() < 1e-14
    press(widget, "one", how)
    data = check_gradient(widget)
    assert np.count_nonzero(data["dy"]) == 1
    press(widget, "again", how)
    assert str(check_gradient(widget)) == str(data)
    widget.control("m").press("Home")
    press(widget, "one", how)
    assert check_gradient(widget)["passed"] < 1e-28
    assert "two rows nothing passes" in widget.said()


def test_arrows_follow_the_mouse(visit):
    widget = Widget(visit(reduced_motion="reduce"), "gradient").answer()
    for row, pull in ((0, 1.0), (3, -1.5), (2, 5.0)):
        handle = widget.root.locator(f"[data-row='{row}']")
        handle.scroll_into_view_if_needed()
        before = widget.data["dy"][row]
        box = handle.bounding_box()
        x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        widget.page.mouse.move(x, y)
        widget.page.mouse.down()
        widget.page.mouse.move(x, y - 10)
        widget.page.mouse.move(x, y - 33 * (pull - before), steps=4)
        widget.page.mouse.up()
        widget.page.mouse.move(x, y - 100)  # released: nothing more
        data = check_gradient(widget)
        assert data["dy"][row] == pytest.approx(min(pull, 2.0), abs=0.05)
        assert handle.evaluate("e => e === document.activeElement")


def test_arrows_follow_a_finger_and_the_page_does_not_scroll(visit):
    page = visit(has_touch=True, is_mobile=True, viewport={"width": 390, "height": 800})
    widget = Widget(page, "gradient")
    widget.root.locator(".bw-options button").nth(2).tap()
    handle = widget.root.locator("[data-row='1']")
    handle.scroll_into_view_if_needed()
    page.wait_for_timeout(300)
    box, top = handle.bounding_box(), page.evaluate("scrollY")
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    client = page.context.new_cdp_session(page)
    for kind, dy in (("touchStart", 0), ("touchMove", -20), ("touchMove", -33), ("touchEnd", None)):
        points = [] if dy is None else [{"x": x, "y": y + dy}]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})
        page.wait_for_timeout(60)  # moves are delivered once a frame
    assert check_gradient(widget)["dy"][1] == pytest.approx(1.0, abs=0.05)
    assert page.evaluate("scrollY") == top


def test_arrows_follow_the_keys_and_say_so(visit):
    widget = Widget(visit(), "gradient").answer()
    handle = widget.root.locator("[data-row='1']")
    keys = {"ArrowUp": 0.1, "ArrowRight": 0.2, "PageUp": 0.7, "ArrowDown": 0.6, "ArrowLeft": 0.5}
    keys |= {"PageDown": 0.0, "End": 2.0, "Home": -2.0}
    for key, want in keys.items():
        handle.press(key)
        data = check_gradient(widget)
        assert data["dy"][1] == pytest.approx(want, abs=1e-12)
        assert displayed(handle.get_attribute("aria-valuetext")) == pytest.approx(want)
        assert float(handle.get_attribute("aria-valuenow")) == pytest.approx(want)
    assert "of the energy" in widget.said().lower()


def test_everything_is_reached_and_used_by_keyboard_alone(visit):
    page = visit(reduced_motion="reduce")
    for name in NAMES:
        page.evaluate("() => document.activeElement.blur()")
        focus = f"() => document.activeElement.closest('bn-{name}') !== null"
        for _ in range(60):
            page.keyboard.press("Tab")
            if page.evaluate(focus):
                break
        page.keyboard.press("Enter")
        widget, reached = Widget(page, name), set()
        for _ in range(40):
            if not page.evaluate(focus):
                break
            reached.add(
                page.evaluate(
                    "() => { const e = document.activeElement;"
                    " return e.name?.replace(/^bw\\d+-/, '') || e.dataset.row || e.textContent; }"
                )
            )
            page.keyboard.press("Tab")
        wanted = {*SLIDERS[name], *WANTED[name]}
        assert wanted <= reached
        CHECKS[name](widget)


WANTED = {
    "bend": ("gamma", "activation", "curve"),
    "identity": {"batch", "population", "fresh", "many"},
    "chain": {"rule", "norm"},
    "gradient": {"one", "equal", "along", "again", "0", "1", "2", "3", "4"},
}


def press(widget, name, how):
    button = widget.control(name)
    button.click() if how == "mouse" else button.press("Enter")


def choose(widget, name, value, how):
    group = widget.root.locator(f"[data-name={name}]")
    option = group.locator(f"input[value={value}]")
    if how == "mouse":
        option.locator("xpath=..").click()  # its label
    elif not option.is_checked():
        group.locator("input:checked").press("ArrowRight")
    assert option.is_checked()


# --- without script, on paper, on a phone, at rest ---


def test_without_script_there_is_a_static_picture(visit):
    page = visit(java_script_enabled=False)
    for name in NAMES:
        picture = page.locator(f"bn-{name} img")
        box = picture.bounding_box()
        assert box["width"] > 200
        assert box["height"] > 150
        assert page.locator(f"bn-{name} .bw-body").count() == 0


@pytest.mark.parametrize("width", [320, 358, 390, 430, 600, 768, 1000, 1440])
def test_nothing_overflows_or_moves(visit, width):
    page = visit(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    for name in NAMES:
        size = "e => [e.getBoundingClientRect().height, e.querySelector('.bw-status').clientHeight]"
        root = page.locator(f"bn-{name}")
        before, _ = root.evaluate(size)
        room = root.evaluate("e => parseFloat(getComputedStyle(e, '::before').minHeight)")
        assert before <= room + 1, f"{name} needs {before}, reserved are {room}"
        Widget(page, name).answer().said()
        after, _ = root.evaluate(size)
        assert after <= room + 1, f"{name} needs {after}, reserved are {room}"
        assert room - _needed(root) < 340, f"{name} leaves {room - _needed(root)} empty"
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    # Words of a drawing may not stick out of it.
    out = page.evaluate(
        "() => [...document.querySelectorAll('.bw-chart text')].filter(t => {"
        " const a = t.getBoundingClientRect(), b = t.ownerSVGElement.getBoundingClientRect();"
        " return a.left < b.left - 1 || a.right > b.right + 1; }).map(t => t.textContent)"
    )
    assert out == []


def _needed(root):
    return root.evaluate(
        "e => e.querySelector('.bw-status').getBoundingClientRect().bottom"
        " - e.getBoundingClientRect().top + 16"
    )


@pytest.mark.parametrize("width", [320, 1440])
def test_targets_are_large_enough(visit, width):
    page = visit(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    for name in NAMES:
        Widget(page, name).answer()
    page.locator("bn-gradient input[name=m]").press("End")
    small = page.evaluate(
        "() => [...document.querySelectorAll('.bw-body button, .bw-slider input, .bw-choice label,"
        " .bw-handle')].map(e =>"
        " [e.name || e.textContent || e.dataset.row, e.getBoundingClientRect()])"
        ".filter(([, b]) => b.width && (b.width < 24 || b.height < 24)).map(([n]) => n)"
    )
    assert small == []
    lefts = page.evaluate(
        "() => [...document.querySelectorAll('.bw-handle')]"
        ".map(e => e.getBoundingClientRect().left)"
    )
    assert np.diff(np.sort(lefts)).min() >= 24


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
@pytest.mark.parametrize("answered", [False, True])
def test_axe_finds_nothing(visit, scheme, answered):
    from axe_playwright_python.sync_playwright import Axe

    page = visit(reduced_motion="reduce")
    page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{scheme}'; }}")
    if answered:
        for name in NAMES:
            Widget(page, name).answer()
    page.wait_for_timeout(500)
    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"preload": False, "runOnly": tags})
    assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found.response["violations"]] == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_marks_and_words_of_the_drawings_have_contrast(visit, scheme):
    page = visit(reduced_motion="reduce")
    page.evaluate(f"() => {{ document.documentElement.dataset.theme = '{scheme}'; }}")
    words = {"input", "normalized", "output", "press", "text", "soft"}
    names = [*words, "batch", "gradient", "neutral", "theory", "exact", "edge", "page"]
    script = "(e, n) => n.map(k => getComputedStyle(e).getPropertyValue('--bw-' + k).trim())"
    colors = dict(zip(names, page.locator("bn-chain").evaluate(script, names), strict=True))
    ground = luminance(colors.pop("page"))
    for name, color in colors.items():
        ratio = contrast(luminance(color), ground)
        assert ratio >= (4.5 if name in words else 3), f"{name}: {ratio:.2f}"


def luminance(color):
    digits = color.lstrip("#")
    digits = "".join(2 * d for d in digits) if len(digits) == 3 else digits
    parts = np.array([int(digits[i : i + 2], 16) for i in (0, 2, 4)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(a, b):
    return (max(a, b) + 0.05) / (min(a, b) + 0.05)


def test_on_paper_there_are_drawings_and_numbers_in_light_colors(visit):
    page = visit(reduced_motion="reduce")
    page.evaluate("() => { document.documentElement.dataset.theme = 'dark'; }")
    for name in NAMES:
        Widget(page, name).answer()
    page.emulate_media(media="print")
    for name in NAMES:
        root = page.locator(f"bn-{name}")
        assert not root.locator(".bw-buttons").is_visible() if name != "chain" else True
        assert root.locator(".bw-chart").first.is_visible()
        assert root.locator("dd").first.is_visible()
        color = root.locator(".bw-title").evaluate("e => getComputedStyle(e).color")
        assert color == "rgb(0, 0, 0)"
        assert root.locator(".bw-body").evaluate("e => getComputedStyle(e).breakInside") == "avoid"


def test_scripts_are_small_and_ask_for_nothing(visit):
    scripts = sorted((ASSETS / "widgets").glob("*.js"))
    assert {path.stem for path in scripts} == {"core", "sample", *NAMES}
    assert sum(path.stat().st_size for path in scripts) < RAW_LIMIT
    for path in scripts:
        text = path.read_text(encoding="utf-8")
        asked = re.findall(
            r"fetch\(|XMLHttpRequest|\bimport\b|https?://(?!www\.w3\.org/2000/svg)", text
        )
        assert asked == [], path.name


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
        "identity": "A batch of 8 rows with the population's γ and β, and 32 errors",
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


@pytest.fixture
def held_by_page(site):
    """The text of every built page, and the names of its widgets."""
    texts = {path: path.read_text(encoding="utf-8") for path in HTML.rglob("*.html")}
    return texts, {path: re.findall(r"<bn-([a-z]+)>", text) for path, text in texts.items()}


def test_built_pages_with_a_widget_load_it_and_only_those(visit, held_by_page):
    texts, held = held_by_page
    assert set().union(*held.values()) == set(NAMES)
    for path, names in held.items():
        assert ("widgets/core.js" in texts[path]) is bool(names), path.name
        assert ("widgets.css" in texts[path]) is bool(names), path.name
        if names:
            page = visit(url=path.as_uri())
            for name in names:
                CHECKS[name](Widget(page, name).answer(2))


@pytest.mark.parametrize(
    ("width", "scheme"), [(320, "dark"), (390, "light"), (768, "dark"), (1440, "light")]
)
def test_built_pages_keep_their_widgets_in_view_in_both_themes(visit, held_by_page, width, scheme):
    shape = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    for path, names in held_by_page[1].items():
        for name in names:
            page = visit(url=path.as_uri(), reduced_motion="reduce", **shape)
            assert page.evaluate("document.documentElement.dataset.theme") == scheme
            root = page.locator(f"bn-{name}")
            before = root.bounding_box()
            Widget(page, name).answer().said()
            after = root.bounding_box()
            assert (after["width"], after["height"]) == (before["width"], before["height"])
            assert after["x"] >= 0
            assert after["x"] + after["width"] <= width
            assert root.locator(".bw-chart").first.is_visible()
            assert root.locator("img").count() == 0


def test_built_pages_show_the_picture_where_scripts_are_off(visit, held_by_page):
    for path, names in held_by_page[1].items():
        for name in names:
            page = visit(url=path.as_uri(), java_script_enabled=False)
            picture = page.locator(f"bn-{name} img")
            assert picture.evaluate("e => e.complete && e.naturalWidth > 200")
            assert len(picture.get_attribute("alt")) > 100
