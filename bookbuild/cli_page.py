"""The command line: `bnlib page`, an executed notebook as one HTML file."""

import re
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from markdown_it.renderer import RendererHTML
from myst_parser.config.main import MdParserConfig
from myst_parser.parsers.mdit import create_md_parser

from bnlib.results import read_outputs
from bookbuild import notebook as nb
from bookbuild import store
from bookbuild.sphinx_ext.mathjax import Typesetter

EXTENSIONS = {"amsmath", "attrs_block", "attrs_inline", "colon_fence", "deflist", "dollarmath"}
PICTURES = {"image/svg+xml": "{}", "text/html": "{}",
            "image/png": '<img alt="" src="data:image/png;base64,{}">'}  # fmt: skip
_OPTIONS = re.compile(r"\A(?:[ \t]*:[\w-]+:.*\n?|\s*\n)+")
_TARGET = re.compile(r"\s*<[^<>]*>$")
MACROS = {"E": r"\operatorname{E}", "mean": [r"\left\langle #1 \right\rangle", 1]}  # of _config.yml


@click.command("page")
@click.argument("executed", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("page", required=False, type=click.Path(dir_okay=False, path_type=Path))
def page_command(executed: Path, page: Path | None) -> None:
    """Write an executed notebook, such as papermill's, as one HTML page, figures and numbers in it.

    PAGE is the file to write [default: EXECUTED with .html].

    \b
    Example:
      papermill notebooks/gamma.ipynb out.ipynb -p seeds 20 && bnlib page out.ipynb
    """
    notebook = nb.read(executed)
    if not any(cell.get("outputs") for cell in nb.code_cells(notebook)):
        raise click.ClickException(f"{executed}: expected an executed notebook, got no outputs")
    target = page or executed.with_suffix(".html")
    store.write_atomically(target, as_html(notebook, executed.stem))
    click.echo(f"page   {target}")


def as_html(notebook: Any, title: str) -> str:
    """The notebook as a page that needs no other file; recorded values stand where prose asks."""
    records, claims = read_outputs(notebook)
    values = {key: record["value"] for key, record in records.items()}
    verdicts = {name: claim["verdict"] for name, claim in claims.items()}
    parser = create_md_parser(MdParserConfig(enable_extensions=EXTENSIONS), RendererHTML)
    typeset = Typesetter(MACROS).formula

    def role(_: Any, tokens: Any, index: int, *__: Any) -> str:
        name, text = tokens[index].meta["name"], tokens[index].content
        if name == "verdict":
            text = verdicts.get(text, "not tested")
        elif name.startswith("glue"):
            key, _, form = text.partition(":")
            text = format(values[key], form) if key in values else text
        return escape(_TARGET.sub("", text))

    def fence(_: Any, tokens: Any, index: int, *__: Any) -> str:
        kind, _, name = tokens[index].info.strip().partition("}")
        text = _OPTIONS.sub("", tokens[index].content)
        if kind in ("{solution-start", "{solution-end"):
            return "<details><summary>Solution</summary>" if "start" in kind else "</details>"
        if not kind.startswith("{"):
            return f"<pre>{escape(text)}</pre>"
        head = escape(name.strip()) or kind[1:]
        return f"<section><strong>{head}</strong>{parser.render(text)}</section>"

    def formula(_: Any, tokens: Any, index: int, *__: Any) -> str:
        block = tokens[index].type != "math_inline"
        return typeset(tokens[index].content, display=block).mathml

    rules = dict.fromkeys(("fence", "colon_fence"), fence) | {"myst_role": role}
    rules |= dict.fromkeys(("math_inline", "math_block", "math_block_label", "amsmath"), formula)
    for kind, rule in rules.items():
        parser.add_render_rule(kind, rule)
    body = [parser.render(cell.source) if cell.cell_type == "markdown" else _code(cell)
            for cell in notebook.cells]  # fmt: skip
    style = files("bookbuild").joinpath("page.css").read_text(encoding="utf-8")
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width"><style>'
        f"{style}</style><main>{''.join(body)}</main></html>\n"
    )


def _code(cell: Any) -> str:
    shown = f"<details><summary>Code</summary><pre>{escape(cell.source)}</pre></details>"
    return shown + "".join(map(_output, cell.get("outputs", [])))


def _output(output: Any) -> str:
    data = output.get("data", {})
    for mime, form in PICTURES.items():
        if mime in data:
            return f"<div>{form.format(re.sub(r'<[?!][^>]*>', '', data[mime]))}</div>"
    text = data.get("text/plain") or output.get("text") or output.get("evalue", "")
    return f"<pre>{escape(text)}</pre>"
