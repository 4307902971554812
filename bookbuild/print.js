/* What the press does inside the document to print; formulas are [TeX, display], in its order. */
"use strict";
const press = {
  async typeset(formulas) {
    await MathJax.startup.promise;
    const metrics = { em: 16, ex: 7.2, containerWidth: document.querySelector("main").clientWidth };
    const places = document.querySelectorAll(".math[data-tex]");
    for (const [number, [tex, display]] of formulas.entries()) {
      const made = await MathJax.tex2chtmlPromise(tex, { display, ...metrics });
      if (made.querySelector("mjx-merror, [data-mjx-error]")) throw new Error(`cannot set ${tex}`);
      // One thing to a screen reader, not a dozen loose signs; but a bookmark is made of signs.
      if (!places[number].closest("h1, h2, h3, h4, h5, h6")) {
        made.setAttribute("role", "img");
        made.setAttribute("aria-label", tex);
      }
      places[number].replaceChildren(made);
    }
    MathJax.startup.document.clear();
    MathJax.startup.document.updateDocument();
    await document.fonts.ready;
  },

  /* Paper does not scroll: what is wider than its column is made smaller as a whole. */
  fit() {
    const columns = "td, th, dd, li, .exercise, .solution, .math, main";
    for (const box of document.querySelectorAll("table, mjx-container[display], img")) {
      const room = box.parentElement.closest(columns).getBoundingClientRect().width;
      const own = Math.max(box.scrollWidth, box.getBoundingClientRect().width);
      if (own > room + 1) box.style.zoom = Math.floor((1000 * room) / own) / 1000;
    }
  },
};
