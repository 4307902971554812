/* What is wider or higher than its box can be scrolled by mouse and touch. Make it a stop of the tab key
   too, so that the arrow keys scroll it; and only while there is something to scroll. To look at a box is
   to lay out its part of the page, so the boxes are looked at when somebody reads, one after the other. */
"use strict";
(() => {
  const BOXES = "article :is(div.math, .math-wide, pre, .cell_output > .output, .text_html," +
    " .pst-scrollable-table-container, table.status-runs)";
  const WHILE = 8000;  // ms
  const idle = window.requestIdleCallback ?? ((work) => setTimeout(work, 0, { timeRemaining: () => 9 }));

  const mark = (box) => {
    if (box.scrollWidth > box.clientWidth || box.scrollHeight > box.clientHeight) box.tabIndex = 0;
    else box.removeAttribute("tabindex");
  };

  const markAll = (root, done = () => {}) => {
    const boxes = [...root.querySelectorAll(BOXES)];
    const some = (deadline) => {  // one at least, however busy the page is
      while (boxes.length) {
        mark(boxes.shift());
        if (deadline.timeRemaining() < 5) break;
      }
      if (boxes.length) idle(some, { timeout: 200 });
      else done();
    };
    idle(some, { timeout: 200 });
  };

  // The newest run says that it is done; what an older one found may be of another width.
  let run = 0;
  const start = () => {
    delete document.documentElement.dataset.boxes;
    return ++run;
  };
  const markPage = () => {
    const own = start();
    markAll(document, () => { if (own === run) document.documentElement.dataset.boxes = "measured"; });
  };

  // A window that changes, and a side bar that is hidden or shown, make the boxes wider or narrower.
  let width, soon;
  new ResizeObserver(([{ contentRect }]) => {
    if (width !== undefined && width !== contentRect.width) {
      start();
      clearTimeout(soon);
      soon = setTimeout(markPage, 300);
    }
    width = contentRect.width;
  }).observe(document.querySelector("article") ?? document.body);
  // The first sign of a reader has all of the page laid out: a jump to a heading needs true heights.
  // Whoever comes to a heading, or comes back, has it from the start (`theme.ARRIVAL`). Without any sign
  // it happens after a while: a script or a reading aid may jump, too.
  let reading = false;
  const readOn = () => {
    if (reading) return;
    reading = true;
    document.documentElement.dataset.reading = "";
    markPage();
  };
  addEventListener("load", () => {
    if ("reading" in document.documentElement.dataset) readOn();
    else setTimeout(idle, WHILE, readOn);
  });
  document.addEventListener("toggle", (event) => {  // what is open from the start says so, too
    if (reading) markAll(event.target);
  }, true);
  addEventListener("scroll", readOn, { once: true, passive: true });  // of the page, not of a list beside it
  for (const sign of ["wheel", "touchstart", "pointerdown", "click", "keydown", "focusin"]) {
    addEventListener(sign, readOn, { capture: true, once: true, passive: true });
  }
  addEventListener("hashchange", () => {  // the browser has scrolled already, by heights that were guessed
    readOn();
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }, { once: true });

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
