"""A PostgreSQL server: where its programs are, its first set-up, and whether it accepts connections.

Owns what stands below FOLDER/postgres. Uses nothing of a cluster that the system itself may run.
"""

import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess

from process import Failed, Server

# A unix socket's path has at most 107 bytes, its name included.
SOCKET_FOLDER_BYTES_MAX = 85


def plan(ports):
    """The part of the state for a new server."""
    port = next(ports)
    return {"url": f"postgres://segno:segno@127.0.0.1:{port}/segno", "port": port, "pid": None}


def programs():
    """The folder of the newest server's programs: Debian keeps them apart by version, others in the path."""
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    initdb = found[-1] if found else shutil.which("initdb")
    if not initdb:
        raise Failed("PostgreSQL is not installed: run scripts/servers/install.sh")
    return pathlib.Path(initdb).parent


def unprivileged():
    """PostgreSQL refuses root: the user to be instead, or None when we are not root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise Failed("PostgreSQL does not run as root, and there is no user postgres or nobody")


class Postgres(Server):
    name = "postgres"
    # SIGTERM would wait for the clients to leave; these are the fast and the immediate shutdown of pg_ctl.
    gentle = signal.SIGINT
    crash = signal.SIGQUIT

    def __init__(self, folder, state):
        super().__init__(folder, state)
        self.place = folder.path / "postgres"
        self.account = unprivileged()
        self.owner = self.account.pw_uid if self.account else None

    def identity(self):
        return dict(user=self.owner, group=self.account.pw_gid, extra_groups=[]) if self.account else {}

    def entry(self, state):
        return state["postgres"]

    def prepare(self):
        data, new = self.place / "data", self.place / "data.new"
        if data.exists():
            return
        self.place.mkdir(exist_ok=True)
        if self.account:
            os.chown(self.place, self.account.pw_uid, self.account.pw_gid)
        if subprocess.run(["test", "-w", str(self.place)], **self.identity()).returncode:
            raise Failed(f"PostgreSQL does not run as root but as {self.account.pw_name}, who cannot reach {self.place}: "
                         "choose a folder that all may enter, such as one below /tmp")
        shutil.rmtree(new, ignore_errors=True)
        password = self.place / "password"
        password.write_text("segno\n")
        password.chmod(0o644)
        # No sync of the empty cluster; the server itself keeps fsync on.
        self.finish([str(programs() / "initdb"), "-D", str(new), "-U", "segno", f"--pwfile={password}", "--encoding=UTF8",
                     "--locale=C", "--auth=scram-sha-256", "--no-instructions", "--no-sync"])
        self.finish([str(programs() / "postgres"), "--single", "-D", str(new), "postgres"], b"CREATE DATABASE segno;\n")
        new.rename(data)

    def command(self):
        sockets = str(self.place) if len(os.fsencode(self.place)) <= SOCKET_FOLDER_BYTES_MAX else ""
        return [str(programs() / "postgres"), "-D", str(self.place / "data"), "-p", str(self.settings["port"]),
                "-k", sockets, "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=32MB"]

    def unready(self):
        asked = subprocess.run([str(programs() / "pg_isready"), "-h", "127.0.0.1", "-p", str(self.settings["port"])],
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        return asked.stdout.decode().strip() if asked.returncode else None
