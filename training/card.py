# ruff: noqa: E501  (markup reads best unbroken)
"""The evaluation card for people: one Markdown page and one self-contained HTML page with its own SVG.

Both are functions of the card's figures alone: no times, no scripts, nothing loaded from elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from training.card_plots import interval_plot, loss_plot, share_bars

Card = Mapping[str, Any]

PROBES = {
    "recall": ("Recall of trained dialogues", "exact", "answers that come back token for token"),
    "heldout_dialogues": ("Dialogues never trained", "exact", "the same, for dialogues that were held out"),
    "cloze": (
        "Cloze on held-out text",
        "accuracy",
        "its own continuation preferred to three others; chance is 25%",
    ),
}
LIMITS = (
    "This is a small model that has learned a small collection by heart. It answers the dialogues it was "
    "trained on; to any other question its answer is noise or a neighbour's answer, however fluent it sounds.",
    "Figures hold for the held-out documents of this collection, of the same sources and domains; "
    "they say nothing about other texts.",
    "Intervals are 95% bootstrap intervals over windows and questions; they do not cover the choice of the "
    "collection, of the split or of the seed.",
    "It has not been aligned or red-teamed. Do not use it for advice on health, law or safety.",
)


def verdict(card: Card) -> str:
    """One honest sentence."""
    exact = card["probes"]["recall"]["instructed"]["exact"]
    share = "no" if exact is None else f"{exact:.0%} of the asked"
    return (
        f"Learned {card['learned_dialogues']} dialogues by heart: {share} trained answers come back "
        f"word for word. {'Passes' if card['passed'] else 'Does not pass'} its gate."
    )


def forgetting(card: Card) -> str:
    """What fine-tuning did to held-out documents, in a sentence."""
    before, after = (card["perplexity"][stage][-1] for stage in ("pretrained", "instructed"))
    worse = after["loss"] > after["uniform_loss"]
    return (
        f"Fine-tuning took the loss on held-out documents from {before['loss']:.2f} to {after['loss']:.2f} nats a "
        f"token; a uniform guess has {after['uniform_loss']:.2f}. "
        + (
            "On documents it has not seen it is now worse than guessing: it is sure of itself, and wrong."
            if worse
            else "It still knows something of documents that it has not seen."
        )
    )


def number(value: float | None, digits: int = 3) -> str:
    """A figure, or a dash where there is none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.0%}"


def card_markdown(card: Card) -> str:
    """card.md."""
    lines = [f"# Evaluation card: {card['recipe']}", "", verdict(card), "", "## Gate", ""]
    lines += table(("threshold", "value", "limit", ""), threshold_rows(card))
    lines += ["", "## Held-out perplexity", ""]
    lines += table(PERPLEXITY_HEAD, perplexity_rows(card))
    lines += ["", forgetting(card), "", heldout_sentence(card), "", "## Probes", ""]
    lines += table(PROBE_HEAD, probe_rows(card))
    lines += ["", "## Training data", ""]
    lines += table(("stratum", "documents", "tokens"), stratum_rows(card))
    lines += ["", *table(("licence", "documents"), licence_rows(card)), "", "## Limits", ""]
    lines += [f"- {limit}" for limit in LIMITS]
    return "\n".join(lines) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    body = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in rows]
    return [f"| {' | '.join(row)} |" for row in [list(head), ["---"] * len(head), *body]]


PERPLEXITY_HEAD = ("stratum", "targets", "uniform", "pretrained", "instructed", "bits a byte")
PROBE_HEAD = ("probe", "asked", "pretrained", "instructed", "95% interval", "token F1")


def threshold_rows(card: Card) -> list[list[str]]:
    return [
        [
            t["description"],
            number(t["value"]),
            f"{t['comparison']} {number(t['limit'])}",
            "passed" if t["passed"] else "not passed",
        ]
        for t in card["thresholds"]
    ]


def perplexity_rows(card: Card) -> list[list[str]]:
    rows = []
    for before, after in zip(card["perplexity"]["pretrained"], card["perplexity"]["instructed"], strict=True):
        rows.append(
            [
                before["stratum"],
                f"{before['targets']:,}",
                number(float(card["model"]["vocab_size"]), 0),
                number(before["perplexity"], 1),
                number(after["perplexity"], 1),
                number(before["bits_per_byte"], 2),
            ]
        )
    return rows


