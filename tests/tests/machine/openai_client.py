"""Asks the booted appliance with OpenAI's own client, what a program for their API would ask."""

import json
import math
import time
from typing import Literal

import openai
from pydantic import BaseModel, Field

from appliance import TLS, TOKEN, URL


def client(token=TOKEN):
    http = openai.DefaultHttpxClient(verify=TLS)
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=token, http_client=http, timeout=120, max_retries=0)


def refused(kind, asking, **wanted):
    try:
        asking()
    except kind as error:
        assert type(error) is kind, error
        for name, value in wanted.items():
            assert getattr(error, name) == value, (name, error.body)
        return error.message
    raise AssertionError(f"no {kind.__name__}")


def user(words):
    return [{"role": "user", "content": words}]


def spoken(name, began, answer):
    used = answer.usage
    cached = used.prompt_tokens_details.cached_tokens if used.prompt_tokens_details else 0
    print(f"{name}: {used.prompt_tokens} tokens read ({cached} known), {used.completion_tokens} written, {time.monotonic() - began:.2f} s")


ai = client()
names = [model.id for model in ai.models.list()]
assert {"default", "operational", "embed"} <= set(names), names
assert "tactical" not in names, names
print("models:", ", ".join(names))
assert ai.models.retrieve("default").object == "model"

# A conversation, at once and in pieces.
began = time.monotonic()
question = user("Name one colour of the rainbow.")
answer = ai.chat.completions.create(model="default", messages=question, temperature=0, max_tokens=32)
assert answer.choices[0].message.content and answer.choices[0].finish_reason in ("stop", "length"), answer
assert answer.usage.prompt_tokens > 5 and 0 < answer.usage.completion_tokens <= 32, answer.usage
assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
assert answer.model in names, answer.model
spoken("chat", began, answer)

began = time.monotonic()
stream = ai.chat.completions.create(
    model="operational", messages=question, temperature=0, max_tokens=32, stream=True, stream_options={"include_usage": True}
)
chunks = list(stream)
words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
assert words == answer.choices[0].message.content, (words, answer)
assert len(chunks) > 4 and chunks[-1].usage.completion_tokens == answer.usage.completion_tokens, chunks[-1]
assert chunks[-1].usage.prompt_tokens_details.cached_tokens > 0, "the same question was read anew"
assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == answer.choices[0].finish_reason
spoken("streaming chat", began, chunks[-1])

drawn = [
    ai.chat.completions.create(model="default", messages=question, temperature=1.5, seed=seed, max_tokens=24) for seed in (1, 2, 3)
]
assert len({answer.choices[0].message.content for answer in drawn}) > 1, "a seed draws nothing else"
cut = ai.chat.completions.create(model="default", messages=user("Tell a long story."), max_completion_tokens=3)
assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 3, cut

# Who goes away in the middle leaves the engine to others.
left = ai.chat.completions.create(model="default", messages=user("Tell a long story."), max_tokens=1000, stream=True)
next(iter(left))
left.close()

# A text as it is.
began = time.monotonic()
text = ai.completions.create(model="default", prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=24, stop=["9"], echo=True)
assert text.choices[0].text.startswith("1, 2, 3, 4, 5, 6, 7, 8"), text
assert "9" not in text.choices[0].text and text.choices[0].finish_reason == "stop", text
spoken("completion", began, text)
pieces = ai.completions.create(model="default", prompt="1, 2, 3, 4, 5,", temperature=0, max_tokens=24, stop="9", stream=True)
assert "".join(piece.choices[0].text for piece in pieces) == text.choices[0].text.removeprefix("1, 2, 3, 4, 5,")

# Vectors. By itself the client asks for base64.
sentences = ["How much memory is free?", "Show the RAM that is not in use.", "The cat sleeps on the warm stove."]
began = time.monotonic()
vectors = [item.embedding for item in ai.embeddings.create(model="embed", input=sentences).data]
took = time.monotonic() - began
floats = ai.embeddings.create(model="embed", input=sentences, encoding_format="float").data
assert all(math.isclose(a, b, abs_tol=1e-4) for one, two in zip(vectors, floats) for a, b in zip(one, two.embedding))


def cosine(a, b):
    return sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


near, far = cosine(vectors[0], vectors[1]), cosine(vectors[0], vectors[2])
print(f"embeddings: {len(vectors[0])} numbers, cosine {near:.2f} of the like, {far:.2f} of the unlike, {took:.2f} s")
assert near > far + 0.2, (near, far)
refused(openai.BadRequestError, lambda: ai.embeddings.create(model="embed", input="x", dimensions=7), param="dimensions")

# Tools: a call is one of those that were named, with arguments that fit.
city = {"type": "string", "enum": ["Oslo", "Rome", "Lima"]}
tools = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather in a city",
            "parameters": {"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": False},
        },
    },
    {"type": "function", "function": {"name": "get_time", "description": "The time of day"}},
]
began = time.monotonic()
weather = user("What is the weather in Oslo?")
answer = ai.chat.completions.create(
    model="default", messages=weather, tools=tools, tool_choice="required", temperature=0, max_tokens=64
)
assert answer.choices[0].finish_reason == "tool_calls", answer
[call] = answer.choices[0].message.tool_calls
arguments = json.loads(call.function.arguments)
assert call.function.name in ("get_weather", "get_time") and set(arguments) <= {"city"}, call
spoken(f"tools: {call.function.name}({call.function.arguments})", began, answer)
named = {"type": "function", "function": {"name": "get_weather"}}
with ai.chat.completions.stream(
    model="default", messages=weather, tools=tools, tool_choice=named, temperature=0, max_tokens=64
) as stream:
    done = stream.get_final_completion()
[call] = done.choices[0].message.tool_calls
assert call.function.name == "get_weather" and json.loads(call.function.arguments)["city"] in city["enum"], call
told = [*weather, done.choices[0].message, {"role": "tool", "tool_call_id": call.id, "content": "rain, 7 degrees"}]
answer = ai.chat.completions.create(model="default", messages=told, tools=tools, temperature=0, max_tokens=48)
print("with the tool's result:", answer.choices[0].message.content or answer.choices[0].message.tool_calls)


# A schema that the client makes and reads itself.
class Report(BaseModel):
    city: Literal["Oslo", "Rome", "Lima"]
    degrees: int = Field(ge=-50, le=50)
    rain: bool


began = time.monotonic()
answer = ai.chat.completions.parse(
    model="default", messages=user("It rains in Oslo at 7 degrees."), response_format=Report, temperature=0, max_tokens=64
)
assert isinstance(answer.choices[0].message.parsed, Report), answer
spoken(f"schema: {answer.choices[0].message.parsed}", began, answer)
answer = ai.chat.completions.create(
    model="default",
    messages=user("Write a JSON object with the key colour."),
    response_format={"type": "json_object"},
    temperature=0,
    max_tokens=200,
)
if answer.choices[0].finish_reason == "stop":
    assert isinstance(json.loads(answer.choices[0].message.content), dict), answer

# What is refused is the exception that programs catch.
chat = ai.chat.completions.create
said = [
    refused(openai.NotFoundError, lambda: chat(model="gpt-4o", messages=question), code="model_not_found", param="model"),
    refused(openai.BadRequestError, lambda: chat(model="default", messages=question, n=2), param="n"),
    refused(openai.BadRequestError, lambda: chat(model="default", messages=[]), param="messages"),
    refused(openai.InternalServerError, lambda: chat(model="tactical", messages=question), status_code=503),
    refused(openai.AuthenticationError, lambda: client("nobody's").models.list(), code="invalid_api_key"),
]
print("refused:", *said, sep="\n  ")
