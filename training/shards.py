"""Windows in WebDataset tar shards: written in a stream, read back by seeking straight to the bytes.

A shard is a tar of a few blocks; a block is a member `NNNNNN.npy`, windows x length of uint16 or uint32.
Tar and npy headers are padded to 512 bytes each, so a block of a quarter of a shard (1 MiB by default)
costs 0.5% of headers. All blocks are full but the very last, so a window's shard, member and offset
follow from its number; `index.parquet` states them, so that a reader needs no arithmetic of ours.
Any WebDataset reader can read the tar.
"""

from __future__ import annotations

import io
import json
import mmap
import tarfile
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from training.windows import Span, Window

if TYPE_CHECKING:
    import pyarrow as pa

    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store

INDEX_FILE = "index.parquet"
STRATA_FILE = "strata.json"
TAR_BLOCK = 512
BLOCK_HEADER = 2 * TAR_BLOCK  # tar's and npy's
TAR_END = bytes(2 * TAR_BLOCK)
BLOCKS_IN_SHARD = 4
INDEX_ROWS = 4096  # windows in a row group of the index
OPEN_SHARDS = 256  # maps (or S3 readers) that a ShardReader keeps open


@dataclass(frozen=True)
class Layout:
    """Where each window goes: rows of `length` numbers of `dtype` in shards of at most `shard_bytes`."""

    length: int
    dtype: np.dtype[Any]
    shard_bytes: int

    def __post_init__(self) -> None:
        if self.block_rows < 1:
            raise ValueError(
                f"shard_bytes {self.shard_bytes:,} holds no {BLOCKS_IN_SHARD} blocks of a window of "
                f"{self.row_bytes:,} bytes: raise it"
            )

    @property
    def row_bytes(self) -> int:
        """Bytes of a window."""
        return self.length * self.dtype.itemsize

    @property
    def block_rows(self) -> int:
        """Windows in a full block."""
        room = (self.shard_bytes - len(TAR_END)) // BLOCKS_IN_SHARD // TAR_BLOCK * TAR_BLOCK
        return (room - BLOCK_HEADER) // self.row_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of a full block in the tar, headers and padding included."""
        return BLOCK_HEADER + round_up(self.block_rows * self.row_bytes)

    @property
    def shard_rows(self) -> int:
        """Windows in a full shard."""
        return self.block_rows * BLOCKS_IN_SHARD

    def shard(self, window: int) -> str:
        """File name of the window's shard in the artifact."""
        return f"shards/{window // self.shard_rows:06d}.tar"

    def member(self, window: int) -> str:
        """The window's member of the tar."""
        return f"{window // self.block_rows:06d}.npy"

    def offset(self, window: int) -> int:
        """Byte offset of the window's numbers in the tar."""
        block, row = divmod(window % self.shard_rows, self.block_rows)
        return block * self.block_bytes + BLOCK_HEADER + row * self.row_bytes


