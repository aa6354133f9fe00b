"""The Python SDKs against a relay: openai, anthropic, langchain-openai, requests."""

import importlib.metadata
import json
import re
import time

import anthropic
import openai
import requests

from harness import KEYS, MODELS, URL, check, equal, main, raises, scenario

CHAT, CLAUDE, CLAUDE_ID = MODELS["chat"], MODELS["claude"], MODELS["claude_id"]
HELLO = [{"role": "user", "content": "Hello, please introduce yourself. mock:out=12"}]
BAD_TOKEN = KEYS["ok"][:-6] + "000000"

PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Counted:
    """Counts the HTTP requests of a client."""

    def __init__(self):
        self.n = 0

    def __call__(self, request):
        self.n += 1


def oai(key="ok", retries=0, base="/v1", hooks=None):
    more = {}
    if hooks is not None:
        more["http_client"] = openai.DefaultHttpxClient(event_hooks={"request": [hooks]})
    return openai.OpenAI(api_key=KEYS.get(key, key), base_url=URL + base, max_retries=retries, timeout=60, **more)


def ant(key="ok", retries=0, base="/anthropic", hooks=None):
    more = {}
    if hooks is not None:
        more["http_client"] = anthropic.DefaultHttpxClient(event_hooks={"request": [hooks]})
    return anthropic.Anthropic(api_key=KEYS.get(key, key), base_url=URL + base, max_retries=retries, timeout=60, **more)


def chat(client, model=CHAT, text="hello", **more):
    return client.chat.completions.create(model=model, messages=[{"role": "user", "content": text}], **more)


def message(client, model=CLAUDE, text="hello", **more):
    more.setdefault("max_tokens", 64)
    return client.messages.create(model=model, messages=[{"role": "user", "content": text}], **more)


# OpenAI


@scenario("openai plain")
def _():
    r = oai().chat.completions.create(model=CHAT, messages=HELLO)
    equal(r.model, CHAT, "model")
    equal(r.object, "chat.completion")
    check(r.choices[0].message.content, "no content")
    equal(r.choices[0].finish_reason, "stop")
    equal(r.usage.completion_tokens, 12, "completion_tokens")
    equal(r.usage.total_tokens, r.usage.prompt_tokens + 12, "total_tokens")
    check(re.fullmatch(r"req_[0-9A-HJKMNP-TV-Z]{26}", r._request_id or ""), f"request id {r._request_id}")


@scenario("openai stream")
def _():
    # Unguarded as in the documented sample: a chunk without choices would raise.
    text, n = "", 0
    for chunk in oai().chat.completions.create(model=CHAT, messages=HELLO, stream=True):
        if chunk.choices[0].delta.content is not None:
            text += chunk.choices[0].delta.content
        equal(chunk.model, CHAT, "model")
        n += 1
    check(text, "no text")
    check(n >= 12, f"{n} chunks")
    plain = oai().chat.completions.create(model=CHAT, messages=HELLO)
    equal(text, plain.choices[0].message.content, "text")


@scenario("openai stream with usage")
def _():
    chunks = list(oai().chat.completions.create(model=CHAT, messages=HELLO, stream=True, stream_options={"include_usage": True}))
    equal(chunks[-1].choices, [], "choices of the last chunk")
    equal(chunks[-1].usage.completion_tokens, 12, "completion_tokens")
    check(all(c.choices for c in chunks[:-1]), "an empty chunk before the last")


TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS}}]


