"""The tokens stage on documents of every modality, through Dagster, on a store of its own."""

import json
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from click.testing import CliRunner

from assets.resources import StoreResource
from assets.tokens import checks
from assets.tokens.config import CONFIG, load_config
from assets.tokens.defs import stage_definitions
from assets.tokens.planned import PlannedDocuments, read_rows
from orchestration.commands.trace import trace as trace_command
from resources.settings import Settings
from resources.store import Store
from tests.assets.tokens.planned_corpus import publish_plan
from tests.seaweed import seaweed
from tests.training.token_samples import DNA, TEXTS
from training.shards import ShardReader
from training.stream import Stream
from training.trace import NoTraceIndex, trace
from training.vocabulary import Vocabulary

HELDOUT = "essays/item-001#000000"
REJECTED = {
    "genes/item-003#000000": "bad_dna",
    "pictures/item-003#000000": "damaged_image",
    "talks/item-005#000000": "dialogue_too_long",
}


def materialize(folder: Path) -> tuple[Store, dg.ExecuteInProcessResult]:
    """Publish a plan in a store in the folder and run the stage on it."""
    store = Store.open((folder / "store").as_uri())
    if store.head("mixture/plan") is None:
        publish_plan(store, [HELDOUT])
    settings = Settings.from_environment({"LUCA_HOME": str(folder)})
    defs = dg.Definitions.merge(
        stage_definitions(settings),
        dg.Definitions(
            resources={"store": StoreResource(uri=store.uri)},
            jobs=[dg.define_asset_job("tokens", dg.AssetSelection.groups("tokens"))],
            executor=dg.in_process_executor,
        ),
    )
    return store, defs.resolve_job_def("tokens").execute_in_process(instance=dg.DagsterInstance.ephemeral())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, dg.ExecuteInProcessResult]:
    return materialize(tmp_path_factory.mktemp("tokens"))


@pytest.fixture(scope="module")
def store(made: tuple[Store, dg.ExecuteInProcessResult]) -> Store:
    return made[0]


def test_the_stage_succeeds_and_every_check_passes(made):
    store, result = made
    assert result.success
    evaluations = result.get_asset_check_evaluations()
    assert {e.check_name for e in evaluations} == {
        "one_vocabulary",
        "nothing_forged",
        "every_document_accounted",
        "windows_read_back",
        "passages_found",
    }
    assert all(e.passed for e in evaluations)
    assert store.names("tokens/") == [
        "tokens/heldout",
        "tokens/shards",
        "tokens/trace_index",
        "tokens/vocabulary",
    ]


def test_each_page_shows_rows_bytes_and_a_preview(made):
    _, result = made
    for event in result.get_asset_materialization_events():
        metadata = event.materialization.metadata
        name = event.asset_key.path[-1]
        assert metadata["dagster/row_count"].value > 0
        assert metadata["bytes"].value > 0
        assert all(column.description for column in metadata["dagster/column_schema"].value.columns)
        table = metadata["modalities" if name == "vocabulary" else "preview"].value
        assert table.startswith("| ") and table.count("\n") >= 2


def test_planned_documents_are_in_windows_or_rejected_with_a_reason(store):
    reader = ShardReader(store, store.head("tokens/shards"))
    rejected = {r["document_id"]: r["reason"] for r in read_rows(store, reader.manifest, "rejected.parquet")}
    assert rejected == REJECTED
    documents = PlannedDocuments.of(store, store.head("mixture/plan"), "train")
    planned = {r["document_id"] for r in documents.all_rows(["document_id"])}
    spanned = {span.document_id for n in range(len(reader)) for span in reader.spans(n)}
    assert spanned == planned - rejected.keys()
    assert HELDOUT not in spanned


def test_held_out_documents_are_apart_and_teach_the_vocabulary_nothing(store, tmp_path):
    heldout = ShardReader(store, store.head("tokens/heldout"))
    assert {s.document_id for n in range(len(heldout)) for s in heldout.spans(n)} == {HELDOUT}
    # A store whose held-out document says something else learns the same vocabulary.
    other = Store.open((tmp_path / "store").as_uri())
    publish_plan(other, [HELDOUT], {HELDOUT: "Zebras quietly juggle excellent vowels. " * 200})
    _, again = materialize(tmp_path)
    assert again.success
    for name in ("documents/essays", "tokens/heldout"):
        assert other.head(name).version != store.head(name).version
    for name in ("vocabulary.tiktoken", "tokenizer.json", "codebooks.npz"):
        one, two = (s.read_file(s.head("tokens/vocabulary"), name) for s in (store, other))
        assert one == two, name


