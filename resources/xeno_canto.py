"""Xeno-canto, API version 3: recordings, page by page, cleaned of their dirty values.

https://xeno-canto.org/explore/api. A key is required (XENO_CANTO_KEY); it goes with requests only and is
redacted everywhere. The licence is per recording. Restricted species come without a file.
"""

from __future__ import annotations

import html
import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from resources.http import HttpClient, Response
from resources.http_errors import BadResponse, Denied
from resources.items import Item, Known

PER_PAGE = 500
KEY_VARIABLE = "XENO_CANTO_KEY"
_SCIENTIFIC = ("gen", "sp", "ssp")
_KEPT = (
    *("gen", "sp", "ssp", "grp", "en", "cnt", "loc", "lat", "lon", "alt", "type", "sex", "stage", "method"),
    *("q", "length", "time", "date", "uploaded", "also", "rmk", "smp", "status"),
)
_TYPES = {
    "mp3": "audio/mpeg",
    "wav": "audio/wav",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "m4a": "audio/mp4",
}


@dataclass(frozen=True)
class Page:
    """One answer. The counts come as text or number; both are read."""

    recordings: tuple[Mapping[str, Any], ...]
    page: int
    pages: int
    total: int


def quote(value: str) -> str:
    """A tag's value, quoted where it has several words or a comparison sign."""
    return f'"{value}"' if re.search(r"[\s<>]", value) and not value.startswith('"') else value


def parse_page(answer: Any, url: str) -> Page:
    """The envelope; BadResponse for another shape, with the service's message where it gives one."""
    if not isinstance(answer, dict) or not isinstance(answer.get("recordings"), list):
        raise BadResponse(f"{url}: {message_of(answer) or 'not a Xeno-canto answer: no recordings array'}")
    return Page(
        tuple(r for r in answer["recordings"] if isinstance(r, dict)),
        whole(answer.get("page"), 1),
        whole(answer.get("numPages"), 1),
        whole(answer.get("numRecordings"), 0),
    )


def message_of(answer: Any) -> str:
    """The message of an error in either of its two shapes, or ""."""
    if not isinstance(answer, dict):
        return ""
    error = answer.get("error")
    if isinstance(error, dict):
        return str(error.get("message") or error.get("code") or "")
    return str(answer.get("message") or error or "")


def whole(value: Any, default: int) -> int:
    """An integer from "12" or 12; `default` from anything else."""
    text = str(value).strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else default


def clean_text(value: Any) -> str:
    """Text without HTML entities (some are escaped twice); "" for null."""
    text = "" if value is None else str(value)
    for _ in range(2):
        text = html.unescape(text)
    return " ".join(text.split())


def clean_address(value: Any) -> str:
    """``//host/…`` made whole, with https; "" for null, "restricted_species" and other non-addresses."""
    text = "" if value is None else str(value).strip()
    if text.startswith("//"):
        text = f"https:{text}"
    return text if text.startswith(("http://", "https://")) else ""


def clean_date(value: Any) -> str:
    """YYYY, YYYY-MM or YYYY-MM-DD, as far as it is known; "" for 0000-00-00 and what is no date."""
    match = re.fullmatch(r"(\d{4})(?:-(\d{2}))?(?:-(\d{2}))?.*", str(value or "").strip())
    if not match or match[1] == "0000":
        return ""
    parts = [match[1]]
    if match[2] and "01" <= match[2] <= "12":
        parts.append(match[2])
        if match[3] and "01" <= match[3] <= "31":
            parts.append(match[3])
    return "-".join(parts)


def coordinate(value: Any, limit: float) -> float | None:
    """Degrees within ±`limit`; None for anything else."""
    try:
        degrees = float(str(value))
    except ValueError:
        return None
    return degrees if abs(degrees) <= limit else None


