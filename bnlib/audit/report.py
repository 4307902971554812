"""The audit of one checkpoint as a value, as text and as JSON."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnlib.audit.checkpoint import UnreadableError, load_checkpoint
from bnlib.audit.findings import KINDS, Finding, Measured, find, measure
from bnlib.audit.layers import Record, Skipped, find_layers
from bnlib.audit.summary import Share, identity_audit

CAVEATS = (
    "eps is not stored in a state dict: r, s, d and the counts against eps depend on --eps.",
    "r, s, d depend on the gauge: the same function can have any of them. Gate rates do not.",
    "Gate rates assume near-normal x_hat, and the activation directly after the normalization.",
    "Instance normalization with stored statistics has the same tensors and is listed too.",
)


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

    @property
    def exit_code(self) -> int:
        """1 if there is an error among the findings, otherwise 0."""
        return int(any(KINDS[finding.kind].severity == "error" for finding in self.findings))


def audit(
    path: str | Path, *, eps: float = 1e-5, pattern: str = "", activation: str = "relu"
) -> Report:
    """Audit the batch normalizations of the checkpoint at `path`.

    Raises UnreadableError where the file cannot be read safely or holds no batch normalization.
    """
    records, skipped = find_layers(load_checkpoint(path), eps=eps, pattern=pattern)
    if not records:
        told = "; ".join(f"{name or '(root)'}: {reason}" for name, reason in skipped[:5])
        matching = f" matching {pattern!r}" if pattern else ""
        raise UnreadableError(
            f"{path}: want at least one batch normalization{matching} (a running mean and variance "
            f"under one prefix), got none{': ' + told if told else ''}"
        )
    layers = [measure(record, activation) for record in records]
    with np.errstate(invalid="ignore", over="ignore"):  # damaged channels count as far away
        shares = identity_audit(records, shuffles=40, rng=np.random.default_rng(0))
    name = Path(path).name
    return Report(name, eps, activation, layers, find(layers), skipped, shares, records)


def as_json(report: Report) -> str:
    """The report without the tensors; keys are stable."""
    document: dict[str, Any] = {
        "checkpoint": report.source,
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
        "",
        f"{'layer':34}{'c':>6}  {'r 10/50/90 %':19}{'s 10/50/90 %':22}{'gate 10/50/90 %':17}"
        f"{'v<eps':>6}{'g<0':>5}{'dead':>5}{'bad':>5}",
    ]
    lines += [_row(layer) for layer in report.layers]
    lines += ["", *(_share(share) for share in report.shares), ""]
    for kind, found in by_kind(report.findings).items():
        what = KINDS[kind]
        total = sum(finding.channels for finding in found)
        where = ", ".join(_plain(finding.layer) for finding in found[:4])
        more = f" and {len(found) - 4} more" if len(found) > 4 else ""
        lines += [f"{what.severity.upper()} {what.title}: {total} channels in {where}{more}"]
        lines += [f"    training: {what.training}", f"    pruning: {what.pruning}"]
        lines += [f"    quantization: {what.quantization}"]
    lines += [f"SKIPPED {_plain(name)}: {reason}" for name, reason in report.skipped]
    return "\n".join([*lines, "", *CAVEATS])


def by_kind(findings: list[Finding]) -> dict[str, list[Finding]]:
    """The findings of each kind, in the order of their first appearance."""
    return {
        kind: [finding for finding in findings if finding.kind == kind]
        for kind in dict.fromkeys(finding.kind for finding in findings)
    }


def _plain(name: str) -> str:
    """A name without control characters: a file must not steer the terminal."""
    return "".join(ch if ch.isprintable() else "?" for ch in name)


def _row(layer: Measured) -> str:
    quantiles, counts = layer["quantiles"], layer["counts"]
    name = _plain(layer["layer"])
    name = name if len(name) <= 33 else "…" + name[-32:]
    bad = counts["non-finite"] + counts["negative-variance"]
    return (
        f"{name:34}{layer['channels']:>6}  {three_numbers(quantiles['r'], 2):19}"
        f"{three_numbers(quantiles['s'], 2):22}{three_numbers(quantiles.get('gate'), 2):17}"
        f"{counts['small-variance']:>6}{counts['negative-gamma']:>5}{counts['dead']:>5}{bad:>5}"
    )


def three_numbers(values: list[float] | None, digits: int) -> str:
    """Three quantiles in a cell of a table; a dash where there are none."""
    if values is None:
        return "-"
    return " ".join(f"{v:.{digits}f}" if abs(v) < 1000 else f"{v:.0e}" for v in values)


def _share(share: Share) -> str:
    bound, (estimate, low, high), (null, _, _) = share
    return (
        f"share of channels with d < {bound:g}: {estimate:.2%} [{low:.2%}, {high:.2%}] by layers; "
        f"with pairs dealt anew within each layer {null:.2%}"
    )