@scenario("openai tools")
def _():
    messages = [{"role": "user", "content": "What is the weather in Paris? mock:tools=1"}]
    r = oai().chat.completions.create(model=CHAT, messages=messages, tools=TOOLS)
    equal(r.choices[0].finish_reason, "tool_calls")
    call = r.choices[0].message.tool_calls[0]
    equal(call.function.name, "get_weather")
    equal(list(json.loads(call.function.arguments)), ["city"], "arguments")
    messages += [r.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": '{"celsius": 21}'}]
    messages[0] = {"role": "user", "content": "What is the weather in Paris?"}
    r = oai().chat.completions.create(model=CHAT, messages=messages, tools=TOOLS)
    equal(r.choices[0].finish_reason, "stop")
    check(r.choices[0].message.content, "no answer to the tool's result")


@scenario("openai tools stream")
def _():
    name = arguments = ""
    finish = None
    for chunk in chat(oai(), text="What is the weather in Paris? mock:tools=1", tools=TOOLS, stream=True):
        for call in chunk.choices[0].delta.tool_calls or []:
            name += call.function.name or ""
            arguments += call.function.arguments or ""
        finish = chunk.choices[0].finish_reason or finish
    equal(name, "get_weather")
    equal(list(json.loads(arguments)), ["city"], "arguments")
    equal(finish, "tool_calls")


@scenario("openai models")
def _():
    ids = {m.id for m in oai().models.list()}
    check({CHAT, CLAUDE_ID} <= ids, f"{CHAT} and {CLAUDE_ID} are not among {len(ids)} models")
    equal(oai().models.retrieve(CHAT).id, CHAT)


@scenario("openai embeddings")
def _():
    texts = ["the sea", "the land", "the sea"]
    r = oai().embeddings.create(model="text-embedding-3-small", input=texts, dimensions=32)
    equal([e.index for e in r.data], [0, 1, 2])
    check(all(len(e.embedding) == 32 for e in r.data), "dimensions")
    check(r.data[0].embedding == r.data[2].embedding != r.data[1].embedding, "vectors")
    equal(r.model, "text-embedding-3-small")
    equal(r.usage.prompt_tokens, 2 + 2 + 2)
    tokens = oai().embeddings.create(model="text-embedding-3-small", input=[[1, 2, 3]], encoding_format="float")
    equal(tokens.usage.total_tokens, 3)
    raises(openai.BadRequestError, lambda: oai().embeddings.create(model=CLAUDE, input="x"))


@scenario("openai completions")
def _():
    r = oai().completions.create(model=CHAT, prompt=["hello mock:out=4", "again"], n=2, max_tokens=50)
    equal(sorted(c.index for c in r.choices), [0, 1, 2, 3])
    equal(r.model, CHAT)
    equal(r.usage.completion_tokens, 16)
    parts = list(oai().completions.create(model=CHAT, prompt="hello mock:out=4", max_tokens=50, stream=True))
    equal("".join(c.text for p in parts for c in p.choices), r.choices[0].text)
    check(all(p.usage is None for p in parts), "usage was not asked for")


@scenario("openai pinned base url")
def _():
    r = chat(oai(base="/v1/openai"))
    check(r.choices[0].message.content, "no content")


# Beside the conversations

WAV = (
    b"RIFF" + (36 + 96_000).to_bytes(4, "little") + b"WAVEfmt " + (16).to_bytes(4, "little") + b"\x01\x00\x01\x00"
    + (16_000).to_bytes(4, "little") + (32_000).to_bytes(4, "little") + b"\x02\x00\x10\x00data" + (96_000).to_bytes(4, "little") + bytes(96_000)
)  # three seconds


def sound():
    return ("a.wav", WAV, "audio/wav")


@scenario("openai speech")
def _():
    with oai().audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hello, how are you today?") as r:
        equal(r.headers["content-type"], "audio/mpeg")
        equal(len(b"".join(r.iter_bytes())), 6000, "bytes")


@scenario("openai speech events")
def _():
    with oai().audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="alloy", input="Hello, how are you today?", stream_format="sse"
    ) as r:
        events = [json.loads(line[5:]) for line in r.iter_lines() if line.startswith("data:")]
    equal([e["type"] for e in events], ["speech.audio.delta", "speech.audio.delta", "speech.audio.done"])
    equal(events[-1]["usage"]["output_tokens"], 40)


@scenario("openai transcription")
def _():
    r = oai().audio.transcriptions.create(model="whisper-1", file=sound())
    check(r.text, "no text")
    equal((r.usage.type, r.usage.seconds), ("duration", 3))
    r = oai().audio.transcriptions.create(model="whisper-1", file=sound(), response_format="verbose_json", timestamp_granularities=["word", "segment"])
    equal(float(r.duration), 3.0)


@scenario("openai transcription text")
def _():
    r = oai().audio.transcriptions.create(model="whisper-1", file=sound(), response_format="srt")
    check(isinstance(r, str) and "-->" in r, f"got {r!r}")


