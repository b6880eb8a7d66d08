"""NASA's PDS search API, version 1: products, paged without loss, their newest versions, their labels.

https://nasa-pds.github.io/pds-api/. Known faults: sorting on the harvest time alone loses records that
share it at a page's edge (so we sort on it and the lidvid); the service's "latest" compares versions as
strings (so we compare them as numbers); values may be the text "null".
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from resources.http import HttpClient
from resources.http_errors import BadResponse, Denied, Gone
from resources.items import Item, Known
from resources.pds_labels import read_label

HARVESTED = "ops:Harvest_Info.ops:harvest_date_time"
SORT = (HARVESTED, "lidvid")
FILE = "ops:Data_File_Info.ops:"
LABEL = "ops:Label_File_Info.ops:"
FIELDS = (
    "lid",
    "vid",
    "lidvid",
    "title",
    "product_class",
    HARVESTED,
    *(FILE + name for name in ("file_name", "file_ref", "file_size", "md5_checksum", "mime_type")),
    *(LABEL + name for name in ("file_name", "file_ref")),
    "pds:License_Information.pds:name",
    "pds:License_Information.pds:description",
    "pds:Citation_Information.pds:description",
    "pds:Target_Identification.pds:name",
    "pds:Time_Coordinates.pds:start_date_time",
)
# Best first: what a picture reader takes as it is, then what needs the label.
IMAGES = ("png", "jpg", "jpeg", "tif", "tiff", "img", "fit", "fits", "dat")
PAGE = 100
Properties = Mapping[str, list[str]]


@dataclass(frozen=True)
class Product:
    """One product as the search gives it. properties: field -> values, "null" left out."""

    lidvid: str
    title: str
    properties: Properties

    def value(self, field: str) -> str:
        """The first value, or ""."""
        return next(iter(self.properties.get(field, ())), "")

    @property
    def lid(self) -> str:
        return self.lidvid.partition("::")[0]

    @property
    def vid(self) -> str:
        return self.lidvid.partition("::")[2] or self.value("vid")

    @property
    def harvested(self) -> str:
        return self.value(HARVESTED)


@dataclass(frozen=True)
class DataFile:
    """A file of a product, with what the registry states of it."""

    url: str
    name: str = ""
    bytes: int | None = None
    md5: str = ""
    media_type: str = ""


def version_order(vid: str) -> tuple[int, ...]:
    """2.0 before 13.0: the parts of a version as numbers."""
    return tuple(int(n) for n in re.findall(r"\d+", vid))


def parse_products(answer: Any, url: str) -> list[Product]:
    """The `data` of an answer; BadResponse where it is not one."""
    if not isinstance(answer, dict) or not isinstance(answer.get("data"), list):
        raise BadResponse(f"{url}: not a PDS search answer: no 'data' array")
    products = []
    for entry in answer["data"]:
        raw = entry.get("properties") or {} if isinstance(entry, dict) else None
        if not isinstance(raw, dict):
            raise BadResponse(f"{url}: a product that is no object with properties")
        properties = {
            k: [str(v) for v in (values if isinstance(values, list) else [values]) if v not in (None, "null")]
            for k, values in raw.items()
        }
        lidvid = str(entry.get("id") or next(iter(properties.get("lidvid", ())), ""))
        if not lidvid:
            raise BadResponse(f"{url}: a product without an id")
        products.append(Product(lidvid, str(entry.get("title") or ""), properties))
    return products


def data_files(product: Product) -> list[DataFile]:
    """The product's files. The registry's arrays run in parallel; one that is short is not trusted."""
    refs = product.properties.get(FILE + "file_ref", [])
    columns = {
        name: product.properties.get(FILE + name, [])
        for name in ("file_name", "file_size", "md5_checksum", "mime_type")
    }

    def cell(name: str, index: int) -> str:
        values = columns[name]
        return values[index] if len(values) == len(refs) else ""

    return [
        DataFile(
            ref,
            cell("file_name", i) or ref.rpartition("/")[2],
            int(cell("file_size", i)) if cell("file_size", i).isdigit() else None,
            cell("md5_checksum", i).lower(),
            cell("mime_type", i),
        )
        for i, ref in enumerate(refs)
    ]


def payload_of(product: Product) -> DataFile | None:
    """The file to mirror: the one a picture reader likes best, else the first."""
    files = data_files(product)

    def rank(file: DataFile) -> int:
        suffix = file.name.rpartition(".")[2].lower()
        return IMAGES.index(suffix) if suffix in IMAGES else len(IMAGES)

    return min(files, key=rank, default=None)


class PdsClient:
    """The search service at `base_url` (…/api/search/1)."""

    def __init__(self, http: HttpClient, base_url: str):
        self.http = http
        self.base_url = base_url.rstrip("/")

    async def products(
        self, q: str = "", *, after: tuple[str, str] | None = None, path: str = "products"
    ) -> AsyncIterator[Product]:
        """Products in the order of (harvest time, lidvid), from behind `after`."""
        seen: set[str] = set()
        while True:
            params = {"limit": str(PAGE), "sort": ",".join(SORT), "fields": ",".join(FIELDS)}
            if q:
                params["q"] = q
            if after:
                params["search-after"] = ",".join(after)
            answer = await self.http.get(f"{self.base_url}/{path}", params, {"Accept": "application/json"})
            page = parse_products(answer.json(), answer.url)
            fresh = [p for p in page if p.lidvid not in seen]
            for product in fresh:
                seen.add(product.lidvid)
                yield product
            if len(page) < PAGE:
                return
            last = (page[-1].harvested, page[-1].lidvid)
            if not fresh or not last[0]:
                raise BadResponse(f"{answer.url}: the page does not move on (search-after {','.join(last)})")
            after = last

    async def product(self, lidvid: str) -> Product:
        """One product; Gone if the service does not know it (a prefix match is not taken for it)."""
        answer = await self.http.get(f"{self.base_url}/products/{lidvid}")
        product = parse_products({"data": [answer.json()]}, answer.url)[0]
        if lidvid not in (product.lidvid, product.lid):
            raise BadResponse(f"{answer.url}: asked for {lidvid}, got {product.lidvid}")
        return product

    async def versions(self, lid: str) -> list[Product]:
        """All versions of a product, oldest first, in true order."""
        answer = await self.http.get(f"{self.base_url}/products/{lid}/all")
        found = [p for p in parse_products(answer.json(), answer.url) if p.lid == lid]
        return sorted(found, key=lambda p: version_order(p.vid))

    async def label(self, url: str) -> tuple[bytes, dict[str, Any]]:
        """The label at `url`: its bytes, and what they say."""
        answer = await self.http.get(url, max_bytes=16 << 20)
        return answer.body, read_label(answer.body, answer.url)


def to_item(product: Product, label: Mapping[str, Any], label_bytes: bytes = b"") -> Item:
    """A product as an Item: the payload is its data file, the label goes into the metadata."""
    file = payload_of(product)
    licence = (
        product.value("pds:License_Information.pds:name")
        or product.value("pds:License_Information.pds:description")
        or str(label.get("licence") or "")
    )
    stated: Mapping[str, Any] = next(
        (f for f in label.get("files", ()) if file and f.get("name") == file.name), {}
    )
    metadata: dict[str, Any] = {
        "lidvid": product.lidvid,
        "product_class": product.value("product_class"),
        "targets": list(product.properties.get("pds:Target_Identification.pds:name", ())),
        "start_date_time": product.value("pds:Time_Coordinates.pds:start_date_time"),
        "label_url": product.value(LABEL + "file_ref"),
        "label": dict(label),
        "file_name": file.name if file else "",
    }
    return Item(
        product.lid,
        version=product.vid,
        title=product.title,
        url=file.url if file else "",
        datestamp=product.harvested,
        media_type=file.media_type if file else "",
        licence_stated=(licence,) if licence else (),
        attribution=product.value("pds:Citation_Information.pds:description"),
        md5=(file.md5 or str(stated.get("md5", ""))) if file else "",
        size=(file.bytes if file.bytes is not None else stated.get("bytes")) if file else None,
        denied="" if file else "the product names no data file",
        attachments={"label": label_bytes} if label_bytes else {},
        metadata={k: v for k, v in metadata.items() if v},
    )


async def harvest(http: HttpClient, base_url: str, known: Known, *, q: str = "") -> AsyncIterator[Item]:
    """Products harvested into the registry since the known mark; of several versions, the newest.

    The registry does not list deletions: a product that is withdrawn stays until its file is asked for.
    """
    client = PdsClient(http, base_url)
    after = (known.high_water, known.cursor) if known.high_water and known.cursor else None
    newest: dict[str, Product] = {}
    async for product in client.products(q, after=after):
        other = newest.get(product.lid)
        if other is None or version_order(other.vid) <= version_order(product.vid):
            newest[product.lid] = product
    for lid in sorted(newest):
        product = newest[lid]
        label_url = product.value(LABEL + "file_ref")
        label: dict[str, Any] = {}
        body = b""
        if label_url:
            try:
                body, label = await client.label(label_url)
            except (BadResponse, Gone, Denied) as error:
                label = {"unreadable": str(error)}
        yield to_item(product, label, body)
