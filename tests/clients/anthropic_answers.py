"""Rules on requests and answers as the official anthropic library sees them.

Usage: anthropic_answers.py BASE_URL

The policy in force is tests/tests/e2e/policies/answers.yaml.
"""

import sys

import anthropic

from steps import ADDRESS, MASKED, SECRET, TOLD, Steps, check, raised, redaction

QUESTION = "What is new?"


def code(error):
    return error.body["error"]["code"]


def messages(client, steps):
    heard = []

    def ask(user, text, reply, stream):
        heard.clear()
        asked = {
            "model": "claude-sonnet-5",
            "max_tokens": 100,
            "metadata": {"user_id": user},
            "messages": [{"role": "user", "content": text}],
            "extra_headers": {"x-fake-reply": reply, "x-fake-piece-chars": "3"},
        }
        if not stream:
            return client.messages.create(**asked).content[0].text
        with client.messages.stream(**asked) as events:
            for text in events.text_stream:
                heard.append(text)
        return "".join(heard)

    for stream in (False, True):

        def note(**more):
            steps.note("chat", stream=stream, **more)

        told = ask("anyone", QUESTION, "Nothing is.", stream)
        check(told == "Nothing is.", f"allowed: {told!r}")
        note(received=QUESTION, redactions=None)

        refused = raised(
            anthropic.PermissionDeniedError,
            lambda: ask("anyone", f"Is {SECRET} valid?", "It is.", stream),
        )
        check(code(refused) == "secret_found", f"the body is {refused.body!r}")
        note(decision="deny", status=403, reason="secret_found")

        told = ask("mask", f"I am {ADDRESS}", "Good.", stream)
        check(told == "Good.", f"masked: {told!r}")
        note(received=f"I am {MASKED}", redactions=[redaction("mask")])

        told = ask("tokenize", f"I am {ADDRESS}", "Write to [EMAIL_1].", stream)
        check(told == TOLD, f"a placeholder that comes back: {told!r}")
        note(received="I am [EMAIL_1]", redactions=[redaction("tokenize")])

        told = ask("clean-answers", "Whom shall I ask?", TOLD, stream)
        check(told == "Write to [gone].", f"a cleaned answer: {told!r}")
        note(
            received="Whom shall I ask?",
            redactions=[redaction("replace", "response.content")],
        )

        refused = raised(
            anthropic.APIStatusError,
            lambda: ask("anyone", QUESTION, "All on project falcon.", stream),
        )
        check(code(refused) == "confidential", f"the body is {refused.body!r}")
        check("falcon" not in "".join(heard), f"it was told: {heard!r}")
        note(
            decision="deny",
            status=200 if stream else 403,
            reason="confidential",
            received=QUESTION,
        )


def count_tokens(client, steps):
    def count(model, text):
        asked = [{"role": "user", "content": text}]
        return client.messages.count_tokens(model=model, messages=asked).input_tokens

    check(count("claude-sonnet-5", QUESTION) > 0, "no count")
    steps.note("count_tokens", received=QUESTION, redactions=None)
    refused = raised(
        anthropic.PermissionDeniedError,
        lambda: count("claude-sonnet-5", f"Is {SECRET} valid?"),
    )
    check(code(refused) == "secret_found", f"the body is {refused.body!r}")
    steps.note("count_tokens", decision="deny", status=403, reason="secret_found")
    # This API has no user; the policy goes by the model.
    check(count("claude-haiku-4-5", f"I am {ADDRESS}") > 0, "no count")
    steps.note("count_tokens", received=f"I am {MASKED}", redactions=[redaction("mask")])


def main(base_url):
    client = anthropic.Anthropic(base_url=base_url, api_key="sk-ant-test", max_retries=0)
    steps = Steps()
    messages(client, steps)
    count_tokens(client, steps)
    steps.report()


if __name__ == "__main__":
    main(sys.argv[1])