@scenario("openai transcription stream")
def _():
    events = list(oai().audio.transcriptions.create(model="gpt-4o-transcribe", file=sound(), stream=True, prompt="mock:out=5"))
    equal([e.type for e in events], ["transcript.text.delta"] * 5 + ["transcript.text.done"])
    equal("".join(e.delta for e in events[:-1]), events[-1].text)
    equal(events[-1].usage.output_tokens, 5)


@scenario("openai translation")
def _():
    check(oai().audio.translations.create(model="whisper-1", file=sound()).text, "no text")


@scenario("openai images")
def _():
    r = oai().images.generate(model="gpt-image-1", prompt="a cat", n=2, size="1024x1024", quality="low")
    equal(len(r.data), 2)
    check(all(d.b64_json for d in r.data), "no pictures")
    equal(r.usage.output_tokens, 200)


@scenario("openai images edit")
def _():
    r = oai().images.edit(model="gpt-image-1", image=[("a.png", b"png", "image/png"), ("b.png", b"png", "image/png")], prompt="more cats")
    equal(len(r.data), 1)
    equal(r.usage.input_tokens_details.image_tokens, 100)


@scenario("openai images stream")
def _():
    events = list(oai().images.generate(model="gpt-image-1", prompt="a cat", stream=True, partial_images=2))
    equal([e.type for e in events], ["image_generation.partial_image"] * 2 + ["image_generation.completed"])
    equal(events[-1].usage.output_tokens, 100)


@scenario("openai moderations")
def _():
    r = oai("broke").moderations.create(input="hello")  # it costs nothing
    equal(r.model, "omni-moderation-latest")
    equal(r.results[0].flagged, False)


@scenario("responses input tokens")
def _():
    check(oai().responses.input_tokens.count(model=CHAT, input="hello there").input_tokens > 0, "nothing was counted")


@scenario("anthropic count tokens")
def _():
    asked = [{"role": "user", "content": "Hello there, how are you?"}]
    for model in (CLAUDE, CHAT):
        n = ant("broke").messages.count_tokens(model=model, messages=asked).input_tokens
        check(3 <= n <= 30, f"{model}: {n} tokens")


# OpenAI's errors


def refused(error, status, kind, code):
    equal(error.status_code, status, "status")
    equal(error.response.headers.get("x-relay-error"), code, "x-relay-error")
    check((error.response.headers.get("x-request-id") or "").startswith("req_"), "no x-request-id")
    body = error.response.json()
    equal(body["error"]["type"], kind, "type")
    return body


@scenario("openai 401 unknown key")
def _():
    for key in (BAD_TOKEN, "sk-nothing"):
        e = raises(openai.AuthenticationError, lambda: chat(oai(key)))
        body = refused(e, 401, "authentication_error", "invalid_api_key")
        equal(body["error"]["code"], 401, "code")


@scenario("openai 401 disabled key")
def _():
    e = raises(openai.AuthenticationError, lambda: chat(oai("disabled")))
    refused(e, 401, "authentication_error", "key_disabled")


@scenario("openai 402")
def _():
    e = raises(openai.APIStatusError, lambda: chat(oai("broke")))
    equal(type(e), openai.APIStatusError)
    refused(e, 402, "insufficient_quota", "insufficient_balance")
    check("Insufficient credit balance: balance too low" in e.message, e.message)


@scenario("openai 403 key scope")
def _():
    e = raises(openai.PermissionDeniedError, lambda: chat(oai("scoped")))
    refused(e, 403, "permission_error", "model_not_allowed")


@scenario("openai 403 group")
def _():
    e = raises(openai.PermissionDeniedError, lambda: chat(oai("narrow")))
    refused(e, 403, "permission_error", "group_not_allowed")


@scenario("openai 400 unknown model")
def _():
    e = raises(openai.BadRequestError, lambda: chat(oai(), model="no-such-model"))
    refused(e, 400, "invalid_request_error", "unknown_model_pricing")
    equal(e.param, "model", "param")
    check(e.body["message"].startswith("Unknown model pricing"), e.message)


@scenario("openai 400 from upstream")
def _():
    e = raises(openai.BadRequestError, lambda: chat(oai(), text="hello mock:error=context_length"))
    equal(e.status_code, 400)
    equal(e.type, "invalid_request_error")


