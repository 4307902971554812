/* What the widgets share: elements, drawing, controls, the question before the answer. */
"use strict";
window.BN = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  let count = 0;

  const assign = (node, attributes) => {
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else if (value === false || value === undefined) node.removeAttribute(name);
      else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value);
    }
    return node;
  };

  const make = (tag, attributes = {}, ...children) => {
    const node = assign(document.createElement(tag), attributes);
    node.append(...children);
    return node;
  };

  /* Draw a list of [tag, attributes, text]. A mark keeps its element, and with it focus, capture and
     transitions, as long as its place in the list and its tag stay. */
  const paint = (root, marks) => {
    marks.forEach(([tag, attributes, text], i) => {
      let node = root.children[i];
      if (node?.tagName !== tag) {
        const fresh = document.createElementNS(SVG, tag);
        if (node) node.replaceWith(fresh);
        else root.append(fresh);
        node = fresh;
      }
      for (const { name } of [...node.attributes]) if (!(name in attributes)) node.removeAttribute(name);
      assign(node, attributes);
      if (node.textContent !== (text ?? "")) node.textContent = text ?? "";
    });
    while (root.children.length > marks.length) root.lastChild.remove();
  };

  const text = (x, y, words, attributes = {}) => ["text", { x, y, ...attributes }, words];
  const line = (x1, y1, x2, y2, kind, more = {}) => ["line", { x1, y1, x2, y2, class: kind, ...more }];

  const SUPER = "⁰¹²³⁴⁵⁶⁷⁸⁹";
  const power = (k) => `10${k < 0 ? "⁻" : ""}${[...String(Math.abs(k))].map((d) => SUPER[d]).join("")}`;

  /* A number for people: three digits; what is only rounding is zero. */
  const show = (value) => {
    const size = Math.abs(value);
    if (!Number.isFinite(value)) return "–";
    if (size < 1e-11) return "0";
    let digits = String(Number(size.toPrecision(3)));
    if (size < 1e-3 || size >= 99950) {
      const k = Math.floor(Math.log10(size) + 1e-9);
      digits = `${(size / 10 ** k).toFixed(1)}·${power(k)}`;
    }
    return (value < 0 ? "−" : "") + digits;
  };

  const sum = (a) => a.reduce((s, v) => s + v, 0);
  const mean = (a) => sum(a) / a.length;

  /* Mean, biased variance and normalized rows of one channel. */
  const normalize = (x, eps) => {
    const mu = mean(x);
    const centered = x.map((v) => v - mu);
    const variance = mean(centered.map((v) => v * v));
    const tau = Math.sqrt(variance + eps);
    return { mu, variance, tau, hat: centered.map((v) => (tau ? v / tau : 0)) };
  };

  class Widget extends HTMLElement {
    connectedCallback() {
      if (this.stage) return;
      this.key = `bw${++count}`;
      this.answered = false;
      this.charts = [];
      this.facts = {};
      this.settings = {};
      this.stage = make("div", { class: "bw-stage" });
      this.controls = make("fieldset", { class: "bw-controls", disabled: "" },
        make("legend", { class: "bw-hidden" }, "Settings"));
      this.reading = make("dl", { class: "bw-reading" });
      this.status = make("p", { class: "bw-status", role: "status" });
      this.build();
      const title = make("p", { class: "bw-title", id: `${this.key}-title` }, this.title_);
      this.replaceChildren(make("div", { class: "bw-body", role: "group", "aria-labelledby": title.id },
        title, this.ask(), this.stage, this.controls, this.reading, this.status));
      this.status.textContent = "Choose an answer. Then the settings open.";
      this.restore();
      this.update(true);
      if (this.answered) this.status.textContent = this.summary();
      // A box whose width is not known yet draws nothing.
      new ResizeObserver(() => this.redraw()).observe(this.stage);
    }

    ask() {
      const { words, options } = this.question;
      const id = `${this.key}-ask`;
      this.options = options.map((option, i) =>
        make("button", { type: "button", "aria-pressed": "false", onclick: () => this.answer(i) },
          option, make("span", { class: "bw-mark", "aria-hidden": "true" }, " ✓")));
      return make("div", { class: "bw-ask", role: "group", "aria-labelledby": id },
        make("p", { id }, make("strong", {}, "First your prediction. "), words),
        make("div", { class: "bw-options" }, ...this.options));
    }

    answer(chosen) {
      if (this.answered) return;
      this.open(chosen);
      this.dataset.answer = chosen;
      this.update(true);
      this.say(`${chosen === this.question.right ? "Right." : "Not so."} ${this.verdict()}`, 0);
    }

    open(chosen) {
      this.answered = true;
      this.options.forEach((button, i) => {
        assign(button, { "aria-disabled": "true", "aria-pressed": String(i === chosen) });
        if (i === this.question.right) {
          button.classList.add("bw-right");
          button.append(make("span", { class: "bw-hidden" }, ", right"));
        }
      });
      this.controls.disabled = false;
      this.reveal();
    }

    /* The address carries the settings, `?identity.m=10&identity.mode=evaluation`; a control takes
       only what it could be set to. Whoever comes with settings has had the question before. */
    restore() {
      const address = new URLSearchParams(location.search);
      const given = Object.keys(this.settings).filter((name) => address.has(this.parameter(name)));
      if (given.length) this.open();
      given.forEach((name) => this.settings[name].set(address.get(this.parameter(name))));
    }

    store() {
      const address = new URLSearchParams(location.search);
      for (const [name, { get }] of Object.entries(this.settings)) address.set(this.parameter(name), get());
      history.replaceState(null, "", `?${address}${location.hash}`);
    }

    parameter(name) {
      return `${this.localName.slice(3)}.${name}`;
    }

    /* A drawing of fixed height; `role` is "img" unless it holds something to operate. */
    chart(name, height, role = "img") {
      const svg = document.createElementNS(SVG, "svg");
      assign(svg, { class: "bw-chart", height, role, "data-chart": name });
      const box = make("div", { class: `bw-box bw-${name}` }, svg);
      this.stage.append(box);
      this.charts.push({ svg, box, height, name });
      return svg;
    }

    redraw() {
      for (const { svg, box, height, name } of this.charts) {
        const width = Math.floor(box.clientWidth);
        if (!width) continue;
        assign(svg, { width, viewBox: `0 0 ${width} ${height}` });
        paint(svg, this[`draw_${name}`](width, height, svg));
      }
    }

    /* A native range with its name and value; `text` says a value in words. */
    slider(name, label, { min, max, step, get, set, text: words }) {
      const id = `${this.key}-${name}`;
      const input = make("input", {
        type: "range", id, name, min, max, step,
        oninput: () => { set(Number(input.value)); this.update(); },
      });
      const value = make("span", { class: "bw-value", "aria-hidden": "true" });
      const row = make("div", { class: "bw-slider" }, make("label", { for: id }, label), input, value);
      this.controls.append(row);
      this.settings[name] = {
        get: () => input.value,
        set: (wanted) => { input.value = wanted; set(Number(input.value)); },
      };
      this.syncs ??= [];
      this.syncs.push(() => {
        input.value = get();
        value.textContent = words();
        input.setAttribute("aria-valuetext", words());
      });
      return row;
    }

    buttons(...list) {
      const made = list.map(([name, label, act]) => make("button", {
        type: "button", name, onclick: () => { act(); this.update(); },
      }, label));
      this.controls.append(make("div", { class: "bw-buttons" }, ...made));
      return made;
    }

    /* Alternatives, one of which holds; native radio buttons. */
    choice(name, legend, list, get, set) {
      const inputs = list.map(([value]) => make("input", {
        type: "radio", name: `${this.key}-${name}`, value,
        onchange: () => { set(value); this.update(); },
      }));
      this.controls.append(make("fieldset", { class: "bw-choice", "data-name": name },
        make("legend", {}, legend),
        ...list.map(([, label], i) => make("label", {}, inputs[i], label))));
      this.settings[name] = { get, set: (wanted) => { if (inputs.some(({ value }) => value === wanted)) set(wanted); } };
      this.syncs.push(() => inputs.forEach((input) => { input.checked = input.value === get(); }));
    }

    fact(name, label) {
      const value = make("dd");
      this.facts[name] = value;
      this.reading.append(make("div", {}, make("dt", {}, label), value));
    }

    /* Compute, draw, say; `quiet` when nobody asked for it. */
    update(quiet = false) {
      const found = this.compute();
      for (const [name, value] of Object.entries(found)) {
        this.dataset[name] = Array.isArray(value) ? value.join(" ") : String(value);
      }
      this.found = found;
      this.syncs?.forEach((sync) => sync());
      for (const [name, words] of Object.entries(this.texts())) {
        this.facts[name].textContent = this.answered ? words : "?";
      }
      this.redraw();
      if (!quiet) this.say(this.summary());
    }

    /* Wait until the hand rests: a screen reader need not hear every value on the way. */
    say(words, wait = 350) {
      clearTimeout(this.later);
      this.later = setTimeout(() => {
        this.status.textContent = words;
        this.store();
      }, wait);
    }

    reveal() {}
  }

  return { Widget, line, make, mean, normalize, paint, power, show, sum, text };
})();
