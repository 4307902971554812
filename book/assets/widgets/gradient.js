/* Pull the gradient at y; see its mean and its part along x-hat taken out before it reaches x. */
"use strict";
(() => {
  const { Widget, line, mean, normalize, power, show, sum, text } = window.BN;
  const X = [-1.6, 0.56, -0.16, 1.58, -1.05, 1.11, -0.67, 0.22];
  const OFFSETS = [0, 1e-5, 1e-3, 0.1, 1, 10];
  const TOP = 2; // largest pull
  const UNIT = 33; // pixels for a pull of 1
  const HEIGHT = 184;
  const MID = 92; // baseline of each panel
  const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
  const cut = (v, limit) => Math.max(-limit, Math.min(limit, v));

  customElements.define("bn-gradient", class extends Widget {
    title_ = "The gradient: what a pull at y does to x";
    question = {
      words: "One row of y is pulled: one arrow, the others are zero. In which rows does x get a gradient?",
      options: ["in that row only", "in all rows, equally", "in all rows, sum zero"],
      right: 2,
    };

    build() {
      this.state = { m: 5, gamma: 1, eps: 0, dy: [0, 0, 0, 2, 0, 0, 0, 0], out: 2 };
      const s = this.state;
      this.pulls = this.chart("pulls", HEIGHT, "group");
      this.chart("parts", HEIGHT);
      this.chart("rest", HEIGHT);
      this.grab();
      this.slider("m", "rows m", {
        min: 2, max: 8, step: 1, text: () => String(s.m), get: () => s.m, set: (v) => { s.m = v; },
      });
      this.slider("gamma", "γ", {
        min: -2, max: 2, step: 0.1, text: () => show(s.gamma), get: () => s.gamma, set: (v) => { s.gamma = v; },
      });
      this.slider("eps", "ε", {
        min: 0, max: OFFSETS.length - 1, step: 1, text: () => (s.eps && s.eps < 0.01 ? power(Math.log10(s.eps)) : show(s.eps)),
        get: () => OFFSETS.indexOf(s.eps), set: (i) => { s.eps = OFFSETS[i]; },
      });
      this.buttons(
        ["one", "One arrow", () => this.pull((_, i) => (i === Math.min(3, s.m - 1) ? 2 : 0))],
        ["equal", "All equal", () => this.pull(() => 1)],
        ["along", "Along x̂", () => this.pull((v) => v)],
        ["again", "Watch again", () => this.play()],
      );
      this.fact("mean", "mean of dy");
      this.fact("along", "part along x̂");
      this.fact("passed", "energy of dy left");
      this.fact("sum", "sum of dx");
    }

    pull(f) {
      const hat = normalize(X.slice(0, this.state.m), this.state.eps).hat;
      hat.forEach((v, i) => { this.state.dy[i] = cut(f(v, i), TOP); });
    }

    set(row, value) {
      this.state.dy[row] = cut(Math.round(value * 20) / 20, TOP);
      this.update();
    }

    /* The arrow heads: by pointer and by keys. */
    grab() {
      const svg = this.pulls;
      const row = (event) => event.target.dataset?.row;
      svg.addEventListener("pointerdown", (event) => {
        if (row(event) === undefined || !this.answered) return;
        event.target.setPointerCapture(event.pointerId);
        event.target.focus({ preventScroll: true });
        this.held = { row: Number(row(event)), y: event.clientY, from: this.state.dy[row(event)] };
        event.preventDefault();
      });
      // touch-action alone does not keep the page still under a mark that paints nothing.
      svg.addEventListener("touchstart", (event) => {
        if (row(event) !== undefined && this.answered) event.preventDefault();
      }, { passive: false });
      svg.addEventListener("pointermove", (event) => {
        if (this.held) this.set(this.held.row, this.held.from - (event.clientY - this.held.y) / UNIT);
      });
      for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { this.held = null; });
      svg.addEventListener("keydown", (event) => {
        if (row(event) === undefined || !this.answered) return;
        const now = this.state.dy[row(event)];
        const next = {
          ArrowUp: now + 0.1, ArrowRight: now + 0.1, ArrowDown: now - 0.1, ArrowLeft: now - 0.1,
          PageUp: now + 0.5, PageDown: now - 0.5, Home: -TOP, End: TOP,
        }[event.key];
        if (next === undefined) return;
        event.preventDefault();
        this.set(Number(row(event)), next);
      });
    }

    reveal() {
      if (!still()) this.play();
    }

    /* First the mean leaves, then the part along x-hat: `out` runs from 0 to 2, or steps. */
    play() {
      cancelAnimationFrame(this.frame);
      if (still()) {
        this.state.out = (this.state.out + 1) % 3;
        return;
      }
      let start;
      const tick = (now) => {
        start ??= now;
        this.state.out = Math.min(2, (now - start) / 900);
        this.redraw();
        if (this.state.out < 2) this.frame = requestAnimationFrame(tick);
      };
      this.state.out = 0;
      this.frame = requestAnimationFrame(tick);
    }

    compute() {
      const { m, gamma, eps } = this.state;
      const x = X.slice(0, m);
      const dy = this.state.dy.slice(0, m);
      const { hat, tau } = normalize(x, eps);
      const gain = gamma / tau;
      const flat = mean(dy);
      const along = mean(dy.map((v, i) => v * hat[i]));
      const part = hat.map((v) => along * v);
      const rest = dy.map((v, i) => v - flat - part[i]);
      const energy = sum(dy.map((v) => v * v));
      return {
        m, gamma, eps, x, dy, xHat: hat, gain, mean: flat, along, part, dx: rest.map((v) => gain * v),
        dgamma: m * along, dbeta: m * flat, passed: energy ? sum(rest.map((v) => v * v)) / energy : 0,
      };
    }

    texts() {
      const { mean: flat, along, passed, dx } = this.found;
      return { mean: show(flat), along: `${show(along)} · x̂`, passed: `${show(100 * passed)} %`, sum: show(sum(dx)) };
    }

    verdict() {
      return "Every row of x answers, because all rows share the mean and the variance. The sum is zero. "
        + "Pull other arrows, by hand or with the arrow keys; then try all equal, along x̂, and two rows.";
    }

    summary() {
      const { passed, mean: flat, along, m } = this.found;
      return `Taken out: the mean ${show(flat)} and ${show(along)} times x̂. Of the energy of dy ${show(100 * passed)} % `
        + `${m > 2 || passed > 1e-11 ? "is left." : "is left: with two rows nothing passes."}`;
    }

    /* Rows stand where their x is, so that the part along x-hat is a straight line. */
    place(width) {
      const x = this.found.x;
      const [low, high] = [Math.min(...X), Math.max(...X)];
      return x.map((v) => 14 + ((v - low) / (high - low)) * (width - 28));
    }

    frame_(width, title, unit) {
      return [
        line(2, MID, width - 2, MID, "bw-axis"),
        text(2, 13, title, { class: "bw-head bw-start" }),
        text(width / 2, HEIGHT - 5, unit, { class: "bw-tick" }),
      ];
    }

    /* A stem with a triangle; what leaves the panel is cut at its edge. */
    arrow(x, value, kind, wide = 5) {
      const long = cut(value, 2.15) * UNIT;
      if (Math.abs(long) < 1.5) return [["circle", { cx: x, cy: MID, r: 2.5, class: `bw-fill-${kind}` }]];
      const back = cut(long, 9);
      return [
        line(x, MID, x, MID - long + back, `bw-stem bw-line-${kind}`),
        ["path", { d: `M${x} ${MID - long}l${-wide} ${back}h${2 * wide}z`, class: `bw-fill-${kind}` }],
      ];
    }

    draw_pulls(width, height, svg) {
      const { dy, m, mean: flat, along, xHat } = this.found;
      svg.setAttribute("aria-label", "Gradient dy at y: an arrow for each row. Each arrow head can be moved up and down.");
      const x = this.place(width);
      const marks = [];
      // Handles first: they keep their elements whatever is drawn after them.
      dy.forEach((v, i) => marks.push(["rect", {
        x: x[i] - 12, y: MID - v * UNIT - 14, width: 24, height: 28, rx: 6,
        class: "bw-handle", "data-row": i, role: "slider", tabindex: this.answered ? 0 : -1,
        "aria-label": `pull at row ${i + 1}`, "aria-orientation": "vertical", "aria-disabled": this.answered ? false : "true",
        "aria-valuemin": -TOP, "aria-valuemax": TOP, "aria-valuenow": v, "aria-valuetext": `${show(v)} at row ${i + 1} of ${m}`,
      }]));
      marks.push(...this.frame_(width, "dy at y: pull the arrows", "one arrow a row, placed by its x"));
      dy.forEach((v, i) => marks.push(...this.arrow(x[i], v, "output"),
        ["circle", { cx: x[i], cy: MID - v * UNIT, r: 9, class: "bw-grip" }]));
      if (this.answered) {
        const best = (v) => MID - (flat + along * v) * UNIT;
        const [a, b] = [xHat.indexOf(Math.min(...xHat)), xHat.indexOf(Math.max(...xHat))];
        marks.push(line(x[a], best(xHat[a]), x[b], best(xHat[b]), "bw-fit"));
      }
      return marks;
    }

    draw_parts(width, height, svg) {
      const { mean: flat, along, part } = this.found;
      svg.setAttribute("aria-label", this.answered
        ? `Taken out of dy: the mean, ${show(flat)} in every row, and the part along x-hat, ${show(along)} times x-hat.`
        : "What is taken out is shown after your prediction.");
      const x = this.place(width);
      const marks = this.frame_(width, "taken out", "mean (grey), part along x̂ (blue)");
      if (!this.answered) return [...marks, text(width / 2, 60, "your prediction first", { class: "bw-tick" })];
      part.forEach((v, i) => marks.push(...this.arrow(x[i] - 4.5, flat, "neutral", 4), ...this.arrow(x[i] + 4.5, v, "normalized", 4)));
      return marks;
    }

    draw_rest(width, height, svg) {
      const { dy, dx, gain, mean: flat, part, m } = this.found;
      svg.setAttribute("aria-label", this.answered
        ? `Gradient dx at x, rows 1 to ${m}: ${dx.map(show).join(", ")}. Hollow: what fixed statistics would pass.`
        : "What reaches x is shown after your prediction.");
      const x = this.place(width);
      const marks = this.frame_(width, `dx at x, gain γ/τ = ${show(gain)}`, "hollow: with fixed statistics");
      if (!this.answered) return [...marks, text(width / 2, 60, "your prediction first", { class: "bw-tick" })];
      const [one, two] = [Math.min(1, this.state.out), Math.max(0, this.state.out - 1)];
      dy.forEach((v, i) => {
        const size = cut(gain * v, 2.15) * UNIT;
        if (Math.abs(size) > 2) {
          marks.push(["rect", { x: x[i] - 6, y: Math.min(MID, MID - size), width: 12, height: Math.abs(size), class: "bw-ghost" }]);
        }
        marks.push(...this.arrow(x[i], gain * (v - one * flat - two * part[i]), "gradient"));
      });
      return marks;
    }
  });
})();
