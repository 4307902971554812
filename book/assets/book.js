/* For who uses keys, and for who prints. */
"use strict";
(() => {
  // The theme's script takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // A link may lead to what is folded; not every browser opens it by itself.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const around = (box) => box.contains(target) || box.parentElement === target;
    const boxes = target ? [...document.querySelectorAll("article details:not([open])")].filter(around) : [];
    boxes.forEach((box) => { box.open = true; });
    if (boxes.length) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

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
