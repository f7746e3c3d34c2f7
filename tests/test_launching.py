"""What LEARNERS.md says of several devices: its commands are understood, and those of a CPU run."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "LEARNERS.md").read_text(encoding="utf-8")
SECTION = PAGE.split("## Several devices")[1].split("\n## ")[0]
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", SECTION, re.M | re.S)
SCRIPT = next(block for block in BLOCKS if block.startswith("#!"))
COMMANDS = [
    shlex.split(line)
    for block in BLOCKS
    if block is not SCRIPT
    for line in block.replace("\\\n", " ").splitlines()
]
ON_CPUS = next(command for command in COMMANDS if "cpu" in command)
SLURM = {
    "SLURM_JOB_NODELIST": "node[0-1]",
    "SLURM_NNODES": "2",
    "SLURM_JOB_ID": "77",
}
SAYS_ITS_ARGUMENTS = """#!/bin/sh
for each in "$@"; do printf '%s\\n' "$each"; done
"""
PATIENCE = 100


def _understood(command):
    """What a launcher makes of a command: how many machines and processes, and what each runs."""
    program, *arguments = command
    if program == "torchrun":
        said = get_args_parser().parse_args(arguments)
        machines = int(said.nnodes.partition(":")[0])
        processes = machines * int(said.nproc_per_node)
        started = [said.training_script, *said.training_script_args]
    else:
        assert (program, arguments.pop(0)) == ("accelerate", "launch")
        said = launch_command_parser().parse_args(arguments)
        machines, processes = said.num_machines, said.num_processes
        started = [said.training_script, *said.training_script_args]
    assert said.module
    return said, machines, processes, started


def test_there_is_a_command_of_each_kind():
    kinds = [(command[0], *_understood(command)[1:3]) for command in COMMANDS]
    one = [("torchrun", 1, 8), ("accelerate", 1, 8), ("torchrun", 1, 2)]
    assert kinds == [*one, ("torchrun", 2, 16), ("accelerate", 2, 16)]


def test_all_launchers_start_the_same():
    """``textgym`` by itself is tested with the other commands of the pages."""
    started = {tuple(_understood(command)[3]) for command in COMMANDS if command is not ON_CPUS}
    (arguments,) = started
    assert arguments[:3] == ("textgym", "train", "ppo")
    machines = [_understood(command)[0] for command in COMMANDS[-2:]]
    there = machines[1].main_process_ip, str(machines[1].main_process_port)
    assert machines[0].rdzv_endpoint == ":".join(there)


def test_the_script_for_slurm_starts_one_launcher_a_machine_for_all_of_its_devices(tmp_path):
    """Run by a shell in which ``scontrol`` and ``srun`` say what they are asked."""
    for name, text in (
        ("scontrol", "#!/bin/sh\n[ \"$*\" = 'show hostnames node[0-1]' ] && printf 'a1\\na2\\n'\n"),
        ("srun", SAYS_ITS_ARGUMENTS),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    script = tmp_path / "job.sh"
    script.write_text(SCRIPT)
    result = subprocess.run(
        ["/bin/bash", script],
        env=SLURM | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    said, machines, processes, started = _understood(result.stdout.splitlines())
    assert (machines, processes, said.rdzv_id) == (2, 16, "77")
    assert (said.rdzv_backend, said.rdzv_endpoint) == ("c10d", "a1:29500")
    assert started == _understood(COMMANDS[0])[3]
    asked = dict(
        each.split("=")
        for each in re.findall(r"--(\S+)", SCRIPT.split("#SBATCH")[1].split("\n")[0])
    )
    assert (asked["nodes"], asked["ntasks-per-node"]) == ("2", "1")
    assert asked["gpus-per-node"] == said.nproc_per_node


def _launch(folder, *more, **options):
    """The page's command for two processes of a CPU, in a folder."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.Popen(
        [Path(sys.executable).with_name("torchrun"), *ON_CPUS[1:], *more],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        **options,
    )


def _iterations(folder):
    """Those that the log has, which the main process alone writes."""
    log = folder / "runs" / "two" / "logs" / "metrics.csv"
    lines = log.read_text().splitlines() if log.is_file() else []
    return max(0, len(lines) - 1)


@pytest.mark.slow
def test_two_processes_of_a_cpu_are_ended_and_go_on_by_the_same_command(tmp_path):
    """SIGTERM, as a cluster sends it to whoever launched them, some iterations after the first."""
    few = ("--ppo.iterations", "500", "--save-every", "1")
    launched = _launch(tmp_path, *few)
    try:
        end = time.monotonic() + PATIENCE
        while _iterations(tmp_path) < 3 and launched.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        launched.send_signal(signal.SIGTERM)
        said = launched.communicate(timeout=PATIENCE)[0]
    finally:
        if launched.poll() is None:
            os.killpg(launched.pid, signal.SIGKILL)
    made = _iterations(tmp_path)
    assert made >= 3, said
    last = max((tmp_path / "runs" / "two" / "checkpoints").iterdir())
    kept = json.loads((last / "state.json").read_text())["iteration"]
    assert 1 <= kept <= made
    more = ("--ppo.iterations", str(kept + 1), "--save-every", "1")
    again = _launch(tmp_path, *more)
    try:
        said = again.communicate(timeout=PATIENCE)[0]
    finally:
        if again.poll() is None:
            os.killpg(again.pid, signal.SIGKILL)
    assert again.returncode == 0, said
    assert _iterations(tmp_path) == kept + 1
    assert (tmp_path / "runs" / "two" / "policy" / "config.json").is_file()
