"""Rules on answers as the official anthropic library sees them. Usage: anthropic_answers.py BASE_URL

The policy in force is tests/tests/e2e/policies/answers.yaml.
"""

import sys

import anthropic

from steps import Steps, check, raised

ADDRESS = "ada.lovelace@example.com"
TOLD = f"Write to {ADDRESS}."


def main(base_url):
    client = anthropic.Anthropic(base_url=base_url, api_key="sk-ant-test", max_retries=0)
    steps = Steps()

    def asking(user, text, reply):
        return {
            "model": "claude-sonnet-5",
            "max_tokens": 100,
            "metadata": {"user_id": user},
            "messages": [{"role": "user", "content": text}],
            "extra_headers": {"x-fake-reply": reply, "x-fake-piece-chars": "3"},
        }

    def streamed(user, text, reply):
        with client.messages.stream(**asking(user, text, reply)) as stream:
            return "".join(stream.text_stream)

    for user, text, reply, told in [
        ("tokenize", f"I am {ADDRESS}", "Write to [EMAIL_1].", TOLD),
        ("clean-answers", "Whom shall I ask?", TOLD, "Write to [gone]."),
    ]:
        whole = client.messages.create(**asking(user, text, reply)).content[0].text
        check(whole == told, f"whole: {whole!r}")
        steps.note("chat")
        text = streamed(user, text, reply)
        check(text == told, f"streamed: {text!r}")
        steps.note("chat", stream=True)

    refused = raised(
        anthropic.PermissionDeniedError,
        lambda: client.messages.create(**asking("anyone", "What is new?", "On project falcon.")),
    )
    check(refused.body["error"]["code"] == "confidential", f"the body is {refused.body!r}")
    steps.note("chat", "deny", 403)

    broken = raised(
        anthropic.APIStatusError,
        lambda: streamed("anyone", "What is new?", "All on project falcon."),
    )
    check(broken.body["error"]["code"] == "confidential", f"the body is {broken.body!r}")
    steps.note("chat", "deny", 200, True)

    steps.report()


if __name__ == "__main__":
    main(sys.argv[1])
