"""DashScope's own Python SDK against a relay: every kind of model on its path."""

import asyncio
import importlib.metadata
import json
import re

import dashscope
from dashscope import AioGeneration, Generation

from harness import KEYS, MODELS, URL, check, equal, main, scenario

dashscope.base_http_api_url = URL + "/api/v1"

QWEN, CHAT, CLAUDE, GEMINI = MODELS["qwen"], MODELS["chat"], MODELS["claude"], MODELS["gemini"]
HELLO = "Hello, please introduce yourself. mock:out=12"
BAD_TOKEN = KEYS["ok"][:-6] + "000000"
WEATHER = "What is the weather in Paris? mock:tools=1"
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "Weather of a city", "parameters": PARAMETERS}}]


def ask(text=HELLO, model=QWEN, key="ok", **more):
    more.setdefault("result_format", "message")
    if "messages" not in more:
        more["messages"] = [{"role": "user", "content": text}]
    return Generation.call(model=model, api_key=KEYS.get(key, key), **more)


def served(r):
    equal(r.status_code, 200, f"status of {r.code} {r.message}")
    check(r.request_id, "no request id")
    return r


def refused(r, status, code, word=""):
    equal(r.status_code, status, f"status of {r.code} {r.message}")
    equal(r.code, code, "code")
    check(word in r.message, r.message)
    check(re.fullmatch(r"req_[0-9A-HJKMNP-TV-Z]{26}", r.request_id or ""), f"request id {r.request_id}")
    equal(r.output, None, "output")


@scenario("dashscope plain")
def _():
    r = served(ask())
    equal(r.output.choices[0].finish_reason, "stop")
    check(r.output.choices[0].message.content, "no content")
    equal(r.usage.output_tokens, 12, "output_tokens")
    equal(r.usage.total_tokens, r.usage.input_tokens + 12, "total_tokens")


@scenario("dashscope text")
def _():
    for model in (QWEN, CHAT, CLAUDE, GEMINI):
        r = served(Generation.call(model=model, prompt=HELLO, api_key=KEYS["ok"], result_format="text"))
        check(r.output.text, f"{model}: no text")
        equal(r.output.finish_reason, "stop", model)


@scenario("dashscope stream")
def _():
    for model in (QWEN, CHAT, CLAUDE, GEMINI):
        text, last, n = "", None, 0
        for r in ask(model=model, stream=True, incremental_output=True):
            served(r)
            text += r.output.choices[0].message.content
            last, n = r, n + 1
        equal(text, served(ask(model=model)).output.choices[0].message.content, f"{model}: text")
        equal(last.output.choices[0].finish_reason, "stop", model)
        equal(last.usage.output_tokens, 12, f"{model}: output_tokens")
        check(n >= 4, f"{model}: {n} events")


@scenario("dashscope stream repeats")
def _():
    for model in (QWEN, CHAT, CLAUDE, GEMINI):
        said = ""
        for r in ask(model=model, stream=True, result_format="text"):
            served(r)
            check(r.output.text.startswith(said), f"{model}: {r.output.text!r} does not go on with {said!r}")
            said = r.output.text
            reason = r.output.finish_reason
        equal(reason, "stop", model)
        equal(said, served(ask(model=model)).output.choices[0].message.content, f"{model}: text")


@scenario("dashscope thinking")
def _():
    thought = text = ""
    for r in ask("How? mock:out=5;reasoning=6", stream=True, incremental_output=True, enable_thinking=True, thinking_budget=50, max_tokens=50):
        m = served(r).output.choices[0].message
        thought += m.get("reasoning_content") or ""
        text += m.content
    check(thought, "no thoughts")
    check(text, "no text")
    equal(r.usage.output_tokens_details["reasoning_tokens"], 6, "reasoning_tokens")
    r = served(ask("How? mock:out=5;reasoning=6", model=CLAUDE, enable_thinking=True, thinking_budget=2048, max_tokens=4000))
    check(r.output.choices[0].message.reasoning_content, "claude: no thoughts")


