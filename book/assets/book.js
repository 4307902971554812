/* A formula or table that is wider than its box can be scrolled by mouse and touch. Make it a stop of
   the tab key too, so that the arrow keys scroll it; and only while there is something to scroll. */
"use strict";
(() => {
  const BOXES = "article .math, article div.cell_output .text_html, article table.status-runs";

  const mark = (box) => {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };

  addEventListener("load", () => {
    const observer = new ResizeObserver((entries) => entries.forEach((entry) => mark(entry.target)));
    document.querySelectorAll(BOXES).forEach((box) => observer.observe(box));
  });

  // The theme takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // On paper nothing can be unfolded. What the reader had folded is folded again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("article details:not([open])")];
    opened.forEach((box) => { box.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((box) => { box.open = false; }));
})();
