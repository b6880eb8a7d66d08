"""Mirror one source: ask upstream for what changed, fetch it, verify it, and write the new manifest.

One bad item never stops the rest: it ends as gone, denied, damaged or excluded, with the reason. Only an
upstream that cannot be listed, or that stops answering, ends the harvest, and then nothing is published.
A killed harvest leaves objects and partial downloads that the next one takes up.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

from assets.sources.catalog import Entry
from assets.sources.protocols import listing, protocol_of
from assets.sources.rows import (
    HELD,
    RETRY,
    Gate,
    gate,
    gone,
    known_from,
    media_type_of,
    metadata_of,
    row_of,
    storable,
    to_retry,
    without_bytes,
)
from assets.sources.schema import Row, as_json, items_of, objects_of, retrievals_of, save
from resources.http import HttpClient
from resources.http_errors import (
    BadResponse,
    DamagedPayload,
    Denied,
    Gone,
    HttpError,
    TooLarge,
    Unreachable,
)
from resources.items import Item, Known, Payload
from resources.manifest import Manifest
from resources.store import ArtifactWriter, Store
from resources.transfer import Download, Expected, Validators, download
from resources.xml import looks_like_html

PARALLEL = 6
SILENT_ITEMS = 5


class SourceUnavailable(Exception):
    """Upstream could not be listed, or stopped answering: the previous manifest stays as it is."""


@dataclass
class Tally:
    """How far a harvest is."""

    listed: int = 0
    done: int = 0
    bytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Summary:
    """What a harvest did. outcomes: new, changed, unchanged, and the statuses that items fell into."""

    rows: int
    statuses: dict[str, int]
    outcomes: dict[str, int]
    requests: int
    bytes_transferred: int
    left_out: int
    seconds: float


Progress = Callable[[Tally], None]


def parameters_of(entry: Entry) -> dict[str, Any]:
    """What defines the harvest: another query, address or bound starts from a full listing again."""
    return {
        "protocol": entry.protocol,
        "base_url": entry.base_url,
        "query": entry.arguments,
        "items": entry.limits.items,
    }


def mirror(
    entry: Entry,
    http: HttpClient,
    store: Store,
    previous: Manifest | None,
    writer: ArtifactWriter,
    progress: Progress | None = None,
) -> Summary:
    """Harvest `entry` into `writer`: objects, manifest.parquet, retrievals.parquet, references.

    `previous` is what an earlier harvest published; only what changed since is asked for and fetched.
    Raises SourceUnavailable naming the entry, the address and the mend.
    """
    harvest = _Harvest(entry, http, store, previous, progress or (lambda tally: None))
    started = time.monotonic()
    try:
        asyncio.run(harvest.run())
    except HttpError as error:
        raise SourceUnavailable(
            f"source {entry.name!r}: {http.clean(str(error))} "
            f"(upstream {entry.base_url}). What was published before stays; materialize it again when "
            "upstream answers, or mend the entry in the catalogue."
        ) from error
    save(writer, harvest.rows, harvest.retrievals)
    summary = Summary(
        rows=len(harvest.rows),
        statuses=dict(sorted(Counter(row["status"] for row in harvest.rows.values()).items())),
        outcomes=dict(sorted(harvest.tally.outcomes.items())),
        requests=http.requests - harvest.requests_before,
        bytes_transferred=http.received - harvest.received_before,
        left_out=harvest.left_out,
        seconds=round(time.monotonic() - started, 3),
    )
    writer.figures.update({k: v for k, v in summary.__dict__.items() if k != "seconds"})
    return summary


class _Harvest:
    """The state of one harvest: rows by item id, seeded with those of the previous manifest."""

    def __init__(
        self, entry: Entry, http: HttpClient, store: Store, previous: Manifest | None, progress: Progress
    ):
        self.entry, self.http, self.store, self.progress = entry, http, store, progress
        self.protocol = protocol_of(entry)
        self.rows: dict[str, Row] = {}
        self.retrievals: dict[str, Row] = {}
        self.known = Known()
        if previous is not None:
            self.rows = {row["item_id"]: row for row in items_of(store, previous)}
            self.retrievals = {row["item_id"]: row for row in retrievals_of(store, previous)}
            # Bytes that are held serve any query; marks and rows serve the query they come from only.
            self.held = dict(self.rows)
            if previous.parameters == parameters_of(entry):
                latest = max((r["retrieved_at"] or "" for r in self.retrievals.values()), default="")
                self.known = known_from(entry, self.rows, latest)
            else:
                self.rows = {}
        else:
            self.held = {}
        self.tally = Tally()
        self.left_out = 0
        self.silent = 0
        self.requests_before, self.received_before = http.requests, http.received

    async def run(self) -> None:
        """List and fetch, a bounded number of items at a time."""
        try:
            # What upstream lists must not lead us to what only this machine can reach.
            self.http.public_only = not await self.http.is_inside(self.http.logical(self.entry.base_url))
            items = listing(self.entry, self.http, self.known)
            pending: dict[str, asyncio.Task[None]] = {}
            try:
                async for item in self.admitted(items):
                    # A record may be listed twice while it changes: the later statement must win.
                    if earlier := pending.pop(self.key(item), None):
                        await earlier
                    if len(pending) >= PARALLEL:
                        await asyncio.wait(pending.values(), return_when=asyncio.FIRST_COMPLETED)
                        for key in [key for key, task in pending.items() if task.done()]:
                            pending.pop(key).result()
                    pending[self.key(item)] = asyncio.create_task(self.settle(item))
                for task in pending.values():
                    await task
            finally:
                for task in pending.values():
                    task.cancel()
                await asyncio.gather(*pending.values(), return_exceptions=True)
            await self.mend_lost_objects()
        finally:
            await self.http.close()

    async def admitted(self, items: AsyncIterator[Item]) -> AsyncIterator[Item]:
        """Items within the entry's limit, the newest statement of each; waits for none in flight."""
        admitted = set(self.rows)
        async with contextlib.aclosing(items) as listed:  # type: ignore[type-var]
            async for listed_item in listed:
                item = replace(listed_item, upstream_id=storable(listed_item.upstream_id))
                key = self.key(item)
                if key not in admitted:
                    if len(admitted) >= self.entry.limits.items:
                        self.left_out += 1
                        if not self.known.ids:
                            return
                        continue
                    admitted.add(key)
                self.tally.listed += 1
                yield item

    def key(self, item: Item) -> str:
        return f"{self.entry.name}/{item.upstream_id}"

    async def settle(self, item: Item) -> None:
        """Bring one item to its row."""
        key = self.key(item)
        before = self.held.get(key)
        row = await self.resolve(item, before)
        if row["status"] != "live" and not metadata_of(row).get(RETRY):
            self.retrievals.pop(key, None)
        if row is not before:
            row = {name: storable(value) for name, value in row.items()}  # a server's headers too
        self.rows[key] = row
        self.tally.done += 1
        self.tally.outcomes[outcome(before, row)] += 1
        self.progress(self.tally)

    async def resolve(self, item: Item, before: Row | None) -> Row:
        """The item's row after its bytes came, were there already, or could not come."""
        entry = self.entry
        if item.deleted:
            return gone(entry, item, before, item.deleted)
        same = before is not None and bool(item.version) and before["upstream_version"] == item.version
        if item.licence_in_payload and same and before is not None and self.settled(before):
            return before
        decision = gate(entry, item.licence_stated, item.reservation)
        if decision.reason and not item.licence_in_payload:
            return row_of(entry, item, decision, "excluded", decision.reason)
        if item.denied:
            return row_of(entry, item, decision, "denied", item.denied)
        if item.size is not None and item.size > entry.limits.item_bytes:
            reason = f"{item.size:,} bytes, over the entry's limits.item_bytes {entry.limits.item_bytes:,}"
            return row_of(entry, item, decision, "excluded", reason)
        if same and before is not None and before["status"] == "live" and await self.holds(before):
            return await self.kept(item, decision, before)
        return await self.fetched(item, decision, before)

    def settled(self, row: Row) -> bool:
        return row["status"] in ("live", "excluded", "denied", "damaged") and not metadata_of(row).get(RETRY)

    async def holds(self, row: Row) -> bool:
        """Whether the store has the row's objects."""
        for sha256 in objects_of(row):
            if not await asyncio.to_thread(self.store.has_object, sha256):
                return False
        return True

    async def kept(self, item: Item, decision: Gate, before: Row) -> Row:
        """A new statement about bytes that are held already."""
        row = row_of(self.entry, item, decision, "live")
        row |= {name: before[name] for name in HELD}
        return await self.attached(item, row)

    async def attached(self, item: Item, row: Row) -> Row:
        """Store the item's attachments and name them in the metadata."""
        if not item.attachments:
            return row
        metadata = metadata_of(row)
        for name, body in sorted(item.attachments.items()):
            info = await asyncio.to_thread(self.store.put_object, body)
            metadata[f"{name}_sha256"] = info.sha256
        return {**row, "metadata": as_json(metadata)}

    async def fetched(self, item: Item, decision: Gate, before: Row | None) -> Row:
        """Ask for the bytes, and say what came of it."""
        entry = self.entry
        try:
            row = await self.transfer(item, decision, before)
            self.silent = 0
            return row
        except Gone as error:
            return row_of(entry, item, decision, "gone", self.reason(error))
        except Denied as error:
            return row_of(entry, item, decision, "denied", self.reason(error))
        except TooLarge as error:
            return row_of(entry, item, decision, "excluded", self.reason(error))
        except DamagedPayload as error:
            row = row_of(entry, item, decision, "damaged", self.reason(error))
            validators = error.validators if isinstance(error.validators, Validators) else Validators()
            return row | {
                "etag": validators.etag or None,
                "last_modified": validators.last_modified or None,
            }
        except BadResponse as error:
            return row_of(entry, item, decision, "damaged", self.reason(error))
        except Unreachable as error:
            self.count_silence(item, error)
            if before is not None and before["status"] == "live" and await self.holds(before):
                return to_retry(before)
            return to_retry(row_of(entry, item, decision, "damaged", "could not be fetched, to be retried"))

    def reason(self, error: HttpError) -> str:
        return self.http.clean(error.brief)

    def count_silence(self, item: Item, error: Unreachable) -> None:
        """Items of other hosts may be silent for ever; the entry's own host ends the harvest."""
        if urlsplit(item.url).hostname == self.entry.host:
            self.silent += 1
            if self.silent >= SILENT_ITEMS:
                raise Unreachable(f"{self.silent} items in a row had no answer; the last: {error}")

    async def transfer(self, item: Item, decision: Gate, before: Row | None) -> Row:
        """Fetch, verify, gate again if the licence is inside, store."""
        if item.content is not None:
            info = await asyncio.to_thread(self.store.put_object, item.content)
            self.note(item, len(item.content), 1)
            row = row_of(self.entry, item, decision, "live")
            row |= {"sha256": info.sha256, "bytes": info.bytes}
            return await self.attached(item, row)
        got = await download(
            self.http,
            item.url,
            params=item.params,
            validators=await self.conditional(before),
            expected=Expected(item.size, item.sha256, item.md5),
            max_bytes=self.entry.limits.item_bytes,
            inspect=lambda head: self.inspect(item, head),
            on_bytes=self.count_bytes,
        )
        if got is None:
            assert before is not None
            if before["status"] == "live":
                return await self.kept(item, decision, before)
            return before
        try:
            return await self.stored(item, decision, got)
        finally:
            got.discard()

    async def conditional(self, before: Row | None) -> Validators | None:
        """Validators to send: of bytes that are held, or of bytes that were found damaged."""
        if before is None or not (before["etag"] or before["last_modified"]):
            return None
        if before["status"] == "damaged" or (before["status"] == "live" and await self.holds(before)):
            return Validators(before["etag"] or "", before["last_modified"] or "")
        return None

    def inspect(self, item: Item, head: bytes) -> None:
        self.protocol.check_head(head)
        media = item.media_type.partition(";")[0]
        if media and not media.startswith("text/") and "html" not in media and looks_like_html(head):
            raise Denied(
                f"{self.http.clean(item.url)}: an HTML page stands where {media} should (a challenge?)"
            )

    async def stored(self, item: Item, decision: Gate, got: Download) -> Row:
        entry = self.entry
        if got.bytes == 0:
            error = DamagedPayload("an empty file (0 bytes)")
            error.validators = got.validators
            raise error
        payload = Payload()
        if item.licence_in_payload:
            payload = await asyncio.to_thread(self.protocol.read_payload, item, got.path)
            decision = gate(entry, payload.licence_stated or item.licence_stated, item.reservation)
            for status, reason in (
                ("denied", payload.denied),
                ("damaged", payload.damaged),
                ("excluded", decision.reason),
            ):
                if reason:
                    return row_of(entry, item, decision, status, reason, payload)
        info = await asyncio.to_thread(self.store.put_object, got.path)
        self.note(item, got.transferred, got.attempts)
        row = row_of(entry, item, decision, "live", payload=payload)
        row |= {
            "sha256": info.sha256,
            "bytes": info.bytes,
            "etag": got.validators.etag or None,
            "last_modified": got.validators.last_modified or None,
            "media_type": media_type_of(item, got.media_type),
        }
        return await self.attached(item, row)

    def note(self, item: Item, transferred: int, attempts: int) -> None:
        key = self.key(item)
        self.retrievals[key] = {
            "item_id": key,
            "retrieved_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "bytes_transferred": transferred,
            "attempts": attempts,
        }

    def count_bytes(self, number: int) -> None:
        self.tally.bytes += number
        self.progress(self.tally)

    async def mend_lost_objects(self) -> None:
        """Rows that upstream did not list again, but whose object the store has lost: to be fetched anew."""
        for key, row in self.rows.items():
            if row["status"] == "live" and self.held.get(key) is row and not await self.holds(row):
                reason = "the store has lost the object; it is fetched again at the next refresh"
                self.rows[key] = to_retry(without_bytes(row) | {"status": "damaged", "reason": reason})


def outcome(before: Row | None, row: Row) -> str:
    """One word for the change report."""
    if row["status"] != "live":
        return str(row["status"])
    if before is None or before["status"] != "live":
        return "new"
    return "unchanged" if before["sha256"] == row["sha256"] else "changed"