def probe_rows(card: Card) -> list[list[str]]:
    rows = []
    for name, (title, field, _) in PROBES.items():
        before, after = card["probes"][name]["pretrained"], card["probes"][name]["instructed"]
        interval = f"{percent(after[f'{field}_low'])} to {percent(after[f'{field}_high'])}"
        rows.append(
            [
                title,
                str(after["asked"]),
                percent(before[field]),
                percent(after[field]),
                interval if after["asked"] else "–",
                number(after.get("f1"), 2),
            ]
        )
    return rows


def stratum_rows(card: Card) -> list[list[str]]:
    return [[s["stratum"], f"{s['documents']:,}", f"{s['tokens']:,}"] for s in card["data"]["strata"]]


def licence_rows(card: Card) -> list[list[str]]:
    return [[name, f"{count:,}"] for name, count in card["data"]["licences"].items()]


def heldout_sentence(card: Card) -> str:
    """What the figures were computed on, and the proof that it was never trained on."""
    proof = card["heldout"]
    return (
        f"Computed on {proof['documents']:,} held-out documents, of which {proof['in_shards']} stand among "
        f"the {proof['trained_documents']:,} trained ones (held-out {proof['version']}, "
        f"shards {proof['shards_version']})."
    )


def card_html(card: Card) -> str:
    """card.html: one page, light and dark, printable."""
    model = card["model"]
    facts = [
        ("parameters", f"{model['parameters']:,}" if model["parameters"] else "–"),
        ("layers × width", f"{model['num_hidden_layers']} × {model['hidden_size']}"),
        ("vocabulary", f"{model['vocab_size']:,}"),
        ("dialogues learned", f"{card['learned_dialogues']:,}"),
    ]
    tiles = "".join(f"<div><b>{escape(value)}</b><span>{escape(name)}</span></div>" for name, value in facts)
    gate = "".join(
        f'<li class="{"yes" if t["passed"] else "no"}"><b>{"passed" if t["passed"] else "not passed"}</b> '
        f"{escape(t['description'])}: <code>{number(t['value'])}</code>, "
        f"limit {escape(t['comparison'].replace('<=', '≤').replace('>=', '≥'))} {number(t['limit'])}</li>"
        for t in card["thresholds"]
    )
    training = card["checkpoints"]
    plots = "".join(
        f"<figure>{loss_plot(training[stage]['losses'])}<figcaption>{escape(stage)}: "
        f"loss by step, {number(training[stage]['loss_before'], 2)} to {number(training[stage]['loss_after'], 2)} nats a token, "
        f"{training[stage]['targets']:,} targets</figcaption></figure>"
        for stage in ("pretrained", "instructed")
    )
    bars = share_bars(
        [
            (title, [(stage, card["probes"][name][stage], field) for stage in ("pretrained", "instructed")])
            for name, (title, field, _) in PROBES.items()
        ]
    )
    notes = "".join(f"<li><b>{escape(t)}</b>: {escape(note)}</li>" for t, _, note in PROBES.values())
    sections = [
        f'<header><p class="kicker">LUCA · evaluation card</p><h1>{escape(card["recipe"])}</h1>'
        f'<p class="lead">{escape(verdict(card))}</p><div class="tiles">{tiles}</div></header>',
        f'<section><h2>Gate</h2><ul class="gate">{gate}</ul></section>',
        f'<section><h2>Probes</h2><figure>{bars}</figure><ul class="small">{notes}</ul>'
        f"{html_table(PROBE_HEAD, probe_rows(card))}</section>",
        f"<section><h2>Held-out loss by stratum</h2><figure>{interval_plot(card['perplexity'])}</figure>"
        f"{html_table(PERPLEXITY_HEAD, perplexity_rows(card))}"
        f'<p>{escape(forgetting(card))}</p><p class="small">{escape(heldout_sentence(card))}</p></section>',
        f"<section><h2>What it says</h2>{examples_html(card['examples'])}</section>",
        f'<section><h2>Training</h2><div class="pair">{plots}</div></section>',
        f'<section><h2>Training data and licences</h2><div class="pair">'
        f"{html_table(('stratum', 'documents', 'tokens'), stratum_rows(card))}"
        f"{html_table(('licence', 'documents'), licence_rows(card))}</div></section>",
        f"<section><h2>Limits</h2><ul>{''.join(f'<li>{escape(limit)}</li>' for limit in LIMITS)}</ul></section>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Evaluation card: {escape(card['recipe'])}</title><style>{STYLE}</style></head>"
        f"<body><main>{''.join(sections)}</main></body></html>\n"
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """An HTML table; every cell escaped."""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def examples_html(examples: Sequence[Mapping[str, Any]]) -> str:
    """Questions with what was expected and what each checkpoint said."""
    if not examples:
        return "<p>No question was asked.</p>"
    cards = []
    for e in examples:
        kind = "trained" if e["probe"] == "recall" else "never trained"
        mark = '<b class="yes">word for word</b>' if e["exact"] else '<b class="no">differs</b>'
        expected = "" if e["exact"] else f"<dt>expected</dt><dd>{escape(e['expected'])}</dd>"
        cards.append(
            f'<article><p class="small">{kind} · {mark}</p><p class="q">{escape(e["question"])}</p><dl>'
            f"<dt>instructed</dt><dd>{escape(e['instructed'])}</dd>{expected}"
            f'<dt>pretrained</dt><dd class="faint">{escape(e["pretrained"])}</dd></dl></article>'
        )
    return f'<div class="examples">{"".join(cards)}</div>'


STYLE = """
:root{--ink:#14231d;--faint:#5d6f67;--paper:#fbfaf6;--card:#fff;--line:#dfe5dd;--leaf:#1f7a55;--sky:#8fb7c9;
--no:#b3261e}
@media(prefers-color-scheme:dark){:root{--ink:#e6eee9;--faint:#9db0a7;--paper:#101815;--card:#17221d;
--line:#2a3a33;
--leaf:#5fd0a0;--sky:#5b8aa0;--no:#ff8a80}}
*{box-sizing:border-box}body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:980px;margin:0 auto;padding:2.5rem 1.25rem 4rem}
.kicker{color:var(--leaf);letter-spacing:.08em;
text-transform:uppercase;font-size:.78rem;margin:0}
h1{font-size:2.6rem;margin:.1em 0 .2em;letter-spacing:-.02em}
.lead{font-size:1.2rem;max-width:46rem;margin:0 0 1.4rem}h2{font-size:1.15rem;margin:0 0 .9rem}
section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:1.3rem 1.4rem;
margin-top:1.1rem}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.8rem}
.tiles div{border-left:3px solid var(--leaf);padding:.1rem .8rem}.tiles b{display:block;font-size:1.35rem}
.tiles span,.small,figcaption{color:var(--faint);font-size:.86rem}.faint{color:var(--faint)}
ul{padding-left:1.1rem;margin:.3rem 0}.gate{list-style:none;padding:0}.gate li{padding:.35rem 0}
.yes b,b.yes{color:var(--leaf)}.no b,b.no{color:var(--no)}code{font:600 .95em ui-monospace,monospace}
table{border-collapse:collapse;width:100%;font-size:.9rem;margin-top:.8rem}
th,td{text-align:right;padding:.35rem .6rem;
border-bottom:1px solid var(--line);white-space:nowrap}th:first-child,td:first-child{text-align:left}
th{color:var(--faint);font-weight:600}.scroll{overflow-x:auto}figure{margin:0}
svg{width:100%;height:auto;display:block}
svg text{fill:var(--faint);font:12px system-ui,sans-serif}.pair{display:grid;gap:1.2rem;
grid-template-columns:repeat(auto-fit,minmax(300px,1fr))}.examples{display:grid;gap:.8rem;
grid-template-columns:repeat(auto-fit,minmax(280px,1fr))}
article{border:1px solid var(--line);border-radius:10px;
padding:.8rem 1rem;overflow-wrap:anywhere}article p{margin:0 0 .4rem}.q{font-weight:600}
dl{margin:0;font-size:.92rem}
dt{color:var(--faint);font-size:.76rem;text-transform:uppercase;letter-spacing:.05em}dd{margin:0 0 .5rem}
@media print{section{break-inside:avoid}body{background:#fff}}
"""
