"""What the gateway answers: chat (whole and streamed), models, feedback, traces, health."""

from __future__ import annotations

import asyncio
import os
import time

from serving.answers import QUESTION_LIMIT, Answer
from serving.chat import ChatRequest, build_request, chat_completion, read_completion
from serving.config import Route
from serving.errors import (
    ApiError,
    bad_request,
    engine_failed,
    engine_timeout,
    not_found,
    too_many,
    unauthorized,
)
from serving.exchange import Exchange, object_body
from serving.feedback import parse_feedback
from serving.keys import ApiKey
from serving.state import State
from serving.streaming import DONE, ChunkWriter, EventReader, read_delta


def authorize(state: State, exchange: Exchange) -> ApiKey:
    """The caller's key, with its request limit taken; ApiError 401 or 429."""
    key = state.keys.find(exchange.authorization)
    if key is None:
        raise unauthorized()
    wait = state.limiter.admit(key.id, key.limits)
    if wait:
        state.metrics.limited["requests"].inc()
        raise too_many(
            f"More than {key.limits.requests_per_minute:g} requests a minute. Wait {wait:.1f} s.", wait
        )
    return key


def choose_route(state: State, model: object) -> Route:
    """The route that the request names; ApiError 404 listing what is served, 503 if nothing is."""
    route = state.find_route(model)
    if route is not None:
        return route
    aliases = ", ".join(r.alias for r in state.public_routes())
    if not aliases:
        raise ApiError(503, "No model is released here yet.", code="no_release", retry_after=10)
    if model is None:
        raise bad_request(f"model: name one of {aliases}.", "model")
    raise not_found(
        f"model {str(model)[:80]!r} is not served here; served: {aliases}.", "model_not_found", "model"
    )


async def chat(state: State, exchange: Exchange) -> None:
    """POST /v1/chat/completions."""
    key = authorize(state, exchange)
    body = object_body(await exchange.body(state.config.body_limit))
    route = choose_route(state, body.get("model"))
    exchange.release = route.release.encode("latin-1", "replace")
    request = build_request(body, route, state.vocabulary(route), state.config)
    if state.in_flight >= state.config.in_flight_limit:
        state.metrics.limited["in_flight"].inc()
        raise ApiError(
            503, "Too many requests are under way here. Try again soon.", code="overloaded", retry_after=1
        )
    reserved = request.prompt_tokens + request.max_tokens
    wait = state.limiter.reserve(key.id, key.limits, reserved)
    if wait:
        state.metrics.limited["tokens"].inc()
        raise too_many(
            f"More than {key.limits.tokens_per_minute:g} tokens a minute. Wait {wait:.1f} s, or ask less.",
            wait,
            "token_limit_exceeded",
        )
    state.in_flight += 1
    state.metrics.in_flight.inc()
    # A caller who leaves is charged what he reserved: how much the engine did for him is not known.
    used = reserved
    try:
        used = await (_stream if request.stream else _whole)(state, exchange, key, route, request)
    except ApiError as error:
        if error.status < 500 or error.code == "engine_unreachable":
            used = 0
        raise
    finally:
        state.in_flight -= 1
        state.metrics.in_flight.dec()
        state.limiter.reconcile(key.id, key.limits, reserved, used)


async def _whole(state: State, exchange: Exchange, key: ApiKey, route: Route, request: ChatRequest) -> int:
    with exchange.watch():
        data = await state.upstream.complete(route, request.upstream)
    try:
        completion = read_completion(data)
    except ValueError as error:
        raise engine_failed(str(error)) from None
    answer_id, created = new_answer_id(), int(time.time())
    _record(state, key, route, request, answer_id, created, completion.text, completion.finish_reason)
    state.metrics.prompt_tokens.inc(completion.prompt_tokens)
    state.metrics.completion_tokens.inc(completion.completion_tokens)
    await exchange.reply(200, chat_completion(answer_id, created, route, completion))
    return completion.prompt_tokens + completion.completion_tokens


async def _stream(state: State, exchange: Exchange, key: ApiKey, route: Route, request: ChatRequest) -> int:
    answer_id, created = new_answer_id(), int(time.time())
    writer = ChunkWriter(answer_id, created, route, request.include_usage)
    reader = EventReader()
    pieces: list[str] = []
    reason, detail = "", None
    prompt_tokens, completion_tokens = request.prompt_tokens, 0
    ended = False
    deadline = time.monotonic() + state.config.answer_timeout
    try:
        with exchange.watch():
            async with state.upstream.stream(route, request.upstream) as content:
                out = writer.role()
                async for chunk in content.iter_any():
                    for event in reader.feed(chunk):
                        if event == b"[DONE]":
                            ended = True
                            continue
                        delta = read_delta(event)
                        if delta.text:
                            if not pieces:
                                state.metrics.first_token.observe(time.perf_counter() - exchange.started)
                            pieces.append(delta.text)
                            out += writer.text(delta.text)
                        if delta.finish_reason:
                            reason, detail = delta.finish_reason, delta.stop_detail
                        if delta.usage:
                            prompt_tokens, completion_tokens = delta.usage
                        else:
                            completion_tokens += 1
                    if time.monotonic() > deadline:
                        raise engine_timeout(state.config.answer_timeout)
                    if out:
                        if not exchange.status:
                            await exchange.start_stream()
                        await exchange.send_part(out)
                        out = b""
            if not ended or not reason:
                raise engine_failed("its stream broke off")
    except (ApiError, ValueError) as error:
        failure = error if isinstance(error, ApiError) else engine_failed(str(error))
        if not exchange.status:
            raise failure from None
        # The head is sent: the error comes as an event, without [DONE], so that no client takes it for whole.
        await exchange.send_part(writer.error(failure.body()), more=False)
        exchange.status = failure.status
        return prompt_tokens + completion_tokens
    _record(state, key, route, request, answer_id, created, "".join(pieces), reason)
    state.metrics.prompt_tokens.inc(prompt_tokens)
    state.metrics.completion_tokens.inc(completion_tokens)
    end = writer.finish(reason, detail) + writer.usage(prompt_tokens, completion_tokens) + DONE
    await exchange.send_part(end, more=False)
    return prompt_tokens + completion_tokens


