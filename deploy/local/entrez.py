"""NCBI's E-utilities over the items: einfo, esearch, epost, esummary, efetch, with the history server.

Databases are the items' sets (nuccore, protein, pmc). https://www.ncbi.nlm.nih.gov/books/NBK25499/
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

from deploy.local.answer import Answer, element, json_answer, xml_answer
from deploy.local.entrez_query import matching
from deploy.local.items import Item, Library
from deploy.local.sequences import accession, as_fasta, as_genbank, length

HEAD = '<?xml version="1.0" encoding="UTF-8" ?>\n'
DTD = "https://eutils.ncbi.nlm.nih.gov/eutils/dtd"
PROLOGUE = re.compile(rb"^\s*(<\?xml[^>]*\?>)?\s*(<!DOCTYPE[^\[>]*(\[[^\]]*\])?[^>]*>)?", re.DOTALL)
MOST = 10_000
Parameters = Mapping[str, str]


def _doctype(root: str, name: str, path: str) -> tuple[str, str]:
    return root, f'<!DOCTYPE {root} PUBLIC "-//NLM//DTD {name}//EN" "{DTD}/{path}">\n'


ROOTS = {
    "einfo": _doctype("eInfoResult", "einfo 20190110", "20190110/einfo.dtd"),
    "esearch": _doctype("eSearchResult", "esearch 20060628", "20060628/esearch.dtd"),
    "epost": _doctype("ePostResult", "epost 20090526", "20090526/epost.dtd"),
    "esummary": _doctype("eSummaryResult", "esummary v1 20041029", "20041029/esummary-v1.dtd"),
    "efetch": _doctype("eFetchResult", "efetch 20131226", "20131226/efetch.dtd"),
}


class EntrezError(Exception):
    """An error that the service writes into ``<ERROR>``."""


class Entrez:
    """The utilities, with the history that esearch and epost leave for the others."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self._history: dict[str, dict[str, list[str]]] = {}
        self._numbers = itertools.count(1)

    def answer(self, utility: str, parameters: Parameters) -> Answer:
        """Answer ``<utility>.fcgi``; errors come under 200 in the utility's root, as NCBI sends them."""
        utilities = {
            "einfo": self._einfo,
            "esearch": self._esearch,
            "epost": self._epost,
            "esummary": self._esummary,
            "efetch": self._efetch,
        }
        if utility not in utilities:
            return Answer(404, b"no such utility\n")
        try:
            return utilities[utility](parameters)
        except EntrezError as error:
            if parameters.get("retmode") == "json":
                return json_answer({f"{utility}result": {"ERROR": str(error)}})
            root, doctype = ROOTS[utility]
            return xml_answer(f"{HEAD}{doctype}<{root}>{element('ERROR', str(error))}</{root}>\n")

    def _items(self, database: str) -> list[Item]:
        databases = {item.set for item in self.library.items("entrez")}
        if database not in databases and database != "pubmed":
            raise EntrezError(f"Invalid db name specified: {database}")
        return [item for item in self.library.items("entrez", database) if not item.deleted]

    def _einfo(self, parameters: Parameters) -> Answer:
        names = sorted({item.set for item in self.library.items("entrez")})
        doctype = ROOTS["einfo"][1]
        body = "<DbList>" + "".join(element("DbName", name) for name in names) + "</DbList>"
        return xml_answer(f"{HEAD}{doctype}<eInfoResult>{body}</eInfoResult>\n")

    def _esearch(self, parameters: Parameters) -> Answer:
        database, term = parameters.get("db", ""), parameters.get("term", "")
        items = self._items(database)
        if not term.strip():
            raise EntrezError("Empty term and query_key - nothing todo")
        try:
            found, missing = matching(items, term)
        except ValueError as error:
            raise EntrezError(str(error)) from None
        low, high = _dates(parameters)
        field = "created" if parameters.get("datetype") in ("pdat", "edat") else "datestamp"
        found = [item for item in found if low <= getattr(item, field)[:10] <= high]
        # NCBI lists the newest first.
        found.sort(key=lambda item: -uid(item))
        start, most = _whole(parameters, "retstart", 0), min(_whole(parameters, "retmax", 20), MOST)
        if database == "pubmed" and start > 9998:
            raise EntrezError("Search Backend failed: 'retstart' cannot be larger than 9998.")
        if parameters.get("rettype") == "count":
            return xml_answer(f"{HEAD}<eSearchResult>{element('Count', str(len(found)))}</eSearchResult>\n")
        shown = [_identifier(item, parameters) for item in found[start : start + most]]
        key, environment = "", ""
        if parameters.get("usehistory") == "y":
            environment, key = self._remember(parameters.get("WebEnv"), [str(uid(item)) for item in found])
        if parameters.get("retmode") == "json":
            result: dict[str, object] = {
                "count": str(len(found)),
                "retmax": str(len(shown)),
                "retstart": str(start),
                "idlist": shown,
                "translationset": [],
                "querytranslation": term,
            }
            if key:
                result |= {"querykey": key, "webenv": environment}
            if missing:
                result["errorlist"] = {"phrasesnotfound": missing, "fieldsnotfound": []}
            return json_answer({"header": {"type": "esearch", "version": "0.3"}, "esearchresult": result})
        doctype = ROOTS["esearch"][1]
        body = (
            element("Count", str(len(found)))
            + element("RetMax", str(len(shown)))
            + element("RetStart", str(start))
            + (element("QueryKey", key) + element("WebEnv", environment) if key else "")
            + "<IdList>\n"
            + "".join(element("Id", name) + "\n" for name in shown)
            + "</IdList><TranslationSet/>"
            + element("QueryTranslation", term)
        )
        if missing:
            body += (
                "<ErrorList>" + "".join(element("PhraseNotFound", word) for word in missing) + "</ErrorList>"
            )
        return xml_answer(f"{HEAD}{doctype}<eSearchResult>{body}</eSearchResult>\n")

    def _epost(self, parameters: Parameters) -> Answer:
        known = {name: item for item in self._items(parameters.get("db", "")) for name in _names(item)}
        wanted = _split(parameters.get("id", ""))
        if not wanted:
            raise EntrezError("IDs contain no valid identifiers")
        unknown = [name for name in wanted if name not in known]
        found = [str(uid(known[name])) for name in wanted if name in known]
        environment, key = self._remember(parameters.get("WebEnv"), found)
        doctype = ROOTS["epost"][1]
        body = "".join(f"<InvalidIdList>{element('Id', name)}</InvalidIdList>" for name in unknown)
        body += element("QueryKey", key) + element("WebEnv", environment)
        return xml_answer(f"{HEAD}{doctype}<ePostResult>{body}</ePostResult>\n")

    def _esummary(self, parameters: Parameters) -> Answer:
        items = self._chosen(parameters)
        summaries = [(str(uid(item)), _summary(self.library, item)) for item in items]
        if parameters.get("retmode") == "json":
            result: dict[str, object] = {"uids": [name for name, _ in summaries]}
            result |= {
                name: {"uid": name} | {k.lower(): v for k, (_, v) in values.items()}
                for name, values in summaries
            }
            return json_answer({"header": {"type": "esummary", "version": "0.3"}, "result": result})
        doctype = ROOTS["esummary"][1]
        body = "".join(
            "<DocSum>"
            + element("Id", name)
            + "".join(element("Item", value, Name=key, Type=kind) for key, (kind, value) in values.items())
            + "</DocSum>\n"
            for name, values in summaries
        )
        return xml_answer(f"{HEAD}{doctype}<eSummaryResult>\n{body}</eSummaryResult>\n")

    def _efetch(self, parameters: Parameters) -> Answer:
        items = self._chosen(parameters)
        rettype = parameters.get("rettype", "")
        if parameters.get("db") == "pmc":
            content, kind = _articles(self.library, items), "text/xml; charset=UTF-8"
        elif rettype in ("fasta", ""):
            content, kind = _joined(as_fasta(self.library, item) for item in items), "text/plain"
        elif rettype in ("gb", "gbwithparts", "gp"):
            content, kind = _joined(as_genbank(self.library, item) for item in items), "text/plain"
        elif rettype in ("acc", "uilist"):
            names = [accession(item) if rettype == "acc" else str(uid(item)) for item in items]
            content, kind = iter(["".join(name + "\n" for name in names).encode()]), "text/plain"
        else:
            raise EntrezError(f"Report '{rettype}' not found in '{parameters.get('db')}' presentation")
        return Answer(200, b"".join(content), kind)

    def _chosen(self, parameters: Parameters) -> list[Item]:
        items = {name: item for item in self._items(parameters.get("db", "")) for name in _names(item)}
        if "WebEnv" in parameters and parameters.get("query_key"):
            try:
                wanted = self._history[parameters["WebEnv"]][parameters["query_key"]]
            except KeyError:
                raise EntrezError("Unable to obtain query #1") from None
            start, most = _whole(parameters, "retstart", 0), min(_whole(parameters, "retmax", 20), MOST)
            wanted = wanted[start : start + most]
        else:
            wanted = _split(parameters.get("id", ""))
        if not wanted:
            raise EntrezError("Empty id list - nothing todo")
        found = [items[name] for name in wanted if name in items]
        if not found:
            raise EntrezError("Cannot retrieve any record: the ids are not in the database")
        return found

    def _remember(self, environment: str | None, names: list[str]) -> tuple[str, str]:
        environment = environment or f"MCID_{next(self._numbers):024x}"
        queries = self._history.setdefault(environment, {})
        key = str(len(queries) + 1)
        queries[key] = names
        return environment, key