def test_the_same_documents_give_the_same_versions_in_another_store(store, tmp_path):
    other, again = materialize(tmp_path)
    assert again.success
    for name in store.names("tokens/"):
        assert other.head(name).version == store.head(name).version


def test_a_second_run_adopts_everything(made):
    store, _ = made
    before = {name: store.head(name).version for name in store.names("tokens/")}
    _, again = materialize(Path(store.uri.removeprefix("file://")).parent)
    assert again.success
    assert all(e.materialization.metadata["reused"].value for e in again.get_asset_materialization_events())
    assert {name: store.head(name).version for name in store.names("tokens/")} == before


def test_a_window_decodes_to_the_documents_that_its_spans_name(store):
    reader = ShardReader(store, store.head("tokens/shards"))
    vocabulary = Vocabulary.from_store(store, store.head("tokens/vocabulary"))
    end = vocabulary.control["<|end_of_document|>"]
    for number in np.flatnonzero(reader.index["stratum"] == "text/biology")[:3].tolist():
        ids = reader.windows([number])[0]
        for span in reader.spans(number):
            part = [i for i in ids[span.start : span.end].tolist() if i != end]
            assert vocabulary.decode(part).strip("\ufffd") in "".join(text * 3 for text in TEXTS)


def test_the_stream_draws_from_the_artifact(store):
    reader = ShardReader(store, store.head("tokens/shards"))
    weights = dict.fromkeys(reader.strata["strata"], 1.0)
    stream = Stream.from_artifact(reader.index, weights, seed=1)
    assert "dialogue/biology" not in stream.strata and len(stream.strata) == 5
    rows = reader.windows(stream.windows_at(0, 64).windows)
    assert rows.shape == (64, reader.length) and rows.max() < reader.strata["vocabulary_size"]


def test_a_passage_leads_to_windows_items_and_licences(store):
    passage = "we know it by what its descendants share"
    found = trace(store, f"It is said that {passage}, isn't it?")
    span = found.spans[0]
    assert passage in span.text
    place = span.places[0]
    assert place.item_id == "essays/item-000" and place.licence == "CC-BY-4.0"
    assert place.url == "http://sample.luca.test/essays/item-000"
    text = (TEXTS[0] * 3)[place.start : place.end]
    assert text == span.text
    reader = ShardReader(store, store.head("tokens/shards"))
    assert place.windows
    for at in place.windows:
        assert at.shard == reader.index["shard"][at.window]
        assert place.document_id in {s.document_id for s in reader.spans(at.window)}
    vocabulary = Vocabulary.from_store(store, store.head("tokens/vocabulary"))
    decoded = vocabulary.decode(reader.windows([place.windows[0].window])[0].tolist())
    assert span.text in decoded
    assert found.shards == reader.manifest.version and 0.3 < found.covered < 1


def test_sequences_and_dialogues_are_traced_too(store):
    gene = trace(store, DNA[1][300:380]).spans[0]
    assert gene.text == DNA[1][300:380] and gene.places[0].item_id == "genes/item-001"
    assert (gene.places[0].start, gene.places[0].end) == (300, 380)
    answer = trace(store, "word3-0 word3-1 word3-2 word3-3").spans[0].places[0]
    assert answer.item_id == "talks/item-003" and len(answer.windows) == 1


def test_what_was_never_trained_on_is_not_found(store):
    held = (TEXTS[1] * 3)[:90]
    assert trace(store, held).spans == ()
    assert trace(store, "").spans == ()
    assert trace(store, "nothing of this kind was ever written here").covered == 0


def test_a_trace_is_fast(store):
    import time

    query = " ".join(TEXTS)[:500]
    trace(store, query)
    started = time.process_time()
    for _ in range(5):
        trace(store, query)
    assert (time.process_time() - started) / 5 < 0.05  # CPU seconds


