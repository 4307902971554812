"""The audit of one checkpoint as a value, as text, as JSON, and as one HTML file.

The page (`report.html`, a template) asks for nothing: styles and pictures are in it.
"""

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import numpy as np

from bnlib.audit.findings import KINDS, Finding, Kind, Measured, find, measure
from bnlib.audit.layers import Record, Skipped, choose, find_layers, identity_coords
from bnlib.audit.reading import UnreadableError
from bnlib.audit.summary import Share, identity_audit

CAVEATS = (
    "eps is not stored in a state dict: r, s, d and the counts against eps depend on --eps.",
    "r, s, d depend on the gauge: the same function can have any of them. Gate rates do not.",
    "Gate rates assume near-normal x_hat, and the activation directly after the normalization.",
    "Instance normalization with stored statistics has the same tensors and is listed too.",
)
DOTS = 4000  # of the cloud; more would only make the file heavy


class Report(NamedTuple):
    """What the audit of one checkpoint found."""

    source: str
    eps: float
    activation: str
    layers: list[Measured]
    findings: list[Finding]
    skipped: list[Skipped]
    shares: list[Share]  # empty if a number is not finite in every layer
    records: list[Record]
    networks: list[str]  # keys of all in the file; the first is the one that was read

    @property
    def exit_code(self) -> int:
        """1 if there is an error among the findings, otherwise 0."""
        return int(any(KINDS[finding.kind].severity == "error" for finding in self.findings))


def audit(
    path: str | Path,
    *,
    eps: float = 1e-5,
    pattern: str = "",
    activation: str = "relu",
    key: str = "",
) -> Report:
    """Audit the batch normalizations of the checkpoint at `path`; see `layers.choose` for `key`.

    Raises UnreadableError where the file cannot be read safely or holds no batch normalization,
    ValueError for an eps that is not a finite number from 0 on and for an unknown activation.
    """
    if not 0 <= eps < float("inf"):
        raise ValueError(f"eps: expected a finite number from 0 on, got {eps}")
    state, networks = choose(path, key)
    records, skipped = find_layers(state, eps=eps, pattern=pattern)
    if not records:
        matching = f" matching {pattern!r}" if pattern else ""
        reasons = "".join(f"; {name or '(root)'}: {reason}" for name, reason in skipped[:5])
        raise UnreadableError(
            f"{path}: expected at least one batch normalization{matching} (a running mean and "
            f"variance under one prefix), got none{reasons}; a file of parameters alone "
            "lacks both: save the whole state_dict(), buffers too"
        )
    layers = [measure(record, activation) for record in records]
    shares = identity_audit(records, shuffles=40, rng=np.random.default_rng(0))
    name, findings = Path(path).name, find(layers)
    return Report(name, eps, activation, layers, findings, skipped, shares, records, networks)


def as_json(report: Report) -> str:
    """The report without the tensors; keys are stable."""
    document: dict[str, Any] = {
        "checkpoint": report.source,
        "network": report.networks[0],
        "other_networks": report.networks[1:],
        "eps": report.eps,
        "activation": report.activation,
        "shares": [
            {"bound": bound, "share": list(share), "shuffled": list(null)}
            for bound, share, null in report.shares
        ],
        "findings": [
            finding._asdict() | {"severity": KINDS[finding.kind].severity}
            for finding in report.findings
        ],
        "skipped": [skipped._asdict() for skipped in report.skipped],
        "layers": report.layers,
        "caveats": list(CAVEATS),
    }
    return json.dumps(document, indent=1, allow_nan=False)


def as_text(report: Report) -> str:
    """The table for a terminal, findings with what they mean, and the caveats."""
    channels = sum(layer["channels"] for layer in report.layers)
    lines = [
        f"{_plain(report.source)}: {len(report.layers)} batch normalizations, {channels} channels, "
        f"eps {report.eps:g}, activation {report.activation}",
        *map(_plain, _notes(report)),
        "",
        f"{'layer':34}{'c':>6}  {'r 10/50/90 %':19}{'s 10/50/90 %':22}{'gate 10/50/90 %':17}"
        f"{'v<eps':>6}{'g<0':>5}{'dead':>5}{'bad':>5}",
    ]
    lines += [_row(layer) for layer in report.layers]
    lines += ["", *(_share(share) for share in report.shares), ""]
    for kind, findings, total in _by_kind(report.findings):
        where = ", ".join(_plain(finding.layer) for finding in findings[:4])
        more = f" and {len(findings) - 4} more" if len(findings) > 4 else ""
        lines += [f"{kind.severity.upper()} {kind.title}: {total} channels in {where}{more}"]
        lines += [f"    training: {kind.training}", f"    pruning: {kind.pruning}"]
        lines += [f"    quantization: {kind.quantization}"]
    lines += [f"SKIPPED {_plain(name)}: {_plain(reason)}" for name, reason in report.skipped]
    return "\n".join([*lines, "", *CAVEATS])


