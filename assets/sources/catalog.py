"""The catalogue of sources: declarative, checked on load, with errors that name file, entry and field."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from assets.sources.licences import parse_licence

Protocol = Literal["entrez", "oai_pmh", "pds", "xeno_canto", "web"]
Domain = Literal["biology", "philosophy", "astrobiology", "alife", "synbio"]
Modality = Literal["text", "dna", "protein", "image", "audio", "dialogue"]
Dimension = Literal["factual", "conceptual", "ethical", "perceptual", "conversational"]
Text = Annotated[str, Field(min_length=1)]


class CatalogError(ValueError):
    """What is wrong with a catalogue, and the mend."""


def _http_address(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("must be an http(s) address, like https://example.org/oai")
    return value


HttpAddress = Annotated[str, AfterValidator(_http_address)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class EntrezQuery(_Strict):
    """What E-utilities are asked for: one payload per record that the term finds."""

    db: Literal["nuccore", "protein", "pmc", "pubmed"]
    term: Text
    rettype: Literal["fasta", "gb", "gbwithparts", "xml"]
    retmode: Literal["text", "xml"]


class OaiQuery(_Strict):
    """What a repository is asked for. follow: the payload is the record's first http(s) dc:identifier."""

    metadata_prefix: Text = "oai_dc"
    set: Text | None = None
    follow: bool = False


class PdsQuery(_Strict):
    """A query in the grammar of the PDS search API."""

    q: Text


class XenoCantoQuery(_Strict):
    """Tags, like ``grp:birds cnt:Kenya lic:BY-SA``."""

    query: Text


class WebQuery(_Strict):
    """A JSON Lines list of files (`index`), or the files' addresses (`urls`)."""

    index: HttpAddress | None = None
    urls: list[HttpAddress] | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> WebQuery:
        if (self.index is None) == (not self.urls):
            raise ValueError("give either index (a JSON Lines list) or urls (addresses), not both or none")
        return self


QUERIES: dict[str, type[_Strict]] = {
    "entrez": EntrezQuery,
    "oai_pmh": OaiQuery,
    "pds": PdsQuery,
    "xeno_canto": XenoCantoQuery,
    "web": WebQuery,
}


class LicenceRule(_Strict):
    """Where an item's licence is read: from the item (`per_item`), or the same for all (`fixed`)."""

    rule: Literal["per_item", "fixed"]
    spdx: str | None = None
    evidence: Text

    @model_validator(mode="after")
    def _known(self) -> LicenceRule:
        if self.rule == "fixed" and not self.spdx:
            raise ValueError("rule 'fixed' needs spdx, like CC-BY-4.0")
        if self.rule == "per_item" and self.spdx:
            raise ValueError("rule 'per_item' takes no spdx: the item states it (set spdx: null)")
        if self.spdx and parse_licence(self.spdx) is None:
            raise ValueError(
                f"spdx {self.spdx!r} is not a licence we know; add it to assets/sources/licences.py"
            )
        return self


class Limits(_Strict):
    """Bounds of one harvest: items in all, bytes of one item."""

    items: Annotated[int, Field(gt=0)] = 10_000
    item_bytes: Annotated[int, Field(gt=0)] = 256 << 20


class Entry(_Strict):
    """One source: what to ask for, what it is, whose it is, and how often to look."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    title: Text
    protocol: Protocol
    base_url: HttpAddress
    query: dict[str, Any]
    domain: Domain
    modality: Modality
    dimension: Dimension
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$")]
    region: Text
    tradition: Text
    licence: LicenceRule
    attribution: Text
    citation: Text
    contact: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+$|^https?://\S+$")]
    cadence: Literal["daily", "weekly", "monthly"]
    tier: Literal["canonical", "long_tail"]
    enabled: bool
    reason: Text
    limits: Limits = Limits()

    @property
    def arguments(self) -> dict[str, Any]:
        """The query with its defaults, without what is not set: keyword arguments of the client's harvest."""
        return QUERIES[self.protocol].model_validate(self.query).model_dump(exclude_none=True)

    @property
    def host(self) -> str:
        return urlsplit(self.base_url).hostname or ""


def load_catalog(path: Path) -> list[Entry]:
    """The entries in the file's order. Raises CatalogError naming file, entry, field and the mend."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CatalogError(f"{path}: no such file. Set LUCA_CATALOG to a catalogue.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise CatalogError(f"{path}: not YAML: {error}. Mend the syntax there.") from None
    if not isinstance(data, dict) or set(data) != {"sources"} or not isinstance(data["sources"], list):
        raise CatalogError(f"{path}: the file must hold one key, 'sources', with a list of entries.")
    entries: list[Entry] = []
    problems: list[str] = []
    seen: set[str] = set()
    for number, raw in enumerate(data["sources"], 1):
        name = raw.get("name") if isinstance(raw, dict) else None
        where = f"{path}: entry {name or number!r}"
        try:
            entry = Entry.model_validate(raw)
        except ValidationError as error:
            problems.extend(_problem(where, detail) for detail in error.errors(include_url=False))
            continue
        try:
            QUERIES[entry.protocol].model_validate(entry.query)
        except ValidationError as error:
            problems.extend(
                _problem(where, {**detail, "loc": ("query", *detail["loc"])})
                for detail in error.errors(include_url=False)
            )
        if entry.name in seen:
            problems.append(f"{where}: field 'name': used twice. Give each entry a name of its own.")
        seen.add(entry.name)
        entries.append(entry)
    if problems:
        raise CatalogError("\n".join(problems))
    return entries


def _problem(where: str, detail: Any) -> str:
    field = ".".join(str(part) for part in detail["loc"]) or "(the entry)"
    context = detail.get("ctx") or {}
    kind = detail["type"]
    mend = {
        "missing": "Add it.",
        "extra_forbidden": "Remove it, or mend its spelling.",
        "literal_error": f"Use one of {context.get('expected')}.",
    }.get(kind, f"It is {detail.get('input')!r}.")
    return f"{where}: field '{field}': {detail['msg']}. {mend}"
