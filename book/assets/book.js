/* For who uses keys, and for who prints. */
"use strict";
(() => {
  // The theme's script takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // On paper nothing can be unfolded. What the reader had folded is folded again afterwards.
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("article details:not([open])")];
    opened.forEach((box) => { box.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((box) => { box.open = false; }));
})();
