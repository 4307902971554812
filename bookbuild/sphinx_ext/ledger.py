"""The directive `ledger`: the register of claims, joined with the verdicts that notebooks computed.

The role `verdict` shows one of them, by the claim's id, and links to the cell that computed it.

A claim without a verdict, a verdict without a claim in the register, and a verdict other than the
expected one are warnings, so that a book built with warnings as errors cannot hide them.
"""

import html
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective, SphinxRole

from bnlib.results import VERDICTS, read_outputs
from bookbuild.sphinx_ext import chapters
from bookbuild.sphinx_ext.tables import table

logger = logging.getLogger(__name__)
_SHOWN = re.compile(
    r'(<a class="bn-claim-id" href="#claim-([^"]+)">)<code>[^<]*</code>(</a>)'
    r' <span class="bn-claim-evidence">(.*?)</span>'
)
KINDS = ("proved", "computed", "measured", "cited")
FIXED = ("registered", "stated before the run", "chosen after a look")
_WORDS = {"expected": VERDICTS, "kind": KINDS, "fixed": FIXED}


class Entry(NamedTuple):
    """A registered claim, and what its chapter's execution says: the output, or a problem."""

    claim: dict[str, Any]
    docname: str
    found: dict[str, Any]
    problem: str


def register(path: Path) -> list[dict[str, Any]]:
    """The claims of a register file. Raises ValueError for an entry that lacks something."""
    claims = tomllib.loads(path.read_text(encoding="utf-8")).get("claim", [])
    for claim in claims:
        for field in ("id", "statement", "source", "chapter", "rule", *_WORDS):
            if field not in claim:
                raise ValueError(f"{path.name}: claim {claim.get('id')!r} lacks {field!r}")
        for field, words in _WORDS.items():
            if claim[field] not in words:
                where = f"{path.name}: {field} of {claim['id']}"
                raise ValueError(f"{where}: expected one of {words}, got {claim[field]!r}")
    return claims


def join(claims: list[dict[str, Any]], book: dict[str, chapters.Chapter]) -> list[Entry]:
    """Every registered claim with its computed verdict, in the order of the register."""
    outputs = {slug: read_outputs(chapter.executed)[1] for slug, chapter in book.items()}
    return [_entry(claim, book, outputs) for claim in claims]


def unregistered(claims: list[dict[str, Any]], book: dict[str, chapters.Chapter]) -> list[str]:
    """Verdicts that no entry of the register asks for, as `chapter: id`."""
    known = {(claim["chapter"], claim["id"]) for claim in claims}
    found = [(slug, id_) for slug, c in book.items() for id_ in read_outputs(c.executed)[1]]
    return [f"{slug}: {id_}" for slug, id_ in found if (slug, id_) not in known]


class Ledger(SphinxDirective):
    """A count of the verdicts, and the table of claims."""

    def run(self) -> list[nodes.Node]:
        """Build the nodes, and warn where register and executions disagree."""
        path = Path(self.env.srcdir) / self.config.book_claims
        self.env.note_dependency(str(path))
        book = chapters.of(self.env.app)
        try:
            claims = register(path)
        except (OSError, ValueError) as error:
            self._warn(str(error))
            return []
        entries = join(claims, book)
        for entry in entries:
            if entry.problem:
                self._warn(f"claim {entry.claim['id']!r}: {entry.problem}")
        for name in unregistered(claims, book):
            self._warn(f"a verdict without an entry in {path.name}: {name}")
        heads = ["Claim", "Verdict", "What was found"]
        rows = [
            [self._claim(entry), self._verdict(entry), self._measured(entry)] for entry in entries
        ]
        return [_count(entries), table(self, "ledger", heads, rows)]

    def _warn(self, message: str) -> None:
        logger.warning(message, location=self.get_location(), type="ledger")

    def _claim(self, entry: Entry) -> list[nodes.Node]:
        claim = entry.claim
        cited = "".join(f" {{cite}}`{key}`" for key in claim.get("cite", []))
        return [
            *self._text(claim["statement"], "ledger-statement"),
            *self._text(f"{claim['source']}{cited}", "ledger-source"),
        ]

    def _verdict(self, entry: Entry) -> list[nodes.Node]:
        verdict = _link(entry, self.env) if entry.found else nodes.Text("not computed")
        how = f"{entry.claim['kind']}; rule {entry.claim['fixed']}"
        return [
            nodes.paragraph("", "", verdict),
            nodes.paragraph("", how, classes=["ledger-kind"]),
        ]

    def _measured(self, entry: Entry) -> list[nodes.Node]:
        words = entry.found.get("evidence", entry.problem)
        evidence = nodes.paragraph("", words, classes=["ledger-evidence"])
        rule = self._text(entry.claim["rule"], "ledger-rule")
        opening = '<details class="ledger-how"><summary>Decided by</summary>'
        how = [nodes.raw("", text, format="html") for text in (opening, "</details>")]
        chapter = self._text(f"{{doc}}`/{entry.docname}`", "ledger-chapter")
        return [evidence, how[0], *rule, how[1], *(chapter if entry.docname else [])]

    def _text(self, text: str, name: str) -> list[nodes.Node]:
        """Markup of the page, whose formulas and citations work, as paragraphs of a class."""
        paragraphs = self.parse_text_to_nodes(text)
        for paragraph in paragraphs:
            if isinstance(paragraph, nodes.Element):
                paragraph["classes"].append(name)
        return paragraphs


