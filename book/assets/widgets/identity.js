/* Batches and (gamma, beta) as points of one plane: their distance is how far y is from x. */
"use strict";
(() => {
  const { Widget, line, mean, normalize, show, text } = window.BN;
  const MU = 1;
  const SIGMA = 1; // of the population: all lengths are in units of it
  const LARGEST = 1024; // rows of a batch
  const SHOWN = 32; // batches
  const [LEFT, RIGHT] = [0, 2.4]; // of the axis of gamma
  const REACH = 1.25; // of the axis of beta, around MU
  const HEIGHT = 330;
  const MODES = [["training", "training"], ["evaluation", "evaluation"]];
  const between = (low, v, high) => Math.max(low, Math.min(high, v));

  /* The number at one place of a fixed random sequence, in (0, 1): the hash of mulberry32. */
  const uniform = (place) => {
    const seed = Math.imul(place, 0x6d2b79f5);
    let t = Math.imul(seed ^ (seed >>> 15), 1 | seed);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 2 ** 32;
  };

  /* A row of the population, by Box and Muller. */
  const row = (place) => MU
    + SIGMA * Math.sqrt(-2 * Math.log(uniform(2 * place))) * Math.cos(2 * Math.PI * uniform(2 * place + 1));

  const statistics = (m, number) => {
    const { mu, variance } = normalize(Array.from({ length: m }, (_, i) => row(LARGEST * number + i)), 0);
    return { mu, s: Math.sqrt(variance) };
  };

  /* E s / sigma of m Gaussian rows: sqrt(2 / m) Gamma(m / 2) / Gamma((m - 1) / 2). */
  const meanDeviation = (m) => {
    let ratio = 1 / Math.sqrt(Math.PI); // of the two Gamma functions, at two rows
    for (let k = 2; k < m; k += 1) ratio = (k - 1) / 2 / ratio;
    return Math.sqrt(2 / m) * ratio;
  };

  customElements.define("bn-identity", class extends Widget {
    title_ = "One point (γ, β), many batches";
    question = {
      words: "A dot is a batch of 8 rows, at its deviation and its mean. The orange point is (γ, β). On the dot y = x; "
        + "the distance is how far y is from x. Now the point takes the population's values and 32 fresh batches come. "
        + "How far are the dots from it, as root mean square in units of σ?",
      options: ["nearly 0", "about 0.1", "about 0.4"],
      right: 2,
    };

    build() {
      this.state = { m: 8, mode: "training", first: 0, gamma: 1, beta: 1 };
      const s = this.state;
      this.cloud();
      this.onBatch();
      this.plane = this.chart("plane", HEIGHT);
      this.chart("back", 136);
      this.grab();
      const constant = (name, label, min, max) => this.slider(name, label, {
        min, max, step: 0.01, text: () => show(Number(s[name].toFixed(3))), get: () => s[name], set: (v) => { s[name] = v; },
      });
      constant("gamma", "γ", LEFT, RIGHT);
      constant("beta", "β", MU - REACH, MU + REACH);
      this.slider("m", "rows m", {
        min: 1, max: Math.log2(LARGEST), step: 1, text: () => String(s.m),
        get: () => Math.log2(s.m), set: (k) => { s.m = 2 ** k; this.cloud(); },
      });
      this.choice("mode", "statistics of", MODES, () => s.mode, (v) => { s.mode = v; });
      this.buttons(
        ["batch", "On one batch", () => this.onBatch()],
        ["population", "On the population", () => this.onPopulation()],
        ["fresh", "Fresh batches", () => { s.first += SHOWN; this.cloud(); }],
      );
      this.fact("error", "y from x, rms");
      this.fact("law", "by the law");
      this.fact("left", "gradient passed on");
    }

    cloud() {
      const { m, first } = this.state;
      this.batches = Array.from({ length: SHOWN }, (_, k) => statistics(m, first + k));
    }

    onBatch() {
      const { mu, s } = this.batches[0];
      Object.assign(this.state, { gamma: s, beta: mu });
    }

    onPopulation() {
      Object.assign(this.state, { gamma: SIGMA, beta: MU });
    }

    /* The point by mouse and finger; by keys it moves with the sliders. */
    grab() {
      const svg = this.plane;
      const isPoint = (event) => event.target.matches(".bw-handle") && this.answered;
      svg.addEventListener("pointerdown", (event) => {
        if (!isPoint(event)) return;
        event.target.setPointerCapture(event.pointerId);
        const { gamma, beta } = this.state;
        this.held = { x: event.clientX, y: event.clientY, gamma, beta };
        event.preventDefault();
      });
      // touch-action alone does not keep the page still under a mark that paints nothing.
      svg.addEventListener("touchstart", (event) => { if (isPoint(event)) event.preventDefault(); }, { passive: false });
      svg.addEventListener("pointermove", (event) => {
        if (!this.held) return;
        const { x, y, gamma, beta } = this.held;
        this.state.gamma = between(LEFT, gamma + (event.clientX - x) / this.unit, RIGHT);
        this.state.beta = between(MU - REACH, beta - (event.clientY - y) / this.unit, MU + REACH);
        this.update();
      });
      for (const end of ["pointerup", "pointercancel"]) svg.addEventListener(end, () => { this.held = null; });
    }

    reveal() {
      this.state.first += 1; // the batch that the point lay on is not a fresh one
      this.cloud();
      this.onPopulation();
    }

    compute() {
      const { m, mode, first, gamma, beta } = this.state;
      const stored = mode === "evaluation";
      const batches = this.answered ? this.batches : this.batches.slice(0, 1);
      const deviations = batches.map(({ s }) => (stored ? SIGMA : s));
      const means = batches.map(({ mu }) => (stored ? MU : mu));
      const errors = means.map((mu, k) => ((gamma - deviations[k]) ** 2 + (beta - mu) ** 2) / SIGMA ** 2);
      const expected = SIGMA * (stored ? 1 : meanDeviation(m)); // of a batch's deviation
      return {
        m, mode, first, gamma, beta, deviations, means, errors, meanError: mean(errors),
        law: (gamma ** 2 - 2 * gamma * expected + SIGMA ** 2 + (beta - MU) ** 2) / SIGMA ** 2,
        stopped: stored ? 0 : 2,
      };
    }

    texts() {
      const { meanError, law, m, stopped } = this.found;
      return {
        error: `${show(Math.sqrt(meanError))} σ`,
        law: `${show(Math.sqrt(Math.max(0, law)))} σ`,
        left: `${m - stopped} of ${m} directions`,
      };
    }

    verdict() {
      const { meanError, law } = this.found;
      return `The lines are ${show(Math.sqrt(meanError))} σ long; the exact law says ${show(Math.sqrt(law))} σ. `
        + "No place of the point makes all of them short. Drag it; then take more rows; then switch to evaluation.";
    }

    summary() {
      const { m, mode, meanError, law } = this.found;
      const error = show(Math.sqrt(meanError));
      return mode === "training"
        ? `${SHOWN} batches of ${m} rows: y is ${error} σ away from x. The law expects ${show(Math.sqrt(Math.max(0, law)))} σ. `
          + "Of a gradient the common shift and the common scale stop here, also where y = x."
        : `Stored statistics are the same for every batch: one dot. y is ${error} σ away from x`
          + `${meanError < 1e-24 ? ", now and on every batch to come, and the whole gradient passes." : "."}`;
    }

    draw_plane(width, height, svg) {
      const { deviations, means, gamma, beta, mode, m } = this.found;
      svg.setAttribute("aria-label", `A plane: across γ and the deviation of a batch, upwards β and its mean. `
        + `${deviations.length} ${mode === "training" ? `batches of ${m} rows` : "batches at one place"} as dots; `
        + `the point (γ, β) at ${show(gamma)}, ${show(beta)}; a line from it to each dot.`);
      const [left, bottom] = [34, height - 40];
      const unit = Math.min((width - left - 12) / (RIGHT - LEFT), (bottom - 10) / (2 * REACH));
      this.unit = unit; // equal on both axes: a length is an error
      const x = (v) => left + (between(LEFT, v, RIGHT) - LEFT) * unit;
      const y = (v) => 10 + (MU + REACH - between(MU - REACH, v, MU + REACH)) * unit;
      const floor = y(MU - REACH);
      const marks = [
        // The handle first: it keeps its element whatever is drawn after it.
        ["circle", { cx: x(gamma), cy: y(beta), r: 15, class: "bw-handle" }],
        line(left, floor, x(RIGHT), floor, "bw-axis"), line(left, y(MU + REACH), left, floor, "bw-axis"),
        text((left + x(RIGHT)) / 2, floor + 34, "γ, and the deviation of a batch", { class: "bw-tick" }),
        text(left + 6, 20, "↑ β, and the mean of a batch", { class: "bw-start" }),
      ];
      for (const v of [0, 1, 2]) {
        marks.push(text(x(v), floor + 17, String(v), { class: "bw-tick" }), text(left - 8, y(v) + 4, String(v), { class: "bw-end" }));
      }
      means.forEach((mu, k) => marks.push(line(x(gamma), y(beta), x(deviations[k]), y(mu), "bw-link bw-line-output")));
      means.forEach((mu, k) => marks.push(["circle", { cx: x(deviations[k]), cy: y(mu), r: 4, class: "bw-dot bw-fill-batch" }]));
      marks.push(
        line(x(SIGMA) - 6, y(MU), x(SIGMA) + 6, y(MU), "bw-cross"), line(x(SIGMA), y(MU) - 6, x(SIGMA), y(MU) + 6, "bw-cross"),
        ["circle", { cx: x(gamma), cy: y(beta), r: 7, class: "bw-dot bw-fill-output" }],
        ["circle", { cx: x(gamma), cy: y(beta), r: 12, class: "bw-grip" }],
      );
      return marks;
    }

    draw_back(width, height, svg) {
      const { m, stopped } = this.found;
      const [x, y, r] = [width / 2, 66, 40];
      svg.setAttribute("aria-label", this.answered
        ? `A disc: of ${m} directions of a gradient ${stopped ? `two stop` : "none stops"} in the layer.`
        : "What the layer does to a gradient is shown after your prediction.");
      const head = text(x, 14, "backward, also where y = x", { class: "bw-tick" });
      if (!this.answered) return [head, text(x, y, "your prediction first", { class: "bw-tick" })];
      const marks = [head, ["circle", { cx: x, cy: y, r, class: "bw-dot bw-fill-gradient" }]];
      if (stopped === m) {
        marks.push(["circle", { cx: x, cy: y, r, class: "bw-dot bw-fill-neutral" }]);
      } else if (stopped) {
        const turn = (2 * Math.PI * stopped) / m;
        const end = `${x + r * Math.sin(turn)} ${y - r * Math.cos(turn)}`;
        const large = turn > Math.PI ? 1 : 0;
        marks.push(["path", { d: `M${x} ${y}V${y - r}A${r} ${r} 0 ${large} 1 ${end}z`, class: "bw-dot bw-fill-neutral" }]);
      }
      marks.push(text(x, height - 10, stopped ? "grey: shift and scale stop" : "all of it passes", { class: "bw-tick" }));
      return marks;
    }
  });
})();
