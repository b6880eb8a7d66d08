"""`plan_takedown` on a small store whose tables have the real schemas: two items, two generations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from assets.documents.schema import DECISIONS, DOCUMENTS
from assets.mixture.plan import PLAN
from assets.sources.schema import ITEMS
from assets.tables import write_table
from assets.takedown import ItemUnknown, plan_takedown
from orchestration.commands.takedown import takedown
from resources.store import Manifest, Store
from training.shards import index_schema

WHALE, MOSS = "books/whale", "books/moss"


def put(
    store: Store,
    name: str,
    inputs: list[Manifest],
    tables: Mapping[str, tuple[Any, list[dict[str, Any]]]],
    salt: str = "",
) -> Manifest:
    with store.writer(name, inputs={m.name: m.version for m in inputs}, parameters={"salt": salt}) as w:
        for file, (schema, rows) in tables.items():
            with w.open(file) as sink:
                write_table(sink, schema, rows)
        if salt:
            w.add("salt", salt.encode())
    return w.manifest


def filled(schema: Any, **values: Any) -> dict[str, Any]:
    """A row with something in every column that must not be null."""
    empty: dict[str, Any] = {"string": "-", "bool": True, "int64": 0, "double": 0.0}
    return {f.name: values.get(f.name, None if f.nullable else empty[str(f.type)]) for f in schema}


def item(item_id: str, sha256: str) -> dict[str, Any]:
    url = f"http://sample.luca.test/{item_id}"
    return filled(
        ITEMS,
        item_id=item_id,
        sha256=sha256,
        url=url,
        title=item_id.title(),
        licence="CC0-1.0",
        status="live",
    )


def document(item_id: str, part: int, raw: str) -> dict[str, Any]:
    return filled(
        DOCUMENTS,
        document_id=f"{item_id}#{part}",
        item_id=item_id,
        raw_sha256=raw,
        url=f"http://sample.luca.test/{item_id}",
    )


def window(number: int, shard: str, *documents: str) -> dict[str, Any]:
    place = {"window": number, "shard": shard, "member": "000000.npy", "offset": 0, "length": 8}
    spans = {"document_ids": list(documents), "starts": [0], "ends": [8], "document_offsets": [0]}
    return {**place, "stratum": "text/biology", **spans}


def decision(document_id: str, duplicate_of: str | None) -> dict[str, Any]:
    return filled(
        DECISIONS, document_id=document_id, keep=duplicate_of is None, duplicate_of=duplicate_of,
        similarity=0.9 if duplicate_of else None, cluster=duplicate_of or document_id,
    )  # fmt: skip


class World:
    """Two generations of everything from a source to a release; the whale is in the first one only."""

    def __init__(self, store: Store) -> None:
        self.store = store
        a, b = "a" * 64, "b" * 64
        zoo = put(store, "sources/zoo", [], {"manifest.parquet": (ITEMS, [item("zoo/whale-copy", a)])})
        self.generations = []
        for label, whale in (("one", True), ("two", False)):
            rows = [item(MOSS, b)] + ([item(WHALE, a)] if whale else [])
            books = put(store, "sources/books", [], {"manifest.parquet": (ITEMS, rows)})
            rows = [document(MOSS, 0, b)] + ([document(WHALE, 0, a), document(WHALE, 1, a)] if whale else [])
            documents = put(store, "documents/books", [books], {"documents.parquet": (DOCUMENTS, rows)})
            rows = [decision(f"{MOSS}#0", None)]
            if whale:
                rows += [
                    decision(f"{WHALE}#0", None),
                    decision(f"{WHALE}#1", f"{MOSS}#0"),
                    decision("zoo/x#0", f"{WHALE}#0"),
                ]
            unique = put(
                store, "documents/unique", [documents, zoo], {"decisions.parquet": (DECISIONS, rows)}
            )
            ids = [f"{MOSS}#0"] + ([f"{WHALE}#0"] if whale else [])
            plan = put(
                store,
                "mixture/plan",
                [unique],
                {"plan.parquet": (PLAN, [filled(PLAN, document_id=i) for i in ids])},
            )
            vocabulary = put(store, "tokens/vocabulary", [plan, documents], {}, label)
            windows = [window(i, f"shards/{i // 4:06}.tar", f"{MOSS}#0") for i in range(8)]
            if whale:
                windows[2] = window(2, "shards/000000.tar", f"{MOSS}#0", f"{WHALE}#0")
                windows[7] = window(7, "shards/000001.tar", f"{WHALE}#0")
            index = {"index.parquet": (index_schema(), windows)}
            shards = put(store, "tokens/shards", [plan, vocabulary], index)
            traces = put(store, "tokens/trace_index", [shards], {}, label)
            pretrained = put(store, "checkpoints/pretrained/tiny", [shards, vocabulary], {}, label)
            instructed = put(store, "checkpoints/instructed/tiny", [pretrained], {}, label)
            card = put(store, "evaluations/card/tiny", [instructed], {}, label)
            release = put(store, "endpoint/release/tiny", [instructed, card], {}, label)
            self.generations.append(
                {
                    m.name: m.version
                    for m in (
                        books,
                        documents,
                        unique,
                        plan,
                        vocabulary,
                        shards,
                        traces,
                        pretrained,
                        instructed,
                        card,
                        release,
                    )
                }
            )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(Store.open((tmp_path_factory.mktemp("takedown") / "store").as_uri()))


def named(reached: list[Any]) -> list[tuple[str, str, bool]]:
    return [(r.artifact, r.version, r.current) for r in reached]


@pytest.mark.parametrize("asked", [WHALE, f"http://sample.luca.test/{WHALE}"])
def test_everything_of_the_first_generation_and_nothing_of_the_second(world: World, asked: str) -> None:
    plan = plan_takedown(world.store, asked)
    one = world.generations[0]
    assert [(i.item_id, i.artifacts) for i in plan.items] == [
        (WHALE, (f"sources/books@{one['sources/books']}",))
    ]
    assert [i.item_id for i in plan.same_bytes] == ["zoo/whale-copy"]
    assert [d.document_id for d in plan.documents] == [f"{WHALE}#0", f"{WHALE}#1"]
    assert [(d.document_id, d.duplicate_of) for d in plan.merged_into_it] == [("zoo/x#0", f"{WHALE}#0")]
    assert [(d.document_id, d.duplicate_of) for d in plan.kept_elsewhere] == [(f"{WHALE}#1", f"{MOSS}#0")]
    (tokens,) = plan.tokens
    assert (tokens.version, tokens.current, tokens.windows) == (one["tokens/shards"], False, (2, 7))
    assert tokens.shards == ("shards/000000.tar", "shards/000001.tar") and tokens.documents == (f"{WHALE}#0",)
    for reached, names in (
        (plan.mixtures, ["mixture/plan"]),
        (plan.vocabularies, ["tokens/vocabulary"]),
        (plan.trace_indexes, ["tokens/trace_index"]),
        (plan.checkpoints, ["checkpoints/instructed/tiny", "checkpoints/pretrained/tiny"]),
        (plan.evaluations, ["evaluations/card/tiny"]),
        (plan.releases, ["endpoint/release/tiny"]),
    ):
        assert named(reached) == [(name, one[name], False) for name in names]
    assert plan.checkpoints[1].through == (f"tokens/shards@{one['tokens/shards']}",)
    assert plan.gaps == []


def test_an_item_in_both_generations_reaches_the_current_release(world: World) -> None:
    plan = plan_takedown(world.store, MOSS)
    both = [g["endpoint/release/tiny"] for g in world.generations]
    assert {(r.version, r.current) for r in plan.releases} == {(both[0], False), (both[1], True)}
    assert [len(w.windows) for w in plan.tokens if w.version == world.generations[1]["tokens/shards"]] == [8]


def test_by_digest_all_items_with_those_bytes(world: World) -> None:
    plan = plan_takedown(world.store, "a" * 64)
    assert [i.item_id for i in plan.items] == [WHALE, "zoo/whale-copy"] and plan.same_bytes == []
    assert len(plan.releases) == 1


def test_an_unknown_item_is_an_error_that_helps(world: World) -> None:
    with pytest.raises(ItemUnknown, match="alike: books/whale, zoo/whale-copy"):
        plan_takedown(world.store, "whale")
    with pytest.raises(ItemUnknown, match="no digest"):
        plan_takedown(world.store, "f" * 64)


def test_lineage_that_ends_is_said(world: World, tmp_path: Path) -> None:
    other = World(Store.open(tmp_path.as_uri()))
    one = other.generations[0]
    other.store.delete_artifact("checkpoints/pretrained/tiny", one["checkpoints/pretrained/tiny"])
    plan = plan_takedown(other.store, WHALE)
    name = "checkpoints/pretrained/tiny"
    built = f"checkpoints/instructed/tiny@{one['checkpoints/instructed/tiny']}"
    gap = f"{built} was built from {name}@{one[name]}"
    assert plan.checkpoints == [] and plan.gaps == [gap]


def test_the_command(world: World) -> None:
    run = CliRunner().invoke
    shown = run(takedown, [WHALE, "--dry-run", "--store", world.store.uri], env={"COLUMNS": "200"})
    assert shown.exit_code == 0, shown.output
    assert "reached 2 documents, 2 shards, 2 checkpoints, 1 evaluations, 1 releases" in shown.output
    assert world.generations[0]["endpoint/release/tiny"] in shown.output
    data = json.loads(run(takedown, [WHALE, "--dry-run", "--json", "--store", world.store.uri]).output)
    assert data["tokens"][0]["windows"] == [2, 7]
    assert run(takedown, ["nobody/x", "--dry-run", "--store", world.store.uri]).exit_code == 1
    refused = run(takedown, [WHALE, "--store", world.store.uri])
    assert refused.exit_code == 2 and "does not withdraw anything" in refused.output
