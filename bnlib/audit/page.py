"""The audit as one HTML file that asks for nothing: styles inline, pictures as SVG by hand."""

from html import escape

import numpy as np

from bnlib.audit.findings import KINDS, Measured
from bnlib.audit.layers import identity_coords
from bnlib.audit.report import CAVEATS, Report, by_kind, three_numbers

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
        _strips(report.layers, "gate") if report.activation != "none" else "",
        _table(report.layers),
        "<h2>How to read this</h2><ul>",
        *(f"<li>{escape(caveat)}</li>" for caveat in CAVEATS),
        "</ul></main></body></html>\n",
    ]
    return "\n".join(parts)


def _shares(report: Report) -> str:
    return "".join(
        f"<li>d &lt; {bound:g}: {share:.2%} of the channels, 95 % interval over layers "
        f"{low:.2%} to {high:.2%}; with (γ, β) dealt anew within each layer {null:.2%}.</li>"
        for bound, (share, low, high), (null, _, _) in report.shares
    )


def _findings(report: Report) -> str:
    blocks = []
    for kind, found in by_kind(report.findings).items():
        what = KINDS[kind]
        total = sum(finding.channels for finding in found)
        where = ", ".join(f"{escape(f.layer)} ({f.channels})" for f in found)
        blocks.append(
            f'<section class="{what.severity}"><h3>{what.severity}: {escape(what.title)}</h3>'
            f"<p>{total} channels. Training: {escape(what.training)} "
            f"Pruning: {escape(what.pruning)} Quantization: {escape(what.quantization)}</p>"
            f"<details><summary>{len(found)} layers</summary><p>{where}</p></details></section>"
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


def _strips(layers: list[Measured], quantity: str) -> str:
    """One line a layer: from the 10 % to the 90 % quantile of the gate rate, median ticked."""
    rows, height = [], 16 * len(layers) + 40
    for at, layer in enumerate(layers):
        three, y = layer["quantiles"].get(quantity), 24 + 16 * at
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
        cells += [three_numbers(quantiles.get(name), 2) for name in ("r", "s", "d", "gate")]
        names = ("small-variance", "negative-gamma", "dead", "closed", "non-finite")
        cells += [counts[name] for name in names]
        rows.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'