@scenario("dashscope tools")
def _():
    for model in (QWEN, CHAT, CLAUDE, GEMINI):
        r = served(ask(WEATHER, model=model, tools=TOOLS))
        equal(r.output.choices[0].finish_reason, "tool_calls", model)
        call = r.output.choices[0].message.tool_calls[0]
        equal(call["function"]["name"], "get_weather", model)
        equal(list(json.loads(call["function"]["arguments"])), ["city"], f"{model}: arguments")
        history = [
            {"role": "user", "content": "What is the weather in Paris?"},
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": call["id"], "content": '{"celsius": 21}'},
        ]
        r = served(ask(model=model, messages=history, tools=TOOLS))
        equal(r.output.choices[0].finish_reason, "stop", model)
        check(r.output.choices[0].message.content, f"{model}: no answer to the tool's result")


@scenario("dashscope tools stream")
def _():
    for model in (QWEN, CHAT, CLAUDE, GEMINI):
        for grows in (True, False):
            name = arguments = ""
            for r in ask(WEATHER, model=model, tools=TOOLS, stream=True, incremental_output=grows):
                for call in served(r).output.choices[0].message.get("tool_calls") or []:
                    if not grows:
                        name = arguments = ""
                    name += call["function"].get("name") or ""
                    arguments += call["function"].get("arguments") or ""
            equal(r.output.choices[0].finish_reason, "tool_calls", model)
            equal(name, "get_weather", f"{model}, {grows}")
            equal(list(json.loads(arguments)), ["city"], f"{model}: arguments")


@scenario("dashscope async")
def _():
    async def run():
        r = served(await AioGeneration.call(model=QWEN, prompt=HELLO, api_key=KEYS["ok"], result_format="message"))
        text = ""
        stream = await AioGeneration.call(model=CHAT, prompt=HELLO, api_key=KEYS["ok"], result_format="message", stream=True, incremental_output=True)
        async for part in stream:
            text += served(part).output.choices[0].message.content
        return r.output.choices[0].message.content, text

    plain, text = asyncio.run(run())
    check(plain, "no content")
    check(text, "no text")


@scenario("dashscope 401")
def _():
    for key in (BAD_TOKEN, "sk-nothing", "disabled"):
        refused(ask(key=key), 401, "InvalidApiKey")


@scenario("dashscope 402")
def _():
    refused(ask(key="broke"), 402, "Arrearage", "Insufficient credit balance: balance too low")


@scenario("dashscope 403")
def _():
    for key in ("scoped", "narrow"):
        refused(ask(key=key), 403, "AccessDenied")


@scenario("dashscope 400")
def _():
    refused(ask(model="no-such-model"), 400, "InvalidParameter", "no-such-model")
    refused(ask(max_tokens=10**8), 400, "InvalidParameter", "maximum")
    refused(ask("hello mock:error=context_length"), 400, "InvalidParameter", "Range of input length")
    refused(ask("hello mock:error=context_length", model=CHAT), 400, "InvalidParameter", "maximum context length")
    refused(ask("hello mock:error=content_filter"), 400, "DataInspectionFailed")
    refused(ask(enable_code_interpreter=True), 400, "InvalidParameter", "enable_code_interpreter")
    for r in ask("hello mock:error=context_length", stream=True):
        refused(r, 400, "InvalidParameter", "Range of input length")


@scenario("dashscope 429")
def _():
    served(ask(key="rpm_openai"))
    refused(ask(key="rpm_openai"), 429, "Throttling.RateQuota", "Rate limit exceeded (rpm)")


@scenario("dashscope 502")
def _():
    refused(ask("hello mock:status=500", model=MODELS["broken"][0]), 502, "InternalError")
    for r in ask("hello mock:status=500", model=MODELS["broken"][1], stream=True):
        refused(r, 502, "InternalError")


@scenario("dashscope 503")
def _():
    refused(ask(model=MODELS["keyless"]), 503, "InternalError", "No active API keys")


@scenario("dashscope error amid a stream")
def _():
    text, error = "", None
    for r in ask("hello mock:out=12;error_at=6;error=content_filter", stream=True, incremental_output=True):
        if r.status_code == 200:
            check(error is None, "goes on behind the error")
            text += r.output.choices[0].message.content
        else:
            error = r
    check(text, "no text before the error")
    equal(error and error.code, "DataInspectionFailed", "code")


if __name__ == "__main__":
    print(json.dumps({"versions": {"dashscope": importlib.metadata.version("dashscope")}}), flush=True)
    main()
