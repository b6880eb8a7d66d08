"""Write the sample: ``python -m deploy.local.make_sample`` turns writing/ and rules into sample/.

The same code and libraries give the same bytes. What it writes is committed, so nobody needs to run it;
run it after a change of the writing, then look at the difference. Every row that it appends is an
``Item``: the licence stands there as the upstream states it.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import date, timedelta
from pathlib import Path

from deploy.local.items import Item
from deploy.local.synthesis import media, texts

HERE = Path(__file__).resolve().parent
MAKERS = (
    texts.essays,
    texts.notes,
    texts.hard_notes,
    texts.articles,
    media.sequences,
    media.pictures,
    media.sounds,
    texts.dialogues,
)


def day(number: int) -> str:
    """The datestamp of the ``number``-th item: one a day from 2024-01-01."""
    return f"{date(2024, 1, 1) + timedelta(days=number)}T12:00:00Z"


def make_sample(folder: Path) -> int:
    """Write every file and ``items.jsonl`` below ``folder``; returns the number of items."""
    rows: list[str] = []
    for maker in MAKERS:
        for values, content in maker():
            values = {"created": day(len(rows)), "datestamp": day(len(rows))} | values
            item = Item.model_validate(values)
            if content is not None:
                assert item.path is not None
                target = folder / item.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
            rows.append(json.dumps(item.model_dump(exclude_defaults=True), ensure_ascii=False) + "\n")
    (folder / "items.jsonl").write_text("".join(rows), encoding="utf-8")
    return len(rows)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "sample"
    for old in folder.glob("*/"):
        shutil.rmtree(old)
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{make_sample(folder)} items in {folder}")


if __name__ == "__main__":
    main()
