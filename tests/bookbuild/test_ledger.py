"""The register of claims joined with executed notebooks: every disagreement has words."""

from pathlib import Path

import pytest
from nbformat import v4

from bnlib.results import CLAIM_MIME
from bookbuild.sphinx_ext import ledger
from bookbuild.sphinx_ext.chapters import Chapter

CLAIM = {
    "id": "large",
    "statement": "It is large.",
    "source": "Nobody",
    "chapter": "forward",
    "expected": "holds",
    "kind": "measured",
    "fixed": "registered",
    "rule": "n > 1",
}


def _chapter(*verdicts: tuple[str, str]) -> dict[str, Chapter]:
    outputs = [
        v4.new_output(
            "display_data", {CLAIM_MIME: {"id": name, "verdict": verdict, "evidence": "2 > 1"}}
        )
        for name, verdict in verdicts
    ]
    chapter = Chapter("notebooks/forward", Path("forward.ipynb"), Path(), {})
    vars(chapter)["executed"] = v4.new_notebook(cells=[v4.new_code_cell("", outputs=outputs)])
    return {"forward": chapter}


@pytest.mark.parametrize(
    ("claim", "verdicts", "problem"),
    [
        ({}, [("large", "holds")], ""),
        ({}, [("large", "fails")], "expected 'holds', computed 'fails'"),
        ({}, [("other", "holds")], "chapter 'forward' gave no verdict on it"),
        ({"chapter": "later"}, [], "chapter 'later' is not an executed page"),
    ],
)
def test_a_claim_without_its_expected_verdict_is_a_problem(claim, verdicts, problem):
    (entry,) = ledger.join([CLAIM | claim], _chapter(*verdicts))
    assert problem in entry.problem
    assert bool(problem) is bool(entry.problem)


def test_a_verdict_that_nobody_registered_is_found():
    book = _chapter(("large", "holds"), ("stray", "fails"))
    assert ledger.unregistered([CLAIM], book) == ["forward: stray"]
    assert ledger.unregistered([CLAIM | {"chapter": "later"}], book)[0] == "forward: large"


def _register(tmp_path, claim):
    path = tmp_path / "claims.toml"
    path.write_text("[[claim]]\n" + "".join(f'{k} = "{v}"\n' for k, v in claim.items()))
    return ledger.register(path)


def test_a_register_is_read_and_an_entry_that_lacks_something_is_refused(tmp_path):
    assert _register(tmp_path, CLAIM) == [CLAIM]
    for field in CLAIM:
        with pytest.raises(ValueError, match=f"lacks '{field}'"):
            _register(tmp_path, {k: v for k, v in CLAIM.items() if k != field})
    for field in ("expected", "kind", "fixed"):
        with pytest.raises(ValueError, match=rf"{field} of large: expected one of .*, got 'true'"):
            _register(tmp_path, CLAIM | {field: "true"})
