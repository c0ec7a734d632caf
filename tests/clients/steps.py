"""What each script tells the test: the exchanges it made, in order.

A script uses its client library as its documentation shows, checks what a user
would see, and prints one JSON list. The test compares that with the evidence.
"""

import json
import sys

ADDRESS = "ada.lovelace@example.com"
TOLD = f"Write to {ADDRESS}."
MASKED = "*" * len(ADDRESS)
# Of the form of a key, and nobody's.
SECRET = "ghp_0123456789abcdefghijABCDEFGHIJ012345"


class Steps:
    """The exchanges made so far.

    Operation, decision, status and stream of each, and where a script tells them: what the
    provider must have `received` of it, the `reason` and the `redactions` of its record.
    """

    def __init__(self):
        self._made = []

    def note(self, operation, decision="allow", status=200, stream=False, **more):
        self._made.append(
            {
                "operation": operation,
                "decision": decision,
                "status": status,
                "stream": stream,
                **more,
            }
        )

    def report(self):
        json.dump(self._made, sys.stdout)
        print()


def redaction(method, place="request.messages[0].content"):
    """What a record says of one address that was taken out."""
    return {"place": place, "kind": "email", "method": method, "count": 1}


def raised(error, call):
    """The exception of class `error` that `call` must raise."""
    try:
        call()
    except error as exception:
        return exception
    raise AssertionError(f"{error.__name__} was not raised")


def check(condition, what):
    """Like assert, which -O would drop, and with words."""
    if not condition:
        raise AssertionError(what)
