"""Runs a function of a bench module in a process of its own, so that memory and start-up are its alone."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from typing import Any


def call(module: str, function: str, *arguments: Any, timeout_s: float = 600) -> Any:
    """module.function(*arguments) in a new process -> what it returned; everything passes as JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "tools.bench.fresh", module, function, json.dumps(arguments)],
        stdout=subprocess.PIPE,
        timeout=timeout_s,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    found = getattr(importlib.import_module(sys.argv[1]), sys.argv[2])
    print(json.dumps(found(*json.loads(sys.argv[3]))))
