"""Rules on answers as the official openai library sees them. Usage: openai_answers.py BASE_URL

The policy in force is tests/tests/e2e/policies/answers.yaml.
"""

import sys

import openai

from steps import Steps, check, raised

ADDRESS = "ada.lovelace@example.com"
TOLD = f"Write to {ADDRESS}."


def main(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="sk-test", max_retries=0)
    steps = Steps()

    def ask(user, text, reply, stream=False):
        return client.chat.completions.create(
            model="gpt-4o",
            user=user,
            messages=[{"role": "user", "content": text}],
            stream=stream,
            extra_headers={"x-fake-reply": reply, "x-fake-piece-chars": "3"},
        )

    def streamed(user, text, reply):
        chunks = ask(user, text, reply, stream=True)
        return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)

    for user, text, reply, told in [
        ("tokenize", f"I am {ADDRESS}", "Write to [EMAIL_1].", TOLD),
        ("clean-answers", "Whom shall I ask?", TOLD, "Write to [gone]."),
    ]:
        whole = ask(user, text, reply).choices[0].message.content
        check(whole == told, f"whole: {whole!r}")
        steps.note("chat")
        text = streamed(user, text, reply)
        check(text == told, f"streamed: {text!r}")
        steps.note("chat", stream=True)

    refused = raised(
        openai.PermissionDeniedError, lambda: ask("anyone", "What is new?", "On project falcon.")
    )
    check(refused.code == "confidential", f"the code is {refused.code!r}")
    steps.note("chat", "deny", 403)

    broken = raised(
        openai.APIError, lambda: streamed("anyone", "What is new?", "All on project falcon.")
    )
    check("confidential" in broken.message, f"the message is {broken.message!r}")
    check(broken.code == "confidential", f"the code is {broken.code!r}")
    steps.note("chat", "deny", 200, True)

    steps.report()


if __name__ == "__main__":
    main(sys.argv[1])
