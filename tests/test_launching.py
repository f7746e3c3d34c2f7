"""What LEARNERS.md says of several devices: its commands are understood by their launchers."""

import os
import re
import shlex
import subprocess
from pathlib import Path

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
    if not line.startswith("textgym")
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
