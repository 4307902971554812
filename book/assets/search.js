/* The search shows the words around a hit. Sphinx fetches the found pages for that, which a browser
   refuses to pages opened from a folder; so the words of all pages come as one script. */
"use strict";
(() => {
  const root = document.documentElement.dataset.content_root;
  const suffix = DOCUMENTATION_OPTIONS.FILE_SUFFIX;
  const name = (url) => url.slice(root.length, url.length - suffix.length);

  window.fetch = async (url) => ({ text: async () => window.BOOK_TEXTS[name(url)] ?? "" });
  Search.htmlToText = (text) => text;

  document.querySelector(".bd-search-container input[name=q]")?.focus();
})();