@scenario("openai 429")
def _():
    client = oai("rpm_openai")
    chat(client)
    e = raises(openai.RateLimitError, lambda: chat(client))
    body = refused(e, 429, "rate_limit_error", "rate_limited_rpm")
    after = e.response.headers["retry-after"]
    check(1 <= int(after) <= 61, f"retry-after {after}")
    want = {"error": {"message": f"Rate limit exceeded (rpm). Retry after {after}s.", "type": "rate_limit_error", "code": 429}}
    equal(body, want, "body")


@scenario("openai 429 provider paused")
def _():
    e = raises(openai.RateLimitError, lambda: chat(oai(), model=MODELS["paused"]))
    refused(e, 429, "rate_limit_error", "provider_paused")
    check("paused" in e.message, e.message)


@scenario("openai 502")
def _():
    e = raises(openai.InternalServerError, lambda: chat(oai(), model=MODELS["broken"][0], text="hello mock:status=500"))
    refused(e, 502, "upstream_error", "upstream_error")


@scenario("openai 502 stream")
def _():
    e = raises(
        openai.InternalServerError,
        lambda: list(chat(oai(), model=MODELS["broken"][1], text="hello mock:status=500", stream=True)),
    )
    refused(e, 502, "upstream_error", "upstream_error")


def until_down(call, kind):
    """Calls until the breaker of the only route is open: 502 while it is tried, then 503."""
    for _ in range(10):
        e = raises(kind, call)
        if e.status_code == 503:
            return e
        equal(e.status_code, 502, "status before the breaker opens")
    raise AssertionError("never 503")


@scenario("openai 503 all down")
def _():
    e = until_down(lambda: chat(oai(), model=MODELS["down"]), openai.InternalServerError)
    refused(e, 503, "server_error", "no_healthy_upstream")
    check(int(e.response.headers["retry-after"]) >= 1, "retry-after")


@scenario("openai 503 no provider keys")
def _():
    e = raises(openai.InternalServerError, lambda: chat(oai(), model=MODELS["keyless"]))
    refused(e, 503, "server_error", "no_provider_keys")
    check("No active API keys" in e.message, e.message)


@scenario("openai retries 429")
def _():
    # The first request keeps the whole minute of tokens as long as it runs.
    with chat(oai("tpm_openai"), text="hello mock:out=60;gap=1s", max_tokens=60000, stream=True) as first:
        next(iter(first))
        count, start = Counted(), time.monotonic()
        r = chat(oai("tpm_openai", retries=2, hooks=count), max_tokens=3000)
        check(r.choices[0].message.content, "no content")
        equal(count.n, 2, "requests")
        check(time.monotonic() - start >= 1, "the retry did not wait")


@scenario("openai does not retry 402 and 403")
def _():
    for key, status in (("broke", 402), ("scoped", 403)):
        count = Counted()
        e = raises(openai.APIStatusError, lambda: chat(oai(key, retries=2, hooks=count)))
        equal(e.status_code, status)
        equal(count.n, 1, f"requests of a {status}")


# Anthropic


@scenario("anthropic plain")
def _():
    for base in ("/anthropic", ""):
        r = message(ant(base=base), text="hello mock:out=12")
        equal(r.type, "message")
        equal(r.model, CLAUDE, "model")
        equal(r.stop_reason, "end_turn")
        equal(r.usage.output_tokens, 12, "output_tokens")
        check(r.content[0].text, "no text")


@scenario("anthropic stream")
def _():
    for base in ("/anthropic", ""):
        with ant(base=base).messages.stream(model=CLAUDE, max_tokens=64, messages=[{"role": "user", "content": "hello mock:out=12"}]) as s:
            text = "".join(s.text_stream)
            final = s.get_final_message()
        check(text, "no text")
        equal(final.content[0].text, text, "text")
        equal(final.model, CLAUDE, "model")
        equal(final.usage.output_tokens, 12, "output_tokens")
        kinds = [e.type for e in message(ant(base=base), text="hello mock:out=3", stream=True)]
        equal(kinds[0], "message_start")
        equal(kinds[-1], "message_stop")
        equal(kinds.count("content_block_delta"), 3, "deltas")


ANTHROPIC_TOOLS = [{"name": "get_weather", "description": "Weather of a city", "input_schema": PARAMETERS}]


