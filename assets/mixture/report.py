"""The mixture's README and its plot: what there is, what was trimmed or boosted, and why."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence

from assets.mixture.config import MixtureConfig
from assets.mixture.plan import Weighed
from assets.mixture.statistics import LABELS, Statistics

_NATURAL, _PLANNED, _INK = "#b8c4c9", "#1f6f6b", "#22313a"
_VALUES_SHOWN = 20


def readme(
    weighed: Sequence[Weighed],
    statistics: Statistics,
    splits: Mapping[str, Counter[str]],
    dropped: Mapping[str, int],
    config: MixtureConfig,
) -> str:
    """Markdown. `splits`: stratum -> documents by split; `dropped`: reason -> duplicates left out."""
    total = statistics.total
    held = sum(c["heldout"] for c in splits.values())
    duplicates = (
        ", ".join(f"{n} {reason.replace('_', ' ')}s" for reason, n in sorted(dropped.items())) or "none"
    )
    lines = [
        "# The mixture",
        "",
        f"{total.documents:,} documents, about {total.tokens:,.0f} tokens by estimate; {held:,} documents "
        f"are held out of training. Duplicates left out: {duplicates}.",
        "",
        "![Natural and planned shares](mixture.svg)",
        "",
        "## Strata",
        "",
        "A batch is drawn from the strata by *weight*. *Natural* is the share of tokens; *factor* is how "
        "often a token is seen for each time it would be seen in natural proportion.",
        "",
        "| stratum | documents | held out | characters | tokens (estimate) | natural | weight | factor |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {w.stratum} | {w.count.documents:,} | {splits[w.stratum]['heldout']:,} | {w.count.characters:,} "
        f"| {w.count.tokens:,.0f} | {w.natural:.2%} | {w.weight:.2%} | {w.factor:.2f} |"
        for w in weighed
    ]
    lines += ["", "## Trimmed and boosted, and why", ""]
    lines += [f"- **{w.stratum}**: {w.reason}" for w in weighed]
    lines += [
        "",
        "## Rules that hold for all",
        "",
        f"- At most {config.max_repetitions:g} times its natural share for any stratum: "
        f"{config.max_repetitions_reason.strip()}",
        f"- A pattern's weight is shared out by tokens to the power {config.exponent:g}: "
        f"{config.exponent_reason.strip()}",
        *(
            f"- Held out of `{rule.pattern}`: {rule.share:.0%}, from {rule.minimum_documents} documents on. "
            f"{rule.reason.strip()}"
            for rule in config.heldout
        ),
        "- A cluster of near-duplicates never stands on both sides; which side depends on its lead "
        "and the seed alone.",
    ]
    for label in LABELS:
        lines += ["", f"## By {label}", "", *_label_table(label, statistics)]
    return "\n".join(lines) + "\n"


def _label_table(label: str, statistics: Statistics) -> list[str]:
    counts = sorted(statistics.labels[label].items(), key=lambda kv: (-kv[1].tokens, kv[0]))
    total = statistics.total.tokens
    lines = [
        f"| {label} | documents | characters | tokens (estimate) | share |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {value} | {c.documents:,} | {c.characters:,} | {c.tokens:,.0f} | {c.tokens / total:.2%} |"
        for value, c in counts[:_VALUES_SHOWN]
    ]
    if len(counts) > _VALUES_SHOWN:
        rest = counts[_VALUES_SHOWN:]
        tokens = sum(c.tokens for _, c in rest)
        lines.append(
            f"| {len(rest)} more | {sum(c.documents for _, c in rest):,} "
            f"| {sum(c.characters for _, c in rest):,} "
            f"| {tokens:,.0f} | {tokens / total:.2%} |"
        )
    return lines


def plot(weighed: Sequence[Weighed]) -> tuple[bytes, bytes]:
    """(SVG, PNG) bytes: natural and planned share of each stratum. The same figures, the same bytes."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    ordered = sorted(weighed, key=lambda w: (w.weight, w.stratum))
    with rc_context(
        {"svg.hashsalt": "luca", "svg.fonttype": "path", "font.family": "DejaVu Sans", "font.size": 9}
    ):
        figure = Figure(figsize=(8, 1.4 + 0.42 * len(ordered)), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        places = list(range(len(ordered)))
        axes.barh(
            [p - 0.19 for p in places],
            [w.natural * 100 for w in ordered],
            0.36,
            color=_NATURAL,
            label="natural",
        )
        axes.barh(
            [p + 0.19 for p in places],
            [w.weight * 100 for w in ordered],
            0.36,
            color=_PLANNED,
            label="planned",
        )
        for place, w in zip(places, ordered, strict=True):
            widest = max(w.natural, w.weight) * 100
            axes.annotate(
                f"x{w.factor:.2f}",
                (widest, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                color=_INK,
            )
        axes.set_yticks(places, [w.stratum for w in ordered])
        axes.set_xlabel("share of tokens seen, %")
        axes.set_title("What there is, and what a model is trained on", loc="left", color=_INK)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.12)
        axes.legend(frameon=False, loc="lower right")
        svg, png = io.BytesIO(), io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
        figure.savefig(png, format="png", dpi=120, metadata={"Software": None})
    return svg.getvalue(), png.getvalue()
