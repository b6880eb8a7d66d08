"""OAI-PMH Dublin Core records, and SBML models, as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from assets.documents.parts import Part, RawItem, Rejection, Unreadable
from assets.documents.readers.xml import all_named, first, inline, local, parse_xml


def read_dublin_core(item: RawItem) -> Iterator[Part | Rejection]:
    """Title and description of a Dublin Core record; Unreadable ``no_text`` where it has no description."""
    root = parse_xml(item)
    titles = [inline(e) for e in all_named(root, "title")]
    descriptions = [t for t in (inline(e) for e in all_named(root, "description")) if len(t) >= 40]
    if not descriptions:
        raise Unreadable("no_text", "the record has no description of 40 characters or more")
    languages = [inline(e) for e in all_named(root, "language")]
    title = titles[0] if titles else None
    yield Part(
        text="\n\n".join(([f"# {title}"] if title else []) + descriptions),
        title=title,
        language=languages[0] if languages and 2 <= len(languages[0]) <= 8 else None,
        quality={"reader": "dublin_core"},
    )


def read_sbml(item: RawItem) -> Iterator[Part | Rejection]:
    """A metabolic model in words: compartments, species, and each reaction as an equation."""
    root = parse_xml(item)
    model = first(root, "model")
    if local(root) != "sbml" or model is None:
        raise Unreadable("no_text", f"<{local(root)}> holds no SBML model")
    name = model.get("name") or model.get("id") or "model"
    species = {e.get("id"): e.get("name") or e.get("id") for e in all_named(model, "species")}
    compartments = [e.get("name") or e.get("id") for e in all_named(model, "compartment")]
    lines = [f"# {name}", f"A model of {len(species)} species in {', '.join(filter(None, compartments))}."]
    reactions = all_named(model, "reaction")
    lines += [_reaction(reaction, species) for reaction in reactions]
    quality = {"reader": "sbml", "species": len(species), "reactions": len(reactions)}
    yield Part(text="\n\n".join(lines), title=name, language="en", quality=quality)


def _reaction(reaction: Any, species: dict[str, str]) -> str:
    def side(list_name: str) -> str:
        holder = first(reaction, list_name)
        terms = []
        for reference in all_named(holder, "speciesReference") if holder is not None else []:
            count = (reference.get("stoichiometry") or "1").removesuffix(".0")
            name = species.get(reference.get("species"), reference.get("species"))
            terms.append(name if count == "1" else f"{count} {name}")
        return " + ".join(terms) or "nothing"

    arrow = "<=>" if reaction.get("reversible") == "true" else "->"
    name = reaction.get("name") or reaction.get("id")
    return f"{name}: {side('listOfReactants')} {arrow} {side('listOfProducts')}"
