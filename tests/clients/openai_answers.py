"""Rules on requests and answers as the official openai library sees them, in all its dialects.

Usage: openai_answers.py BASE_URL

The policy in force is tests/tests/e2e/policies/answers.yaml.
"""

import sys

import openai

from steps import ADDRESS, MASKED, SECRET, TOLD, Steps, check, raised, redaction

QUESTION = "What is new?"


class Dialect:
    """One API of the library: how it is asked, and what it says."""

    operation = "chat"

    def __init__(self, client):
        self.client = client

    def ask(self, user, text, reply, stream):
        """The text that a user reads, whole or put together from a stream."""
        self.heard = ""
        headers = {"x-fake-reply": reply, "x-fake-piece-chars": "3"}
        answer = self.create(text, user=user, stream=stream, extra_headers=headers)
        if not stream:
            return self.whole(answer)
        for event in answer:
            self.heard += self.piece(event)
        return self.heard


class Chat(Dialect):
    def create(self, text, **more):
        messages = [{"role": "user", "content": text}]
        return self.client.chat.completions.create(model="gpt-4o", messages=messages, **more)

    def whole(self, answer):
        return answer.choices[0].message.content

    def piece(self, chunk):
        return chunk.choices[0].delta.content or "" if chunk.choices else ""


class Responses(Dialect):
    def create(self, text, **more):
        return self.client.responses.create(model="gpt-5", input=text, **more)

    def whole(self, answer):
        return answer.output_text

    def piece(self, event):
        # The library hands this event on; the others raise.
        if event.type == "error":
            raise openai.APIError(event.message, None, body={"code": event.code})
        return event.delta if event.type == "response.output_text.delta" else ""


class Completions(Dialect):
    operation = "text_completion"

    def create(self, text, **more):
        return self.client.completions.create(
            model="gpt-3.5-turbo-instruct", prompt=text, **more
        )

    def whole(self, answer):
        return answer.choices[0].text

    def piece(self, chunk):
        return chunk.choices[0].text if chunk.choices else ""


def rules(dialect, steps):
    for stream in (False, True):

        def note(**more):
            steps.note(dialect.operation, stream=stream, **more)

        told = dialect.ask("anyone", QUESTION, "Nothing is.", stream)
        check(told == "Nothing is.", f"allowed: {told!r}")
        note(received=QUESTION, redactions=None)

        refused = raised(
            openai.PermissionDeniedError,
            lambda: dialect.ask("anyone", f"Is {SECRET} valid?", "It is.", stream),
        )
        check(refused.code == "secret_found", f"the code is {refused.code!r}")
        note(decision="deny", status=403, reason="secret_found")

        told = dialect.ask("mask", f"I am {ADDRESS}", "Good.", stream)
        check(told == "Good.", f"masked: {told!r}")
        note(received=f"I am {MASKED}", redactions=[redaction("mask")])

        told = dialect.ask("tokenize", f"I am {ADDRESS}", "Write to [EMAIL_1].", stream)
        check(told == TOLD, f"a placeholder that comes back: {told!r}")
        note(received="I am [EMAIL_1]", redactions=[redaction("tokenize")])

        told = dialect.ask("clean-answers", "Whom shall I ask?", TOLD, stream)
        check(told == "Write to [gone].", f"a cleaned answer: {told!r}")
        note(
            received="Whom shall I ask?",
            redactions=[redaction("replace", "response.content")],
        )

        refused = raised(
            openai.APIError,
            lambda: dialect.ask("anyone", QUESTION, "All on project falcon.", stream),
        )
        check(refused.code == "confidential", f"the code is {refused.code!r}")
        check("names what is confidential" in refused.message, f"not told: {refused.message!r}")
        check("falcon" not in dialect.heard, f"it was told: {dialect.heard!r}")
        note(
            decision="deny",
            status=200 if stream else 403,
            reason="confidential",
            received=QUESTION,
        )


def embeddings(client, steps):
    def embed(user, text):
        return client.embeddings.create(model="text-embedding-3-small", input=text, user=user)

    check(embed("anyone", QUESTION).data[0].embedding, "no embedding")
    steps.note("embeddings", received=QUESTION, redactions=None)
    refused = raised(
        openai.PermissionDeniedError, lambda: embed("anyone", f"Is {SECRET} valid?")
    )
    check(refused.code == "secret_found", f"the code is {refused.code!r}")
    steps.note("embeddings", decision="deny", status=403, reason="secret_found")
    check(embed("remove", f"I am {ADDRESS}!").data[0].embedding, "no embedding")
    steps.note(
        "embeddings",
        received='"I am !"',
        redactions=[redaction("remove", "request.text")],
    )


def main(base_url):
    client = openai.OpenAI(base_url=base_url, api_key="sk-test", max_retries=0)
    steps = Steps()
    for dialect in (Chat, Responses, Completions):
        rules(dialect(client), steps)
    embeddings(client, steps)
    steps.report()


if __name__ == "__main__":
    main(sys.argv[1])
