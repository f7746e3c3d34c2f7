"""A PostgreSQL server of one's own, in a folder of its own, reached by a socket in that folder."""

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.programs import require, require_modules

_FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)


class Server:
    """A running server; ``url`` gives an empty place in it, another one at each call."""

    def __init__(self, folder, programs, user):
        self.folder, self._programs, self._user = folder, programs, user
        self._numbers = itertools.count()

    def start(self):
        settings = f"-c listen_addresses='' -k {self.folder} -c max_connections=200"
        self._run("pg_ctl", "start", "--wait", "-o", settings, "-l", f"{self.folder}/log")

    def stop(self, mode="fast"):
        self._run("pg_ctl", "stop", "--wait", "-m", mode)

    def kill(self):
        """Kills every process of it at once, as a power cut would."""
        parent = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        for process in (parent, *map(int, children)):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        while any(Path(f"/proc/{each}").exists() for each in (parent, *children)):
            time.sleep(0.01)

    def url(self):
        import psycopg

        schema = f"study_{next(self._numbers)}"
        with psycopg.connect(f"host={self.folder} user=tester dbname=postgres") as connection:
            connection.execute(f"CREATE SCHEMA {schema}")
        return self.url_of(schema)

    def url_of(self, schema):
        options = f"-csearch_path%3D{schema}"
        return f"postgresql://tester@/postgres?host={self.folder}&options={options}"

    def _run(self, program, *arguments):
        subprocess.run(
            [self._programs / program, "-D", self.folder / "data", *arguments],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            timeout=60,
            **self._user,
        )


def find_programs():
    """The folder of PostgreSQL's programs."""
    which = shutil.which("initdb")
    folders = [*_FOLDERS, *([Path(which).parent] if which else [])]
    found = next((each for each in folders if (each / "initdb").exists()), None)
    require_modules("psycopg", extra="postgres")
    return require(found, "apt-get install postgresql")


@contextmanager
def running_server():
    """Starts a server and removes it at the end; commits reach the disk, as by default."""
    programs = find_programs()
    user = {}
    if os.geteuid() == 0:  # the server refuses to run as root
        names = {entry.pw_name for entry in pwd.getpwall()}
        name = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
        user = {"user": name.pw_uid, "group": name.pw_gid, "extra_groups": []}
    folder = Path(tempfile.mkdtemp(prefix="textgym-postgres-"))
    try:
        if user:
            os.chown(folder, user["user"], user["group"])
        server = Server(folder, programs, user)
        server._run("initdb", "--username=tester", "--auth=trust", "--no-sync", "--encoding=UTF8")
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
