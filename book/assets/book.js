/* What the theme's script leaves undone for who uses keys or prints. */
"use strict";
(() => {
  // It makes what is wider or higher than its box a stop of the tab key, when the window changes. What is unfolded
  // had no size before.
  document.addEventListener("toggle", () => dispatchEvent(new Event("resize")), true);

  // It takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // On paper nothing can be unfolded. What the reader had folded is folded again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("article details:not([open])")];
    opened.forEach((box) => { box.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((box) => { box.open = false; }));
})();
