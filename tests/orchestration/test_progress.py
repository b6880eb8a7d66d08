"""How a run is told to a person."""

from __future__ import annotations

from orchestration.progress import job_words, outcome, size


def test_outcome_says_built_or_adopted() -> None:
    assert outcome({"reused": True, "bytes": 12}) == "unchanged, adopted, 12 B"
    assert outcome({"reused": False, "dagster/row_count": 1234, "bytes": 2_500_000}) == (
        "built, 1,234 rows, 2.5 MB"
    )


def test_size_chooses_the_unit() -> None:
    assert [size(n) for n in (0, 999, 1000, 5_300_000, 7_000_000_000)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "5.3 MB",
        "7.00 GB",
    ]


def test_job_words() -> None:
    assert job_words(
        {"stage": "pretrain", "done": 3, "total": 9, "unit": "steps", "message": "loss 2.1"}
    ) == ("pretrain 3/9 steps, loss 2.1")
    assert job_words({}) == "job"
