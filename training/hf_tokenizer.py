"""The same vocabulary for Hugging Face and vLLM: tokenizer.json and tokenizer_config.json, id for id.

What differs by design: Hugging Face reads control tokens in a string (a chat template needs that), while
`Vocabulary.encode_text` never does. Whoever serves strangers encodes with `Vocabulary` and sends ids.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from training.alphabets import PATTERN, ROLES
from training.bpe import byte_characters, merge_pairs

if TYPE_CHECKING:
    from training.vocabulary import Vocabulary

CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] not in [" + ", ".join(f"'{role}'" for role in ROLES) + "] %}"
    "{{ raise_exception('role must be one of " + ", ".join(ROLES) + "') }}"
    "{% endif %}"
    "{{ '<|' + message['role'] + '|>' + message['content'] + '<|end_of_turn|>' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def tokenizer_json(vocabulary: Vocabulary) -> bytes:
    """tokenizer.json: split by the same pattern, bytes as characters, merges in rank order."""
    characters = byte_characters()

    def written(token: bytes) -> str:
        return "".join(characters[value] for value in token)

    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    document: dict[str, Any] = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": number,
                "content": name,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for name, number in sorted(vocabulary.control.items(), key=lambda item: item[1])
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False},
                byte_level,
            ],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {
                written(token): rank
                for token, rank in sorted(vocabulary.ranks.items(), key=lambda item: item[1])
            },
            "merges": [[written(left), written(right)] for left, right in merge_pairs(vocabulary.ranks)],
        },
    }
    return (json.dumps(document, ensure_ascii=False, indent=0) + "\n").encode()


def tokenizer_config_json() -> bytes:
    """tokenizer_config.json: the class, the special tokens that generation needs, the chat template."""
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
        "eos_token": "<|end_of_turn|>",
        "pad_token": "<|pad|>",
        "model_max_length": 1_000_000_000,
        "chat_template": CHAT_TEMPLATE,
    }
    return (json.dumps(config, indent=1) + "\n").encode()
