"""The audit of one checkpoint as a value, as text, as JSON, and as one HTML file.

The page asks for nothing: styles inline, pictures as SVG by hand, names from the file escaped.
"""

import json
from collections.abc import Iterator
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from bnlib.audit.findings import KINDS, Finding, Kind, Measured, find, measure
from bnlib.audit.layers import (
    Record,
    Skipped,
    UnreadableError,
    find_layers,
    identity_coords,
    load_checkpoint,
)
from bnlib.audit.summary import Share, identity_audit

CAVEATS = (
    "eps is not stored in a state dict: r, s, d and the counts against eps depend on --eps.",
    "r, s, d depend on the gauge: the same function can have any of them. Gate rates do not.",
    "Gate rates assume near-normal x_hat, and the activation directly after the normalization.",
    "Instance normalization with stored statistics has the same tensors and is listed too.",
)
DOTS = 4000  # of the cloud; more would only make the file heavy
_STYLE = """
:root{color-scheme:light dark;--ink:#1a1a1a;--back:#fff;--dot:#0b4f8a;--mark:#b3480a;--line:#767676}
@media(prefers-color-scheme:dark){:root{--ink:#e8e8e8;--back:#16181c;--dot:#7db8e8;--mark:#ffa45c;
--line:#a0a0a0}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:70rem;
margin:auto;padding:1rem}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.15rem .6rem;text-align:right;border-bottom:1px solid var(--line)}
td:first-child,th:first-child{text-align:left;overflow-wrap:anywhere}.wide{overflow-x:auto}
svg{max-width:100%;height:auto}svg text{fill:var(--ink);font:12px system-ui,sans-serif}
.error{border-left:.4rem solid #b3202c;padding-left:.6rem}.warning{border-left:.4rem solid #d9700a;
padding-left:.6rem}.note{border-left:.4rem solid var(--line);padding-left:.6rem}
"""


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
        matching = f" matching {pattern!r}" if pattern else ""
        reasons = "".join(f"; {name or '(root)'}: {reason}" for name, reason in skipped[:5])
        raise UnreadableError(
            f"{path}: expected at least one batch normalization{matching} (a running mean and "
            f"variance under one prefix), got none{reasons}"
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
    for kind, findings, total in _by_kind(report.findings):
        where = ", ".join(_plain(finding.layer) for finding in findings[:4])
        more = f" and {len(findings) - 4} more" if len(findings) > 4 else ""
        lines += [f"{kind.severity.upper()} {kind.title}: {total} channels in {where}{more}"]
        lines += [f"    training: {kind.training}", f"    pruning: {kind.pruning}"]
        lines += [f"    quantization: {kind.quantization}"]
    lines += [f"SKIPPED {_plain(name)}: {reason}" for name, reason in report.skipped]
    return "\n".join([*lines, "", *CAVEATS])


def as_html(report: Report) -> str:
    """The report as a self-contained page; names from the file are escaped, nothing is loaded."""
    title = f"Batch normalizations of {escape(report.source)}"
    channels = sum(layer["channels"] for layer in report.layers)
    parts = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" '
        "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>{_STYLE}</style></head><body><main><h1>{title}</h1>",
        f"<p>{len(report.layers)} layers, {channels} channels, eps {report.eps:g}, activation "
        f"{report.activation}.</p><ul>{_shares(report)}</ul>",
        f"<h2>Findings</h2>{_findings(report)}",
        "<h2>Every channel</h2>",
        "<p>r = γ/τ and s = (β − μ)/τ with τ = √(v + ε). The cross marks the identity, r = 1 and "
        "s = 0. Another gauge of the same function moves every dot.</p>",
        _cloud(report),
        "<h2>Layers</h2>",
        _strips(report.layers) if report.activation != "none" else "",
        _table(report.layers),
        "<h2>How to read this</h2><ul>",
        *(f"<li>{escape(caveat)}</li>" for caveat in CAVEATS),
        "</ul></main></body></html>\n",
    ]
    return "\n".join(parts)


def _by_kind(findings: list[Finding]) -> Iterator[tuple[Kind, list[Finding], int]]:
    """Each kind that occurs with its findings, in order, and their number of channels."""
    for name, layers in groupby(findings, lambda finding: finding.kind):
        of_kind = list(layers)
        yield KINDS[name], of_kind, sum(finding.channels for finding in of_kind)


def _plain(name: str) -> str:
    """A name without control characters: a file must not steer the terminal."""
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


def _shares(report: Report) -> str:
    return "".join(
        f"<li>d &lt; {bound:g}: {share:.2%} of the channels, 95 % interval over layers "
        f"{low:.2%} to {high:.2%}; with (γ, β) dealt anew within each layer {null:.2%}.</li>"
        for bound, (share, low, high), (null, _, _) in report.shares
    )


