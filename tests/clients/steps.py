"""What each script tells the test: the exchanges it made, in order.

A script uses its client library as its documentation shows, checks what a user
would see, and prints one JSON list. The test compares that with the evidence.
"""

import json
import sys


class Steps:
    """The exchanges made so far: operation, decision, status, stream."""

    def __init__(self):
        self._made = []

    def note(self, operation, decision="allow", status=200, stream=False):
        self._made.append(
            {"operation": operation, "decision": decision, "status": status, "stream": stream}
        )

    def report(self):
        json.dump(self._made, sys.stdout)
        print()


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