def as_html(report: Report) -> str:
    """The report as a self-contained page: names from the file are escaped, nothing is loaded."""
    page = jinja2.Environment(
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _plain(value) if isinstance(value, str) else value,
    )
    page.filters["three"] = _quantiles
    return page.from_string(files("bnlib.audit").joinpath("report.html").read_text("utf-8")).render(
        report=report,
        channels=sum(layer["channels"] for layer in report.layers),
        notes=_notes(report),
        kinds=list(_by_kind(report.findings)),
        dots=_dots(report),
        ticks=[(s, np.arcsinh(s)) for s in (-20, -5, -1, 0, 1, 5, 20)],
        caveats=CAVEATS,
    )


def _by_kind(findings: list[Finding]) -> Iterator[tuple[Kind, list[Finding], int]]:
    """Each kind that occurs with its findings, in order, and their number of channels."""
    for name, layers in groupby(findings, lambda finding: finding.kind):
        of_kind = list(layers)
        yield KINDS[name], of_kind, sum(finding.channels for finding in of_kind)


def _notes(report: Report) -> list[str]:
    """What of the file was read, where that is not all of it."""
    read, *others = report.networks
    notes = []
    if others:
        notes = [f"Read: {read or 'the top of the file'}. The file holds other networks, too:"]
        notes = [f"{notes[0]} {', '.join(others[:8])}. Choose one with --key {others[0]}."]
    if part := re.search(r"-(\d+)-of-(\d+)\.", report.source):
        notes += [f"This is file {part[1]} of {part[2]}: give the .index.json to read all of them."]
    return notes


def _plain(name: str) -> str:
    """A name without control characters: a file must not steer the terminal, nor turn a line."""
    return "".join(ch if ch.isprintable() else "?" for ch in name)


def _row(layer: Measured) -> str:
    quantiles, counts = layer["quantiles"], layer["counts"]
    name = _plain(layer["layer"])
    name = name if len(name) <= 33 else "…" + name[-32:]
    bad = counts["non-finite"] + counts["negative-variance"]
    return (
        f"{name:34}{layer['channels']:>6}  {_quantiles(quantiles['r']):19}"
        f"{_quantiles(quantiles['s']):22}{_quantiles(quantiles.get('gate')):17}"
        f"{counts['small-variance']:>6}{counts['negative-gamma']:>5}{counts['dead']:>5}{bad:>5}"
    )


def _quantiles(values: list[float] | None) -> str:
    """Three quantiles in a cell of a table; a dash where there are none."""
    return " ".join(f"{v:.2f}" if abs(v) < 1000 else f"{v:.0e}" for v in values or ()) or "-"


def _share(share: Share) -> str:
    bound, (estimate, low, high), (null, _, _) = share
    return (
        f"share of channels with d < {bound:g}: {estimate:.2%} [{low:.2%}, {high:.2%}] by layers; "
        f"with pairs dealt anew within each layer {null:.2%}"
    )


def _dots(report: Report) -> Iterator[tuple[float, float]]:
    """(log10 |r|, asinh s) of all channels; sampled evenly where there are too many."""
    with np.errstate(all="ignore"):
        coordinates = [identity_coords(record.norm) for record in report.records]
        x = np.log10(np.abs(np.concatenate([c.r for c in coordinates])))
        y = np.arcsinh(np.concatenate([c.s for c in coordinates]))
    keep = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    keep = keep[np.linspace(0, len(keep) - 1, min(DOTS, len(keep))).astype(int)]
    return zip(np.clip(x[keep], -3, 3), np.clip(y[keep], -4, 4), strict=True)
