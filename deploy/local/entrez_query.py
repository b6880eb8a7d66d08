"""Entrez search terms: words, "phrases", [fields], AND OR NOT, parentheses, ranges."""

from __future__ import annotations

import re

from deploy.local.items import Item

TOKEN = re.compile(r'\s*(?:([()])|((?:"[^"]*"|[^\s()\[\]"]+))(?:\s*\[([^\]]*)\])?)')


def matching(items: list[Item], term: str) -> tuple[list[Item], list[str]]:
    """Items that match, in order, and the phrases that match nothing anywhere.

    Raises ValueError for unbalanced parentheses. Operators bind from left to right, as at NCBI.
    """
    tokens = _tokens(term)
    missing: list[str] = []
    found, end = _expression(items, tokens, 0, missing)
    if end != len(tokens):
        raise ValueError("Search Backend failed: unbalanced parentheses")
    return [item for item in items if item.id in found], missing


def _tokens(term: str) -> list[tuple[str, str]]:
    tokens: list[tuple[str, str]] = []
    position, term = 0, term.strip()
    while position < len(term):
        match = TOKEN.match(term, position)
        if match is None:
            position += 1
            continue
        word, field = match[1] or match[2], (match[3] or "").strip().lower()
        # open access[filter]: a field takes the plain words before it along.
        while field and tokens and _is_plain(*tokens[-1]):
            word = f"{tokens.pop()[0]} {word}"
        tokens.append((word, field))
        position = match.end()
    return tokens


def _is_plain(word: str, field: str) -> bool:
    return not field and word not in ("AND", "OR", "NOT", "(", ")") and not word.startswith('"')


def _expression(
    items: list[Item], tokens: list[tuple[str, str]], at: int, missing: list[str]
) -> tuple[set[str], int]:
    found: set[str] | None = None
    operator = "AND"
    while at < len(tokens) and tokens[at][0] != ")":
        word, field = tokens[at]
        if word in ("AND", "OR", "NOT") and not field:
            operator = word
            at += 1
            continue
        if word == "(":
            part, at = _expression(items, tokens, at + 1, missing)
            if at >= len(tokens):
                raise ValueError("Search Backend failed: unbalanced parentheses")
        else:
            part = {item.id for item in items if _matches(item, word, field)}
            if not part:
                missing.append(word.strip('"') + (f"[{field}]" if field else ""))
        at += 1
        if found is None:
            found = part
        elif operator == "AND":
            found = found & part
        elif operator == "OR":
            found = found | part
        else:
            found = found - part
        operator = "AND"
    return found or set(), at


def _matches(item: Item, word: str, field: str) -> bool:
    text = word.strip('"').lower()
    if field in ("filter", "sb", "subset"):
        return text == "all" or (text == "open access" and item.licence is not None)
    if field == "uid":
        low, _, high = text.partition(":")
        return low.isdigit() and int(low) <= int(item.fields["uid"]) <= int(high or low)
    if field in ("mdat", "pdat", "edat", "date - modification", "date - publication"):
        date = (item.datestamp if field.startswith(("mdat", "date - mod")) else item.created)[:10]
        low, _, high = text.replace("/", "-").partition(":")
        return low <= date <= (high or low) + "~"
    accession = str(item.fields.get("accession", item.id)).lower()
    organism = str(item.fields.get("organism", "")).lower()
    if field in ("accn", "accession"):
        return text in (accession, accession.partition(".")[0])
    if field in ("orgn", "organism"):
        return _contains(organism, text)
    if field in ("ti", "title", "titl"):
        return _contains(item.title.lower(), text)
    return _contains(f"{item.title} {item.description} {organism} {accession}".lower(), text)


def _contains(text: str, word: str) -> bool:
    if word.endswith("*"):
        return re.search(rf"\b{re.escape(word[:-1])}", text) is not None
    return re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text) is not None
