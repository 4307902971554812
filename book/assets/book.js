/* For who uses keys, and for who prints. */
"use strict";
(() => {
  // The theme's script takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // On paper nothing can be unfolded, and colors are those for a light ground; afterwards all is as it was.
  const root = document.documentElement;
  let opened = [], theme;
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("article details:not([open])")];
    opened.forEach((box) => { box.open = true; });
    theme = root.dataset.theme;
    root.dataset.theme = "light";
  });
  addEventListener("afterprint", () => {
    opened.forEach((box) => { box.open = false; });
    root.dataset.theme = theme;
  });
})();
