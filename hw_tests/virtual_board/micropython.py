"""Layer: runs a script on real MicroPython, from the host's folders, and returns what it printed."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from hw_tests.virtual_board.node import HERE, check_packages, find_node


def run(
    script: str | os.PathLike[str],
    sys_path: Sequence[str | os.PathLike[str]] = (),
    args: Sequence[str] = (),
    timeout_s: float = 60.0,
) -> tuple[int, str]:
    """Exit code and combined output of a .py file in MicroPython with `sys_path` folders importable.

    GATEPOST_MICROPYTHON names a native interpreter to use instead of the VM in Node. Raises TimeoutError.
    """
    path = Path(script).resolve()
    folders = [str(Path(folder).resolve()) for folder in sys_path]
    env = dict(os.environ)
    native = env.get("GATEPOST_MICROPYTHON")
    if native:
        env["MICROPYPATH"] = ":".join([*folders, ".frozen"])
        command = [native, str(path), *args]
    else:
        check_packages()
        job = {"script": str(path), "path": folders, "args": list(args)}
        command = [find_node(), str(HERE / "run.mjs"), json.dumps(job)]
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=timeout_s, env=env, check=False
        )
    except subprocess.TimeoutExpired as error:
        so_far = (error.stdout or b"").decode(errors="replace")
        raise TimeoutError(f"{path.name} ran longer than {timeout_s} s; output so far:\n{so_far}") from error
    return done.returncode, done.stdout.decode(errors="replace")
