"""Records and claims: what is refused, and what arrives in an executed notebook."""

import copy
import logging
import subprocess
import sys

import nbformat
import numpy as np
import pytest
import torch
from myst_nb.core.variables import format_plain_text
from myst_nb.ext.glue import extract_glue_data
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError

from bnlib import results

CELLS = [
    """
import numpy as np
from bnlib.results import claim, record
record("first-error", np.float64(0.123456), unit="s", low=0.1, high=0.2)
record("how-many", 42)
record("best-method", "two-pass")
record("per-seed", np.arange(3) / 2)
""",
    'claim("some-thing", "partly", f"error {0.1234:.2f} < 0.2 & more")',
    "1 + 1",
]


def executed(*sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return notebook


@pytest.fixture(scope="module")
def notebook():
    return executed(*CELLS)


def test_outputs_of_a_kernel_are_read_back_with_their_types(notebook):
    records, claims = results.read_outputs(notebook)
    assert list(records) == ["first-error", "how-many", "best-method", "per-seed"]
    assert records["first-error"] == {
        "key": "first-error",
        "value": 0.123456,
        "unit": "s",
        "low": 0.1,
        "high": 0.2,
    }
    assert records["how-many"]["value"] == 42
    assert records["per-seed"]["value"] == [0.0, 0.5, 1.0]
    evidence = "error 0.12 < 0.2 & more"
    wanted = {"id": "some-thing", "verdict": "partly", "evidence": evidence}
    assert claims == {"some-thing": wanted}


def test_executed_notebook_is_valid_and_a_record_is_one_output(notebook):
    nbformat.validate(notebook)
    assert len(notebook.cells[0].outputs) == 4


def test_claim_is_a_badge_with_an_anchor_and_escaped_text(notebook):
    (output,) = notebook.cells[1].outputs
    assert 'id="claim-some-thing"' in output.data["text/html"]
    assert "error 0.12 &lt; 0.2 &amp; more" in output.data["text/html"]
    assert output.data["text/plain"] == "some-thing: partly. error 0.12 < 0.2 & more"


def test_prose_pastes_records_formatted_and_the_page_does_not_show_them(notebook):
    notebook = copy.deepcopy(notebook)  # extraction takes the outputs out
    glue = extract_glue_data(notebook, [1, 2, 3], logging.getLogger())  # type: ignore[arg-type]
    assert notebook.cells[0].outputs == []
    for key, form, pasted in [
        ("first-error", ".3f", "0.123"),
        ("how-many", "d", "42"),
        ("best-method", "s", "two-pass"),
        ("per-seed", "s", "[0.0, 0.5, 1.0]"),
    ]:
        assert format_plain_text(glue[key]["data"]["text/plain"], form) == pasted


def test_a_name_is_given_once_in_a_notebook():
    with pytest.raises(CellExecutionError, match="record 'how-many': expected each name once"):
        executed(CELLS[0], 'record("how-many", 43)')
    with pytest.raises(CellExecutionError, match="claim 'a': expected each name once"):
        executed('from bnlib.results import claim\nfor _ in "ab": claim("a", "holds", "twice")')


def test_reading_refuses_a_key_that_occurs_twice(notebook):
    doubled = copy.deepcopy(notebook)
    doubled.cells[2].outputs = doubled.cells[0].outputs
    with pytest.raises(ValueError, match="expected each key once, got 'first-error' twice"):
        results.read_outputs(doubled)


@pytest.mark.parametrize("key", ["", "Upper", "two words", "-x", "x-", "a--b", "a_b", "a::b", 3])
def test_key_is_a_kebab_case_slug(key):
    with pytest.raises(ValueError, match="expected a kebab-case slug"):
        results.record(key, 1.0)
    with pytest.raises(ValueError, match="expected a kebab-case slug"):
        results.claim(key, "holds", "because")


@pytest.mark.parametrize(
    "value", [float("nan"), np.inf, np.array([1.0, -np.inf]), torch.tensor(float("nan"))]
)
def test_non_finite_number_is_refused(value):
    with pytest.raises(ValueError, match="record 'a-key': expected a finite number, got"):
        results.record("a-key", value)


@pytest.mark.parametrize("value", [None, {}, np.eye(2), [[1.0]], 1j, object()])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="expected number, bool, str or a 1-D list, got"):
        results.record("a-key", value)


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (1.0, None), (2.0, 1.0), (0.0, np.nan)])
def test_half_or_reversed_or_non_finite_interval_is_refused(low, high):
    with pytest.raises(ValueError, match="record 'a-key': want"):
        results.record("a-key", 1.0, low=low, high=high)


@pytest.mark.parametrize(
    ("verdict", "evidence"), [("true", "x"), ("Holds", "x"), ("holds", " "), ("holds", "a\nb")]
)
def test_claim_wants_a_known_verdict_and_one_sentence(verdict, evidence):
    with pytest.raises(ValueError, match="claim 'a': want"):
        results.claim("a", verdict, evidence)


def test_plain_process_only_validates_and_imports_no_ipython():
    code = (
        "import sys; from bnlib import results\n"
        "results.record('a', 1.0); results.record('a', True); results.claim('b', 'holds', 'so')\n"
        "assert 'IPython' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
