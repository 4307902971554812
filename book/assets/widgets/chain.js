/* The orders of one gradient step of all factors of a scalar chain. */
"use strict";
(() => {
  const { Widget, line, power, show, sum, text } = window.BN;
  const EPS = 1e-5; // under the root of the chain's normalization
  const RULES = [["fixed", "fixed step η"], ["matched", "matched promise"]];
  const VIEWS = [["sizes", "sizes"], ["waterfall", "waterfall"]];
  const [UP, DOWN] = [0.25, -1]; // the waterfall's axis: change of the output over the output

  /* x prod_i (w_i - s m_i) as a polynomial in s, one factor at a time. */
  const product = (w, moves) => w.reduce(
    (c, wi, i) => [...c, 0].map((v, k) => v * wi - (k ? c[k - 1] * moves[i] : 0)),
    [1],
  );

  /* Sums of the terms that need exactly k of the factors: Möbius inversion over all subsets. */
  const orderSums = (f, depth) => {
    const terms = Float64Array.from({ length: 2 ** depth }, (_, subset) => f(subset));
    for (let i = 0; i < depth; i += 1) {
      for (let subset = 0; subset < terms.length; subset += 1) {
        if ((subset >> i) & 1) terms[subset] -= terms[subset ^ (1 << i)];
      }
    }
    const sums = new Array(depth + 1).fill(0);
    terms.forEach((term, subset) => {
      let size = 0;
      for (let rest = subset; rest; rest &= rest - 1) size += 1;
      sums[size] += term;
    });
    return sums;
  };

  customElements.define("bn-chain", class extends Widget {
    title_ = "The chain: how large is each order of one step?";
    question = {
      words: "Twelve factors of about 1.2, target 0, make one gradient step of fixed size. The orders from 2 on are hundreds "
        + "of times the first. Now shorten the step until it promises, to first order, to halve the loss. "
        + "How large are the orders from 2 on then, together, against the first?",
      options: ["still many times", "about equal", "less than a fifth"],
      right: 2,
    };

    build() {
      this.state = { depth: 12, mean: 1.2, spread: 0.2, rule: "fixed", view: "sizes", eta: -34, promise: 0.5, norm: "off" };
      const s = this.state;
      this.chart("orders", 250);
      const plain = (name, label, min, max, step) => this.slider(name, label, {
        min, max, step, text: () => show(s[name]), get: () => s[name], set: (v) => { s[name] = v; },
      });
      plain("depth", "depth l", 1, 12, 1);
      plain("mean", "weight w", 0.4, 1.6, 0.05);
      plain("spread", "spread", 0, 0.8, 0.05);
      this.choice("rule", "step", RULES, () => s.rule, (v) => { s.rule = v; });
      this.etaRow = this.slider("eta", "step η", {
        min: -80, max: 0, step: 1, text: () => show(10 ** (s.eta / 20)), get: () => s.eta, set: (v) => { s.eta = v; },
      });
      this.promiseRow = plain("promise", "promise", 0.05, 1.5, 0.05);
      this.choice("view", "picture", VIEWS, () => s.view, (v) => { s.view = v; });
      this.choice("norm", "batch norm before the last factor", [["off", "off"], ["on", "on"]], () => s.norm, (v) => { s.norm = v; });
      this.fact("first", "order 1");
      this.fact("above", "orders 2 and up");
      this.fact("bound", "bound for these");
      this.fact("decrease", "loss: promised, actual");
    }

    reveal() {
      this.state.rule = "matched";
    }

    /* Target 0 and mean x^2 = 1: the loss is half the square of the output, c = output^2. */
    compute() {
      const { depth, mean, spread, rule, view, eta, promise, norm } = this.state;
      const w = Array.from({ length: depth }, (_, i) => mean * (1 + spread * (2 * (((i + 1) * 0.618034) % 1) - 1)));
      const lower = w.slice(0, -1).reduce((a, b) => a * b, 1);
      const on = norm === "on";
      const tau = (p) => Math.sqrt(p * p + EPS);
      const output = on ? (w[depth - 1] * lower) / tau(lower) : w[depth - 1] * lower;
      const loss = output ** 2 / 2;
      const leak = on ? EPS / (lower ** 2 + EPS) : 1;
      const grads = w.map((wi, i) => ((i < depth - 1 ? leak : 1) * output ** 2) / wi);
      const square = sum(grads.map((g) => g * g));
      const step = rule === "fixed" ? 10 ** (eta / 20) : (promise * loss) / square;
      const moves = grads.map((g) => step * g);
      const at = (subset) => {
        let p = 1;
        for (let i = 0; i < depth - 1; i += 1) p *= w[i] - ((subset >> i) & 1 ? moves[i] : 0);
        const top = w[depth - 1] - ((subset >> (depth - 1)) & 1 ? moves[depth - 1] : 0);
        return on ? (top * p) / tau(p) : top * p;
      };
      const raw = on ? orderSums(at, depth) : product(w, moves);
      const orders = raw.map((v) => v / output);
      const first = Math.abs(orders[1]);
      const even = product(new Array(depth).fill(1), new Array(depth).fill(-first / depth));
      this.etaRow.hidden = rule !== "fixed";
      this.promiseRow.hidden = rule === "fixed";
      return {
        depth, weights: w, rule, view, norm, step, promise: (step * square) / loss, leak, output, orders, first,
        above: sum(orders.slice(2).map(Math.abs)), bound: sum(even.slice(2)),
        actual: 1 - (at(2 ** depth - 1) / output) ** 2,
      };
    }

    texts() {
      const { first, above, bound, promise, actual, norm } = this.found;
      return {
        first: show(first),
        above: `${show(above)}, or ${show(above / first)} of order 1`,
        bound: norm === "on" ? "no BN only" : show(bound),
        decrease: `${show(promise)}, ${show(actual)}`,
      };
    }

    verdict() {
      const { first, above } = this.found;
      return `With the promise matched the orders from 2 on are ${show(above / first)} of the first. `
        + "The explosion was one of the step size. Change the depth, then switch batch norm on.";
    }

    summary() {
      const { first, above, promise, actual, norm, leak, depth } = this.found;
      const lower = norm === "on" && depth > 1 ? ` The lower factors feel ${show(leak)} of their pull.` : "";
      return `Order 1 moves the output by ${show(first)} of itself, all higher orders by ${show(above)}. `
        + `The loss falls by ${show(actual)} of itself, promised were ${show(promise)}.${lower}`;
    }

    draw_orders(width, height, svg) {
      const { orders, depth, norm, view } = this.found;
      if (view === "waterfall") return this.waterfall(width, height, svg);
      const sizes = orders.slice(1).map(Math.abs);
      const high = Math.max(1, Math.ceil(Math.log10(Math.max(...sizes)) + 0.2));
      const low = -5;
      const base = height - 44;
      const at = (v) => 14 + ((high - Math.log10(v)) / (high - low)) * (base - 14);
      svg.setAttribute("aria-label", `Bars of the orders 1 to ${depth}${norm === "on" ? ", batch norm on" : ""}, `
        + `relative to the output: ${sizes.map((v) => (v < 10 ** low ? "about 0" : show(v))).join(", ")}.`);
      const left = 44;
      const wide = (width - left - 8) / 12;
      const marks = [];
      const skip = Math.ceil((high - low) / 8);
      for (let k = low; k <= high; k += 1) {
        const y = at(10 ** k);
        if ((k - low) % skip && k) continue;
        if (k && Math.abs(y - at(1)) < 12) continue;
        marks.push(line(left, y, width - 6, y, k ? "bw-grid" : "bw-output"), text(left - 6, y + 4, k ? power(k) : "1", { class: "bw-tick bw-end" }));
      }
      orders.slice(1).forEach((v, i) => {
        const size = Math.abs(v);
        const y = size > 10 ** low ? at(size) : base;
        const x = left + i * wide + wide * 0.16;
        marks.push(["rect", {
          x, y, width: wide * 0.68, height: base - y,
          class: `bw-bar bw-bar-${i ? "high" : "first"}${v < 0 ? " bw-hollow" : ""}`,
        }]);
      });
      for (let i = 0; i < depth; i += 1) {
        marks.push(text(left + (i + 0.5) * wide, base + 16, String(i + 1), { class: "bw-tick" }));
        if (sizes[i] <= 10 ** low) marks.push(text(left + (i + 0.5) * wide, base - 4, "0", { class: "bw-tick" }));
      }
      marks.push(line(left, base, width - 6, base, "bw-axis"));
      marks.push(text((left + width) / 2, height - 8, width > 420
        ? "order k: terms of exactly k moves (filled +, hollow −); line 1: the output"
        : "order k (filled +, hollow −)", { class: "bw-tick" }));
      return marks;
    }

    /* The change of the output, order by order: each bar begins where the one before it ended. */
    waterfall(width, height, svg) {
      const rest = this.found.orders.slice(1);
      const parts = rest.slice(0, 3).map((v, i) => [`order ${i + 1}`, v]);
      if (rest.length > 3) parts.push(["the rest", sum(rest.slice(3))]);
      const total = sum(rest);
      svg.setAttribute("aria-label", `Waterfall on a fixed axis. ${parts.map(([name, v]) => `${name}: ${show(v)}`).join(", ")}; `
        + `all together the output changes by ${show(total)} of itself.`);
      const [left, top, base] = [44, 14, height - 44];
      const y = (v) => top + ((UP - Math.min(UP, Math.max(DOWN, v))) / (UP - DOWN)) * (base - top);
      const marks = [UP, 0, -0.25, -0.5, -0.75, DOWN].flatMap((v) => [
        line(left, y(v), width - 6, y(v), v ? "bw-grid" : "bw-axis"), text(left - 6, y(v) + 4, show(v), { class: "bw-tick bw-end" }),
      ]);
      const wide = (width - left - 8) / (parts.length + 1);
      const label = (v) => (Math.abs(v) < 0.005 ? "≈ 0" : `${show(v)}${v < DOWN ? " ↓" : v > UP ? " ↑" : ""}`);
      let reached = 0;
      [...parts, ["all", total]].forEach(([name, v], i) => {
        const [from, to] = i === parts.length ? [0, total] : [reached, reached + v];
        reached = to;
        const [upper, lower] = [y(Math.max(from, to)), y(Math.min(from, to))];
        const x = left + i * wide + wide * 0.16;
        const kind = i === parts.length ? "left" : `order${i ? 2 : 1}`;
        marks.push(
          ["rect", { x, y: upper, width: wide * 0.68, height: lower - upper, class: `bw-part bw-part-${kind}` }],
          text(x + wide * 0.34, base + 16, name, { class: "bw-tick" }),
          text(x + wide * 0.34, Math.min(lower + 15, base - 4), label(v), { class: "bw-tick" }),
        );
      });
      marks.push(text((left + width) / 2, height - 8, width > 420
        ? "change of the output, as a share of it: promised to order 1, corrected by the others" : "change, as a share of the output", { class: "bw-tick" }));
      return marks;
    }
  });
})();
