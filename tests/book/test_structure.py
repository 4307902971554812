"""The folders of the repository agree with each other and with what the pages promise."""

import ast
import json
import os
import re
import tomllib
from pathlib import Path

import pytest
import yaml
from pybtex.database import parse_file, parse_string

from bnlib.results import VERDICTS

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "book").glob("*.md"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PROSE = [*PAGES, *NOTEBOOKS]
TAG = re.compile(r"\[(BN\.\d+)\]")
# A fence whose body is not prose: code in a language, cells, mathematics, directives without text.
FENCE = re.compile(r"(?P<fence>`{3,}|:{3,})(?P<info>.*)")
NOT_PROSE = re.compile(r"[^{]|\{(code-cell|math|eval-rst|bibliography|literalinclude)\}")


def cells(path, kind):
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == kind]


def source(cell):
    return "".join(cell["source"])


def markdown(path):
    if path.suffix == ".md":
        return path.read_text()
    return "\n\n".join(source(cell) for cell in cells(path, "markdown"))


def toc_files():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    chapters = [c["file"] for part in toc["parts"] for c in part["chapters"]]
    return [toc["root"], *chapters]


def claims():
    return tomllib.loads((ROOT / "book/claims.toml").read_text())["claim"]


def by_name(path):
    return path.relative_to(ROOT).as_posix()


def test_every_page_and_notebook_is_in_the_table_of_contents_once():
    files = toc_files()
    assert sorted(files) == sorted(by_name(p.with_suffix("")) for p in PROSE)


@pytest.mark.parametrize("path", PROSE, ids=by_name)
def test_a_page_has_one_title(path):
    text = re.sub(r"^```.*?^```", "", markdown(path), flags=re.M | re.S)
    assert len(re.findall(r"^# \S", text, flags=re.M)) == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_notebook_is_stripped_and_names_its_kernel(path):
    notebook = json.loads(path.read_text())
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"
    for cell in cells(path, "code"):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_code_that_a_page_shows_is_the_librarys(path):
    shown = re.findall(r"\{literalinclude\} (\S+)\n:pyobject: ([\w.]+)", markdown(path), flags=re.M)
    assert len(shown) >= 2, "a page shows two or three functions that carry its idea"
    for file, name in shown:
        tree = ast.parse((path.parent / file).resolve().read_text())
        for part in name.split("."):
            (tree,) = (node for node in tree.body if getattr(node, "name", None) == part)


def test_every_cited_formula_tag_is_defined_on_the_notation_page_and_used_by_a_function():
    defined = re.findall(r"^### \[(BN\.\d+)\]", (ROOT / "book/notation.md").read_text(), re.M)
    assert len(defined) == len(set(defined))
    code = "".join(p.read_text() for p in (ROOT / "bnlib").rglob("*.py"))
    cited = {tag for text in (code, *map(markdown, PROSE)) for tag in TAG.findall(text)}
    assert cited == set(defined)
    assert set(TAG.findall(code)) == set(defined), "a formula without a function"


def test_a_rule_counts_as_registered_where_a_register_has_it():
    registers = [tomllib.loads(p.read_text()) for p in (ROOT / "results").glob("*-register.toml")]
    rules = {
        name: rule for register in registers for name, rule in register.get("rules", {}).items()
    }
    terms = {"half", "cell", "curve", "prediction"}  # of learning-rate-periods-register.toml
    assert {c["id"] for c in claims() if c["fixed"] == "registered"} == set(rules) - terms


def test_every_claim_is_registered_once_with_a_chapter_a_rule_and_a_known_verdict():
    ids = [claim["id"] for claim in claims()]
    assert len(ids) == len(set(ids))
    chapters = {path.stem for path in NOTEBOOKS}
    for claim in claims():
        assert claim["chapter"] in chapters, claim["id"]
        assert claim["expected"] in VERDICTS, claim["id"]
        assert claim["statement"], claim["id"]
        assert claim["source"], claim["id"]
        assert claim["rule"], claim["id"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=by_name)
def test_a_chapter_has_a_baseline_with_the_registered_verdicts(path):
    baseline = ROOT / "results" / f"{path.stem}.json"
    assert baseline.is_file(), f"`bnlib reproduce {path.stem} --update` makes one"
    registered = {c["id"]: c["expected"] for c in claims() if c["chapter"] == path.stem}
    assert json.loads(baseline.read_text())["claims"] == registered


def test_every_citation_has_an_entry_and_every_entry_is_complete():
    entries = parse_file(str(ROOT / "references.bib")).entries
    cited = {key for claim in claims() for key in claim.get("cite", [])}
    for path in PROSE:
        for keys in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", markdown(path)):
            cited |= {key.strip() for key in keys.split(",")}
    assert cited <= set(entries)
    for key, entry in entries.items():
        assert entry.persons.get("author"), key
        assert {"title", "year"} <= set(entry.fields), key
        assert {"url", "doi"} & set(entry.fields), key


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "book/reproduce.md"])
def test_documented_commands_exist(name):
    text = (ROOT / name).read_text()
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M))
    named = re.findall(r"(?:^|[`&;] ?)make (\w+)", text, re.M)
    assert set(named) <= targets
    scripts = set(re.findall(r"^(?:\.venv/bin/)?bnlib (\w+)", text, re.M))
    from bnlib.__main__ import COMMANDS

    assert scripts <= set(COMMANDS)
    for notebook, rest in re.findall(r"^papermill (notebooks/\S+) (.*)$", text, re.M):
        cell = next(
            c
            for c in cells(ROOT / notebook, "code")
            if "parameters" in c["metadata"].get("tags", [])
        )
        declared = set(re.findall(r"^(\w+)\s*[:=]", source(cell), re.M))
        assert set(re.findall(r"-p (\w+)", rest)) <= declared, notebook


