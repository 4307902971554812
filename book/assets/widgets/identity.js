/* x to x-hat to y for one batch, and what constants do on fresh batches. */
"use strict";
(() => {
  const { Widget, line, mean, normalize, power, show, text } = window.BN;
  const MU = 1;
  const SIGMA = 2; // of the population
  const SIZES = [2, 4, 8, 16, 32];
  const OFFSETS = [0, 1e-5, 1e-3, 0.1, 1, 4];
  const FRESH = 32;

  const table = window.BN_SAMPLE.match(/../g).map((pair) => parseInt(pair, 36) - 648);
  const batch = (m, number) => table.slice(m * number, m * (number + 1)).map((z) => MU + (SIGMA * z) / 100);

  /* Mean of (y - x)^2 over a batch, in units of sigma^2. */
  const error = ({ mu, variance, tau }, gamma, beta) =>
    ((tau ? gamma / tau - 1 : 0) ** 2 * variance + (beta - mu) ** 2) / SIGMA ** 2;

  /* Its expectation over Gaussian batches: a sum over u, with exp(u) = m s^2 / sigma^2 chi-square. */
  const expected = (m, gamma, beta, eps) => {
    const k = m - 1;
    const top = (k * Math.log(k) - k) / 2;
    let weight = 0;
    let scale = 0;
    for (let u = -70; u < 7; u += 0.05) {
      const p = Math.exp((k * u - Math.exp(u)) / 2 - top);
      const s2 = (SIGMA ** 2 * Math.exp(u)) / m;
      weight += p;
      scale += p * (gamma / Math.sqrt(s2 + eps) - 1) ** 2 * s2;
    }
    return (scale / weight + (beta - MU) ** 2) / SIGMA ** 2 + 1 / m;
  };

  customElements.define("bn-identity", class extends Widget {
    title_ = "γ and β: once the identity, always the identity?";
    question = {
      words: "Now γ and β are set so that this batch of 8 rows comes out as it went in: y = x. Give them the values "
        + "of the whole population instead, and let fresh batches of 8 rows come. "
        + "How far is y from x then, as root mean square in units of σ?",
      options: ["not at all", "about 0.1", "about 0.4"],
      right: 2,
    };

    build() {
      this.state = { m: 8, eps: 1e-5, number: 0, seen: 0 };
      const s = this.state;
      this.restore(batch(s.m, 0));
      this.chart("lines", 230);
      this.chart("errors", 120);
      const constant = (name, label) => this.slider(name, label, {
        min: -4, max: 4, step: 0.05, text: () => show(s[name]),
        get: () => s[name], set: (v) => { s[name] = v; },
      });
      constant("gamma", "γ");
      constant("beta", "β");
      this.slider("eps", "ε", {
        min: 0, max: OFFSETS.length - 1, step: 1, text: () => (s.eps && s.eps < 0.01 ? power(Math.log10(s.eps)) : show(s.eps)),
        get: () => OFFSETS.indexOf(s.eps), set: (i) => { s.eps = OFFSETS[i]; },
      });
      this.slider("m", "rows m", {
        min: 0, max: SIZES.length - 1, step: 1, text: () => String(s.m),
        get: () => SIZES.indexOf(s.m), set: (i) => { s.m = SIZES[i]; },
      });
      this.buttons(
        ["batch", "Identity: this batch", () => this.restore(batch(s.m, s.number))],
        ["population", "Identity: population", () => this.constants(MU, SIGMA ** 2)],
        ["fresh", "Fresh batch", () => this.draw(1)],
        ["many", "All 32", () => this.draw(FRESH)],
      );
      this.fact("error", "y from x, this batch");
      this.fact("average", "on fresh batches");
      this.fact("law", "by the law");
    }

    constants(mu, variance) {
      Object.assign(this.state, { gamma: Math.sqrt(variance + this.state.eps), beta: mu });
    }

    restore(x) {
      const { mu, variance } = normalize(x, 0);
      this.constants(mu, variance);
    }

    draw(n) {
      const s = this.state;
      if (n === 1) s.number = (s.number % FRESH) + 1;
      s.seen = n === 1 ? Math.max(s.seen, s.number) : FRESH;
      if (n > 1) s.number = FRESH;
    }

    reveal() {
      this.constants(MU, SIGMA ** 2);
      this.draw(FRESH);
    }

    compute() {
      const { m, gamma, beta, eps, number, seen } = this.state;
      const x = batch(m, number);
      const found = normalize(x, eps);
      const errors = Array.from({ length: seen }, (_, k) => error(normalize(batch(m, k + 1), eps), gamma, beta));
      return {
        m, gamma, beta, eps, number, seen, x, mu: found.mu, var: found.variance, xHat: found.hat,
        y: found.hat.map((v) => gamma * v + beta), error: error(found, gamma, beta), errors,
        meanError: seen ? mean(errors) : NaN, law: expected(m, gamma, beta, eps),
      };
    }

    texts() {
      const { error: here, meanError, law, seen } = this.found;
      return {
        error: `${show(Math.sqrt(here))} σ`,
        average: seen ? `${show(Math.sqrt(meanError))} σ, of ${seen}` : "none yet",
        law: `${show(Math.sqrt(law))} σ`,
      };
    }

    verdict() {
      const { meanError, law } = this.found;
      return `32 fresh batches of 8 rows are ${show(Math.sqrt(meanError))} σ away from the identity; `
        + `the exact law says ${show(Math.sqrt(law))} σ. Try more rows, or other constants.`;
    }

    summary() {
      const { m, error: here, meanError, law, seen } = this.found;
      const fresh = seen ? `, on ${seen} fresh ${seen > 1 ? "batches" : "batch"} ${show(Math.sqrt(meanError))} σ` : "";
      return `On this batch of ${m} rows y is ${show(Math.sqrt(here))} σ away from x${fresh}. `
        + `The law expects ${show(Math.sqrt(law))} σ.`;
    }

    draw_lines(width, height, svg) {
      const { x, xHat, y, m } = this.found;
      svg.setAttribute("aria-label", `${m} rows as dots on three number lines: input x, normalized x-hat and `
        + `output y, joined by lines. Rings on the line of y show where x was.`);
      const at = (v) => 30 + ((Math.max(-7, Math.min(9, v)) + 7) / 16) * (width - 44);
      const rows = [[24, "x", "input", x], [104, "x̂", "normalized", xHat], [184, "y", "output", y]];
      const marks = [];
      rows.forEach(([top, name, kind]) => {
        marks.push(line(at(-7), top, at(9), top, "bw-axis"), text(4, top + 5, name, { class: `bw-name bw-ink-${kind}` }));
        for (let v = -6; v <= 8; v += 2) {
          marks.push(line(at(v), top, at(v), top + 6, "bw-axis"));
          if (top === 184) marks.push(text(at(v), height - 22, show(v), { class: "bw-tick" }));
        }
      });
      marks.push(text(at(1), height - 4, "value (rings on the lowest line: x)", { class: "bw-tick" }));
      const thin = m > 16 ? " bw-thin" : "";
      x.forEach((v, i) => {
        marks.push(line(at(v), 24, at(xHat[i]), 104, `bw-link bw-line-normalized${thin}`));
        marks.push(line(at(xHat[i]), 104, at(y[i]), 184, `bw-link bw-line-output${thin}`));
      });
      x.forEach((v) => marks.push(["circle", { cx: at(v), cy: 184, r: 7, class: "bw-ring bw-line-input" }]));
      rows.forEach(([top, , kind, values]) => values.forEach((v) =>
        marks.push(["circle", { cx: at(v), cy: top, r: 4, class: `bw-dot bw-fill-${kind}` }])));
      return marks;
    }

    draw_errors(width, height, svg) {
      const { errors, meanError, law, number, seen } = this.found;
      const shown = this.answered;
      svg.setAttribute("aria-label", shown && seen
        ? `Errors of ${seen} fresh batches as dots on a logarithmic line. Their mean is ${show(meanError)}, the law says ${show(law)}, in units of σ squared.`
        : "An empty line for the errors of fresh batches.");
      const at = (v) => 30 + ((Math.log10(Math.max(1e-3, Math.min(30, v))) + 3) / Math.log10(3e4)) * (width - 60);
      const marks = [line(at(1e-3), 80, at(30), 80, "bw-axis")];
      for (let k = -3; k <= 1; k += 1) {
        marks.push(line(at(10 ** k), 80, at(10 ** k), 86, "bw-axis"), text(at(10 ** k), 100, power(k), { class: "bw-tick" }));
      }
      marks.push(text(width / 2, 117, "mean of (y − x)² in a batch, units of σ²", { class: "bw-tick" }));
      if (!shown) return [...marks, text(width / 2, 50, "your prediction first", { class: "bw-tick" })];
      errors.forEach((v, k) => marks.push(["circle", {
        cx: at(v), cy: 72 - ((k * 7) % 40), r: k + 1 === number ? 5 : 3.5,
        class: `bw-dot bw-fill-${k + 1 === number ? "output" : "batch"}`,
      }]));
      const left = law > 1;
      const side = (v) => ({ x: at(v) + (left ? -5 : 5), anchor: left ? "bw-end" : "bw-start" });
      marks.push(line(at(law), 4, at(law), 80, "bw-law"), text(side(law).x, 12, `law ${show(law)}`, { class: `bw-note ${side(law).anchor}` }));
      if (seen) {
        marks.push(line(at(meanError), 20, at(meanError), 80, "bw-mean"),
          text(side(meanError).x, 27, `mean ${show(meanError)}`, { class: `bw-note ${side(meanError).anchor}` }));
      }
      return marks;
    }
  });
})();
