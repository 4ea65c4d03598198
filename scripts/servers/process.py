"""What all servers have in common: a folder's memory, free ports, a process's start, readiness and end.

Owns `servers.json`. Knows no server's settings: kafka.py, s3.py and postgres.py each describe one to `Server`.
"""

import contextlib
import fcntl
import json
import os
import pathlib
import random
import select
import signal
import socket
import subprocess
import threading
import time

# The folder that install.sh fills.
HOME = pathlib.Path(os.environ.get("SEGNO_CACHE") or "~/.cache/segno").expanduser() / "servers"
# A broker is up in 10 s; a machine that is compiling at the same time needs several times that.
START_S_MAX = 120
# A broker that hands over its partitions takes some seconds; one that cannot reach a quorum never ends by itself.
STOP_S_MAX = 20
POLL_S = 0.1
LOG_LINES_SHOWN = 15
# Below the ports that the system gives to outgoing connections: a stopped server's port must stay free.
PORTS = range(20000, 32000)


class Failed(Exception):
    """A server did not do as asked; the text tells a person why, and where to look."""


@contextlib.contextmanager
def remembered(file):
    """Reads a JSON file, and writes it if the caller changed it; one process and thread at a time."""
    with open(file.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = file.read_text() if file.exists() else "{}"
        state = json.loads(before)
        yield state
        after = json.dumps(state, indent=2) + "\n"
        if after != before:
            new = file.with_suffix(".new")
            new.write_text(after)
            new.rename(file)


class Folder:
    """A folder of servers: their data, their logs, and `servers.json`, which says where and under which ids they run."""

    def __init__(self, path):
        self.path = pathlib.Path(path).resolve()

    def state(self):
        if not self.path.is_dir():
            raise Failed(f"there is no folder {self.path}")
        return remembered(self.path / "servers.json")

    def free_ports(self, count):
        """Ports for this folder alone, for as long as it exists: those of its stopped servers stay its own."""
        HOME.mkdir(parents=True, exist_ok=True)
        own, new = str(self.path), not (self.path / "servers.json").exists()
        with remembered(HOME / "ports.json") as given:
            for port, folder in list(given.items()):
                if not os.path.exists(folder) or (folder == own and new):
                    del given[port]
            found = []
            while len(found) < count:
                port = random.choice(PORTS)
                with socket.socket() as probe, contextlib.suppress(OSError):
                    probe.bind(("127.0.0.1", port))
                    if str(port) not in given:
                        given[str(port)] = own
                        found.append(port)
            return found


class Server:
    """One process. A subclass says how it is prepared, called and asked whether it is ready."""

    name = ""                   # as people write it: kafka:1
    owner = None                # the user to run as when we are root
    gentle = signal.SIGTERM     # ends it in order
    crash = signal.SIGKILL      # ends it as a crash would

    def __init__(self, folder, state):
        self.folder = folder
        self.settings = self.entry(state)
        self.log = folder.path / "log" / (self.name.replace(":", "-") + ".log")

    def entry(self, state):
        """The part of the state that holds this server's pid."""
        raise NotImplementedError

    def prepare(self):
        """Makes the data folder if there is none yet."""
        raise NotImplementedError

    def command(self):
        """The command line. It names a file below the folder: that is how a pid is known to be ours still."""
        raise NotImplementedError

    def unready(self):
        """None when the server answers, else what is missing. An OSError counts as: not yet."""
        raise NotImplementedError

    def start(self, cancelled=threading.Event()):
        if self.alive():
            return
        self.log.parent.mkdir(exist_ok=True)
        self.prepare()
        if not cancelled.is_set():
            self.wait_until_ready(self.launch(self.command()), cancelled)

    def launch(self, command, **more):
        """Starts a process, and remembers it: from now on, `stop` finds it, in whatever process it is called."""
        with self.folder.state() as state, open(self.log, "ab") as log:
            try:
                process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", start_new_session=True,
                                           **{"stdin": subprocess.DEVNULL, **self.identity(), **more})
            except OSError as error:
                raise Failed(f"{self.name} cannot be started: {command[0]}: {error.strerror}: "
                             "run scripts/servers/install.sh") from error
            self.entry(state)["pid"] = self.settings["pid"] = process.pid
        return process

    def wait_until_ready(self, process, cancelled):
        deadline, missing = time.monotonic() + START_S_MAX, "no answer"
        while not cancelled.is_set():
            if process.poll() is not None:
                raise Failed(self.explain(f"ended with {process.returncode} instead of starting"))
            with contextlib.suppress(OSError):
                missing = self.unready()
                if missing is None:
                    return
            if time.monotonic() > deadline:
                raise Failed(self.explain(f"was not ready after {START_S_MAX} s: {missing}"))
            time.sleep(POLL_S)

    def stop(self, kill=False):
        """Ends the process and returns when it is gone, whoever is its parent."""
        if self.alive():
            self.send(self.crash if kill else self.gentle)
            if not self.gone_within(STOP_S_MAX):
                self.send(signal.SIGKILL)
                if not self.gone_within(STOP_S_MAX):
                    raise Failed(f"{self.name} (process {self.settings['pid']}) survives SIGKILL")
        with self.folder.state() as state:
            self.entry(state)["pid"] = self.settings["pid"] = None

    def send(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.settings["pid"], number)

    def gone_within(self, seconds):
        deadline = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def alive(self):
        """Whether the process, with all its threads, has not ended, and the pid is not another's that got it later."""
        pid = self.settings["pid"]
        if pid is None:
            return False
        try:
            process = os.pidfd_open(pid)
            try:
                ended = select.select([process], [], [], 0)[0]
            finally:
                os.close(process)
            words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        # For a moment while a program is loaded, and while it ends, it has no command line.
        return not ended and (not words or f"{self.folder.path}/".encode() in words)

    def identity(self):
        """Arguments of subprocess that give the process its user."""
        return dict(user=self.owner, group=self.owner, extra_groups=[]) if self.owner else {}

    def finish(self, command, said=b""):
        """Runs a preparing command to its end, with `said` as its input."""
        process = self.launch(command, stdin=subprocess.PIPE)
        process.communicate(said)
        if process.returncode:
            raise Failed(self.explain(f"could not be prepared: {command[0]} ended with {process.returncode}"))

    def explain(self, what):
        lines = self.log.read_text(errors="replace").splitlines()[-LOG_LINES_SHOWN:]
        return f"{self.name} {what}\nlast lines of {self.log}:\n" + "\n".join("    " + line[:300] for line in lines)
