/* What the press does inside the document to print; formulas are [number, TeX, display]. */
"use strict";
const press = {
  async typeset(formulas) {
    await MathJax.startup.promise;
    const metrics = { em: 16, ex: 7.2, containerWidth: document.querySelector("main").clientWidth };
    for (const [number, tex, display] of formulas) {
      const made = await MathJax.tex2chtmlPromise(tex, { display, ...metrics });
      if (made.querySelector("mjx-merror, [data-mjx-error]")) throw new Error(`cannot set ${tex}`);
      const place = document.querySelector(`[data-formula="${number}"]`);
      // One thing to a screen reader, not a dozen loose signs; but a bookmark is made of signs.
      if (!place.closest("h1, h2, h3, h4, h5, h6")) {
        made.setAttribute("role", "img");
        made.setAttribute("aria-label", tex);
      }
      place.replaceChildren(made);
    }
    MathJax.startup.document.clear();
    MathJax.startup.document.updateDocument();
    await document.fonts.ready;
  },

  /* A tag becomes part of its formula: readers of EPUB do not know labeled rows. */
  async mathml(formulas) {
    await MathJax.startup.promise;
    const untagged = (tex) => tex.replace(/\\tag\{([^}]*)\}/g, "\\qquad\\text{($1)}");
    const made = [];
    for (const [, tex, display] of formulas)
      made.push(await MathJax.tex2mmlPromise(untagged(tex), { display }));
    return made;
  },

  /* A chapter begins on the page where the one before it ends. */
  runOn(names) {
    for (const name of names) document.getElementById(name).classList.add("runs-on");
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
