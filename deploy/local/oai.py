"""OAI-PMH 2.0 over the items: six verbs, sets, resumption tokens, deletions, errors.

Lists are sorted by (datestamp, identifier) and a token names the last record given, so a list
that changes between two pages neither repeats nor loses a record.
http://www.openarchives.org/OAI/openarchivesprotocol.html
"""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from deploy.local.answer import Answer, element, xml_answer
from deploy.local.items import Item, Library

ARGUMENTS = {
    "Identify": (set(), set()),
    "ListSets": (set(), {"resumptionToken"}),
    "ListMetadataFormats": (set(), {"identifier"}),
    "ListIdentifiers": ({"metadataPrefix"}, {"from", "until", "set", "resumptionToken"}),
    "ListRecords": ({"metadataPrefix"}, {"from", "until", "set", "resumptionToken"}),
    "GetRecord": ({"identifier", "metadataPrefix"}, set()),
}
DATE = re.compile(r"\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}:\d{2}Z)?")
PREFIX = "oai_dc"
HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    '<OAI-PMH xmlns="http://www.openarchives.org/OAI/2.0/"'
    ' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation='
    '"http://www.openarchives.org/OAI/2.0/ http://www.openarchives.org/OAI/2.0/OAI-PMH.xsd">\n'
)
DC = (
    '<oai_dc:dc xmlns:oai_dc="http://www.openarchives.org/OAI/2.0/oai_dc/"'
    ' xmlns:dc="http://purl.org/dc/elements/1.1/" xsi:schemaLocation='
    '"http://www.openarchives.org/OAI/2.0/oai_dc/ http://www.openarchives.org/OAI/2.0/oai_dc.xsd">'
)


class OaiError(Exception):
    """A protocol error: its code as in the specification, and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class OaiSettings:
    """Records a page, a token's life in seconds, and whether errors come under HTTP 422."""

    page: int = 10
    token_seconds: float = 120.0
    unprocessable: bool = False
    expired: bool = False
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Selection:
    """What a list request asks for, and after which record to go on."""

    verb: str
    set: str | None
    since: str | None
    until: str | None
    after: tuple[str, str] | None = None
    cursor: int = 0


def answer(library: Library, parameters: Mapping[str, list[str]], settings: OaiSettings) -> Answer:
    """The answer to one request; errors are OAI errors under 200 (or 422)."""
    verb = ""
    try:
        verb, arguments = _arguments(parameters)
        body = _verb(library, verb, arguments, settings)
        status = 200
    except OaiError as error:
        body = element("error", str(error), code=error.code)
        arguments = {} if error.code in ("badVerb", "badArgument") else _single(parameters)
        status = 422 if settings.unprocessable else 200
    request = element("request", f"{library.origin}/oai", **arguments)
    now = _utc(settings.clock())
    return xml_answer(f"{HEAD}{element('responseDate', now)}{request}\n{body}\n</OAI-PMH>\n", status)


def _single(parameters: Mapping[str, list[str]]) -> dict[str, str]:
    return {key: values[0] for key, values in parameters.items()}


def _arguments(parameters: Mapping[str, list[str]]) -> tuple[str, dict[str, str]]:
    verbs = parameters.get("verb", [])
    if len(verbs) != 1 or verbs[0] not in ARGUMENTS:
        raise OaiError("badVerb", f"verb {verbs!r} is missing, repeated or unknown")
    verb = verbs[0]
    required, optional = ARGUMENTS[verb]
    given = set(parameters) - {"verb"}
    repeated = sorted(key for key in given if len(parameters[key]) > 1)
    if repeated:
        raise OaiError("badArgument", f"repeated: {', '.join(repeated)}")
    if unknown := sorted(given - required - optional):
        raise OaiError("badArgument", f"not an argument of {verb}: {', '.join(unknown)}")
    if "resumptionToken" in given:
        if len(given) > 1:
            raise OaiError("badArgument", "resumptionToken is exclusive")
    elif missing := sorted(required - given):
        raise OaiError("badArgument", f"missing: {', '.join(missing)}")
    return verb, _single(parameters)


def _verb(library: Library, verb: str, arguments: Mapping[str, str], settings: OaiSettings) -> str:
    items = library.items("oai_pmh")
    if verb == "Identify":
        return _identify(library, items)
    if verb == "ListSets":
        if "resumptionToken" in arguments:
            raise OaiError("badResumptionToken", "the list of sets is whole: it has no tokens")
        names = sorted({item.set for item in items})
        return (
            "<ListSets>"
            + "".join(f"<set>{element('setSpec', name)}{element('setName', name)}</set>" for name in names)
            + "</ListSets>"
        )
    if verb == "ListMetadataFormats":
        if "identifier" in arguments:
            _find(library, arguments["identifier"])
        return (
            "<ListMetadataFormats><metadataFormat><metadataPrefix>oai_dc</metadataPrefix>"
            "<schema>http://www.openarchives.org/OAI/2.0/oai_dc.xsd</schema>"
            "<metadataNamespace>http://www.openarchives.org/OAI/2.0/oai_dc/</metadataNamespace>"
            "</metadataFormat></ListMetadataFormats>"
        )
    if verb == "GetRecord":
        item = _find(library, arguments["identifier"])
        _check_prefix(arguments["metadataPrefix"])
        return f"<GetRecord>{_record(library, item)}</GetRecord>"
    return _list(library, items, _selection(verb, arguments, settings), settings)


