/* For who uses keys, and for who prints. */
"use strict";
(() => {
  // The theme's script takes the keyboard's place away from a button that was pressed.
  document.querySelectorAll("button").forEach((button) => { button.blur = () => {}; });

  // A link may lead to what is folded; not every browser opens it by itself.
  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    const around = (box) => box.contains(target) || box.parentElement === target || box.previousElementSibling === target;
    const boxes = target ? [...document.querySelectorAll("article details:not([open])")].filter(around) : [];
    boxes.forEach((box) => { box.open = true; });
    if (boxes.length) target.scrollIntoView();
  };
  addEventListener("hashchange", reveal);
  if (location.hash) reveal();

  // The ledger shows the claims of a chapter, with a verdict, or with words in them.
  const ledger = document.querySelector("table.ledger");
  if (ledger) {
    const rows = [...ledger.tBodies[0].rows].map((row) => ({
      row,
      words: row.textContent.toLowerCase(),
      verdict: row.querySelector(".verdict")?.textContent ?? "",
      chapter: row.querySelector(".ledger-chapter")?.textContent.split(":")[0] ?? "",
    }));
    const form = document.createElement("form");
    form.className = "ledger-filter";
    form.innerHTML = "<label>Words <input type=search></label>";
    for (const name of ["chapter", "verdict"]) {
      const options = [...new Set(rows.map((entry) => entry[name]))].map((word) => new Option(word));
      const select = document.createElement("select");
      select.name = name;
      select.append(new Option("all", ""), ...options);
      const label = document.createElement("label");
      label.append(name[0].toUpperCase() + name.slice(1), " ", select);
      form.append(label);
    }
    const told = document.createElement("output");
    form.append(told);
    const show = () => {
      const words = form.querySelector("input").value.toLowerCase().split(/\s+/);
      const fits = ({ row, ...entry }) => words.every((word) => entry.words.includes(word))
        && [...form.querySelectorAll("select")].every(({ name, value }) => !value || entry[name] === value);
      for (const entry of rows) entry.row.hidden = !fits(entry);
      told.textContent = `${rows.filter(({ row }) => !row.hidden).length} of ${rows.length} claims`;
    };
    form.addEventListener("input", show);
    form.addEventListener("submit", (event) => event.preventDefault());
    (ledger.closest(".pst-scrollable-table-container") ?? ledger).before(form);
    show();
  }

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
