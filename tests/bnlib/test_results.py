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
from bnlib.results import Claim, Record, Section
from bnlib.statistics import Interval

CELLS = [
    """
import numpy as np
from bnlib.results import Claim, Record, Section
Section(records=(
    Record("first-error", np.float64(0.123456), unit="s", low=0.1, high=0.2),
    Record("how-many", 42),
    Record("best-method", "two-pass"),
    Record("per-seed", np.arange(3) / 2),
)).publish()
""",
    """
evidence = f"error {0.1234:.2f} < 0.2 & more"
Section(claims=(Claim("some-thing", "partly", evidence),)).publish()
""",
    "1 + 1",
]


def executed(*sources):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(s) for s in sources])
    NotebookClient(notebook, kernel_name="python3", timeout=120).execute()
    return notebook


@pytest.fixture(scope="module")
def notebook():
    return executed(*CELLS)


def test_opened_in_jupyter_each_record_is_a_line(notebook):
    lines = [output.data["text/plain"] for output in notebook.cells[0].outputs]
    assert lines == [
        "first-error = 0.123456 s, interval 0.1 to 0.2",
        "how-many = 42",
        "best-method = two-pass",
        "per-seed = [0.0, 0.5, 1.0]",
    ]


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
        executed(CELLS[0], 'Section(records=(Record("how-many", 43),)).publish()')
    with pytest.raises(CellExecutionError, match="claim 'a': expected each name once"):
        executed(f'{CELLS[0]}\nSection(claims=2 * (Claim("a", "holds", "twice"),)).publish()')


def test_reading_refuses_a_key_that_occurs_twice(notebook):
    doubled = copy.deepcopy(notebook)
    doubled.cells[2].outputs = doubled.cells[0].outputs
    with pytest.raises(ValueError, match="expected each key once, got 'first-error' twice"):
        results.read_outputs(doubled)


@pytest.mark.parametrize("key", ["", "Upper", "two words", "-x", "x-", "a--b", "a_b", "a::b", 3])
def test_key_is_a_kebab_case_slug(key):
    with pytest.raises(ValueError, match="expected a kebab-case slug"):
        Record(key, 1.0)
    with pytest.raises(ValueError, match="expected a kebab-case slug"):
        Claim(key, "holds", "because")


@pytest.mark.parametrize(
    "value", [float("nan"), np.inf, np.array([1.0, -np.inf]), torch.tensor(float("nan"))]
)
def test_non_finite_number_is_refused(value):
    with pytest.raises(ValueError, match="record 'a-key': expected a finite number, got"):
        Record("a-key", value)


@pytest.mark.parametrize("value", [None, {}, np.eye(2), [[1.0]], 1j, object()])
def test_other_types_are_refused(value):
    with pytest.raises(TypeError, match="expected number, bool, str or a 1-D list, got"):
        Record("a-key", value)


@pytest.mark.parametrize(("low", "high"), [(None, 1.0), (1.0, None), (2.0, 1.0), (0.0, np.nan)])
def test_half_or_reversed_or_non_finite_interval_is_refused(low, high):
    with pytest.raises(ValueError, match="record 'a-key': expected"):
        Record("a-key", 1.0, low=low, high=high)


@pytest.mark.parametrize(
    ("verdict", "evidence"), [("true", "x"), ("Holds", "x"), ("holds", " "), ("holds", "a\nb")]
)
def test_a_claim_has_a_known_verdict_and_one_sentence(verdict, evidence):
    with pytest.raises(ValueError, match="claim 'a': expected"):
        Claim("a", verdict, evidence)


def test_a_number_that_is_none_decides_nothing():
    assert Claim("a", "fails", "the gain is nan [nan, nan]").verdict == "undecided"
    assert Claim("a", "fails", "of a nanometre").verdict == "fails"


def test_a_plain_process_publishes_nothing_and_imports_neither_ipython_nor_pandas():
    code = (
        "import sys; from bnlib.results import Record, Section\n"
        "Section(records=(Record('a', 1.0),)).publish()\n"
        "assert not {'IPython', 'pandas', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""


def test_sections_are_collected_as_a_notebook_gives_them(notebook):
    interval = Interval(0.123456, 0.1, 0.2)
    numbers = Section(
        records=(
            Record.interval("first-error", interval, "s"),
            Record("how-many", torch.tensor(42)),
            Record("best-method", "two-pass"),
            Record("per-seed", torch.arange(3) / 2),
        )
    )
    said = Section(claims=(Claim("some-thing", "partly", "error 0.12 < 0.2 & more"),))
    assert results.collect([numbers, said]) == results.read_outputs(notebook)
    with pytest.raises(ValueError, match="expected each id once, got 'some-thing' twice"):
        results.collect([said, said])


def test_a_mapping_is_recorded_and_an_interval_also_as_text_where_prose_wants_it():
    interval = Interval(0.5, 0.25, 0.75)
    plain = results.recorded({"a": 3, "b": interval}, "s")
    assert plain == (Record("a", 3, "s"), Record("b", 0.5, "s", 0.25, 0.75))
    spelled = results.recorded({"a": 3, "b": interval}, "s", ends=".2f")
    assert spelled == (*plain, Record("b-interval", "0.25 to 0.75"))


def test_a_section_shows_its_only_table_and_figure_and_names_several():
    section = Section(tables={"a": "table a"}, figures={"left": lambda: "l", "right": lambda: "r"})  # type: ignore[arg-type]
    assert section.table == "table a"
    assert section.figure("right") == "r"
    with pytest.raises(ValueError, match="one figure, got 'left', 'right'; name the one you want"):
        section.figure()
    with pytest.raises(ValueError, match="one table, got none"):
        _ = Section().table
