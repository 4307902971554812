/* The search shows the words around a hit. Sphinx fetches the found pages for that, which a browser
   refuses to pages opened from a folder; so the words of all pages come as one script. */
"use strict";
(() => {
  const root = document.documentElement.dataset.content_root;
  const suffix = DOCUMENTATION_OPTIONS.FILE_SUFFIX;
  const name = (url) => url.slice(root.length, url.length - suffix.length);

  window.fetch = async (url) => ({ text: async () => window.BOOK_TEXTS[name(url)] ?? "" });
  Search.htmlToText = (text) => text;

  // What answers a question comes before the names of functions.
  Scorer.score = ([page, , , , score]) => (page === "book/api" ? score / 20 : score);

  // A hit leads to the words, not to the top of a long page: the longest that is on the page.
  const words = (new URLSearchParams(location.search).get("q") ?? "").split(/\s+/);
  document.querySelector("#search-results")?.addEventListener("click", ({ target }) => {
    const link = target.closest("a[href]");
    if (!link || link.hash) return;
    const text = (window.BOOK_TEXTS[link.getAttribute("href").split(suffix)[0]] ?? "").toLowerCase();
    const [word] = words.filter((w) => text.includes(w.toLowerCase())).sort((a, b) => b.length - a.length);
    if (word) link.href += `#:~:text=${encodeURIComponent(word)}`;
  });

  document.querySelector(".bd-search-container input[name=q]")?.focus();
})();