def to_item(recording: Mapping[str, Any], scheme: str = "https") -> Item | None:
    """A recording as an Item; None without an id. Fields of another type or none are left out."""
    upstream_id = clean_text(recording.get("id"))
    if not upstream_id:
        return None
    address = clean_address(recording.get("file"))
    page = clean_address(recording.get("url"))
    if scheme == "http":
        address, page = (
            re.sub("^https://", "http://", a) if _bare(recording, a) else a for a in (address, page)
        )
    name = clean_text(recording.get("file-name"))
    suffix = name.rpartition(".")[2].lower() if "." in name else ""
    scientific = " ".join(filter(None, (clean_text(recording.get(k)) for k in _SCIENTIFIC)))
    common = clean_text(recording.get("en"))
    recordist = clean_text(recording.get("rec"))
    licence = clean_text(recording.get("lic"))
    if licence.startswith("//"):
        licence = f"https:{licence}"
    metadata: dict[str, Any] = {k: _clean(k, recording.get(k)) for k in _KEPT if k in recording}
    metadata["page"] = page
    attribution = f"{recordist}, XC{upstream_id}. Accessible at {page or f'xeno-canto.org/{upstream_id}'}"
    restricted = "restricted_species" in str(recording.get("_meta", "")) + str(recording.get("file"))
    denied = ""
    if not address:
        denied = "restricted species: upstream withholds the file" if restricted else "upstream gives no file"
    return Item(
        f"XC{upstream_id}",
        version=clean_text(recording.get("uploaded")) + (f" {name}" if name else ""),
        title=f"{common} ({scientific})" if common and scientific else common or scientific,
        url=address or page,
        datestamp=clean_date(recording.get("uploaded")),
        media_type=_TYPES.get(suffix, ""),
        licence_stated=(licence,) if licence else (),
        attribution=attribution,
        denied=denied,
        metadata={k: v for k, v in metadata.items() if v not in (None, "", [])},
    )


def _bare(recording: Mapping[str, Any], address: str) -> bool:
    return any(str(recording.get(k) or "").strip() == address.removeprefix("https:") for k in ("file", "url"))


def _clean(key: str, value: Any) -> Any:
    if key in ("lat", "lon"):
        return coordinate(value, 90.0 if key == "lat" else 180.0)
    if key in ("date", "uploaded"):
        return clean_date(value)
    if key == "also":
        return [clean_text(v) for v in value if clean_text(v)] if isinstance(value, list) else []
    text = clean_text(value)
    return "" if text in ("?", "-", "no score") else text


class XenoCantoClient:
    """The recordings service. Raises Denied where no key is set."""

    def __init__(self, http: HttpClient, base_url: str, environment: Mapping[str, str] = os.environ):
        self.http = http
        self.base_url = base_url.rstrip("/")
        self.key = environment.get(KEY_VARIABLE, "")
        if not self.key:
            raise Denied(
                f"{self.base_url}: Xeno-canto needs a key. Set {KEY_VARIABLE} (free, on your account page)."
            )
        http.secrets = (*http.secrets, self.key)

    async def page(self, query: str, number: int) -> Page:
        def check(response: Response) -> None:
            if response.status in (400, 401):
                message = message_of(response.json()) or "no message"
                kind = Denied if response.status == 401 else BadResponse
                raise kind(self.http.clean(f"{response.url}: {message}"), response.status)

        answer = await self.http.get(
            f"{self.base_url}/recordings",
            {"query": query, "key": self.key, "page": str(number), "per_page": str(PER_PAGE)},
            accept=frozenset({400, 401}),
            inspect=check,
        )
        return parse_page(answer.json(), answer.url)

    async def recordings(self, query: str) -> AsyncIterator[Mapping[str, Any]]:
        """Every recording of a query once (tags only, such as ``grp:birds cnt:Kenya``)."""
        seen: set[str] = set()
        number = 1
        while True:
            page = await self.page(query, number)
            before = len(seen)
            for recording in page.recordings:
                # Pages shift while recordings are added: the same one may come twice.
                if (key := str(recording.get("id"))) not in seen:
                    seen.add(key)
                    yield recording
            # A page without anything new: whatever numPages promises, there is no more.
            if number >= page.pages or len(seen) == before:
                return
            number += 1


async def harvest(http: HttpClient, base_url: str, known: Known, *, query: str) -> AsyncIterator[Item]:
    """Recordings uploaded since the known day (inclusive). Deletions are not listed by upstream."""
    client = XenoCantoClient(http, base_url)
    scheme = base_url.partition("://")[0]
    asked = f"{query} since:{known.high_water[:10]}" if len(known.high_water) >= 10 else query
    async for recording in client.recordings(asked):
        item = to_item(recording, scheme)
        if item is not None:
            yield item