@scenario("anthropic tools")
def _():
    for base in ("/anthropic", ""):
        messages = [{"role": "user", "content": "What is the weather in Paris? mock:tools=1"}]
        r = ant(base=base).messages.create(model=CLAUDE, max_tokens=256, messages=messages, tools=ANTHROPIC_TOOLS)
        equal(r.stop_reason, "tool_use")
        call = next(b for b in r.content if b.type == "tool_use")
        equal(call.name, "get_weather")
        equal(list(call.input), ["city"], "input")
        messages += [
            {"role": "assistant", "content": r.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "21 degrees"}]},
        ]
        messages[0] = {"role": "user", "content": "What is the weather in Paris?"}
        r = ant(base=base).messages.create(model=CLAUDE, max_tokens=256, messages=messages, tools=ANTHROPIC_TOOLS)
        equal(r.stop_reason, "end_turn")
        check(r.content[0].text, "no answer to the tool's result")


@scenario("anthropic tools stream")
def _():
    messages = [{"role": "user", "content": "What is the weather in Paris? mock:tools=1"}]
    with ant().messages.stream(model=CLAUDE, max_tokens=256, messages=messages, tools=ANTHROPIC_TOOLS) as s:
        r = s.get_final_message()
    call = next(b for b in r.content if b.type == "tool_use")
    equal(call.name, "get_weather")
    equal(list(call.input), ["city"], "input")


@scenario("anthropic models")
def _():
    for base in ("/anthropic", ""):
        models = list(ant(base=base).models.list(limit=1000))
        check(any(m.id == CLAUDE_ID for m in models), f"{CLAUDE_ID} is not among {len(models)} models")
        check(all(m.type == "model" for m in models), "type")
        equal(ant(base=base).models.retrieve(CLAUDE).id, CLAUDE)


def refused_by_anthropic(error, status, kind, code):
    equal(error.status_code, status, "status")
    equal(error.response.headers.get("x-relay-error"), code, "x-relay-error")
    body = error.response.json()
    equal(body["type"], "error")
    equal(body["error"]["type"], kind, "type")
    equal(body["request_id"], error.response.headers.get("x-request-id"), "request_id")
    return body


@scenario("anthropic 401")
def _():
    e = raises(anthropic.AuthenticationError, lambda: message(ant(BAD_TOKEN)))
    refused_by_anthropic(e, 401, "authentication_error", "invalid_api_key")
    e = raises(anthropic.AuthenticationError, lambda: message(ant("disabled")))
    refused_by_anthropic(e, 401, "authentication_error", "key_disabled")


@scenario("anthropic 402")
def _():
    e = raises(anthropic.APIStatusError, lambda: message(ant("broke")))
    refused_by_anthropic(e, 402, "billing_error", "insufficient_balance")


@scenario("anthropic 403")
def _():
    e = raises(anthropic.PermissionDeniedError, lambda: message(ant("scoped")))
    refused_by_anthropic(e, 403, "permission_error", "model_not_allowed")


@scenario("anthropic 400")
def _():
    e = raises(anthropic.BadRequestError, lambda: message(ant(), model="no-such-model"))
    refused_by_anthropic(e, 400, "invalid_request_error", "unknown_model_pricing")
    e = raises(anthropic.BadRequestError, lambda: message(ant(), text="hello mock:error=context_length"))
    equal(e.response.json()["error"]["type"], "invalid_request_error")


@scenario("anthropic 429")
def _():
    client = ant("rpm_anthropic")
    message(client)
    e = raises(anthropic.RateLimitError, lambda: message(client))
    refused_by_anthropic(e, 429, "rate_limit_error", "rate_limited_rpm")
    after = e.response.headers["retry-after"]
    check(1 <= int(after) <= 61, f"retry-after {after}")


@scenario("anthropic 502")
def _():
    e = raises(anthropic.InternalServerError, lambda: message(ant(), model=MODELS["broken_claude"][0], text="hello mock:status=500"))
    refused_by_anthropic(e, 502, "api_error", "upstream_error")


@scenario("anthropic 502 stream")
def _():
    e = raises(
        anthropic.InternalServerError,
        lambda: message(ant(), model=MODELS["broken_claude"][1], text="hello mock:status=529", stream=True),
    )
    refused_by_anthropic(e, 502, "api_error", "upstream_error")


@scenario("anthropic 503")
def _():
    e = until_down(lambda: message(ant(), model=MODELS["down_claude"]), anthropic.InternalServerError)
    refused_by_anthropic(e, 503, "api_error", "no_healthy_upstream")


