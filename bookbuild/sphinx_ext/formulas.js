// MathJax without a page: TeX in, one drawing and its MathML out. Runs in an embedded V8 at build time.
"use strict";

const parts = MathJax._;
const adaptor = parts.adaptors.liteAdaptor.liteAdaptor();
parts.handlers.html_ts.RegisterHTMLHandler(adaptor);

// Neither may load anything: every package is there already.
const packages = parts.input.tex.AllPackages.AllPackages.filter(
  (name) => name !== "require" && name !== "autoload",
);
const visitor = new parts.core.MmlTree.SerializedMmlVisitor.SerializedMmlVisitor();

const fail = (_, error) => {
  throw new Error(error.message);
};

let tex, drawing, page;
let given = 0;

const start = (macros) => {
  const font = new parts.output.svg.fonts.tex_ts.TeXFont();
  tex = new parts.input.tex_ts.TeX({ packages, macros, formatError: fail });
  drawing = new parts.output.svg_ts.SVG({ fontCache: "global", font });
  page = parts.mathjax.mathjax.document("", { InputJax: tex, OutputJax: drawing });
};

// Glyphs that no formula needed before this one.
const newGlyphs = () => {
  const all = adaptor.childNodes(drawing.fontCache.getCache());
  const added = all.slice(given).map((path) => [
    adaptor.getAttribute(path, "id"),
    adaptor.getAttribute(path, "d"),
  ]);
  given = all.length;
  return added;
};

const convert = (source, display) => {
  const metrics = { display, em: 16, ex: 8, containerWidth: 46 * 16 };
  tex.parseOptions.tags.reset();
  const box = page.convert(source, metrics);
  const svg = adaptor.outerHTML(adaptor.firstChild(box));
  tex.parseOptions.tags.reset();
  const tree = page.convert(source, { ...metrics, end: parts.core.MathItem.STATE.CONVERT });
  // With numbers at its far end a display is as wide as its line, and no narrower than this.
  const full = adaptor.getAttribute(box, "width") === "full";
  const least = full ? adaptor.getStyle(box, "min-width") : "";
  return JSON.stringify({ svg, mathml: visitor.visitTree(tree), least, glyphs: newGlyphs() });
};
