"""Weight files of other families of networks, read as files and asked what the register asks."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bnlib import laws, statistics, stored
from bnlib.audit import summary
from bnlib.audit.layers import Record, State, find_layers, load_checkpoint
from bnlib.chapters.trained_networks import measure
from bnlib.data import photo_crops

HERE = Path(__file__).parent
FOLDER = Path(sys.prefix) / "weights"  # where `make weights` unpacks them
DIGESTS = {"register.toml": "2c4933b215f3be7b", "witnesses.json": "f0d1febbbc5f299f"}

Row = dict[str, Any]  # file, question, value, and what else belongs to it

PROJECTIONS = {"mobilenet-v2": r"conv\.[23]$", "ppocr-cls": r"_linear_bn$"}
# Blocks without a skip: another width or stride. The graphs of both files were read for it.
FIRST = {"mobilenet-v2": r"features\.(1|2|4|7|11|14|17)\.", "ppocr-cls": r"conv(2|3|5|10)_"}
STRIDED = ("2", "4", "7", "14")  # blocks of MobileNetV2 that halve the image
IMAGENET = torch.tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]]).double()


def register() -> dict[str, Any]:
    """What was written down before a value was read; an edited file is refused."""
    text = stored.content(HERE / "register.toml", DIGESTS["register.toml"])
    return tomllib.loads(text.decode())


def from_onnx(path: Path) -> State:
    """The four tensors of each BatchNormalization node of an ONNX graph, by torch's names.

    Nothing is executed, and data outside the file are not read. A graph whose normalizations are
    folded gives none.
    """
    import onnx  # only who reads this format pays for it
    from onnx import numpy_helper

    graph = onnx.load(str(path), load_external_data=False).graph
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    tensors |= {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
    state = {}
    for node in graph.node:
        if node.op_type == "BatchNormalization":
            layer = re.sub(r"[._](scale|w_0|weight)$", "", node.input[1])
            parts = ("weight", "bias", "running_mean", "running_var")
            for part, name in zip(parts, node.input[1:], strict=True):
                array = np.array(numpy_helper.to_array(tensors[name]))
                state[f"{layer}.{part}"] = torch.from_numpy(array)
    return state


def from_hdf5(path: Path) -> State:
    """The weights of a Keras file by name, without the state of its optimizer."""
    import h5py

    state = {}

    def keep(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            state[name] = torch.from_numpy(np.array(node))

    with h5py.File(path, "r") as file:
        group: Any = file.get("model_weights", file)
        group.visititems(keep)
    return state


READERS = {"torch": load_checkpoint, "ONNX": from_onnx, "HDF5": from_hdf5}


def missing(folder: Path = FOLDER) -> list[str]:
    """Which of the registered files are not there."""
    return [k for k, file in register()["files"].items() if not (folder / file["path"]).is_file()]


def read(name: str, folder: Path = FOLDER) -> tuple[State, list[Record]]:
    """A registered file: its tensors and its normalizations.

    Raises ValueError for what looks like a normalization and cannot be read as one.
    """
    file = register()["files"][name]
    state = READERS[file["format"]](folder / file["path"])
    records, skipped = find_layers(state, eps=file["eps"])
    if skipped:
        raise ValueError(f"{name}: expected whole normalizations, got {skipped[0]}")
    return state, records


def rows(name: str, folder: Path = FOLDER) -> list[Row]:
    """All numbers of one file: what is stored, and a row for each question that it can be asked."""
    state, records = read(name, folder)
    channels = [len(record.norm.gamma) for record in records]
    made = [{"question": "stored", "layers": len(records), "channels": sum(channels)}]
    if records:
        made += [near(records), *associations(records)]
    if name in PROJECTIONS:
        made += [shift(records, PROJECTIONS[name])]
        chosen = [record for record in records if re.search(PROJECTIONS[name], record.name)]
        made += [branch(chosen, FIRST[name])]
    if name == "mobilenet-v2":
        made += [gates(state, records, photo_crops(12, size=224, seed=0))]
    return [{"file": name} | row for row in made]


def near(records: Sequence[Record]) -> Row:
    """Share of channels with d < 0.1, bootstrapped by layers; highest share of the shuffles."""
    rng = np.random.default_rng(0)
    (share,) = summary.identity_audit(records, (0.1,), shuffles=400, rng=rng)
    value, low, high = share.share
    row = {"value": value, "low": low, "high": high, "chance": share.null.high}
    return {"question": "near", **row}


def associations(records: Sequence[Record]) -> list[Row]:
    """Means over layers of the correlation of gamma and sigma, and of the slope of their logs."""
    least = register()["bench"]["least_channels"]
    pairs = [(r.norm.gamma, np.sqrt(r.norm.var)) for r in records if len(r.norm.gamma) >= least]
    values = {
        "association": [measure.correlation(*pair) for pair in pairs],
        "slope": [measure.log_slopes(*pair).ols for pair in pairs],
    }
    made = []
    for question, by_layer in values.items():
        finite = [value for value in by_layer if np.isfinite(value)]
        ends = statistics.mean_interval(finite)._asdict() if len(finite) > 1 else {}
        value = {"value": ends.pop("estimate", None)}
        made.append({"question": question, **value, **ends, "over": len(finite)})
    return made


def shift(records: Sequence[Record], projections: str) -> Row:
    """Largest |beta| of all projections over the median, over other layers, of the largest."""
    largest = {record.name: np.abs(record.norm.beta).max() for record in records}
    inside = [value for name, value in largest.items() if re.search(projections, name)]
    others = [value for name, value in largest.items() if not re.search(projections, name)]
    value, largest = max(inside) / np.median(others), max(inside)
    return {"question": "beta", "value": float(value), "largest": float(largest)}


def branch(projections: Sequence[Record], first: str) -> Row:
    """In how many blocks with a skip share (k + 1) lies within a factor of 2 of 1.

    share = q_k / (q_0 + .. + q_k),   q = sum over channels of gamma^2 var / (var + eps)
    """
    stage, scaled = [], []
    for name, (gamma, _, _, var, eps), *_ in projections:
        q = float((gamma**2 * var / (var + eps)).sum())
        stage = [q] if re.search(first, name) else [*stage, q]
        scaled += [q / sum(stage) * len(stage)] * (len(stage) > 1)
    value = np.mean([0.5 <= share <= 2 for share in scaled])
    return {"question": "branch", "value": float(value), "over": len(scaled), "scaled": scaled}


@torch.no_grad()
def gates(state: Mapping[str, torch.Tensor], records: Sequence[Record], images: Any) -> Row:
    """Measured shares of open gates of MobileNetV2 against Phi(beta/|gamma|), float64."""
    center, deviation = IMAGENET[:, :, None, None]
    x = stream = (images.double() / 255 - center) / deviation
    before, parts = "", []
    for name, norm, *_ in records:
        block, (at, last) = name.split(".")[1], name.rsplit(".", 1)
        stream, before = (stream if block == before else x), block
        weight = state[f"{at}.{int(last) - 1}.weight"].double()
        depthwise = weight.shape[1] == 1
        stride = 2 if block == "0" or (depthwise and block in STRIDED) else 1
        groups = len(weight) if depthwise else 1
        x = functional.conv2d(x, weight, None, stride, weight.shape[-1] // 2, groups=groups)
        gamma, beta, mean, var = map(torch.from_numpy, norm[:4])
        x = functional.batch_norm(x, mean, var, gamma, beta, eps=norm.eps)
        if re.search(PROJECTIONS["mobilenet-v2"], name):
            x = x + stream if x.shape == stream.shape else x
            continue
        seen = (x > 0).double().mean((0, 2, 3)).numpy()
        parts.append(np.stack([seen, laws.gate_rate(norm.gamma, norm.beta)], axis=1))
        x = x.clamp(0, 6)
    pairs, layer = np.concatenate(parts), np.repeat(range(len(parts)), [len(p) for p in parts])
    corr = statistics.cluster_bootstrap(
        pairs,
        layer,
        lambda rows: measure.correlation(*rows.T),
        resamples=300,
        rng=np.random.default_rng(0),
    )
    row = {"value": corr.estimate, "low": corr.low, "high": corr.high}
    return {"question": "gates", **row, "error": float(np.abs(pairs[:, 0] - pairs[:, 1]).mean())}


def table() -> list[Row]:
    """The stored rows, if they are those that the page was written about."""
    return stored.table(HERE / "witnesses.json", DIGESTS["witnesses.json"])["rows"]


def check(kept: Sequence[Row], names: Sequence[str], folder: Path = FOLDER) -> None:
    """Raises ValueError where one of these files gives other numbers than the stored rows."""
    for row in (row for name in names for row in rows(name, folder)):
        (same,) = [k for k in kept if (k["file"], k["question"]) == (row["file"], row["question"])]
        for key in row.keys() - {"file", "question"}:
            if row[key] is not None and not np.allclose(row[key], same[key], rtol=1e-6, atol=1e-9):
                words = f"{row['file']}, {row['question']}, {key}"
                raise ValueError(f"{words}: expected {same[key]} as stored, got {row[key]}")
