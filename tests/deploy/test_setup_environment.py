"""The set-up script's decisions; that it installs is shown by every `make`."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy import setup_environment


def test_the_stamp_follows_the_pins_and_the_kind(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pyproject.toml", "constraints.txt"):
        (tmp_path / name).write_text(name)
    monkeypatch.setattr(setup_environment, "PROJECT", tmp_path)
    first = setup_environment.stamp_of(gpu=False)
    assert first == setup_environment.stamp_of(gpu=False)
    assert first != setup_environment.stamp_of(gpu=True)
    (tmp_path / "constraints.txt").write_text("torch==2.13.0")
    assert first != setup_environment.stamp_of(gpu=False)


def test_a_broken_download_is_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[list[str]] = []

    def breaks_twice(arguments: list[str], log: Path) -> bool:
        calls.append(arguments)
        return len(calls) == 3

    monkeypatch.setattr(setup_environment, "run", breaks_twice)
    monkeypatch.setattr(setup_environment.time, "sleep", lambda seconds: None)
    assert setup_environment.pip(Path("python"), ["x"], tmp_path / "log")
    assert len(calls) == 3


def test_an_up_to_date_environment_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "luca-stamp").write_text(setup_environment.stamp_of(setup_environment.has_gpu()))
    monkeypatch.setattr(setup_environment.sys, "argv", ["setup", "--venv", str(tmp_path)])
    monkeypatch.setattr(setup_environment, "install", lambda *_: pytest.fail("installed again"))
    setup_environment.main()
    assert capsys.readouterr().out == ""
