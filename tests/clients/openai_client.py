"""The official openai library through Envoy. Usage: openai_client.py BASE_URL

The policy in force refuses the model `gpt-4-turbo` with `model_not_approved`.
"""

import asyncio
import sys

import openai

from steps import Steps, check, raised

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def main(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="sk-test")
    steps = Steps()

    whole = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
    check(whole.choices[0].message.content, "no content")
    check(whole.usage.prompt_tokens == 6, "the usage is not the provider's")
    steps.note("chat")

    stream = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(text == whole.choices[0].message.content, "the stream says something else")
    check(chunks[-1].usage == whole.usage, "no usage at the end of the stream")
    steps.note("chat", stream=True)

    with client.chat.completions.stream(model="gpt-4o", messages=MESSAGES) as events:
        done = events.get_final_completion()
    check(done.choices[0].finish_reason == "stop", "the stream ended without its end")
    steps.note("chat", stream=True)

    tools = [{"type": "function", "function": {"name": "lookup", "parameters": {}}}]
    called = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, tools=tools, extra_headers={"x-fake-tool-call": "true"}
    )
    check(called.choices[0].message.tool_calls[0].function.name == "lookup", "no tool call")
    steps.note("chat")

    responses(client, steps)

    written = client.completions.create(model="gpt-3.5-turbo-instruct", prompt="Once upon a time")
    check(written.choices[0].text, "no text")
    check(written.usage.prompt_tokens == 4, "the usage is not the provider's")
    steps.note("text_completion")
    pieces = client.completions.create(
        model="gpt-3.5-turbo-instruct", prompt="Once upon a time", stream=True
    )
    text = "".join(piece.choices[0].text for piece in pieces)
    check(text == written.choices[0].text, "the stream says something else")
    steps.note("text_completion", stream=True)

    # The library asks for base64 unless told otherwise, and unpacks it.
    embedded = client.embeddings.create(model="text-embedding-3-small", input=["one", "two"])
    check([len(item.embedding) for item in embedded.data] == [1536, 1536], "no embeddings")
    steps.note("embeddings")

    check("gpt-4o" in {model.id for model in client.models.list()}, "no models")
    steps.note("models")
    check(client.models.retrieve("gpt-4o").id == "gpt-4o", "no model")
    steps.note("models")

    for stream in (False, True):
        refused = raised(
            openai.PermissionDeniedError,
            lambda: client.chat.completions.create(
                model="gpt-4-turbo", messages=MESSAGES, stream=stream
            ),
        )
        check(refused.status_code == 403, "not a 403")
        check(refused.code == "model_not_approved", f"the code is {refused.code!r}")
        check(refused.type == "policy_violation", f"the type is {refused.type!r}")
        check("gpt-4-turbo is not approved" in refused.message, "not the rule's message")
        header = refused.response.headers["x-mercator-decision-id"]
        check(refused.body["decision_id"] == header, "two decision ids")
        # Once each: a refusal is not tried again.
        steps.note("chat", "deny", 403, stream)

    unknown = raised(
        openai.NotFoundError,
        lambda: client.models.retrieve("nonesuch"),
    )
    check(unknown.code == "model_not_found", "not the provider's own error")
    steps.note("models", status=404)

    hurried = client.with_options(max_retries=0)
    raised(
        openai.RateLimitError,
        lambda: hurried.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, extra_headers={"x-fake-status": "429"}
        ),
    )
    steps.note("chat", status=429)

    cut = client.chat.completions.create(
        model="gpt-4o", messages=MESSAGES, stream=True, extra_headers={"x-fake-cut-after": "3"}
    )
    # Never a silent end: the user must learn that the answer is not whole.
    raised(Exception, lambda: list(cut))
    steps.note("chat", stream=True)

    asyncio.run(asynchronous(base_url, steps))
    steps.report()


def responses(client, steps):
    ask = {"model": "gpt-5", "input": MESSAGES, "instructions": "Be brief."}
    whole = client.responses.create(**ask)
    check(whole.output_text, "no text")
    check(whole.usage.input_tokens == 8, "the usage is not the provider's")
    steps.note("chat")

    with client.responses.stream(**ask) as stream:
        text = "".join(e.delta for e in stream if e.type == "response.output_text.delta")
        final = stream.get_final_response()
    check(text == final.output_text == whole.output_text, "the stream says something else")
    steps.note("chat", stream=True)

    tools = [{"type": "function", "name": "lookup", "parameters": {}, "strict": False}]
    arguments = '{"query": "caf\\u00e9"}'
    called = client.responses.create(
        **ask,
        tools=tools,
        stream=True,
        extra_headers={
            "x-fake-tool-arguments": arguments,
            "x-fake-reasoning": "It must be looked up.",
            "x-fake-piece-chars": "3",
        },
    )
    final = [event for event in called][-1].response
    check([item.type for item in final.output] == ["reasoning", "function_call"], "no call")
    check(final.output[1].arguments == arguments, "other arguments")
    steps.note("chat", stream=True)

    refused = client.responses.create(**ask, extra_headers={"x-fake-refusal": "I will not."})
    check(refused.output[0].content[0].refusal == "I will not.", "no refusal")
    steps.note("chat")

    check(client.responses.retrieve(whole.id).output_text == whole.output_text, "another one")
    steps.note("responses")
    items = client.responses.input_items.list(whole.id)
    check(items.data[0].content == MESSAGES[0]["content"], "no input items")
    steps.note("responses")
    check(client.responses.cancel(whole.id).status == "cancelled", "not cancelled")
    steps.note("responses")
    client.responses.delete(whole.id)
    steps.note("responses")
    gone = raised(openai.NotFoundError, lambda: client.responses.retrieve(whole.id))
    check("not found" in gone.message, "not the provider's own error")
    steps.note("responses", status=404)


async def asynchronous(base_url, steps):
    async with openai.AsyncOpenAI(base_url=base_url, api_key="sk-test") as client:
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=MESSAGES, stream=True
        )
        check([chunk async for chunk in stream], "no chunks")
        steps.note("chat", stream=True)


if __name__ == "__main__":
    main(sys.argv[1])