def uid(item: Item) -> int:
    """The item's number in its database; raises ValueError if the item states none."""
    value = item.fields.get("uid")
    if not isinstance(value, int):
        raise ValueError(f"entrez item {item.id!r}: fields.uid is missing; give it a whole number")
    return value


def _names(item: Item) -> set[str]:
    return {str(uid(item)), accession(item), accession(item).partition(".")[0], f"PMC{uid(item)}", item.id}


def _identifier(item: Item, parameters: Parameters) -> str:
    return accession(item) if parameters.get("idtype") == "acc" else str(uid(item))


def _summary(library: Library, item: Item) -> dict[str, tuple[str, str]]:
    return {
        "Caption": ("String", accession(item).partition(".")[0]),
        "Title": ("String", item.title),
        "CreateDate": ("String", item.created[:10].replace("-", "/")),
        "UpdateDate": ("String", item.datestamp[:10].replace("-", "/")),
        "TaxId": ("Integer", str(item.fields.get("taxid", 32630))),
        "Length": ("Integer", str(length(library, item))),
        "Status": ("String", "live"),
        "AccessionVersion": ("String", accession(item)),
    }


def _articles(library: Library, items: list[Item]) -> Iterator[bytes]:
    yield (
        b'<?xml version="1.0" ?>\n<!DOCTYPE pmc-articleset PUBLIC "-//NLM//DTD ARTICLE SET 2.0//EN" '
        b'"https://dtd.nlm.nih.gov/ncbi/pmc/articleset/nlm-articleset-2.0.dtd">\n<pmc-articleset>'
    )
    for item in items:
        assert item.path is not None
        yield PROLOGUE.sub(b"", b"".join(library.read(item.path)), count=1).strip() + b"\n"
    yield b"</pmc-articleset>\n"


def _joined(contents: Iterator[Iterator[bytes]]) -> Iterator[bytes]:
    for content in contents:
        yield from content
        yield b"\n"


def _dates(parameters: Parameters) -> tuple[str, str]:
    if "reldate" in parameters:
        start = datetime.now(UTC) - timedelta(days=_whole(parameters, "reldate", 0))
        return start.strftime("%Y-%m-%d"), "9999"
    low, high = parameters.get("mindate", ""), parameters.get("maxdate", "")
    # NCBI ignores one bound without the other.
    if not (low and high):
        return "", "9999"
    return low.replace("/", "-"), high.replace("/", "-") + "~"


def _whole(parameters: Parameters, name: str, default: int) -> int:
    text = parameters.get(name, "")
    return int(text) if text.isdigit() else default


def _split(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]
