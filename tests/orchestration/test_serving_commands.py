"""`luca keys`, `luca ask` and `luca down` on a home of their own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main
from serving.client import GatewayError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LUCA_HOME", str(tmp_path))
    monkeypatch.delenv("LUCA_KEY_PEPPER", raising=False)
    return tmp_path


def luca(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def test_a_key_is_made_listed_and_revoked(home: Path) -> None:
    made = luca("keys", "create", "expert", "--burst", "3")
    assert made.exit_code == 0 and made.stdout.startswith("luca-")
    secret = made.stdout.strip()
    listed = luca("keys", "list")
    assert "expert" in listed.output and "live" in listed.output and secret not in listed.output
    assert luca("keys", "create", "expert").exit_code == 1
    assert luca("keys", "revoke", "expert").exit_code == 0
    assert "revoked" in luca("keys", "list").output
    again = luca("keys", "revoke", "expert")
    assert again.exit_code == 1 and "no live key" in again.output


def test_asking_where_nothing_is_served_says_what_to_do(home: Path) -> None:
    asked = luca("ask", "What is life?")
    assert asked.exit_code == 1 and "nothing is served" in asked.output
    assert "nothing was served" in luca("down").output


ANSWER = "chatcmpl-" + "0a" * 12
PLACE = {
    "document_id": "notes/a#000000", "title": "A", "licence": "CC0-1.0", "attribution": None,
    "url": "http://sample.luca.test/a", "windows": [{"window": 3, "shard": "shards/000000.tar"}],
}  # fmt: skip


class Gateway:
    """Knows one answer."""

    def trace(self, *, id: str) -> dict[str, Any]:
        if id != ANSWER:
            raise GatewayError("POST /v1/trace: 404: no such answer", 404)
        span = {"text": "Life goes on.", "count": 1, "places": [PLACE]}
        facts = {"trace_index": "1" * 16, "shards": "2" * 16, "truncated": False, "covered": 1.0}
        return {"id": id, "spans": [span], **facts}


def test_an_answer_is_traced_by_its_id(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unserved = luca("trace", ANSWER)
    assert unserved.exit_code == 1 and "nothing is served" in unserved.output
    monkeypatch.setattr("orchestration.commands.ask.gateway_client", lambda settings: Gateway())
    shown = luca("trace", ANSWER)
    assert shown.exit_code == 0
    assert "notes/a#000000 · A · CC0-1.0" in shown.output and "window 3 (shards/000000.tar)" in shown.output
    assert json.loads(luca("trace", ANSWER, "--json").output)["id"] == ANSWER
    unknown = luca("trace", "chatcmpl-" + "f" * 24)
    assert unknown.exit_code == 1 and "no such answer" in unknown.output