def complete(app: Sphinx, page: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    """Let each verdict on a page say what it is a verdict on; its evidence and its rule fold."""
    path = Path(app.srcdir) / app.config.book_claims
    if "bn-claim-id" not in context.get("body", "") or not path.is_file():
        return
    claims = {claim["id"]: claim for claim in register(path)}

    def whole(shown: re.Match[str]) -> str:
        if (claim := claims.get(shown[2])) is None:
            return shown[0]
        statement, rule = (html.escape(claim[name]) for name in ("statement", "rule"))
        return (
            f"{shown[1]}{statement}{shown[3]} "
            f'<details class="bn-claim-evidence"><summary>{claim["kind"]}: how</summary>'
            f"<p>{shown[4]}</p><p>Decided by, {claim['fixed']}: {rule}</p></details>"
        )

    context["body"] = _SHOWN.sub(whole, context["body"])


class Verdict(SphinxRole):
    """The verdict on one claim."""

    def run(self) -> tuple[list[nodes.Node], list[nodes.system_message]]:
        """Build the link; warn of an id that no executed chapter gave a verdict on."""
        book = chapters.of(self.env.app)
        path = Path(self.env.srcdir) / self.config.book_claims
        for entry in join(register(path), book):
            if entry.claim["id"] == self.text and entry.found:
                return [_link(entry, self.env)], []
        known = f"expected the id of a claim with a verdict, got {self.text!r}"
        logger.warning(known, location=self.get_location(), type="ledger")
        return [], []


def _entry(claim: dict[str, Any], book: dict[str, Any], outputs: dict[str, Any]) -> Entry:
    slug = claim["chapter"]
    if slug not in book:
        return Entry(claim, "", {}, f"its chapter {slug!r} is not an executed page of this book")
    found = outputs[slug].get(claim["id"], {})
    problem = ""
    if not found:
        problem = f"chapter {slug!r} gave no verdict on it"
    elif found["verdict"] != claim["expected"]:
        problem = f"expected {claim['expected']!r}, computed {found['verdict']!r}"
    return Entry(claim, book[slug].docname, found, problem)


def _count(entries: list[Entry]) -> nodes.paragraph:
    verdicts = _counts(VERDICTS, [entry.found.get("verdict") for entry in entries])
    kinds = _counts(KINDS, [entry.claim["kind"] for entry in entries])
    words = f"Claims tested: {len(entries)} ({verdicts}). By the kind of evidence: {kinds}."
    return nodes.paragraph("", words, classes=["ledger-count"])


def _counts(words: tuple[str, ...], seen: list[str | None]) -> str:
    count = Counter(seen)
    return ", ".join(f"{word}: {count[word]}" for word in words)


def verdict_class(verdict: str) -> str:
    """The class that colors a verdict."""
    return f"verdict-{verdict.replace(' ', '-')}"


def _link(entry: Entry, env: Any) -> nodes.reference:
    """The verdict, linked to the cell that gave it."""
    verdict = entry.found["verdict"]
    page = env.app.builder.get_relative_uri(env.docname, entry.docname)
    link = nodes.reference("", verdict, internal=True, refuri=f"{page}#claim-{entry.claim['id']}")
    link["classes"] += ["verdict", verdict_class(verdict)]
    return link
