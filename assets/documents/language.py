"""The language of a text: what its source states, unless the text plainly is another.

resiliparse's detector compares byte profiles (Cavnar and Trenkle's out-of-place rank; above 1200 it is
usually wrong). It is asked for long texts alone, and believed against the source only where its rank is good.
"""

from __future__ import annotations

MIN_CHARACTERS = 400
GOOD_RANK = 420
CLEAR_LEAD = 150
MIN_LETTER_SHARE = 0.7


def detect_language(text: str, stated: str | None = None) -> tuple[str | None, int]:
    """(ISO 639-1 code or None, rank) of the first 20,000 characters; None for short or unclear texts.

    Tables, equations and listings look like some small language or other: below 70% letters nothing is said.
    Nor is it where the profile of the stated language fits nearly as well: close kin are told apart badly.
    """
    visible = sum(not c.isspace() for c in text)
    if len(text) < MIN_CHARACTERS or sum(c.isalpha() for c in text) < MIN_LETTER_SHARE * visible:
        return None, 0
    from resiliparse.parse.lang import detect_fast

    ranked: dict[str, int] = dict(detect_fast(text[:20_000], cutoff=5_000, n_results=200))  # type: ignore[arg-type]
    code = min(ranked, key=lambda c: (ranked[c], c), default="unknown")
    rank = int(ranked.get(code, 0))
    if code == "unknown" or rank > GOOD_RANK:
        return None, rank
    own = (stated or "").split("-")[0].lower()
    if own and own in ranked and ranked[own] - rank < CLEAR_LEAD:
        return own, int(ranked[own])
    return code, rank


def choose_language(stated: str | None, detected: str | None) -> str | None:
    """BCP 47 tag: the stated one where the detected one is unknown or agrees with it in its first part."""
    if detected is None:
        return stated
    if stated and stated.split("-")[0].lower() == detected:
        return stated
    return detected
