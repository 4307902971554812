"""Grids: what words and files mean, what is refused, and that a large plan stays cheap."""

import itertools
import subprocess
import sys

import pytest
from stored import put

from bnlib.parameters import Parameter
from bookbuild import execute, grids, sources
from bookbuild import notebook as nb

DECLARED = {
    parameter.name: parameter
    for parameter in [
        Parameter("depth", "int", 2, low=1, high=64),
        Parameter("seed", "int", 0, low=0, high=1e6),
        Parameter("step", "float", 0.1, low=0, high=1),
        Parameter("norm", "str", "batch", choices=("batch", "layer")),
        Parameter("frozen", "bool", False),
        Parameter("sizes", "list", [2, 4], low=2, high=99),
    ]
}
CELL = """\
depth: int = 2  # layers [1, 64]
seed: int = 0
step: float = 0.1  # [0, 1]
norm: str = "batch"  # {batch|layer}
frozen: bool = False
sizes: list = [2, 4]  # [2, 99]"""


@pytest.fixture
def path(tmp_path, write_notebook):
    return write_notebook(tmp_path / "notebooks" / "n.ipynb", ("parameters", CELL), "depth")


def _parsed(*words):
    return [
        {name: list(values) for name, values in g.items()} for g in grids.parse(DECLARED, words)
    ]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("depth=2,4,8", [2, 4, 8]),
        ("depth= 2, 4", [2, 4]),
        ("seed=0:4", [0, 1, 2, 3]),
        ("seed=4:0:-2", [4, 2]),
        ("seed=0:3,10,20:22", [0, 1, 2, 10, 20, 21]),
        ("step=0:0.4:0.1", [0.0, 0.1, 0.2, 0.3]),
        ("step=1e-3,0.5", [0.001, 0.5]),
        ("step=0:2", [0.0, 1.0]),
        ("norm=batch,layer", ["batch", "layer"]),
        ("frozen=true,false", [True, False]),
        ("sizes=[2,4],[8]", [[2, 4], [8]]),
    ],
)
def test_values_are_read_as_the_declared_type(word, values):
    assert _parsed(word) == [{word.partition("=")[0]: values}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["depht=2"], "unknown parameter 'depht'; did you mean 'depth'"),
        (["depth=2.5"], "expected int .1, 64., got '2.5'"),
        (["depth=0:3"], "expected one in .1, 64., got 0"),
        (["depth=1:3:0.5"], "an int takes whole numbers"),
        (["depth=1:2:3:4"], "expected start:stop or start:stop:step"),
        (["depth=1:x"], "expected start:stop or start:stop:step"),
        (["depth=1:9:0"], "expected start:stop or start:stop:step"),
        (["depth=1:inf"], "expected start:stop or start:stop:step"),
        (["step=0:1:1e-9"], "expected at most 1,000,000 runs, got 1e.09; the step is tiny"),
        (["step=0:1:1e-999999"], "expected at most 1,000,000 runs"),
        (["step=0:1:0.001", "seed=0:10000"], "expected at most 1,000,000 runs, got 1e.07"),
        (["seed=0:1e9"], "expected at most 1,000,000 runs"),
        (["depth=5:5"], "expected values, got none"),
        (["depth="], "expected int"),
        (["norm=group"], r"expected one in \{batch\|layer\}, got 'group'"),
        (["frozen=yes"], "expected bool"),
        (["sizes=2,4"], "expected list"),
        (["sizes=[2"], r"expected lists such as \[2,4\],\[8\]"),
        (["sizes=[1]"], "expected one in .2, 99., got 1"),
        (["depth=2", "depth=4"], "expected one --grid depth"),
        (["depth"], "expected --grid name=values or a TOML file, got 'depth'"),
    ],
)
def test_what_a_notebook_does_not_declare_is_refused(words, message):
    with pytest.raises(ValueError, match=message):
        grids.parse(DECLARED, words)


def test_a_file_holds_several_grids_and_words_join_each(tmp_path):
    file = tmp_path / "grids.toml"
    file.write_text(
        "[[grid]]\ndepth = [2, 4]\nseed = '0:2'\n[[grid]]\ndepth = 8\nsizes = [[2, 4], [8]]\n"
    )
    assert _parsed(str(file), "step=0.5") == [
        {"depth": [2, 4], "seed": [0, 1], "step": [0.5]},
        {"depth": [8], "sizes": [[2, 4], [8]], "step": [0.5]},
    ]
    file.write_text("depth = [2, 4]\nsizes = '[2, 8]'\nnorm = 'layer'\n")
    assert _parsed(str(file)) == [{"depth": [2, 4], "sizes": [[2, 8]], "norm": ["layer"]}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[grid]]\ndepht = 1\n", "grids.toml: unknown parameter 'depht'"),
        ("depth = [2, 'x']\n", "grids.toml: parameter 'depth': expected int"),
        ("depth = ", "expected a TOML file of grids"),
        ("grid = [1]", r"expected tables \[\[grid\]\]"),
        ("step = 0.5", "in the file or as --grid, got both"),
        ("depth = []", "expected values, got none"),
    ],
)
def test_a_bad_file_is_refused_with_its_name(tmp_path, text, message):
    file = tmp_path / "grids.toml"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        grids.parse(DECLARED, [str(file), "step=0.5"])