def _findings(report: Report) -> str:
    blocks = []
    for kind, findings, total in _by_kind(report.findings):
        where = ", ".join(f"{escape(f.layer)} ({f.channels})" for f in findings)
        blocks.append(
            f'<section class="{kind.severity}"><h3>{kind.severity}: {escape(kind.title)}</h3>'
            f"<p>{total} channels. Training: {escape(kind.training)} "
            f"Pruning: {escape(kind.pruning)} Quantization: {escape(kind.quantization)}</p>"
            f"<details><summary>{len(findings)} layers</summary><p>{where}</p></details></section>"
        )
    blocks += [
        f'<section class="warning"><h3>skipped: {escape(name)}</h3>'
        f"<p>{escape(reason)}</p></section>"
        for name, reason in report.skipped
    ]
    return "".join(blocks) or "<p>Nothing stands out.</p>"


def _cloud(report: Report) -> str:
    """All channels: log10 |r| across, asinh s upwards; sampled evenly where there are too many."""
    with np.errstate(all="ignore"):
        coordinates = [identity_coords(record.norm) for record in report.records]
        x = np.log10(np.abs(np.concatenate([c.r for c in coordinates])))
        y = np.arcsinh(np.concatenate([c.s for c in coordinates]))
    keep = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    keep = keep[np.linspace(0, len(keep) - 1, min(DOTS, len(keep))).astype(int)]
    across = 60 + 520 * (np.clip(x[keep], -3, 3) + 3) / 6
    up = 180 - 150 * np.clip(y[keep], -4, 4) / 4
    dots = "".join(f"M{a:.1f} {b:.1f}h0" for a, b in zip(across, up, strict=True))
    ticks = "".join(
        f'<text x="{60 + 520 * (k + 3) / 6:.0f}" y="352" text-anchor="middle">{10.0**k:g}</text>'
        for k in range(-3, 4)
    )
    ticks += "".join(
        f'<text x="54" y="{184 - 150 * np.arcsinh(s) / 4:.0f}" text-anchor="end">{s}</text>'
        for s in (-20, -5, -1, 0, 1, 5, 20)
    )
    return (
        '<svg viewBox="0 0 600 380" width="600" role="img" aria-label="r and s of the channels">'
        "<title>r (logarithmic, across) and s (upwards) of the channels; the cross at r = 1, s = 0 "
        'is the identity</title><rect x="60" y="30" width="520" height="300" fill="none" '
        'stroke="var(--line)"/><path d="' + dots + '" stroke="var(--dot)" stroke-width="3" '
        'stroke-linecap="round" opacity=".5" fill="none"/><path d="M312 180h16M320 172v16" '
        'stroke="var(--mark)" stroke-width="3"/>' + ticks + '<text x="320" y="374" '
        'text-anchor="middle">|r|</text><text x="12" y="180">s</text></svg>'
    )


def _strips(layers: list[Measured]) -> str:
    """One line a layer: from the 10 % to the 90 % quantile of the gate rate, median ticked."""
    rows, height = [], 16 * len(layers) + 40
    for at, layer in enumerate(layers):
        three, y = layer["quantiles"].get("gate"), 24 + 16 * at
        name = escape(layer["layer"][-34:])
        rows.append(f'<text x="250" y="{y + 4}" text-anchor="end">{name}</text>')
        if three:
            low, middle, high = (260 + 320 * v for v in three)
            rows.append(
                f'<path d="M{low:.1f} {y}H{high:.1f}" stroke="var(--dot)" stroke-width="4"/>'
                f'<path d="M{middle:.1f} {y - 6}v12" stroke="var(--mark)" stroke-width="3"/>'
            )
    return (
        f'<svg viewBox="0 0 600 {height}" width="600" role="img" aria-label="gate rates by layer">'
        "<title>Predicted share of time that gates are open, by layer: 10 to 90 % of the channels, "
        f"tick at the median; the axis runs from 0 to 1</title>{''.join(rows)}"
        f'<path d="M260 12V{height - 20}M580 12V{height - 20}" stroke="var(--line)"/>'
        f'<text x="260" y="{height - 4}" text-anchor="middle">0</text>'
        f'<text x="580" y="{height - 4}" text-anchor="middle">1</text></svg>'
    )


def _table(layers: list[Measured]) -> str:
    heads = ("layer", "channels", "dtype", "r 10/50/90 %", "s 10/50/90 %", "d 10/50/90 %")
    heads += ("gate 10/50/90 %", "v < eps", "γ &lt; 0", "dead", "closed", "not finite")
    rows = []
    for layer in layers:
        quantiles, counts = layer["quantiles"], layer["counts"]
        cells = [escape(layer["layer"]), layer["channels"], layer["dtype"]]
        cells += [_quantiles(quantiles.get(name)) for name in ("r", "s", "d", "gate")]
        names = ("small-variance", "negative-gamma", "dead", "closed", "non-finite")
        cells += [counts[name] for name in names]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
