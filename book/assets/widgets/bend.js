/* What a hidden layer can bend without beta: its best fit of a curve, by least squares. */
"use strict";
(() => {
  const { Widget, line, mean, normalize, show, text } = window.BN;
  const END = 6; // of the input axis
  const REACH = 2; // the largest |beta|
  const PENALTY = 1e-8; // on squared output weights: equal columns still have one answer
  const WIDTHS = [2, 4, 8, 16, 32, 64];
  const X = Array.from({ length: 49 }, (_, i) => END * (i / 48) ** 1.4);
  const GRID = Array.from({ length: 181 }, (_, i) => (END * i) / 180);
  const { mu: MU, tau: SIGMA } = normalize(X, 0);
  const within = (x, low, high) => x > low && x < high;
  const CURVES = {
    wave: (x) => Math.sin(2.2 * x),
    bands: (x) => (within(x, 1, 2) || within(x, 4, 5) ? 1 : -1),
    hill: (x) => 2 * Math.exp(-(((x - 4.2) / 0.8) ** 2)) - 1,
  };
  const ACTIVATIONS = { relu: (z) => Math.max(z, 0), tanh: Math.tanh };

  /* Units of the layer: the sign of its weight, gamma and beta. Before batch norm a unit has one
     input, so that its x-hat is the standardized input, up to the sign of its weight. */
  const layer = (width, spread, varied) => Array.from({ length: width }, (_, k) => {
    const sign = k % 2 ? -1 : 1;
    return {
      sign,
      gamma: varied ? 2 ** ((k >> 1) % 3 - 1) : 1,
      beta: -sign * REACH * spread * ((2 * k) / (width - 1) - 1),
    };
  });

  const features = (x, units, activation) => {
    const hat = (x - MU) / SIGMA;
    return [1, ...units.map(({ sign, gamma, beta }) => activation(sign * gamma * hat + beta))];
  };

  /* The w that minimizes |A w - y|^2 + PENALTY |w|^2, by Householder reflections of the columns of
     A, with the roots of the penalty below them, and y. */
  const leastSquares = (A, y) => {
    const [m, n] = [A.length, A[0].length];
    const columns = Array.from({ length: n + 1 }, (_, k) => {
      const column = new Float64Array(m + n);
      for (let i = 0; i < m; i += 1) column[i] = k < n ? A[i][k] : y[i];
      if (k < n) column[m + k] = Math.sqrt(PENALTY);
      return column;
    });
    const dot = (a, b, from, to) => {
      let total = 0;
      for (let i = from; i < to; i += 1) total += a[i] * b[i];
      return total;
    };
    const diagonal = [];
    for (let j = 0; j < n; j += 1) {
      const v = columns[j]; // becomes the vector of its reflection
      const end = m + j + 1; // zeros below
      const square = dot(v, v, j, end);
      diagonal[j] = v[j] > 0 ? -Math.sqrt(square) : Math.sqrt(square);
      const half = square - diagonal[j] * v[j]; // of |v|^2, once its first entry is changed:
      v[j] -= diagonal[j];
      for (let k = j + 1; k <= n; k += 1) {
        const along = dot(v, columns[k], j, end) / half;
        for (let i = j; i < end; i += 1) columns[k][i] -= along * v[i];
      }
    }
    const w = new Array(n).fill(0);
    for (let j = n - 1; j >= 0; j -= 1) {
      let rest = columns[n][j];
      for (let k = j + 1; k < n; k += 1) rest -= columns[k][j] * w[k];
      w[j] = rest / diagonal[j];
    }
    return w;
  };

  /* The places within the data where units bend, each once. */
  const bends = (kinks) => {
    const inside = kinks.filter((k) => within(k, 0, END)).map((k) => k.toFixed(9));
    return [...new Set(inside)].map(Number);
  };

  const percent = (share) => {
    if (share < 5e-4) return "less than 0.1 %";
    return `${share < 0.0995 ? (100 * share).toFixed(1) : Math.round(100 * share)} %`;
  };

  customElements.define("bn-bend", class extends Widget {
    title_ = "What a layer can draw without β";
    question = {
      words: "The line is the best fit of the dots by 2 hidden units after batch norm, without β. "
        + "Now take 64 units, still without β. What happens to the fit?",
      options: ["It follows the dots", "It gets somewhat better", "It stays the same"],
      right: 2,
    };

    build() {
      this.state = { width: 2, spread: 0, gamma: "one", activation: "relu", curve: "wave" };
      const s = this.state;
      this.chart("plot", 250);
      this.slider("spread", "β within", {
        min: 0, max: 1, step: 0.01, text: () => (s.spread ? `±${show(REACH * s.spread)}` : "0"),
        get: () => s.spread, set: (v) => { s.spread = v; },
      });
      this.slider("width", "units", {
        min: 0, max: WIDTHS.length - 1, step: 1, text: () => String(s.width),
        get: () => WIDTHS.indexOf(s.width), set: (i) => { s.width = WIDTHS[i]; },
      });
      const pick = (name, legend, list) => this.choice(name, legend, list, () => s[name], (v) => { s[name] = v; });
      pick("gamma", "γ", [["one", "1 everywhere"], ["varied", "½, 1 or 2"]]);
      pick("activation", "activation", [["relu", "ReLU"], ["tanh", "tanh"]]);
      pick("curve", "curve", [["wave", "wave"], ["bands", "bands"], ["hill", "hill"]]);
      this.fact("left", "missed part of the curve");
      this.fact("places", "units bend at");
    }

    reveal() {
      this.state.width = 64;
    }

    compute() {
      const { width, spread, gamma, activation, curve } = this.state;
      const units = layer(width, spread, gamma === "varied");
      const act = ACTIVATIONS[activation];
      const y = X.map(CURVES[curve]);
      const w = leastSquares(X.map((x) => features(x, units, act)), y);
      const at = (x) => features(x, units, act).reduce((s, v, k) => s + v * w[k], 0);
      const fit = X.map(at);
      const kinks = units.map((unit) => MU - (unit.sign * unit.beta * SIGMA) / unit.gamma);
      return {
        width, spread, gamma, activation, curve, x: X, y, fit, kinks, mu: MU, drawn: GRID.map(at),
        places: bends(kinks).length,
        left: mean(y.map((v, i) => (v - fit[i]) ** 2)) / normalize(y, 0).variance,
      };
    }

    texts() {
      const { left, places } = this.found;
      return { left: percent(left), places: `${places} ${places === 1 ? "place" : "places"}` };
    }

    verdict() {
      return `The 64 units miss ${percent(this.found.left)}, as the 2 units did: without β all of them bend at the mean of the data. `
        + "Now pull β, and watch the marks under the curve spread.";
    }

    summary() {
      const { width, spread, activation, left, places } = this.found;
      const reach = spread ? `β between −${show(REACH * spread)} and ${show(REACH * spread)}` : "no β";
      const name = activation === "relu" ? "ReLU" : "tanh";
      return `${width} ${name} units, ${reach}: they bend at ${places} ${places === 1 ? "place" : "places"} in the data. `
        + `The best fit misses ${percent(left)} of the curve.`;
    }

    draw_plot(width, height, svg) {
      const { y, drawn, kinks, mu, left, places } = this.found;
      svg.setAttribute("aria-label", `Dots of a curve and the best fit of the layer, which misses ${percent(left)} of it. `
        + `Marks on the axis: its units bend at ${places} ${places === 1 ? "place, the mean of the data" : "places"}.`);
      const floor = height - 46;
      const across = (v) => 12 + (v / END) * (width - 24);
      const up = (v) => floor / 2 - 4 - (Math.max(-1.7, Math.min(1.7, v)) / 1.7) * (floor / 2 - 8);
      const marks = [
        line(across(0), floor, across(END), floor, "bw-axis"),
        line(across(mu), 6, across(mu), floor, "bw-grid"),
        text(across(mu), height - 6, "mean of the data", { class: "bw-tick" }),
      ];
      y.forEach((v, i) => marks.push(["circle", { cx: across(X[i]), cy: up(v), r: 3, class: "bw-dot bw-fill-input" }]));
      const path = drawn.map((v, i) => `${i ? "L" : "M"}${across(GRID[i]).toFixed(1)} ${up(v).toFixed(1)}`).join("");
      marks.push(["path", { d: path, class: "bw-curve bw-line-output" }]);
      bends(kinks).forEach((k) =>
        marks.push(line(across(k), floor, across(k), floor + 16, "bw-kink bw-line-output")));
      return marks;
    }
  });
})();
