"""Text in all its wrappings: encodings, mojibake, HTML, Markdown, XML, tables, dialogues."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from assets.documents.clean import clean_text, has_forbidden
from assets.documents.encoding import decode
from assets.documents.language import choose_language, detect_language
from assets.documents.parts import Part, Rejection, Unreadable
from assets.documents.readers.dialogues import BadDialogue, parse_dialogue
from assets.documents.readers.text import plain_markdown
from assets.documents.split import split_text
from tests.assets.documents.helpers import read, texts


def words(text: str) -> Counter[str]:
    import re

    return Counter(re.findall(r"\w+", text.lower()))


@settings(deadline=None)
@given(st.text())
@example("Ä¡0\x8d")
def test_clean_text_is_idempotent_and_leaves_nothing_forbidden(text: str) -> None:
    clean, _ = clean_text(text)
    assert has_forbidden(clean) is None
    assert clean_text(clean)[0] == clean


def test_private_use_code_points_become_replacement_characters() -> None:
    clean, figures = clean_text("a \U000f0001\U00100002 and \ue000")
    assert clean == "a \ufffd\ufffd and \ufffd"
    assert figures["private_use"] == 3


def test_good_writing_is_left_alone() -> None:
    kept = "“Qualités” – naïve 生命是什么？（一） می‌خواهم"
    assert clean_text(kept)[0] == kept


def test_mojibake_of_the_golden_pairs_is_mended(golden: Path) -> None:
    cases = json.loads((golden / "moji/test_cases.json").read_text())
    passing = [c for c in cases if c.get("expect") == "pass"]
    assert len(passing) > 20
    same = sum(
        clean_text(c["original"])[0] == clean_text(c.get("fixed-encoding", c["fixed"]))[0] for c in passing
    )
    assert same >= 0.95 * len(passing)


def test_encodings_are_told_apart() -> None:
    assert decode("naïve café".encode())[1] == "utf-8"
    assert decode("naïve café".encode("utf-16"))[0].lstrip("\ufeff") == "naïve café"
    assert decode("Die Würde der Kreatur, über Tiere".encode("cp1252"))[0].startswith("Die Würde")
    assert decode("la santé é é é".encode()[:-1])[1] == "utf-8 (damaged)"
    with pytest.raises(Unreadable, match="binary"):
        decode(bytes(range(256)) * 4)


def test_html_keeps_the_main_content_alone(tmp_path: Path) -> None:
    body = "<p>" + "Lichens are two lives in one body, a fungus and an alga. " * 12 + "</p>"
    page = (
        "<html lang='en'><head><title>Lichens</title></head><body><nav><ul><li><a href='/'>Home</a>"
        "<li><a href='/x'>Archive</a></ul></nav><div class='cookie-banner'>We use cookies. <button>Accept"
        f"</button></div><main><article><h1>Lichens</h1>{body}</article></main><footer>Copyright footer"
        "</footer></body></html>"
    )
    file = tmp_path / "lichens.html"
    file.write_text(page)
    (part,) = read(file, "text/html")
    assert isinstance(part, Part) and part.title == "Lichens" and part.language == "en"
    assert "two lives in one body" in (part.text or "")
    for boilerplate in ("Archive", "cookies", "Copyright footer"):
        assert boilerplate not in (part.text or "")


@pytest.mark.parametrize("page", ["v8-blog", "wikipedia", "wikipedia-2", "wikipedia-4"])
def test_html_agrees_with_the_gold_text(golden: Path, page: str) -> None:
    from resiliparse.extract.html2text import extract_plain_text

    (text,) = texts(read(golden / "html" / page / "source.html", "text/html"))
    expected = (golden / "html" / page / "expected.html").read_text()
    ours, gold = words(text), words(extract_plain_text(expected, alt_texts=False))
    shared = sum((ours & gold).values())
    assert shared / sum(ours.values()) > 0.95
    assert shared / sum(gold.values()) > 0.94


def test_markdown_loses_what_only_a_renderer_needs(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        '---\ntitle: "Cells"\n---\n<div data-type="note" markdown="1">\nA **cell**{: data-type="term"} '
        '([see here](http://x.test/a_(b))).\n</div>\n<cnx-pi a="b">class="x"</cnx-pi>\n'
        "![a figure](x.png)\n[[link]](#fig-1) \\_\\_ 3 < 4 and 5 > 2\n"
    )
    (part,) = read(file, "text/markdown")
    assert isinstance(part, Part) and part.title == "Cells"
    text = clean_text(part.text or "")[0]
    assert text == "A cell (see here).\n\na figure\n __ 3 < 4 and 5 > 2".replace("\n ", "\n ")
    assert plain_markdown("2*3*4 and a_b_c") == "2*3*4 and a_b_c"


def test_real_books_are_read_without_markup(golden: Path) -> None:
    (cnxml,) = texts(read(golden / "text/openstax_philosophy/m00047.cnxml"))
    assert cnxml.startswith("# Metaethics\n\n## Learning Objectives")
    assert "Euthyphro" in cnxml and "<" not in cnxml
    (chapter,) = texts(read(golden / "text/darwin_origin/chapter-3.xhtml", "application/xhtml+xml"))
    assert "struggle for existence bears on natural selection" in chapter
    assert len(chapter) > 35_000
    (article,) = texts(read(golden / "entrez/pmc_nxml/pone.0000217.nxml", "application/xml"))
    assert article.startswith("# Quantifying Organismal Complexity") and "## Abstract" in article
    assert "Supporting Information Legends" not in article and "xref" not in article
    (sbml,) = texts(read(golden / "synbio/e_coli_core.sbml.xml", "application/xml"))
    assert "Acetaldehyde dehydrogenase (acetylating): " in sbml and "<=>" in sbml


def test_xml_bombs_and_outside_entities_do_no_harm(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("do not read me")
    file = tmp_path / "article.xml"
    file.write_text(
        f'<!DOCTYPE article [<!ENTITY s SYSTEM "file://{secret}">]><article><front><article-meta>'
        "<abstract><p>An abstract that is long enough to be kept, &s; it says.</p></abstract>"
        "</article-meta></front></article>"
    )
    assert all("do not read me" not in text for text in texts(read(file, "application/xml")))
    bomb = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    file.write_text(
        f'<!DOCTYPE article [<!ENTITY l0 "lol">{bomb}]><article><body><p>&l11;</p></body></article>'
    )
    try:
        found = texts(read(file, "application/xml"))
    except Unreadable:
        found = []
    assert sum(map(len, found)) < 10_000_000


def test_a_table_becomes_json_lines_and_bad_rows_are_named(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("species,mass_g\nwren,10\nbroken\nrobin,18\n")
    rejection, part = sorted(read(file, "text/csv"), key=lambda p: isinstance(p, Part))
    assert isinstance(rejection, Rejection) and (rejection.part, rejection.reason) == ("line 3", "bad_row")
    assert isinstance(part, Part) and json.loads((part.text or "").split("\n")[1]) == {
        "species": "robin",
        "mass_g": "18",
    }


def test_compressed_items_are_opened_and_torn_ones_reported(tmp_path: Path) -> None:
    file = tmp_path / "a.txt.gz"
    file.write_bytes(gzip.compress(b"The tide pool at dusk."))
    assert texts(read(file, "application/gzip")) == ["The tide pool at dusk."]
    file.write_bytes(gzip.compress(b"The tide pool at dusk." * 99)[:-12])
    with pytest.raises(Unreadable, match="damaged"):
        read(file)


def test_empty_and_mislabelled_items_are_unreadable(tmp_path: Path) -> None:
    file = tmp_path / "x.bin"
    file.write_bytes(b"")
    with pytest.raises(Unreadable, match="empty"):
        read(file)
    file.write_bytes(b"<html><body>Service unavailable</body></html>")
    with pytest.raises(Unreadable, match="look like html"):
        read(file, "image/png", "image")


def test_dialogues_of_both_shapes() -> None:
    line = {
        "id": 7,
        "messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
    }
    part = parse_dialogue(json.dumps(line).encode())
    assert part.messages is not None and part.messages[1] == {"role": "assistant", "content": "So."}
    choice = {"question": "Which?", "answer": "B", "options": ["moss", "fern"], "answer_index": 1}
    part = parse_dialogue(json.dumps(choice).encode())
    assert part.messages is not None
    assert [m["content"] for m in part.messages] == ["Which?\nA. moss\nB. fern", "B. fern"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"{", "bad_json"),
        (b"[]", "bad_dialogue"),
        (b'{"messages": []}', "bad_dialogue"),
        (b'{"messages": [{"role": "user", "content": "?"}]}', "bad_dialogue"),
        (b'{"messages": [{"role": "robot", "content": "?"}]}', "bad_dialogue"),
        (b'{"question": "What does the graph show?", "answer": "It"}', "needs_figure"),
        (b'{"question": "Q?", "answer": "Z", "options": ["a", "b"]}', "bad_dialogue"),
    ],
)
def test_bad_dialogues_say_why(line: bytes, reason: str) -> None:
    with pytest.raises(BadDialogue) as caught:
        parse_dialogue(line)
    assert caught.value.reason == reason


def test_real_questions_are_read(golden: Path) -> None:
    found = read(golden / "qa/openstax_biology_qa.jsonl", modality="dialogue")
    parts = [p for p in found if isinstance(p, Part)]
    reasons = Counter(p.reason for p in found if isinstance(p, Rejection))
    assert len(parts) > 500 and set(reasons) == {"needs_figure"}
    assert not any("[[link]]" in m["content"] for p in parts for m in p.messages or ())


@settings(deadline=None)
@given(st.lists(st.text(alphabet="abc .\n#é", max_size=60), max_size=60), st.integers(20, 200))
def test_split_keeps_every_letter_in_order(paragraphs: list[str], limit: int) -> None:
    text = "\n\n".join(paragraphs)
    parts = split_text(text, limit)
    assert all(0 < len(part) <= limit for part in parts)
    assert "".join("".join(parts).split()) == "".join(text.split())


def test_split_cuts_before_a_near_heading() -> None:
    text = "\n\n".join(["a" * 60, "b" * 30, "## Next", "c" * 60])
    assert split_text(text, 120)[1].startswith("## Next")


def test_language_is_the_stated_one_unless_the_text_plainly_differs(golden: Path) -> None:
    german = json.loads((golden / "qa/xquad/xquad.de.json").read_text())
    prose = german["data"][0]["paragraphs"][0]["context"]
    assert detect_language(prose)[0] == "de"
    assert choose_language("en", "de") == "de"
    assert choose_language("en-GB", "en") == "en-GB"
    assert choose_language("sw", None) == "sw"
    assert detect_language("short")[0] is None
    assert detect_language("0.1 0.2 0.3 " * 100)[0] is None