def test_the_command_prints_and_exits_by_what_it_found(store, tmp_path):
    arguments = ["--store", store.uri]
    shown = CliRunner().invoke(trace_command, ["The membrane is where life says no.", *arguments])
    assert shown.exit_code == 1  # held out
    shown = CliRunner().invoke(trace_command, [TEXTS[0], *arguments])
    assert shown.exit_code == 0 and "CC-BY-4.0" in shown.output
    as_json = CliRunner().invoke(trace_command, ["-", "--json", *arguments], input=TEXTS[0])
    assert json.loads(as_json.output)["spans"][0]["places"][0]["source"] == "essays"
    empty = (tmp_path / "empty").as_uri()
    assert "materialize it" in CliRunner().invoke(trace_command, ["x", "--store", empty]).output
    with pytest.raises(NoTraceIndex):
        trace(Store.open(empty), "x")


def test_the_checks_can_fail(store):
    """Each check refuses an artifact that breaks what it guards."""
    shards, heldout = store.head("tokens/shards"), store.head("tokens/heldout")

    def altered(manifest, name, **replaced):
        with store.writer(name, inputs=dict(manifest.inputs), promote=False) as writer:
            for file in manifest.files:
                writer.add(file.name, replaced.get(file.name) or store.read_file(manifest, file.name))
        return writer.manifest

    strata = json.loads(store.read_file(shards, "strata.json"))
    strata["split"] = "heldout"
    wrong_split = altered(shards, "tokens/wrong", **{"strata.json": json.dumps(strata).encode()})
    assert not checks.every_document_accounted(store, wrong_split).passed
    tar = next(f.name for f in heldout.files if f.name.endswith(".tar"))
    body = bytearray(store.read_file(heldout, tar))
    body[1024:1026] = b"\xff\xff"
    broken = altered(heldout, "tokens/broken", **{tar: bytes(body)})
    assert not checks.windows_read_back(store, broken).passed
    vocabulary = store.head("tokens/vocabulary")
    tokenizer = json.loads(store.read_file(vocabulary, "tokenizer.json"))
    tokenizer["model"]["merges"] = tokenizer["model"]["merges"][:-600]
    drifted = altered(vocabulary, "tokens/drifted", **{"tokenizer.json": json.dumps(tokenizer).encode()})
    assert not checks.one_vocabulary(store, drifted).passed


def test_a_plan_that_names_a_lost_document_is_refused(tmp_path):
    store = Store.open((tmp_path / "store").as_uri())
    plan = publish_plan(store, [])
    documents = PlannedDocuments.of(store, plan, "train")
    ids = {"text/biology": {"essays": frozenset({"essays/item-999#000000"})}}
    lost = PlannedDocuments(store, plan, "train", ids, documents.tables)
    with pytest.raises(ValueError, match=r"item-999.*materialize mixture/plan again"):
        list(lost.all_rows())
    store.delete_artifact("documents/genes", documents.tables["genes"].version)
    with pytest.raises(ValueError, match="source 'genes'"):
        PlannedDocuments.of(store, plan, "train")


def test_the_settings_file_is_checked(tmp_path):
    assert load_config().windows.length == 256
    for old, new, said in (
        ("length: 256", "length: many", "windows.length"),
        ("overlap: 32", "overlap: 200", "more than half"),
        ("seed: 20", "sed: 20", "vocabulary.sed"),
    ):
        file = tmp_path / "tokens.yaml"
        file.write_text(CONFIG.read_text().replace(old, new))
        with pytest.raises(ValueError, match=said) as error:
            load_config(file)
        assert str(file) in str(error.value)


@pytest.mark.slow
def test_windows_and_traces_read_from_s3_as_from_a_disk(store, tmp_path):
    """The same artifacts copied to SeaweedFS: equal versions, windows by ranged reads, equal traces."""
    with seaweed(tmp_path / "weed") as server:
        remote = Store.open("s3://luca/tokens", s3_client=server.client(), cache=tmp_path / "cache")
        for name in ("tokens/shards", "tokens/trace_index"):
            here = store.head(name)
            with remote.writer(name, inputs=dict(here.inputs)) as writer:
                for file in here.files:
                    writer.add(file.name, store.file_path(here, file.name))
            assert writer.manifest.version == here.version
        near, far = (ShardReader(s, s.head("tokens/shards")) for s in (store, remote))
        order = np.random.default_rng(0).permutation(len(near))
        assert np.array_equal(far.windows(order), near.windows(order))
        assert trace(remote, TEXTS[0]).to_dict() == trace(store, TEXTS[0]).to_dict()
