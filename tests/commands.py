"""``textgym`` as a shell would start it, but many commands in one fresh process.

Most of a command's seconds go into importing torch and transformers, which one process does once.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from subprocess import CompletedProcess

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "COLUMNS": "120",
    "NO_COLOR": "1",
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
}
_CALLS = """
import contextlib, io, json, sys, traceback

def call(arguments):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            sys.argv = ["textgym", *arguments]
            from textgym.cli.main import main
            code = main()
        except SystemExit as left:
            code = left.code
        except BaseException:
            traceback.print_exc()
            code = 1
    if isinstance(code, str):  # the interpreter prints it, and gives the shell a 1
        code = err.write(code + "\\n") and 1
    return {"returncode": code or 0, "stdout": out.getvalue(), "stderr": err.getvalue()}

results = [call(arguments) for arguments in json.load(sys.stdin)]
print(json.dumps(results))
"""


def run_commands(*commands: tuple[str, ...]) -> list[CompletedProcess[str]]:
    """Runs ``textgym`` with each of these arguments, in this order.

    Nothing may be written past Python, as a library in C would, and a ``UserWarning`` is an error.

    Returns:
        Exit status, stdout and stderr of each.
    """
    process = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", _CALLS],
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
    )
    assert process.returncode == 0, process.stderr
    assert process.stderr == ""
    results = json.loads(process.stdout)
    return [CompletedProcess(args, **each) for args, each in zip(commands, results, strict=True)]