@scenario("anthropic retries 429")
def _():
    first = message(ant("tpm_anthropic"), text="hello mock:out=60;gap=1s", max_tokens=60000, stream=True)
    with first:
        next(iter(first))
        count, start = Counted(), time.monotonic()
        r = message(ant("tpm_anthropic", retries=2, hooks=count), max_tokens=3000)
        check(r.content[0].text, "no text")
        equal(count.n, 2, "requests")
        check(time.monotonic() - start >= 1, "the retry did not wait")


@scenario("anthropic does not retry 402 and 403")
def _():
    for key, status in (("broke", 402), ("scoped", 403)):
        count = Counted()
        e = raises(anthropic.APIStatusError, lambda: message(ant(key, retries=2, hooks=count)))
        equal(e.status_code, status)
        equal(count.n, 1, f"requests of a {status}")


# Responses: by a provider that speaks it, and translated.

RESPONDERS = (CHAT, CLAUDE)
FLAT_TOOLS = [{"type": "function", "name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS, "strict": False}]


@scenario("responses plain")
def _():
    for model in RESPONDERS:
        r = oai().responses.create(model=model, input="hello mock:out=12", instructions="Be brief.", max_output_tokens=100, metadata={"k": "v"})
        equal([r.model, r.status, r.object], [model, "completed", "response"])
        check(r.output_text, "no text")
        equal(r.usage.output_tokens, 12, "output_tokens")
        equal(r.usage.total_tokens, r.usage.input_tokens + 12, "total_tokens")
        r = oai().responses.create(model=model, input=[{"role": "user", "content": "hello mock:out=50"}], max_output_tokens=16)
        equal([r.status, r.incomplete_details.reason], ["incomplete", "max_output_tokens"])


@scenario("responses stream")
def _():
    for model in RESPONDERS:
        plain = oai().responses.create(model=model, input="hello mock:out=12")
        events = list(oai().responses.create(model=model, input="hello mock:out=12", stream=True))
        equal([e.sequence_number for e in events], list(range(len(events))), "sequence numbers")
        equal([events[0].type, events[1].type, events[-1].type], ["response.created", "response.in_progress", "response.completed"])
        text = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        equal(text, plain.output_text, "text")
        equal(events[-1].response.output_text, text, "the last event's text")
        equal(events[-1].response.usage.output_tokens, 12, "output_tokens")
        # The helper puts the response together by the events alone, and compares.
        with oai().responses.stream(model=model, input="hello mock:out=12;reasoning=3") as stream:
            kinds = {e.type for e in stream}
            final = stream.get_final_response()
        check({"response.output_item.added", "response.content_part.added", "response.output_text.done", "response.output_item.done"} <= kinds, f"{kinds}")
        check(final.output_text, "no text")


@scenario("responses tools")
def _():
    for model in RESPONDERS:
        for stream in (False, True):
            ask = [{"role": "user", "content": "What is the weather in Paris? mock:tools=1;reasoning=2"}]
            if stream:
                with oai().responses.stream(model=model, input=ask, tools=FLAT_TOOLS) as events:
                    r = events.get_final_response()
            else:
                r = oai().responses.create(model=model, input=ask, tools=FLAT_TOOLS)
            call = next(o for o in r.output if o.type == "function_call")
            equal(call.name, "get_weather")
            equal(list(json.loads(call.arguments)), ["city"], "arguments")
            ask = [{"role": "user", "content": "What is the weather in Paris?"}]
            back = [o.model_dump(exclude={"parsed_arguments"}) for o in r.output]
            done = {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}
            r = oai().responses.create(model=model, input=ask + back + [done], tools=FLAT_TOOLS)
            check(r.output_text, "no answer to the tool's result")


@scenario("responses structured")
def _():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": False}
    for model in RESPONDERS:
        r = oai().responses.create(model=model, input="give", text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}})
        equal(json.loads(r.output_text), {"a": 1})


