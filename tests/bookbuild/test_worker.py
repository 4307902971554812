"""Whatever becomes of one notebook is in its outcome: `execute` does not raise."""

import pytest
from nbformat import v4

from bookbuild import notebook as nb
from bookbuild import worker


@pytest.fixture
def outcome(tmp_path, write_notebook):
    """A function (code, parameters) to what becomes of a notebook with this last cell."""

    def execute(source, **parameters):
        declared = ("parameters", "n: int = 2  # a number [1, 9]")
        book = nb.read(write_notebook(tmp_path / "n.ipynb", "# Text", declared, source))
        return worker.execute(book, parameters, "k", cwd=tmp_path)

    return execute


def test_a_kernel_that_dies_is_reported_with_its_cell_and_not_started_again(outcome, tmp_path):
    facts, text = outcome("open('ran', 'a').write('x')\nimport os\nos._exit(3)", n=3)
    assert text is None
    assert facts["cell"] == 3
    assert facts["error"].startswith("DeadKernelError")
    assert (tmp_path / "ran").read_text() == "x"


def test_a_kernel_that_does_not_start_is_started_once_more(outcome, monkeypatch):
    starts = []

    async def no_start(client, **_):
        starts.append(1)
        raise RuntimeError("Kernel died before replying to kernel_info")

    monkeypatch.setattr(worker.NotebookClient, "async_execute", no_start)
    facts, text = outcome("n")
    assert (len(starts), text) == (2, None)
    assert facts["error"] == "RuntimeError: Kernel died before replying to kernel_info"


def test_text_that_came_in_several_packets_becomes_one_output():
    packets = [
        v4.new_output("stream", name=name, text=text)
        for name, text in [("stdout", "a\n"), ("stdout", "b\n"), ("stderr", "c"), ("stdout", "d")]
    ]
    book = v4.new_notebook(cells=[v4.new_code_cell("", outputs=packets)])
    worker.tidy(book)
    assert [output.text for output in book.cells[0].outputs] == ["a\nb\n", "c", "d"]