def test_files_named_in_the_readme_exist():
    text = (ROOT / "README.md").read_text()
    for path in [*re.findall(r"\]\(([^)#:]+)\)", text), *re.findall(r"`([\w./]+/[\w.]*)`", text)]:
        if not path.startswith("_build"):
            assert (ROOT / path).exists(), path


def test_both_licences_are_stated_and_agree_with_the_metadata():
    text = (ROOT / "LICENSE").read_text()
    assert "Permission is hereby granted, free of charge" in text
    assert 'THE SOFTWARE IS PROVIDED "AS IS"' in text
    assert "https://creativecommons.org/licenses/by/4.0/legalcode" in text
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["license"] == "MIT AND CC-BY-4.0"
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert citation["license"] == ["MIT", "CC-BY-4.0"]
    assert citation["version"] == project["version"]


@pytest.mark.parametrize("slug", sorted({claim["chapter"] for claim in claims()}))
def test_a_chapter_begins_with_its_answer_in_at_most_65_words(slug):
    top = source(cells(ROOT / f"notebooks/{slug}.ipynb", "markdown")[0])
    (short,) = re.findall(r"\{admonition\} In short\n:class: in-short\n(.*?)\n:::", top, re.S)
    assert len(top.partition("In short")[0].split()) < 60
    assert len(re.sub(r"\{[^}]*\}`[^`]*`", "x", short).split()) <= 65
    known = {claim["id"] for claim in claims() if claim["chapter"] == slug}
    shown = re.findall(r"\{verdict\}`([^`]*)`", short)
    assert len(shown) >= 2
    assert set(shown) <= known


def test_the_citation_of_the_book_is_that_of_the_metadata():
    (block,) = re.findall(r"```bibtex\n(.*?)```", (ROOT / "book/reproduce.md").read_text(), re.S)
    (entry,) = parse_string(block, "bibtex").entries.values()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    found = {name: value.strip("{}") for name, value in entry.fields.items()}
    assert found["title"] == citation["title"]
    assert found["version"] == citation["version"]
    assert found["year"] == citation["date-released"][:4]
    names = [str(person).strip("{}") for person in entry.persons["author"]]
    assert names == [author["name"] for author in citation["authors"]]


def prose(lines):
    """The lines outside fences, and those in directives that hold prose; fences may nest."""
    within = []  # of each open fence: its marks, and whether its body is prose
    for line in lines:
        fence = FENCE.match(line.strip())
        if fence and within and not fence["info"] and fence["fence"] == within[-1][0]:
            within.pop()
        elif within and not within[-1][1]:
            continue
        elif fence:
            body = bool(fence["info"]) and not NOT_PROSE.match(fence["info"])
            within.append((fence["fence"], body))
        else:
            yield line


def typed_decimals(text):
    """Decimals in the prose of a Markdown text, outside code, mathematics, roles and addresses."""
    text = "\n".join(prose(text.splitlines()))
    text = re.sub(r"^\s*:[\w-]+:.*$", "", text, flags=re.M)  # options of directives
    text = re.sub(r"\$\$.*?\$\$|\\begin\{(\w+\*?)\}.*?\\end\{\1\}", "", text, flags=re.S)
    text = re.sub(r"(`+).+?\1|(?<!\\)\$[^$]+\$|https?://\S+|\]\([^)]*\)", "", text, flags=re.S)
    return re.findall(r".{0,30}(?<![\w.])\d+\.\d+.{0,10}", text)


@pytest.mark.parametrize("path", PROSE, ids=by_name)
def test_no_measured_number_is_typed_into_prose(path):
    assert typed_decimals(markdown(path)) == []


def test_the_search_for_typed_decimals_finds_one_and_skips_code_and_mathematics():
    typed = "The median was 0.31.\n\n```{note}\nAnd 2.5 times.\n```\n"
    assert [hit.strip()[-5:] for hit in typed_decimals(typed)] == ["0.31.", "imes."]
    assert typed_decimals("`0.1`, $a=0.9$\n\n$$\n1.5\n$$\n\n```bash\nx 3.11\n```\n") == []
    after = "```{exercise}\nWhy?\n```\n\nIt was 0.5.\n\n```{note}\nYes.\n```\n"
    assert typed_decimals(after) == ["It was 0.5."], "a closing fence opens nothing"
    folded = "````{admonition} In code\n```{literalinclude} a.py\nx = 0.5\n```\n0.7 here\n````\n"
    assert typed_decimals(folded) == ["0.7 here"]


def test_the_api_page_shows_every_public_module_once():
    """A package counts where its `__init__` defines something; a chapter has a page of its own."""
    modules = set()
    for path in (ROOT / "bnlib").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1] if re.search("^(class|def) ", path.read_text(), re.M) else ()
        if len(parts) > 1 and parts[1] != "chapters" and not any(p.startswith("_") for p in parts):
            modules.add(".".join(parts))
    shown = re.findall(r"automodule:: ([\w.]+)", (ROOT / "book/api.md").read_text())
    assert sorted(shown) == sorted(modules)


def test_continuous_integration_runs_lint_the_book_its_downloads_and_the_tests_in_this_order():
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    steps = re.findall(r"^make ([\w-]+)", script.read_text(), re.M)
    assert steps == ["lint", "weights", "book", "downloads", "test-slow", "test"]
    after_the_book = script.read_text().partition("\nmake book\n")[2]
    assert after_the_book.startswith(".venv/bin/bnlib reproduce --stored")
    assert re.search(r"^downloads: book\b", (ROOT / "Makefile").read_text(), re.M)
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text())
    steps = workflow["jobs"]["check"]["steps"]
    assert any(step.get("run") == ".ci/run" for step in steps)
    assert workflow["permissions"] == {"contents": "read"}