@scenario("responses stored")
def _():
    client = oai()
    for model in RESPONDERS:
        first = client.responses.create(model=model, input="My name is Ada. mock:out=5")
        again = client.responses.retrieve(first.id)
        equal([again.id, again.output_text, again.usage.output_tokens], [first.id, first.output_text, 5])
        second = client.responses.create(model=model, input="And now?", previous_response_id=first.id)
        check(second.usage.input_tokens > first.usage.total_tokens, "what was said before was not read")
        items = list(client.responses.input_items.list(second.id))
        equal([i.content[0].text for i in items], ["And now?"])
        raises(openai.BadRequestError, lambda: client.responses.cancel(first.id))
        client.responses.delete(first.id)
        raises(openai.NotFoundError, lambda: client.responses.retrieve(first.id))
        raises(openai.NotFoundError, lambda: client.responses.create(model=model, input="x", previous_response_id=first.id))
        other = client.responses.create(model=model, input="x", store=False)
        raises(openai.NotFoundError, lambda: client.responses.retrieve(other.id))


@scenario("responses typed errors")
def _():
    ask = lambda key="ok", **more: oai(key).responses.create(**{"model": CHAT, "input": "hello", **more})  # noqa: E731
    refused(raises(openai.APIStatusError, lambda: ask("broke")), 402, "insufficient_quota", "insufficient_balance")
    refused(raises(openai.PermissionDeniedError, lambda: ask("scoped")), 403, "permission_error", "model_not_allowed")
    equal(refused(raises(openai.BadRequestError, lambda: ask(background=True)), 400, "invalid_request_error", "invalid_request")["error"]["param"], "background")
    raises(openai.BadRequestError, lambda: ask(tools=[{"type": "file_search", "vector_store_ids": ["vs_1"]}]))
    raises(openai.NotFoundError, lambda: ask(previous_response_id="resp_of_another"))
    for model in RESPONDERS:
        raises(openai.APIError, lambda: list(ask(model=model, input="hello mock:out=50;error_at=12;error=server", stream=True)))  # noqa: B023


# LangChain


# Models of providers of other protocols: what the SDK reports is what the mock served.

CROSSED = "hello mock:out=12;in=40;cached=5"
GEMINI, QWEN = MODELS["gemini"], MODELS["qwen"]


