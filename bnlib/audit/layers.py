"""The batch normalizations of a checkpoint: read safely, found, and what each channel says."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bnlib.audit.reading import SAVE, Stub, UnreadableError, read
from bnlib.gauge import Norm

State = dict[str, Any]  # tensors by name, and what stands where a tensor is expected

# Names under which a network's tensors are kept; the first is read where there are several.
WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "module", "ema", "params_ema")
WRAPPERS += ("ema_state_dict", "state_dict_ema", "model_ema", "params", "state", "net", "network")
# Put into names by torch.compile, FSDP and checkpointing; by DataParallel at the start of all.
_INSIDE = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
_OUTSIDE = "module."
# How the four tensors of a normalization are called in PyTorch, Paddle, Keras and MXNet.
NAMES = {
    "gamma": ("weight", "gamma"),
    "beta": ("bias", "beta"),
    "mean": ("running_mean", "moving_mean", "_mean"),
    "var": ("running_var", "moving_variance", "moving_var", "running_variance", "_variance"),
}
_PART = {name: part for part, names in NAMES.items() for name in names}
# A prefix, one of these names, and what torch adds where a tensor is computed from others.
_KEY = re.compile(
    rf"(?:(?P<prefix>.*?)[./_])??(?P<name>{'|'.join(_PART)})(?P<of>_orig|_mask|_[guv])?"
    r"(?::0|/\.ATTRIBUTES/VARIABLE_VALUE)?",
    re.DOTALL,
)
_COMPUTED = re.compile(
    r"(?:(?P<prefix>.*)\.)?parametrizations\.(?P<name>\w+)(?P<of>\..*)", re.DOTALL
)
# MXNet and Flax keep parameters and statistics apart, under the same names.
_APART = re.compile(r"(arg|aux):|(params|batch_stats)[./]")
_FLAX = re.compile(r"(?:(?P<prefix>.*)[./])?(?P<name>scale|bias|mean|var)", re.DOTALL)
_FLAX_PART = {"scale": "weight", "mean": "running_mean", "var": "running_var"}
_DEEPEST, _MANY = 8, 1000  # nested wrappers, and entries of a list; a hostile file has no end
_MOST = 1_000_000  # channels; a hostile file promises more than it holds


class Record(NamedTuple):
    """A batch normalization as stored, in float64."""

    name: str
    norm: Norm
    dtype: str  # as stored, of the running variance
    assumed: tuple[str, ...]  # what is not stored: gamma = 1, beta = 0


class Skipped(NamedTuple):
    """What looks like a batch normalization but cannot be read as one."""

    name: str
    reason: str


class Coordinates(NamedTuple):
    """Where gamma and beta stand, seen from the stored statistics; (c,) each."""

    r: np.ndarray
    s: np.ndarray
    d: np.ndarray


def load_checkpoint(path: str | Path, key: str = "") -> State:
    """The tensors of a checkpoint by name; where it holds several networks, of the one under `key`.

    Nothing of the file is executed, and it is not changed; see `reading.read`. Looks under
    wrappers, and takes off what torch puts into names.
    Raises UnreadableError where `read` does, for a file without named tensors and for another key.
    """
    return choose(path, key)[0]


def choose(path: str | Path, key: str = "") -> tuple[State, list[str]]:
    """As `load_checkpoint`; and the keys of all networks in the file, the one that is read first.

    The order of preference: complete ones, the top, then by WRAPPERS, then as in the file.
    """
    content = read(Path(path))
    states = _states(content)

    def rank(at: tuple[str, ...]) -> tuple[int, list[int]]:
        return -_holds(states[at]), [(*WRAPPERS, name).index(name) for name in at]

    networks = sorted((at for at in states if _holds(states[at])), key=rank)
    keys = [".".join(at) for at in networks]
    if key and key not in keys:
        raise UnreadableError(f"{path}: expected a network under {key!r}, got {keys[:8]}")
    if not states:
        raise UnreadableError(f"{path}: {_nothing(content)}")
    at = networks[keys.index(key)] if key else next(iter(networks or states))
    state = states[at]
    plain = {_INSIDE.sub("", name): value for name, value in state.items()}
    state = plain if len(plain) == len(state) else state
    if all(name.startswith(_OUTSIDE) for name in state):
        state = {name.removeprefix(_OUTSIDE): value for name, value in state.items()}
    name = ".".join(at)
    return state, [name, *(k for k in keys if k != name)]


def find_layers(
    state: Mapping[str, Any], *, eps: float, pattern: str = ""
) -> tuple[list[Record], list[Skipped]]:
    """All batch normalizations, in the order of the state dict, whatever their prefixes.

    A layer is a prefix with a stored mean and variance (`NAMES`), vectors of one length, possibly
    with axes of length 1. Missing gamma means 1, missing beta 0; the record says so. Of a pruned
    tensor the product of original and mask is taken; one that other code computes is skipped.
    eps: not stored in a state dict, so it must be given.  pattern: a regular expression that a
    prefix must contain.
    """
    records, skipped, channels = [], [], 0
    for name, stored in _groups(state).items():
        if not {"mean", "var"} & set(stored) or not re.search(pattern, name):
            continue
        parts = {part: _whole(tensors) for part, tensors in stored.items()}
        reason = _defect(parts)
        channels += 0 if reason else parts["mean"].numel()
        if reason or channels > _MOST:
            reason = reason or f"expected at most {_MOST} channels in a file, got more"
            skipped.append(Skipped(name, reason))
        else:
            records.append(_record(name, parts, eps))
    return records, skipped


def identity_coords(norm: Norm) -> Coordinates:
    """How far gamma and beta are from those that undo the normalization by stored statistics.

        r = gamma / tau,   s = (beta - mean) / tau,   d = sqrt((r - 1)^2 + s^2),
        tau = sqrt(var + eps)

    The identity is r = 1, s = 0, d = 0. d is the root mean square of y - x in units of tau, for x
    with exactly the stored moments and eps << var.
    Consequences: all three depend on the gauge (`gauge.gauge`), so not on the function alone; where
    var + eps is 0 or a number is not finite, d is not finite either.
    """
    with np.errstate(all="ignore"):
        tau = np.sqrt(norm.var + norm.eps)
        r, s = norm.gamma / tau, (norm.beta - norm.mean) / tau
        return Coordinates(r, s, np.hypot(r - 1, s))


def _groups(state: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """What is stored of each normalization: prefix -> part -> how it is called -> tensor."""
    groups: dict[str, dict[str, dict[str, Any]]] = {}
    for key, value in _torch_names(state).items():
        match = _COMPUTED.fullmatch(key) or _KEY.fullmatch(key)
        if match and match["name"] in _PART:
            name = (match["prefix"] or "").replace("/", ".")
            stored = groups.setdefault(name, {}).setdefault(_PART[match["name"]], {})
            called = match["name"] + (match["of"] or "")
            stored[key if called in stored else called] = value
    return groups


def _torch_names(state: Mapping[str, Any]) -> Mapping[str, Any]:
    """The state with parameters and statistics together, and Flax's names as torch's.

    A scale or a mean alone is no normalization: of Flax are a mean, a variance, and one more.
    """
    if any(name.startswith(("aux:", "batch_stats")) for name in state):
        together = {_APART.sub("", name, count=1): value for name, value in state.items()}
        state = together if len(together) == len(state) else state
    parts: dict[str, set[str]] = {}
    for match in filter(None, map(_FLAX.fullmatch, state)):
        parts.setdefault(match["prefix"] or "", set()).add(match["name"])

    def name_of(key: str) -> str:
        match = _FLAX.fullmatch(key)
        known = parts[match["prefix"] or ""] if match else set()
        if not match or not {"mean", "var"} < known:
            return key
        return key.removesuffix(match["name"]) + _FLAX_PART.get(match["name"], match["name"])

    return {name_of(key): value for key, value in state.items()}


def _whole(tensors: Mapping[str, Any]) -> Any:
    """The tensor that a layer uses; a text that says why where the file cannot tell."""
    (name, tensor), *others = tensors.items()
    if not others and name in _PART:
        return tensor
    for name in _PART:
        original, mask = tensors.get(f"{name}_orig"), tensors.get(f"{name}_mask")
        if isinstance(original, torch.Tensor) and isinstance(mask, torch.Tensor):
            same = original.shape == mask.shape and len(tensors) == 2
            return original * mask if same else "expected one original and a mask of its shape"
    return f"expected one tensor, or an original and its mask, got {', '.join(tensors)}"


def _holds(state: State) -> int:
    """2 if a mean and a variance are in the state, 1 if one of them is, otherwise 0."""
    return max(
        (len({"mean", "var"} & set(stored)) for stored in _groups(state).values()), default=0
    )


def _states(content: Any) -> dict[tuple[str, ...], State]:
    """Every mapping with named tensors, by the keys that lead to it, outer ones first.

    The tensors of a single layer belong to the network that it is nested in.
    """
    states: dict[tuple[str, ...], State] = {}
    level, seen = {(): content}, set()
    for _ in range(_DEEPEST):
        below = {}
        for at, node in level.items():
            if isinstance(node, list | tuple):
                node = dict(enumerate(node[:_MANY]))
            if id(level[at]) in seen or not isinstance(node, Mapping):
                continue
            seen.add(id(level[at]))
            named = {key: v for key, v in node.items() if isinstance(key, str)}
            if any(isinstance(value, torch.Tensor) for value in named.values()):
                states[at] = named
            for key, value in node.items():
                if isinstance(key, str | int) and isinstance(value, Mapping | list | tuple):
                    below[(*at, str(key))] = value
        level = below
    for at in [at for at in states if len(at) and at[-1] not in WRAPPERS]:
        if _groups(states[at]).keys() == {""} and _holds(states[at]):
            outer = at[:1] if len(at) > 1 else ()
            within = ".".join(at[len(outer) :])
            moved = {f"{within}.{name}": value for name, value in states.pop(at).items()}
            states[outer] = states.get(outer, {}) | moved
    return states


def _nothing(content: Any) -> str:
    kind = type(content).__name__
    if isinstance(content, Stub):
        return f"refused: the file holds an object of {type(content).__module__}.{kind}. {SAVE}"
    held = list(content.items())[:5] if isinstance(content, Mapping) else []
    keys = [f"{str(key)[:40]} ({type(value).__name__})" for key, value in held]
    if any(type(value).__module__.startswith("numpy") for _, value in held):
        return "expected tensors by name, got NumPy arrays; save each as torch.from_numpy(array)"
    return (
        "expected a state dict (names and tensors, also under other names), got a "
        f"{kind}{' with ' * bool(keys)}{', '.join(keys)}. {SAVE}"
    )


def _defect(parts: Mapping[str, Any]) -> str:
    """Why these tensors are not a normalization; empty if they are."""
    for part in ("mean", "var"):
        if part not in parts:
            return f"the running {part} is missing"
    for part, tensor in parts.items():
        if isinstance(tensor, str):
            return f"{part}: {tensor}"
        if not isinstance(tensor, torch.Tensor):
            return f"{part}: expected real numbers, got an object of {type(tensor).__name__}"
        if not tensor.is_floating_point() or tensor.layout != torch.strided:
            return f"{part}: expected real numbers, got {tensor.dtype}, layout {tensor.layout}"
    shapes = {part: tuple(tensor.shape) for part, tensor in parts.items()}
    if (
        any(not _vector(shape) for shape in shapes.values())
        or len({tensor.numel() for tensor in parts.values()}) > 1
    ):
        got = ", ".join(f"{part} {shape}" for part, shape in shapes.items())
        return f"expected one vector shape for all, got {got}"
    if any(tensor.is_meta for tensor in parts.values()):
        return "a tensor has no data"
    return ""


def _vector(shape: tuple[int, ...]) -> bool:
    """(C,), also with axes of length 1 that broadcast over an input: (1, C, 1, 1) or (C, 1, 1)."""
    long = [n for n in shape if n != 1]
    return (
        len(shape) > 0 and len(long) < 2 and 0 not in long and shape not in [(n, 1) for n in long]
    )


def _record(name: str, parts: Mapping[str, torch.Tensor], eps: float) -> Record:
    like = parts["mean"]
    default = {"gamma": torch.ones_like(like), "beta": torch.zeros_like(like)}
    stored = {**default, **parts}
    arrays = {k: value.detach().double().reshape(-1).numpy() for k, value in stored.items()}
    assumed = tuple(part for part in default if part not in parts)
    dtype = str(parts["var"].dtype).removeprefix("torch.")
    return Record(name, Norm(**arrays, eps=eps), dtype, assumed)
