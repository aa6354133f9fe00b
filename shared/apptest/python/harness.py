"""Runs scenarios against a relay and reports each on one line of JSON.

The plan (RELAY_SDK_PLAN names its file) says where the relay is, which keys there
are and which models show which fault.
"""

import json
import os
import sys
import threading
import time
import traceback

with open(os.environ["RELAY_SDK_PLAN"]) as file:
    plan = json.load(file)

URL = plan["url"]
KEYS = plan["keys"]
MODELS = plan["models"]

_scenarios = []
_report = threading.Lock()


def scenario(name):
    """Registers a scenario under its name."""

    def register(function):
        _scenarios.append((name, function))
        return function

    return register


def equal(got, want, what="value"):
    if got != want:
        raise AssertionError(f"{what}: got {got!r}, want {want!r}")


def check(ok, what):
    if not ok:
        raise AssertionError(what)


def raises(kind, function):
    """Calls function, which must raise exactly kind or one of its subclasses."""
    try:
        function()
    except kind as e:
        return e
    except Exception as e:
        raise AssertionError(f"raised {type(e).__name__}: {e}, want {kind.__name__}") from e
    raise AssertionError(f"raised nothing, want {kind.__name__}")


def _run(name, function):
    line = {"name": name, "ok": True}
    start = time.monotonic()
    try:
        function()
    except BaseException as e:  # one failed scenario leaves the others running
        at = traceback.extract_tb(e.__traceback__)
        mine = [f for f in at if os.path.dirname(f.filename) == os.path.dirname(os.path.abspath(__file__))]
        where = ", ".join(f"{os.path.basename(f.filename)}:{f.lineno}" for f in mine)
        line.update(ok=False, detail=f"{type(e).__name__}: {e} ({where})")
    line["ms"] = int((time.monotonic() - start) * 1000)
    with _report:
        print(json.dumps(line), flush=True)


def main(workers=4):
    todo = list(_scenarios)
    lock = threading.Lock()

    def work():
        while True:
            with lock:
                if not todo:
                    return
                name, function = todo.pop(0)
            _run(name, function)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    sys.stdout.flush()