@scenario("openai other protocols")
def _():
    def usage(u):
        return u.prompt_tokens, u.completion_tokens, u.prompt_tokens_details.cached_tokens

    for model in (CLAUDE, GEMINI, QWEN):
        r = chat(oai(), model, CROSSED)
        equal(usage(r.usage), (40, 12, 5), f"{model}: usage")
        chunks = list(chat(oai(), model, CROSSED, stream=True, stream_options={"include_usage": True}))
        equal(usage(chunks.pop().usage), (40, 12, 5), f"{model}: usage of the stream")
        equal("".join(c.choices[0].delta.content or "" for c in chunks), r.choices[0].message.content, f"{model}: text")
        with oai().chat.completions.stream(model=model, messages=[{"role": "user", "content": "What is the weather in Paris? mock:tools=1"}], tools=TOOLS) as stream:
            called = stream.get_final_completion().choices[0]
        equal(called.finish_reason, "tool_calls", model)
        call = called.message.tool_calls[0]
        equal((call.function.name, json.loads(call.function.arguments)), ("get_weather", {"city": "mock"}), f"{model}: call")
        messages = [
            {"role": "user", "content": "What is the weather in Paris?"},
            {"role": "assistant", "content": None, "tool_calls": [{"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}]},
            {"role": "tool", "tool_call_id": call.id, "content": "21"},
        ]
        r = oai().chat.completions.create(model=model, messages=messages, tools=TOOLS)
        equal(r.choices[0].finish_reason, "stop", f"{model}: answer to the tool's result")
    for model in (GEMINI, QWEN):
        with oai().chat.completions.stream(model=model, messages=[{"role": "user", "content": "hello mock:out=4"}], n=2, logprobs=True, top_logprobs=2) as stream:
            r = stream.get_final_completion()
        equal([c.finish_reason for c in r.choices], ["stop", "stop"], f"{model}: choices")
        equal("".join(x.token for x in r.choices[1].logprobs.content), r.choices[1].message.content, f"{model}: tokens")


@scenario("anthropic other protocols")
def _():
    tools = [{"name": "get_weather", "input_schema": PARAMETERS}]
    for model in (CHAT, GEMINI, QWEN):
        r = message(ant(), model, CROSSED)
        equal((r.usage.input_tokens, r.usage.cache_read_input_tokens, r.usage.output_tokens), (35, 5, 12), f"{model}: usage")
        with ant().messages.stream(model=model, max_tokens=64, messages=[{"role": "user", "content": CROSSED}]) as stream:
            streamed = stream.get_final_message()
        equal(streamed.content[0].text, r.content[0].text, f"{model}: text")
        equal((streamed.usage.output_tokens, streamed.stop_reason), (12, "end_turn"), f"{model}: end of the stream")
        with ant().messages.stream(model=model, max_tokens=64, tools=tools, messages=[{"role": "user", "content": "What is the weather in Paris? mock:tools=1"}]) as stream:
            called = stream.get_final_message()
        use = next(b for b in called.content if b.type == "tool_use")
        equal((use.name, use.input, called.stop_reason), ("get_weather", {"city": "mock"}, "tool_use"), f"{model}: call")


@scenario("responses other protocols")
def _():
    for model in (CLAUDE, GEMINI, QWEN):
        r = oai().responses.create(model=model, input=CROSSED)
        equal((r.usage.input_tokens, r.usage.output_tokens, r.usage.input_tokens_details.cached_tokens), (40, 12, 5), f"{model}: usage")
        events = list(oai().responses.create(model=model, input=CROSSED, stream=True))
        equal(events[-1].response.usage.output_tokens, 12, f"{model}: usage of the stream")
        equal("".join(e.delta for e in events if e.type == "response.output_text.delta"), r.output_text, f"{model}: text")


@scenario("langchain other protocols")
def _():
    for model in (CLAUDE, GEMINI, QWEN):
        r = langchain(model=model).invoke(CROSSED)
        equal((r.usage_metadata["input_tokens"], r.usage_metadata["output_tokens"]), (40, 12), f"{model}: usage")
        chunks = list(langchain(model=model, stream_usage=True).stream(CROSSED))
        equal("".join(c.content for c in chunks), r.content, f"{model}: text")
        equal(sum(c.usage_metadata["output_tokens"] for c in chunks if c.usage_metadata), 12, f"{model}: usage of the stream")
        r = langchain(model=model).bind_tools(TOOLS).invoke("What is the weather in Paris? mock:tools=1")
        equal((r.tool_calls[0]["name"], r.tool_calls[0]["args"]), ("get_weather", {"city": "mock"}), f"{model}: call")


def langchain(key="ok", **more):
    from langchain_openai import ChatOpenAI

    if "model" not in more:  # pinned to a provider; others are asked in its protocol by translation
        return ChatOpenAI(base_url=URL + "/v1/openai", api_key=KEYS[key], model="gpt-4o", **more)
    return ChatOpenAI(base_url=URL + "/v1", api_key=KEYS[key], **more)


@scenario("langchain invoke")
def _():
    r = langchain().invoke([("system", "Be brief."), ("human", "One-line proxy joke. mock:out=12")])
    check(r.content, "no content")
    equal(r.usage_metadata["output_tokens"], 12, "output_tokens")


@scenario("langchain stream")
def _():
    for options in ({}, {"stream_usage": True}):
        text = "".join(c.content for c in langchain(**options).stream("One-line proxy joke. mock:out=12"))
        equal(text, langchain().invoke("One-line proxy joke. mock:out=12").content, "text")


@scenario("langchain tools")
def _():
    r = langchain().bind_tools(TOOLS).invoke("What is the weather in Paris? mock:tools=1")
    equal(r.tool_calls[0]["name"], "get_weather")
    equal(list(r.tool_calls[0]["args"]), ["city"], "arguments")


@scenario("langchain typed error")
def _():
    e = raises(openai.APIStatusError, lambda: langchain("broke", max_retries=0).invoke("hello"))
    equal(e.status_code, 402)


# requests


@scenario("requests")
def _():
    r = requests.post(
        URL + "/v1/openai/chat/completions",
        headers={"Authorization": f"Bearer {KEYS['ok']}", "Content-Type": "application/json"},
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": "Tell me a joke."}]},
        timeout=60,
    )
    equal(r.status_code, 200)
    check(r.json()["choices"][0]["message"]["content"], "no content")


if __name__ == "__main__":
    versions = {p: importlib.metadata.version(p) for p in ("openai", "anthropic", "langchain-openai", "requests")}
    print(json.dumps({"versions": versions}), flush=True)
    main()
