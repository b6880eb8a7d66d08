"""`luca keys`, `luca ask` and `luca down` on a home of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from orchestration.cli import main


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
