"""One vocabulary: tiktoken and Hugging Face agree, modalities keep apart, text forges nothing."""

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from resources.settings import PROJECT
from tests.training.token_samples import (
    DNA,
    MESSAGES,
    PROTEIN,
    TEXTS,
    build,
    picture,
    sound,
    vocabulary,
)
from training.alphabets import BLOCKS, CONTROL, DNA_LETTERS, lift_sequence, without_lifted
from training.bpe import merge_pairs, parts
from training.codebooks import audio_frames, image_patches, quantise
from training.vocabulary import Vocabulary, format_ranks, parse_ranks
from training.vocabulary_build import Corpus, Sizes, build_vocabulary, vocabulary_files

V = vocabulary()
FILES = vocabulary_files(V)
HF = Tokenizer.from_buffer(FILES["tokenizer.json"])
# Text as it comes: words, scripts, runs of one character, white space, private use, lone surrogates.
TEXT = st.one_of(
    st.text(max_size=60),
    st.text("ab aé' \n\t\r1２生命\u200b\ufffd!", max_size=60),
    st.lists(st.sampled_from([*CONTROL, *TEXTS, "\U000f0000", "\U000f1041", "\udc80", "'LL", "  "])).map(
        "".join
    ),
)


def hf_ids(text: str) -> list[int]:
    return HF.encode(text, add_special_tokens=False).ids


def between_control(text: str) -> list[str]:
    """Hugging Face reads control tokens in a string, by design; what stands between them must be equal."""
    for name in CONTROL:
        text = text.replace(name, "\0\0")
    return text.split("\0\0")


def test_ranges_follow_one_another_and_cover_every_id():
    assert list(V.ranges) == ["byte", "glue", "text", "dna", "protein", "image", "audio", "control"]
    ends = [0, *(ids.stop for ids in V.ranges.values())]
    assert [ids.start for ids in V.ranges.values()] == ends[:-1]
    assert ends[-1] == V.size
    assert list(V.control.values()) == list(V.ranges["control"])
    assert len(V.ranges["image"]) == 70 and len(V.ranges["audio"]) == 20


def test_every_token_falls_into_two_lower_tokens_which_makes_both_encoders_agree():
    pairs = list(merge_pairs(V.ranks))
    assert len(pairs) == len(V.ranks) - 256
    for token, number in V.ranks.items():
        assert HF.model.token_to_id(HF.id_to_token(number)) == number
        if len(token) > 1:
            assert parts(token, V.ranks) == [token]


@pytest.mark.parametrize("text", sorted(set(TEXTS)))
def test_tiktoken_and_hugging_face_agree_on_text(text):
    ids = V.encode_text(text)
    assert ids == hf_ids(text)
    assert V.decode(ids) == HF.decode(ids, skip_special_tokens=False) == text


def test_they_agree_on_every_other_modality():
    for kind, sequences in (("dna", DNA), ("protein", PROTEIN)):
        for letters in sequences:
            ids = V.encode_sequence(kind, letters)
            assert ids == hf_ids(f"<|{kind}|>{lift_sequence(kind, letters)}<|/{kind}|>")
            assert V.decode(ids) == f"<|{kind}|>{letters}<|/{kind}|>"
            assert set(ids[1:-1]) <= set(V.ranges[kind])
            assert len(ids) < len(letters)


@settings(max_examples=400, deadline=None)
@given(TEXT)
def test_they_agree_on_any_text(text):
    for part in between_control(without_lifted(text)):
        assert V.encode_text(part) == hf_ids(part)


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_text_forges_no_control_token_and_no_modality(text):
    ids = V.encode_text(text)
    assert all(i in V.ranges["byte"] or i in V.ranges["text"] for i in ids)
    assert V.decode(ids) == without_lifted(text)


@settings(max_examples=200, deadline=None)
@given(st.text(DNA_LETTERS + "acgtn", max_size=300))
def test_any_sequence_comes_back(letters):
    ids = V.encode_sequence("dna", letters)
    assert V.decode(ids[1:-1]) == letters.upper()
    assert V.text_bytes[ids].sum() == len(letters)


def test_a_foreign_letter_is_named():
    with pytest.raises(ValueError, match=r"dna: 'E' at letter 3"):
        V.encode_sequence("dna", "ACGE")
    with pytest.raises(ValueError, match="rna"):
        V.encode_sequence("rna", "ACGU")


def test_an_image_is_the_bpe_of_its_lifted_string():
    for pixels in (picture(7), picture(8, 400, 30), picture(9, 1, 1)):
        ids = V.encode_image(pixels)
        patches = image_patches(pixels, V.image_shape)
        rows, columns, width = patches.shape
        assert rows <= 14 and columns <= 14
        codes = quantise(patches.reshape(-1, width), V.image_codebook).reshape(rows, columns)
        lifted = "".join(
            "".join(BLOCKS["image"].character(int(code)) for code in row) + "<|row|>" for row in codes
        )
        written = f"<|image|>{lifted}<|/image|>"
        assert ids == hf_ids(written)
        assert ids == V.encoding.encode(written, allowed_special="all")


def test_a_picture_of_codebook_patches_gives_their_numbers():
    codes = [5, 9, 33, 60]
    patches = V.image_codebook[codes].reshape(2, 2, 8, 8, 3).transpose(0, 2, 1, 3, 4).reshape(16, 16, 3)
    first, row = V.ranges["image"].start, V.control["<|row|>"]
    expected = [first + 5, first + 9, row, first + 33, first + 60, row]
    assert V.encode_image(np.ascontiguousarray(patches))[1:-1] == expected