def round_up(size: int) -> int:
    """To tar's block of 512."""
    return -(-size // TAR_BLOCK) * TAR_BLOCK


def index_schema() -> pa.Schema:
    """Columns of index.parquet, a row a window, sorted by window."""
    import pyarrow as pa

    return pa.schema(
        [
            ("window", pa.int64()),
            ("shard", pa.string()),
            ("member", pa.string()),
            ("offset", pa.int64()),
            ("length", pa.int32()),
            ("stratum", pa.string()),
            ("document_ids", pa.list_(pa.string())),
            ("starts", pa.list_(pa.int32())),
            ("ends", pa.list_(pa.int32())),
            ("document_offsets", pa.list_(pa.int64())),
        ]
    )


def write_shards(writer: ArtifactWriter, windows: Iterable[tuple[str, Window]], layout: Layout) -> int:
    """Write the (stratum, window) pairs as shards and index.parquet; how many there were.

    Holds one shard and one row group of the index.
    """
    with writer.open(INDEX_FILE) as sink, IndexWriter(sink, layout) as index:
        number = 0
        shard = io.BytesIO()
        for rows in blocks(index.watch(windows), layout):
            shard.write(tar_member(layout.member(number), rows))
            number += len(rows)
            if number % layout.shard_rows == 0:
                writer.add(layout.shard(number - 1), shard.getvalue() + TAR_END)
                shard = io.BytesIO()
        if shard.tell():
            writer.add(layout.shard(number - 1), shard.getvalue() + TAR_END)
    return number


def blocks(windows: Iterable[Window], layout: Layout) -> Iterator[NDArray[Any]]:
    """Blocks of rows, all full but the last; ValueError if an id does not fit the dtype."""
    limit = np.iinfo(layout.dtype).max
    rows = np.empty((layout.block_rows, layout.length), layout.dtype)
    filled = 0
    for window in windows:
        if window.ids.min() < 0 or window.ids.max() > limit:
            raise ValueError(f"a window holds an id outside 0..{limit}")
        rows[filled] = window.ids
        filled += 1
        if filled == len(rows):
            yield rows
            filled = 0
    if filled:
        yield rows[:filled]


def tar_member(name: str, rows: NDArray[Any]) -> bytes:
    """A tar header, an npy header padded to 512 bytes, the numbers, padding; no dates, no owners."""
    little = rows.dtype.newbyteorder("<")
    described = repr({"descr": little.str, "fortran_order": False, "shape": rows.shape}).encode()
    header = b"\x93NUMPY\x01\x00" + (TAR_BLOCK - 10).to_bytes(2, "little")
    body = header + described.ljust(TAR_BLOCK - 11) + b"\n" + rows.astype(little).tobytes()
    info = tarfile.TarInfo(name)
    info.size = len(body)
    info.mode = 0o444
    head: bytes = info.tobuf(tarfile.USTAR_FORMAT)
    return head + body.ljust(round_up(len(body)), b"\0")


class IndexWriter:
    """Notes each window that passes by, a row group at a time."""

    def __init__(self, sink: BinaryIO, layout: Layout) -> None:
        import pyarrow.parquet as pq

        self._layout = layout
        self._schema = index_schema()
        self._parquet = pq.ParquetWriter(sink, self._schema, compression="zstd", version="2.6")
        self._rows: list[dict[str, Any]] = []
        self._count = 0

    def watch(self, windows: Iterable[tuple[str, Window]]) -> Iterator[Window]:
        """Pass the windows on, numbered in their order."""
        for stratum, window in windows:
            number = self._count
            self._rows.append(
                {
                    "window": number,
                    "shard": self._layout.shard(number),
                    "member": self._layout.member(number),
                    "offset": self._layout.offset(number),
                    "length": window.used,
                    "stratum": stratum,
                    "document_ids": [span.document_id for span in window.spans],
                    "starts": [span.start for span in window.spans],
                    "ends": [span.end for span in window.spans],
                    "document_offsets": [span.offset for span in window.spans],
                }
            )
            self._count += 1
            if len(self._rows) == INDEX_ROWS:
                self._flush()
            yield window

    def _flush(self) -> None:
        import pyarrow as pa

        if self._rows:
            self._parquet.write_table(pa.Table.from_pylist(self._rows, schema=self._schema))
            self._rows = []

    def __enter__(self) -> IndexWriter:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self._flush()
        self._parquet.close()


class ShardReader:
    """Reads windows of a `tokens/shards` or `tokens/heldout` artifact: maps on a disk, ranges on S3.

    Not for several threads at once; each process opens its own.
    """

    def __init__(self, store: Store, manifest: Manifest) -> None:
        self.store, self.manifest = store, manifest
        self.strata: dict[str, Any] = json.loads(store.read_file(manifest, STRATA_FILE))
        self.length = int(self.strata["length"])
        self.dtype = np.dtype(self.strata["dtype"]).newbyteorder("<")
        self._open: OrderedDict[int, mmap.mmap | BinaryIO] = OrderedDict()

    @cached_property
    def index(self) -> dict[str, NDArray[Any]]:
        """Columns window, offset, length (int64), shard, member, stratum (str objects); one row a window."""
        import pyarrow.parquet as pq

        names = ["window", "offset", "length", "shard", "member", "stratum"]
        with self.store.open_file(self.manifest, INDEX_FILE) as file:
            table = pq.read_table(
                file, columns=names, read_dictionary=names[3:], use_threads=False, pre_buffer=False
            )
        numbers = {name: table[name].to_numpy().astype(np.int64) for name in names[:3]}
        return {**numbers, **{name: table[name].to_numpy() for name in names[3:]}}

    @cached_property
    def shards(self) -> list[str]:
        """Names of the shards, in order."""
        return sorted({f.name for f in self.manifest.files if f.name.endswith(".tar")})

    @cached_property
    def _shard_numbers(self) -> NDArray[np.int64]:
        number = {name: place for place, name in enumerate(self.shards)}
        return np.array([number[name] for name in self.index["shard"]], np.int64)

    def __len__(self) -> int:
        return int(self.strata["windows"])

    def windows(self, ids: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """int64[len(ids), length] in the order asked for; IndexError for a window that is not there."""
        wanted = np.asarray(ids, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"windows are 0 to {len(self) - 1}, asked for {wanted.min()} to {wanted.max()}")
        out = np.empty((len(wanted), self.length), np.int64)
        offsets = self.index["offset"][wanted].tolist()
        size = self.length * self.dtype.itemsize
        for place, (shard, offset) in enumerate(
            zip(self._shard_numbers[wanted].tolist(), offsets, strict=True)
        ):
            source = self._source(shard)
            if isinstance(source, mmap.mmap):
                out[place] = np.frombuffer(source, self.dtype, self.length, offset)
            else:
                source.seek(offset)
                out[place] = np.frombuffer(read_exactly(source, size), self.dtype)
        return out

    def spans(self, window: int) -> tuple[Span, ...]:
        """The documents in a window, in order."""
        row = self._spans.slice(window, 1).to_pylist()[0]
        columns = (row["document_ids"], row["starts"], row["ends"], row["document_offsets"])
        return tuple(Span(*values) for values in zip(*columns, strict=True))

    @cached_property
    def _spans(self) -> pa.Table:
        import pyarrow.parquet as pq

        with self.store.open_file(self.manifest, INDEX_FILE) as file:
            names = ["document_ids", "starts", "ends", "document_offsets"]
            return pq.read_table(file, columns=names, use_threads=False, pre_buffer=False)

    def _source(self, shard: int) -> mmap.mmap | BinaryIO:
        source = self._open.pop(shard, None)
        if source is None:
            name = self.shards[shard]
            if self.store.uri.startswith("file:"):
                with self.store.file_path(self.manifest, name).open("rb") as file:
                    source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            else:
                source = self.store.open_file(self.manifest, name)
            if len(self._open) >= OPEN_SHARDS:
                self._open.popitem(last=False)[1].close()
        self._open[shard] = source
        return source

    def close(self) -> None:
        """Let go of the open shards."""
        while self._open:
            self._open.popitem()[1].close()


def read_exactly(source: BinaryIO, size: int) -> bytes:
    """`size` bytes; EOFError if the shard ends before."""
    body = b""
    while len(body) < size:
        more = source.read(size - len(body))
        if not more:
            raise EOFError(f"a shard ends {size - len(body)} bytes early: run 'luca store verify'")
        body += more
    return body
