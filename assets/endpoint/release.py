"""The body of endpoint/release: gate, engine, gateway, smoke question, release, roll."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.endpoint.describe import CHECKS, FILE, describe_release
from assets.endpoint.gate import read_criteria, refusals
from assets.endpoint.smoke import NoQuestionError, ask, choose_question
from assets.launch import cancel_if_asked
from assets.materialize import publish, require
from resources.code_version import code_version
from resources.manifest import artifact_key
from serving import deploy
from serving.client import Client, GatewayError
from serving.config import Route
from serving.keys import KeyRing
from training.recipes import Recipe, load_recipe

if TYPE_CHECKING:
    from resources.launcher import LocalLauncher
    from resources.manifest import Manifest
    from resources.store import ArtifactWriter, Store

CODE = ("assets.endpoint", "serving.vllm_service", "serving.chat")


def release(
    context: dg.AssetExecutionContext,
    store: Store,
    launcher: LocalLauncher,
    *,
    home: Path,
    recipes: Path,
    smoke_question: str | None,
) -> dg.MaterializeResult[Any]:
    """Deploy the recipe's instructed checkpoint, and publish what was deployed.

    The services stay when the run ends. What is there already is adopted: an artifact under this key, an
    engine of this checkpoint, a gateway of this code. dg.Failure names what the gate refused, or the log.
    """
    recipe = load_recipe(recipes / f"{context.partition_key}.yaml")
    inputs = gather(context, store, recipe)
    checkpoint, card_manifest = inputs["checkpoint"], inputs["card"]
    card = json.loads(store.read_file(card_manifest, "card.json"))
    if reasons := refusals(checkpoint, card_manifest, card, recipe.gate.model_dump()):
        raise dg.Failure(
            f"endpoint/release/{recipe.name}: the gate refuses {checkpoint.name} {checkpoint.version}:\n- "
            + "\n- ".join(reasons),
            allow_retries=False,
        )
    try:
        question = smoke_question or choose_question(store, card_manifest, card)
    except NoQuestionError as error:
        raise dg.Failure(str(error), allow_retries=False) from None
    name = f"endpoint/release/{recipe.name}"
    code = code_version(*CODE)
    serve = recipe.serve.model_dump(mode="json")
    parameters = {**recipe.parameters("serve"), "smoke_question": question}
    versions = {m.name: m.version for m in inputs.values()}
    key = artifact_key(name, versions, parameters, code)
    folder = deploy.serving_folder(home)
    try:
        engine = deploy.ensure_engine(launcher, store.uri, checkpoint, serve, context.log.info)
        gateway = deploy.ensure_gateway(launcher, folder, context.log.info)
    except deploy.DeployError as error:
        raise dg.Failure(str(error)) from None
    except (dg.DagsterExecutionInterruptedError, KeyboardInterrupt):
        cancel_if_asked(context, launcher, deploy.engine_key(checkpoint, serve))
        raise
    route = Route(
        alias=recipe.serve.alias,
        release=f"{name}@{key}",
        engine=engine,
        store=store.uri,
        inputs=versions,
        max_model_len=recipe.serve.max_model_len,
        max_tokens=recipe.serve.max_tokens,
        temperature=recipe.serve.temperature,
        engine_model=recipe.serve.alias,
    )
    candidate = deploy.candidate_of(route)

    def build(writer: ArtifactWriter) -> None:
        # The key before the route: when the gateway serves the route, it knows the key as well.
        client = Client(gateway, KeyRing(folder).local("internal"))
        deploy.serve_route(gateway, folder, candidate)
        smoke = ask(client, candidate.alias, question)
        criteria = [criterion.to_dict() for criterion in read_criteria(card)]
        body = release_body(recipe, key, versions, serve, criteria, smoke)
        writer.add(FILE, (json.dumps(body, ensure_ascii=False, indent=1, sort_keys=True) + "\n").encode())

    try:
        result = publish(
            context, store, name, inputs=inputs, parameters=parameters, code=code, build=build,
            describe=describe_release, checks=CHECKS,
        )  # fmt: skip
        if store.held(name) is None:
            deploy.serve_route(gateway, folder, route)
    except (deploy.DeployError, GatewayError) as error:
        raise dg.Failure(f"{name}: {error}") from None
    finally:
        # Also when the new one is refused: what was served before is served on, and nothing else.
        deploy.drop_route(folder, candidate.alias)
        ended = deploy.retire_engines(launcher, folder, recipe.name)
    if ended:
        context.log.info(f"ended: {', '.join(ended)}")
    return result._replace(metadata={**(result.metadata or {}), **where(gateway, engine, route, question)})


def gather(context: dg.AssetExecutionContext, store: Store, recipe: Recipe) -> dict[str, Manifest]:
    """What the release is made of. Vocabulary and shards are those that the card's checkpoint learned from,
    not the newest; the trace index must be of the same shards. dg.Failure names what is missing."""
    checkpoint = require(context, store, f"checkpoints/instructed/{recipe.name}")
    card = require(context, store, f"evaluations/card/{recipe.name}")
    trace_index = require(context, store, "tokens/trace_index")
    found = {"checkpoint": checkpoint, "card": card, "trace_index": trace_index}
    for short in ("vocabulary", "shards"):
        full = f"tokens/{short}"
        manifest = store.get(full, card.inputs.get(full, "")) if full in card.inputs else None
        if manifest is None:
            raise dg.Failure(
                f"{full} {card.inputs.get(full, '(none)')}, which {card.name} {card.version} names, is not "
                f"in {store.uri}. Materialize tokens, checkpoints and the card again.",
                allow_retries=False,
            )
        found[short] = manifest
    if trace_index.inputs.get("tokens/shards") != found["shards"].version:
        raise dg.Failure(
            f"tokens/trace_index {trace_index.version} is of shards "
            f"{trace_index.inputs.get('tokens/shards')}, the checkpoint learned {found['shards'].version}. "
            "Materialize checkpoints and the card again.",
            allow_retries=False,
        )
    return found


def release_body(
    recipe: Recipe,
    key: str,
    versions: Mapping[str, str],
    serve: Mapping[str, Any],
    criteria: list[dict[str, Any]],
    smoke: Mapping[str, Any],
) -> dict[str, Any]:
    """release.json: nothing in it depends on when or where it was deployed."""
    return {
        "recipe": recipe.name,
        "alias": recipe.serve.alias,
        "key": key,
        "inputs": dict(sorted(versions.items())),
        "serving": dict(serve),
        "gate": criteria,
        "smoke": dict(smoke),
    }


def where(gateway: str, engine: str, route: Route, question: str) -> dict[str, Any]:
    """Where it is served now: for the page of this materialization, never for the artifact."""
    body = json.dumps(
        {"model": route.alias, "messages": [{"role": "user", "content": question}]}, ensure_ascii=False
    )
    curl = (
        f"curl {gateway}/v1/chat/completions -H 'Authorization: Bearer KEY' "
        f"-H 'Content-Type: application/json' -d '{body.replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'"
    )
    return {
        "gateway": dg.MetadataValue.url(gateway),
        "engine": engine,
        "curl": dg.MetadataValue.md(f"`luca keys create me` gives a KEY.\n\n```\n{curl}\n```"),
    }
