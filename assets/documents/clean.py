"""Clean text: mojibake mended, one Unicode form, no control and no private-use code points.

Private-use code points matter here more than elsewhere: the vocabulary writes the other modalities in
them, so a text that kept them could pass for a sequence or a picture. They become U+FFFD, counted.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Any

REPLACEMENT = "\ufffd"
MOST_ROUNDS = 8  # nobody encodes wrongly more often than that
_PRIVATE = re.compile("[\ue000-\uf8ff\U000f0000-\U0010ffff]")
# Control characters, noncharacters, lone surrogates, soft hyphens, byte order marks and invisible
# direction overrides. Zero-width joiners stay: Persian, Hindi and others are written with them.
_DROPPED = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff"
    "\ufdd0-\ufdef\ufffe\uffff\ud800-\udfff]"
)
_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
_TRAILING = re.compile("[ \t\u00a0]+(?=\n|$)")
_GAPS = re.compile("\n{3,}")
_SPACES = re.compile("(?<=\\S)[ \u00a0\t]{2,}(?=\\S)")


def clean_text(text: str) -> tuple[str, dict[str, Any]]:
    """(clean text, figures of what was mended). Idempotent.

    Mojibake is mended by ftfy (R. Speer), line by line where it finds a chain of wrong decodings.
    Straightening of quotes and of full-width forms is left off: both are good writing in some language.
    """
    clean, figures = _clean_once(text)
    # A control character that goes may leave mojibake behind that ftfy sees only now.
    for _ in range(MOST_ROUNDS):
        again, more = _clean_once(clean)
        if again == clean:
            break
        clean, figures = again, {**figures, **more}
    return clean, figures


def _clean_once(text: str) -> tuple[str, dict[str, Any]]:
    import ftfy

    figures: dict[str, Any] = {}
    text = _LINE_ENDS.sub("\n", text)
    mended = ftfy.fix_text(
        text,
        config=ftfy.TextFixerConfig(
            uncurl_quotes=False, fix_character_width=False, unescape_html="auto", normalization=None
        ),
    )
    if mended != text:
        figures["mended_lines"] = _differing_lines(text, mended)
    private = len(_PRIVATE.findall(mended))
    if private:
        figures["private_use"] = private
        mended = _PRIVATE.sub(REPLACEMENT, mended)
    mended = unicodedata.normalize("NFC", _DROPPED.sub("", mended))
    mended = _GAPS.sub("\n\n", _TRAILING.sub("", _LINE_ENDS.sub("\n", mended))).strip()
    lost = mended.count(REPLACEMENT)
    if lost:
        figures["replacement_characters"] = lost
    return mended, figures


def collapse_spaces(text: str) -> str:
    """Runs of spaces inside lines to one: for text taken out of markup, where they mean nothing."""
    return _SPACES.sub(" ", text)


def _differing_lines(before: str, after: str) -> int:
    left, right = before.split("\n"), after.split("\n")
    return sum(a != b for a, b in zip(left, right, strict=False)) + abs(len(left) - len(right))


def has_forbidden(text: str) -> str | None:
    """The first control or private-use code point as ``U+XXXX``, or None: what the check looks for."""
    found = _PRIVATE.search(text) or _DROPPED.search(text)
    return f"U+{ord(found.group()):04X}" if found else None