def _identify(library: Library, items: list[Item]) -> str:
    earliest = min((item.datestamp for item in items), default="1970-01-01T00:00:00Z")
    return (
        "<Identify>"
        + element("repositoryName", "The local upstream")
        + element("baseURL", f"{library.origin}/oai")
        + element("protocolVersion", "2.0")
        + element("adminEmail", "upstream@example.org")
        + element("earliestDatestamp", earliest)
        + element("deletedRecord", "persistent")
        + element("granularity", "YYYY-MM-DDThh:mm:ssZ")
        + "</Identify>"
    )


def _find(library: Library, identifier: str) -> Item:
    item = library.item("oai_pmh", identifier)
    if item is None:
        raise OaiError("idDoesNotExist", f"no item {identifier}")
    return item


def _check_prefix(prefix: str) -> None:
    if prefix != PREFIX:
        raise OaiError("cannotDisseminateFormat", f"only {PREFIX} is given out, not {prefix}")


def _selection(verb: str, arguments: Mapping[str, str], settings: OaiSettings) -> Selection:
    if "resumptionToken" in arguments:
        return _read_token(verb, arguments["resumptionToken"], settings)
    _check_prefix(arguments["metadataPrefix"])
    since, until = arguments.get("from"), arguments.get("until")
    for name, date in (("from", since), ("until", until)):
        if date is not None and not _is_date(date):
            raise OaiError("badArgument", f"{name} is not a date: {date}")
    if since and until and len(since) != len(until):
        raise OaiError("badArgument", "from and until differ in granularity")
    if since and until and since > until:
        raise OaiError("badArgument", "from is later than until")
    return Selection(verb, arguments.get("set"), since, until)


def _is_date(text: str) -> bool:
    if DATE.fullmatch(text) is None:
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _list(library: Library, items: list[Item], wanted: Selection, settings: OaiSettings) -> str:
    if wanted.set is not None and not any(_in_set(item, wanted.set) for item in items):
        raise OaiError("noRecordsMatch", f"no set {wanted.set}")
    # A day without a time is the whole day: compare on the length that was given.
    matching = sorted(
        (
            item
            for item in items
            if (wanted.set is None or _in_set(item, wanted.set))
            and (wanted.since is None or item.datestamp[: len(wanted.since)] >= wanted.since)
            and (wanted.until is None or item.datestamp[: len(wanted.until)] <= wanted.until)
        ),
        key=_position,
    )
    if not matching:
        raise OaiError("noRecordsMatch", "nothing matches")
    rest = [item for item in matching if wanted.after is None or _position(item) > wanted.after]
    page = rest[: settings.page]
    write = _header if wanted.verb == "ListIdentifiers" else lambda item: _record(library, item)
    token = ""
    if len(rest) > len(page):
        expires = settings.clock() + settings.token_seconds
        token = element(
            "resumptionToken",
            _write_token(wanted, page[-1], wanted.cursor + len(page), expires),
            expirationDate=_utc(expires),
            completeListSize=str(len(matching)),
            cursor=str(wanted.cursor),
        )
    elif wanted.after is not None:
        token = element("resumptionToken", completeListSize=str(len(matching)), cursor=str(wanted.cursor))
    return f"<{wanted.verb}>" + "\n".join(map(write, page)) + token + f"</{wanted.verb}>"


def _in_set(item: Item, name: str) -> bool:
    return item.set == name or item.set.startswith(name + ":")


def _position(item: Item) -> tuple[str, str]:
    return item.datestamp, item.id


def _write_token(wanted: Selection, last: Item, cursor: int, expires: float) -> str:
    state = [wanted.verb, wanted.set, wanted.since, wanted.until, *_position(last), cursor, expires]
    return base64.urlsafe_b64encode(json.dumps(state).encode()).decode()


def _read_token(verb: str, token: str, settings: OaiSettings) -> Selection:
    try:
        state = json.loads(base64.urlsafe_b64decode(token.encode()))
        made_for, set_, since, until, datestamp, identifier, cursor, expires = state
    except ValueError:
        raise OaiError("badResumptionToken", f"not a token of ours: {token}") from None
    if made_for != verb:
        raise OaiError("badResumptionToken", f"the token is for {made_for}")
    if settings.expired or settings.clock() > expires:
        raise OaiError("badResumptionToken", "the token has expired")
    return Selection(verb, set_, since, until, (datestamp, identifier), cursor)


def _header(item: Item) -> str:
    parts = [
        element("identifier", item.id),
        element("datestamp", item.datestamp),
        element("setSpec", item.set),
    ]
    start = '<header status="deleted">' if item.deleted else "<header>"
    return start + "".join(parts) + "</header>"


def _record(library: Library, item: Item) -> str:
    if item.deleted:
        return f"<record>{_header(item)}</record>"
    values = [
        ("title", item.title),
        ("creator", item.creator),
        ("subject", item.domain),
        ("subject", item.tradition),
        ("description", item.description),
        ("date", item.created[:10]),
        ("type", "text"),
        ("format", item.media_type if item.path else None),
        ("identifier", library.url(item) if item.path else None),
        ("identifier", item.id),
        ("language", item.language),
        ("coverage", item.region),
        ("rights", item.licence),
    ]
    fields = "".join(element(f"dc:{name}", value) for name, value in values if value)
    return f"<record>{_header(item)}<metadata>{DC}{fields}</oai_dc:dc></metadata></record>"


def _utc(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