def test_audio_is_the_bpe_of_its_lifted_string_at_any_rate():
    for rate in (16_000, 44_100, 8_000):
        samples = sound(1, 0.5, rate)
        ids = V.encode_audio(samples, rate)
        codes = quantise(audio_frames(samples, rate), V.audio_codebook)
        lifted = "".join(BLOCKS["audio"].character(int(code)) for code in codes)
        assert ids == hf_ids(f"<|audio|>{lifted}<|/audio|>")
        assert len(codes) == (8000 - 400) // 320 + 1
    assert len(V.encode_audio(np.zeros(10, np.float32), 16_000)) == 3


def test_sound_of_another_rate_sounds_the_same():
    low, high = audio_frames(sound(1, 0.5), 16_000), audio_frames(sound(1, 0.5, 48_000), 48_000)
    assert np.abs(low[2:-2].astype(int) - high[2:-2].astype(int)).mean() < 4


def test_bad_payloads_are_named():
    with pytest.raises(ValueError, match="uint8"):
        V.encode_image(np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="one channel"):
        V.encode_audio(np.zeros((4, 2), np.float32), 16_000)
    with pytest.raises(ValueError, match="not finite"):
        V.encode_audio(np.array([np.nan], np.float32), 16_000)


def test_messages():
    ids = V.encode_messages(MESSAGES, add_generation_prompt=True)
    names = [V.decode([i]) for i in ids if i in V.ranges["control"]]
    end = "<|end_of_turn|>"
    assert names == ["<|system|>", end, "<|user|>", end, "<|assistant|>", end, "<|assistant|>"]
    assert V.encode_messages(MESSAGES) == ids[:-1]
    with pytest.raises(ValueError, match=r"messages\[0\].role"):
        V.encode_messages([{"role": "tool", "content": "x"}])
    with pytest.raises(ValueError, match=r"messages\[0\].content"):
        V.encode_messages([{"role": "user", "content": None}])


def test_written_and_loaded_it_is_the_same(tmp_path):
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    loaded = Vocabulary.load(tmp_path)
    assert loaded.ranks == V.ranks and loaded.control == V.control and loaded.ranges == V.ranges
    assert loaded.encode_image(picture(1)) == V.encode_image(picture(1))
    assert vocabulary_files(loaded) == FILES


def test_a_damaged_ranks_file_is_named():
    assert parse_ranks(format_ranks(V.ranks)) == V.ranks
    with pytest.raises(ValueError, match="line 2"):
        parse_ranks(b"QQ== 0\nnonsense\n")
    with pytest.raises(ValueError, match="0 to 1"):
        parse_ranks(b"QQ== 0\nQg== 5\n")


def test_the_same_corpus_gives_the_same_bytes_in_another_process():
    script = (
        "import hashlib; from tests.training.token_samples import build;"
        "from training.vocabulary_build import vocabulary_files as f;"
        "print(hashlib.sha256(b''.join(f(build()).values())).hexdigest())"
    )
    other = subprocess.run(
        [sys.executable, "-c", script],
        cwd=PROJECT,
        env={"PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    here = hashlib.sha256(b"".join(vocabulary_files(build()).values())).hexdigest()
    assert other.stdout.strip() == here == hashlib.sha256(b"".join(FILES.values())).hexdigest()


def test_an_empty_corpus_still_encodes_everything():
    empty = build_vocabulary(
        Corpus(),
        Sizes(text=256, dna=18, protein=28, image=1, audio=1),
        image_side=2,
        codebook_sample=10,
        seed=0,
    )
    assert empty.decode(empty.encode_text(TEXTS[5])) == TEXTS[5]
    assert empty.encode_image(picture(1))[1] == empty.ranges["image"].start


def test_sizes_too_small_are_named():
    with pytest.raises(ValueError, match="text must be at least 256"):
        Sizes(text=10, dna=18, protein=28, image=1, audio=1)
    with pytest.raises(ValueError, match="image must be at most"):
        Sizes(text=256, dna=18, protein=28, image=5000, audio=1)


def test_the_two_agree_on_real_books(golden: Path):
    read = 0
    for file in sorted((golden / "text").rglob("*")):
        if file.suffix in (".txt", ".xhtml", ".cnxml", ".html", ".md"):
            text = without_lifted(file.read_text(errors="replace")[:200_000])
            for part in between_control(text):
                assert V.encode_text(part) == hf_ids(part), file
            read += len(text)
            if read > 1_000_000:
                break
    assert read > 100_000


@pytest.mark.slow
def test_transformers_loads_it_offline_and_its_chat_template_gives_our_ids(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    for prompt in (False, True):
        ours = V.encode_messages(MESSAGES, add_generation_prompt=prompt)
        theirs = loaded.apply_chat_template(MESSAGES, add_generation_prompt=prompt, tokenize=True)
        assert (theirs if isinstance(theirs, list) else theirs["input_ids"]) == ours
    assert loaded.eos_token_id == V.control["<|end_of_turn|>"]
    assert loaded.pad_token_id == V.control["<|pad|>"]
    assert len(loaded) == V.size
    for text in TEXTS:
        assert loaded(text, add_special_tokens=False)["input_ids"] == V.encode_text(text)
        assert loaded.decode(V.encode_text(text)) == text
    with pytest.raises(Exception, match="role must be one of"):
        loaded.apply_chat_template([{"role": "tool", "content": "x"}])


def test_a_text_that_overflows_the_pattern_is_a_value_error():
    with pytest.raises(ValueError, match="cannot be cut into pieces"):
        V.encode_text(" \t" * 600_000 + "x")
