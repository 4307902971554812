/* The change of a product of two factors: two strips, and a corner that both of them cover. */
"use strict";
(() => {
  const { Widget, line, show, text } = window.BN;
  const W1 = 2;
  const W2 = 1;
  const LEFT = 42;
  const MOVES = [["first", "the first"], ["second", "the second"], ["both", "both"]];

  customElements.define("bn-area", class extends Widget {
    title_ = "Two factors move: two strips and a corner";
    question = {
      words: "The area is w₁ · w₂ = 2 · 1. A gradient step takes 0.1 from w₁ and 0.2 from w₂. "
        + "Moving only w₁ makes the area smaller by 0.1, moving only w₂ by 0.4. Now both move. How much smaller is the area?",
      options: ["by more than 0.5", "by 0.5", "by less than 0.5"],
      right: 2,
    };

    build() {
      this.state = { step: 0.1, move: "both" };
      const s = this.state;
      this.chart("area", 210);
      this.chart("fall", 210);
      this.slider("step", "step η", {
        min: 0, max: 0.3, step: 0.01, text: () => show(s.step), get: () => s.step, set: (v) => { s.step = v; },
      });
      this.choice("move", "moves", MOVES, () => s.move, (v) => { s.move = v; });
      this.fact("first", "only w₁");
      this.fact("second", "only w₂");
      this.fact("corner", "the corner, order 2");
      this.fact("change", "the area changes by");
    }

    /* The gradient of w1 w2 is (w2, w1). */
    compute() {
      const { step, move } = this.state;
      const moved = this.answered ? move : "none";
      const [a, b] = [step * W2, step * W1];
      const takes = { first: moved === "first" || moved === "both", second: moved === "second" || moved === "both" };
      const output = (W1 - (takes.first ? a : 0)) * (W2 - (takes.second ? b : 0));
      return {
        step, move: moved, a, b, first: -a * W2, second: -b * W1, corner: a * b, change: output - W1 * W2, output,
        predicted: (takes.first ? -a * W2 : 0) + (takes.second ? -b * W1 : 0),
      };
    }

    texts() {
      const { first, second, corner, change } = this.found;
      return { first: show(first), second: show(second), corner: `+${show(corner)}`, change: show(change) };
    }

    verdict() {
      return "Both strips contain the corner, so their sum takes it away twice. The corner, 0.02, has to be given back: "
        + "that is the second order. Make the step larger.";
    }

    summary() {
      const { move, predicted, corner, change } = this.found;
      return move === "both"
        ? `The first order says ${show(predicted)}. The corner gives ${show(corner)} back: the area changes by ${show(change)}.`
        : `Only one factor moves: one strip, no corner. The area changes by ${show(change)}.`;
    }

    draw_area(width, height, svg) {
      const { a, b, move, output } = this.found;
      svg.setAttribute("aria-label", `A rectangle, 2 wide and 1 high. ${move === "none" ? "Nothing has moved."
        : `What the move takes away is shaded; ${show(output)} is left.`}`);
      const unit = Math.min((width - LEFT - 12) / W1, height - 56);
      const [top, bottom, right] = [26, 26 + W2 * unit, LEFT + W1 * unit];
      const [x, y] = [right - a * unit, top + b * unit];
      const marks = [["rect", { x: LEFT, y: top, width: W1 * unit, height: W2 * unit, class: "bw-part bw-part-left" }]];
      const strip = (left, upper, wide, high, kind) => marks.push(["rect", { x: left, y: upper, width: wide, height: high, class: `bw-part ${kind}` }]);
      if (move === "first" || move === "both") strip(x, top, a * unit, W2 * unit, "bw-part-order1");
      if (move === "second" || move === "both") strip(LEFT, top, W1 * unit, b * unit, "bw-part-order1");
      if (move === "both") strip(x, top, a * unit, b * unit, "bw-part-order2");
      marks.push(
        text((LEFT + right) / 2, bottom + 19, "w₁ = 2", { class: "bw-tick" }),
        text(LEFT - 6, (top + bottom) / 2 + 4, "w₂", { class: "bw-end" }),
        text(LEFT + 8, bottom - 10, `left: ${show(output)}`, { class: "bw-start" }),
        text(LEFT, 15, move === "both" ? "orange: covered twice" : "the area is the output", { class: "bw-start" }),
      );
      return marks;
    }

    /* From nothing through the first order to what happens; the axis is the same for every step. */
    draw_fall(width, height, svg) {
      const { predicted, corner, change, move } = this.found;
      const shown = this.answered;
      svg.setAttribute("aria-label", shown
        ? `Three bars on one axis: first order ${show(predicted)}, corner ${move === "both" ? show(corner) : 0}, change ${show(change)}.`
        : "The change of the area is shown after your prediction.");
      const [top, bottom] = [26, height - 34];
      const y = (v) => top + (-v / 1.5) * (bottom - top);
      const wide = (width - LEFT - 8) / 3;
      const marks = [text(LEFT, 15, "change of the area", { class: "bw-start" })];
      for (const v of [0, -0.5, -1, -1.5]) {
        marks.push(line(LEFT, y(v), width - 8, y(v), v ? "bw-grid" : "bw-axis"), text(LEFT - 4, y(v) + 4, show(v), { class: "bw-end" }));
      }
      if (!shown) return [...marks, text((LEFT + width) / 2, height / 2, "your prediction first", { class: "bw-tick" })];
      const bar = (place, from, to, kind, words) => {
        const left = LEFT + place * wide + wide * 0.14;
        marks.push(
          ["rect", { x: left, y: y(Math.max(from, to)), width: wide * 0.72, height: Math.abs(y(from) - y(to)), class: `bw-part ${kind}` }],
          text(left + wide * 0.36, height - 16, words, { class: "bw-tick" }),
          text(left + wide * 0.36, Math.min(y(Math.min(from, to)) + 15, bottom + 2), show(to - from), { class: "bw-tick" }),
        );
      };
      bar(0, 0, predicted, "bw-part-order1", "order 1");
      bar(1, predicted, change, "bw-part-order2", "corner");
      bar(2, 0, change, "bw-part-left", "all");
      return marks;
    }
  });
})();