def test_runs_are_the_product_in_order_each_with_the_key_of_a_single_execution(path):
    root = path.parents[1]
    plan = grids.plan(path, ["depth=2,4", "seed=0:2"], root=root)
    runs = list(plan.runs())
    assert [run.parameters for run in runs] == [
        {},
        {"seed": 1},
        {"depth": 4},
        {"depth": 4, "seed": 1},
    ]
    assert runs == [execute.plan(path, run.parameters, root=root) for run in runs]
    assert plan.parameters(runs[1]) == {
        "depth": 2, "seed": 1, "step": 0.1, "norm": "batch", "frozen": False, "sizes": [2, 4]
    }  # fmt: skip


def test_a_run_of_two_grids_is_one_run(path):
    file = path.parent / "grids.toml"
    file.write_text("[[grid]]\nseed = '0:4'\n[[grid]]\nseed = '2:6'\ndepth = 2\nstep = 0.1\n")
    plan = grids.plan(path, [str(file)], root=path.parents[1])
    assert [plan.parameters(run)["seed"] for run in plan.runs()] == [0, 1, 2, 3, 4, 5]
    assert grids.survey(plan).runs == 6


def test_a_survey_counts_what_is_stored_with_its_time_and_names_the_plan_by_its_runs(path):
    plans = [grids.plan(path, [word], root=path.parents[1]) for word in ("seed=0:4", "seed=0:5")]
    assert grids.survey(plans[0])[1::2] == (0, None)
    for run, seconds in zip(plans[0].runs(), (1.0, 2.0, 9.0), strict=False):
        put(run.folder, run.slug, run.key, nb.read(path), seconds=seconds)
    first, second = map(grids.survey, plans)
    assert (first.runs, first.stored, second.runs, second.stored) == (4, 3, 5, 3)
    assert first.name != second.name
    assert first.seconds == 2.0


def test_a_path_is_meant_from_the_shell_and_its_content_is_in_the_key(
    tmp_path, write_notebook, monkeypatch
):
    cell = "data: str = 'digits'\nmore: list = ['a']"
    path = write_notebook(tmp_path / "notebooks" / "d.ipynb", ("parameters", cell), "data")
    shell = tmp_path / "shell"
    shell.mkdir()
    for name in ("own.npz", "digits"):
        (shell / name).write_text("1")
    monkeypatch.chdir(shell)

    def runs():
        words = ["data=own.npz,digits,missing.npz", 'more=["own.npz"]']
        return list(grids.plan(path, words, root=tmp_path).runs())

    before = runs()
    assert [run.parameters.get("data") for run in before] == [
        str(shell / "own.npz"), None, "missing.npz"
    ]  # fmt: skip
    assert before[0].parameters["more"] == [str(shell / "own.npz")]
    (shell / "own.npz").write_text("2")
    assert not {run.key for run in before} & {run.key for run in runs()}


def test_a_plan_reads_the_sources_when_it_is_made_and_runs_as_they_are_asked_for(path, monkeypatch):
    plan = grids.plan(path, ["seed=0:1000", "depth=1:2", "step=0:1:0.001"], root=path.parents[1])
    monkeypatch.setattr(sources, "digest", None)
    runs = list(itertools.islice(plan.runs(), 2))
    assert [run.parameters["step"] for run in runs] == [0.0, 0.001]
    assert runs[0].key != runs[1].key


@pytest.mark.slow
def test_a_plan_of_a_hundred_thousand_runs_needs_less_than_300_megabytes_and_ten_seconds(path):
    # A child starts with the peak of the process that forks it: here a small one, not the tests'.
    script = (
        "import resource, subprocess, sys; subprocess.run(sys.argv[1:], check=True); "
        "used = resource.getrusage(resource.RUSAGE_CHILDREN); "
        "print(used.ru_maxrss, used.ru_utime + used.ru_stime)"
    )
    command = [sys.executable, "-m", "bnlib", "sweep", "n", "--grid", "seed=0:50000"]
    command += ["--grid", "depth=1,2", "--dry-run"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command],
        cwd=path.parents[1], capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "n: 100000 runs, 0 in the store, 100000 to do" in done.stdout
    kilobytes, seconds = map(float, done.stdout.split()[-2:])
    assert kilobytes < 300 * 1024
    assert seconds < 10  # of CPU: others may use this machine
