"""The official anthropic library through Envoy. Usage: anthropic_client.py BASE_URL

The policy in force refuses the model `claude-opus-5` with `model_not_approved`.
"""

import sys

import anthropic

from steps import Steps, check, raised

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]
MODEL = "claude-sonnet-5"


def main(base_url):
    client = anthropic.Anthropic(base_url=base_url, api_key="sk-ant-test")
    steps = Steps()

    whole = client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES)
    check(whole.content[0].text, "no content")
    check(whole.usage.input_tokens == 6, "the usage is not the provider's")
    check(whole.stop_reason == "end_turn", f"stopped by {whole.stop_reason!r}")
    steps.note("chat")

    with client.messages.stream(model=MODEL, max_tokens=100, messages=MESSAGES) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check(text == whole.content[0].text, "the stream says something else")
    check(final.usage.output_tokens == whole.usage.output_tokens, "no usage in the stream")
    steps.note("chat", stream=True)

    events = client.messages.create(model=MODEL, max_tokens=100, messages=MESSAGES, stream=True)
    check([event.type for event in events][-1] == "message_stop", "no end of the stream")
    steps.note("chat", stream=True)

    tools = [{"name": "lookup", "input_schema": {"type": "object"}}]
    scripted = {
        "x-fake-tool-arguments": '{"query": "caf\\u00e9"}',
        "x-fake-reasoning": "It must be looked up.",
        "x-fake-piece-chars": "3",
    }
    with client.messages.stream(
        model=MODEL, max_tokens=100, messages=MESSAGES, tools=tools, extra_headers=scripted
    ) as stream:
        final = stream.get_final_message()
    check([block.type for block in final.content] == ["thinking", "tool_use"], "no call")
    check(final.content[1].input == {"query": "caf\u00e9"}, "other arguments")
    steps.note("chat", stream=True)

    counted = client.messages.count_tokens(model=MODEL, messages=MESSAGES, system="Be brief.")
    check(counted.input_tokens == 8, "the count is not the provider's")
    steps.note("count_tokens")

    check(list(client.models.list()), "no models")
    steps.note("models")

    for stream in (False, True):
        refused = raised(
            anthropic.PermissionDeniedError,
            lambda: client.messages.create(
                model="claude-opus-5", max_tokens=100, messages=MESSAGES, stream=stream
            ),
        )
        check(refused.status_code == 403, "not a 403")
        error = refused.body["error"]
        check(error["type"] == "permission_error", f"the type is {error['type']!r}")
        check(error["code"] == "model_not_approved", f"the code is {error['code']!r}")
        check("claude-opus-5 is not approved" in error["message"], "not the rule's message")
        header = refused.response.headers["x-mercator-decision-id"]
        check(error["decision_id"] == header, "two decision ids")
        # Once each: a refusal is not tried again.
        steps.note("chat", "deny", 403, stream)

    raised(
        anthropic.NotFoundError,
        lambda: client.messages.create(model="nonesuch", max_tokens=100, messages=MESSAGES),
    )
    steps.note("chat", status=404)

    hurried = client.with_options(max_retries=0)
    raised(
        anthropic.APIStatusError,
        lambda: hurried.messages.create(
            model=MODEL,
            max_tokens=100,
            messages=MESSAGES,
            extra_headers={"x-fake-status": "529"},
        ),
    )
    steps.note("chat", status=529)

    steps.report()


if __name__ == "__main__":
    main(sys.argv[1])
