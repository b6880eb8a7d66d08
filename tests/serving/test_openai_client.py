"""The `openai` package, which others wrote, talks to the gateway."""

from __future__ import annotations

import pytest

from tests.serving import mock_engine as mock
from tests.serving.conftest import ALIAS, Running

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def client(gateway: Running) -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=gateway.key, max_retries=0, timeout=20)


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model=ALIAS, messages=[{"role": "user", "content": "What is life?"}], max_completion_tokens=20
    )
    assert answer.choices[0].message.content == mock.TEXT
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens == len(mock.PIECES)
    assert answer.system_fingerprint.startswith("endpoint/release/")


def test_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=ALIAS,
        messages=[
            {"role": "developer", "content": "Be short."},
            {"role": "user", "content": "What is life?"},
        ],
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == mock.TEXT
    assert chunks[-1].usage.completion_tokens == len(mock.PIECES)


def test_a_broken_stream_raises(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(
        model=ALIAS, messages=[{"role": "user", "content": "x"}], stream=True, seed=mock.BREAKS_OFF
    )
    with pytest.raises(openai.APIError, match="broke off"):
        list(stream)


def test_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [ALIAS]


def test_errors_are_the_clients_own_exceptions(client: openai.OpenAI, gateway: Running) -> None:
    stranger = openai.OpenAI(base_url=gateway.url + "/v1", api_key="luca-no", max_retries=0)
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()
    with pytest.raises(openai.NotFoundError, match="not served here"):
        client.chat.completions.create(model="gpt", messages=[{"role": "user", "content": "x"}])
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model=ALIAS, messages=[{"role": "user", "content": "x"}], tools=[])
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(
            model=ALIAS, messages=[{"role": "user", "content": "x"}], seed=mock.BROKEN
        )