def new_answer_id() -> str:
    """96 random bits: an id cannot be guessed, and it is checked against the key besides."""
    return "chatcmpl-" + os.urandom(12).hex()


def _record(
    state: State,
    key: ApiKey,
    route: Route,
    request: ChatRequest,
    answer_id: str,
    created: int,
    text: str,
    reason: str,
) -> None:
    question = request.messages[-1]["content"][:QUESTION_LIMIT]
    state.answers.add(Answer(answer_id, key.id, route.release, route.alias, created, text, reason, question))


async def models(state: State, exchange: Exchange) -> None:
    """GET /v1/models."""
    authorize(state, exchange)
    data = [
        {
            "id": route.alias,
            "object": "model",
            "created": route.created,
            "owned_by": "luca",
            "release": route.release,
            "max_model_len": route.max_model_len,
        }
        for route in state.public_routes()
    ]
    await exchange.reply_json(200, {"object": "list", "data": data})


async def feedback(state: State, exchange: Exchange) -> None:
    """POST /v1/feedback: {"id": answer, "rating": "up"|"down"|"none", "text": "…"}."""
    key = authorize(state, exchange)
    body = object_body(await exchange.body(state.config.body_limit))
    answer_id, rating, text = parse_feedback(body, state.config.feedback_text_limit)
    answer = _answer_of(state, answer_id, key)
    await asyncio.to_thread(state.feedback.append, answer, rating, text)
    state.metrics.feedback[rating].inc()
    await exchange.reply_json(200, {"object": "feedback", "id": answer_id, "release": answer.release})


async def trace(state: State, exchange: Exchange) -> None:
    """POST /v1/trace: {"text": "…"} or {"id": answer}; `model` names the release where several are served."""
    key = authorize(state, exchange)
    body = object_body(await exchange.body(state.config.body_limit))
    text, answer_id = body.get("text"), body.get("id")
    if (text is None) == (answer_id is None):
        raise bad_request("text or id: give one of them.", "text")
    model = body.get("model")
    if answer_id is not None:
        answer = _answer_of(state, str(answer_id), key)
        text, model = answer.text, model or answer.model
    if not isinstance(text, str) or len(text) > state.config.trace_text_limit:
        raise bad_request(f"text: at most {state.config.trace_text_limit} characters.", "text")
    route = choose_route(state, model)
    exchange.release = route.release.encode("latin-1", "replace")
    if state.traces >= state.config.traces_limit:
        state.metrics.limited["in_flight"].inc()
        raise ApiError(
            503, "Too many traces are under way here. Try again soon.", code="overloaded", retry_after=1
        )
    state.traces += 1
    try:
        found = await asyncio.to_thread(state.trace_text, route, text)
    finally:
        state.traces -= 1
    await exchange.reply_json(
        200, {"object": "trace", "id": answer_id, "release": route.release, "text": text, **found}
    )


def _answer_of(state: State, answer_id: str, key: ApiKey) -> Answer:
    answer = state.answers.get(answer_id, key.id)
    if answer is None:
        raise not_found("id: no such answer to this key, or it is too old.", "answer_not_found", "id")
    return answer


async def healthz(state: State, exchange: Exchange) -> None:
    """GET /healthz: the process answers."""
    await exchange.reply(200, b'{"status":"ok"}')


async def readyz(state: State, exchange: Exchange) -> None:
    """GET /readyz: 200 when a release is known and every engine is healthy, else 503 with the reasons."""
    public = state.public_routes()
    releases = {
        r.alias: {"release": r.release, "engine": state.healthy.get(r.alias, False)}
        for r in state.routes.values()
    }
    reasons = list(state.problems)
    if not public:
        reasons.append("no model is released here yet")
    reasons += [f"{r.alias}: its engine is not healthy" for r in public if not state.healthy.get(r.alias)]
    body = {"status": "not ready" if reasons else "ready", "releases": releases, "reasons": reasons}
    await exchange.reply_json(503 if reasons else 200, body)


async def metrics(state: State, exchange: Exchange) -> None:
    """GET /metrics: Prometheus's text format."""
    await exchange.reply(200, state.metrics.render(), b"text/plain; version=0.0.4; charset=utf-8")
