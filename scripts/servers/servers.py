#!/usr/bin/env python3
"""Starts and ends real servers for tests and demos: Kafka, S3, PostgreSQL, on free ports of this machine.

    servers.py up FOLDER [--kafka N [--secured]] [--s3] [--postgres]  start them; data, logs and servers.json in FOLDER
    servers.py down FOLDER                                          end them; `up FOLDER` starts them again as they were
    servers.py stop FOLDER kafka:1|kafka|s3|postgres… [--kill]      end some; --kill: as a crash would
    servers.py start FOLDER kafka:1|kafka|s3|postgres…              start them again on their old ports
    servers.py run [--kafka N] [--s3] [--postgres] -- COMMAND…      start them in a new folder, run COMMAND, remove it all

N is 1 or 3. --secured: also a listener with TLS and passwords, and rights that must be granted (`secured_port` and
`passwords` in servers.json, `ca.pem` in the broker's folder).
`run` sets SEGNO_TEST_KAFKA, SEGNO_TEST_S3, SEGNO_TEST_S3_BUCKET, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
SEGNO_TEST_POSTGRES and SEGNO_TEST_SERVERS (the folder, for `stop` and `start`), and exits as COMMAND does.

Owns the command line, and that nothing is left behind. How one process lives and dies stands in process.py.
"""

import sys

sys.dont_write_bytecode = True

import argparse
import concurrent.futures
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time

import kafka
import postgres
import s3
from process import Failed, Folder

# Time for COMMAND to end after it was told to.
COMMAND_S_MAX = 10
# A killed server's own children may still write for a moment while its folder is removed.
REMOVAL_S_MAX = 10


class Interrupted(BaseException):
    """SIGINT, SIGTERM or SIGHUP came."""

    def __init__(self, number, _frame=None):
        self.exit_code = 128 + number


def interrupt(number, frame):
    raise Interrupted(number, frame)


def main():
    # What stands behind `--` is COMMAND's.
    words = sys.argv[1:]
    split = words.index("--") if "--" in words else len(words)
    parser = argparse.ArgumentParser(usage="\n" + __doc__.split("\n\n")[1])
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("up", "run", "down", "stop", "start"):
        options = verbs.add_parser(verb)
        if verb != "run":
            options.add_argument("folder")
        if verb in ("up", "run"):
            options.add_argument("--kafka", type=int, choices=(1, 3), default=0)
            options.add_argument("--secured", action="store_true")
            options.add_argument("--s3", action="store_true")
            options.add_argument("--postgres", action="store_true")
        if verb in ("stop", "start"):
            options.add_argument("names", nargs="+")
        if verb == "stop":
            options.add_argument("--kill", action="store_true")
    asked = parser.parse_args(words[:split])
    command = words[split + 1:]
    if (asked.verb == "run") != bool(command):
        parser.error("`run`, and only `run`, takes a command behind --")
    if asked.verb == "run" and not (asked.kafka or asked.s3 or asked.postgres):
        parser.error("`run` needs --kafka, --s3 or --postgres")

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
    try:
        if asked.verb == "run":
            return run(asked, command)
        folder = Folder(asked.folder)
        if asked.verb == "up":
            folder.path.mkdir(parents=True, exist_ok=True)
            up(folder, asked)
            tell(folder)
        elif asked.verb == "down":
            each(servers(folder), lambda server: server.stop())
        elif asked.verb == "stop":
            each(servers(folder, asked.names), lambda server: server.stop(asked.kill))
        else:
            start(servers(folder, asked.names))
        return 0
    except Failed as failure:
        print(f"servers: {failure}", file=sys.stderr)
        return 1
    except Interrupted as interrupted:
        return interrupted.exit_code


def servers(folder, names=None):
    """The folder's servers, or those that the names mean; `kafka` means all brokers."""
    with folder.state() as state:
        found = [kafka.Broker(folder, state, b["id"]) for b in state.get("kafka", {"brokers": []})["brokers"]]
        found += [kind(folder, state) for kind in (s3.S3, postgres.Postgres) if kind.name in state]
    if names is None:
        return found
    for name in names:
        if not any(name in (server.name, server.name.split(":")[0]) for server in found):
            raise Failed(f"{folder.path} has no server {name}; it has {', '.join(s.name for s in found) or 'none'}")
    return [server for server in found if {server.name, server.name.split(":")[0]} & set(names)]


def up(folder, asked):
    """Starts what is asked for beside what the folder already has. On failure, what it started does not stay."""
    with folder.state() as state:
        new_brokers = asked.kafka if "kafka" not in state else 0
        new_s3 = asked.s3 and "s3" not in state
        new_postgres = asked.postgres and "postgres" not in state
        ports = iter(folder.free_ports(len(kafka.PORT_NAMES) * new_brokers + new_s3 + new_postgres))
        if new_brokers:
            state["kafka"] = kafka.plan(ports, new_brokers, asked.secured)
        if new_s3:
            state["s3"] = s3.plan(ports)
        if new_postgres:
            state["postgres"] = postgres.plan(ports)
        if asked.kafka and len(state["kafka"]["brokers"]) != asked.kafka:
            raise Failed(f"{folder.path} has a cluster of another size than {asked.kafka}: choose a new folder")
        if not state:
            raise Failed("no server is asked for: --kafka 1, --kafka 3, --s3, --postgres")
    wanted = servers(folder)
    brokers = [server for server in wanted if isinstance(server, kafka.Broker)]
    for broker in brokers:
        broker.peers = {other.number for other in brokers}
    start([server for server in wanted if not server.alive()])


def start(wanted):
    cancelled = threading.Event()
    try:
        each(wanted, lambda server: server.start(cancelled), cancelled)
    except BaseException:
        each(wanted, lambda server: server.stop(kill=True))
        raise


def each(wanted, act, cancelled=threading.Event()):
    """Does the same to all servers at once. The first failure cancels the rest, and is raised when all have ended."""
    with concurrent.futures.ThreadPoolExecutor(max(len(wanted), 1)) as pool:
        try:
            for done in concurrent.futures.as_completed([pool.submit(act, server) for server in wanted]):
                done.result()
        except BaseException:
            cancelled.set()
            raise


def run(asked, command):
    path = tempfile.mkdtemp(prefix="segno-servers-")
    os.chmod(path, 0o755)   # PostgreSQL's user must be able to enter.
    folder = Folder(path)
    pipe, guard = guarded(folder)
    try:
        up(folder, asked)
        return with_servers(folder, command)
    except Failed as failure:
        if str(folder.path) in str(failure):    # It names a log: keep that.
            os.write(pipe, b"keep")
        raise
    finally:
        os.close(pipe)
        os.waitpid(guard, 0)


def guarded(folder):
    """Forks the process that ends the servers and removes the folder when ours is gone, however it went: then the pipe
    closes. It is in a session of its own, so that neither Ctrl-C nor a kill of the whole process group reaches it."""
    read, write = os.pipe()
    child = os.fork()
    if child:
        os.close(read)
        return write, child
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        os.close(write)
        keep = os.read(read, 4)
        while os.read(read, 4):
            pass
        each(servers(folder), lambda server: server.stop(kill=True))
        deadline = time.monotonic() + REMOVAL_S_MAX
        while not keep and folder.path.exists():
            shutil.rmtree(folder.path, ignore_errors=time.monotonic() < deadline)
    except BaseException as error:
        print(f"servers: {folder.path} was not cleaned up: {error}", file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def with_servers(folder, command):
    """Runs the command and gives its exit code, 128 + N for signal N. An interrupted one is told to end, then made to."""
    try:
        process = subprocess.Popen(command, env={**os.environ, **variables(folder)})
    except OSError as error:
        print(f"servers: {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    try:
        code = process.wait()
        return 128 - code if code < 0 else code
    except Interrupted:
        process.terminate()
        try:
            process.wait(COMMAND_S_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        raise


def variables(folder):
    """The environment that tests read."""
    with folder.state() as state:
        found = {"SEGNO_TEST_SERVERS": str(folder.path)}
        if "kafka" in state:
            found["SEGNO_TEST_KAFKA"] = state["kafka"]["bootstrap"]
        if "s3" in state:
            found["SEGNO_TEST_S3"] = state["s3"]["endpoint"]
            found["SEGNO_TEST_S3_BUCKET"] = state["s3"]["bucket"]
            found["AWS_ACCESS_KEY_ID"] = state["s3"]["access_key"]
            found["AWS_SECRET_ACCESS_KEY"] = state["s3"]["secret_key"]
        if "postgres" in state:
            found["SEGNO_TEST_POSTGRES"] = state["postgres"]["url"]
        return found


def tell(folder):
    with folder.state() as state:
        if "kafka" in state:
            count = len(state["kafka"]["brokers"])
            print(f"Kafka       {state['kafka']['bootstrap']}" + (f" ({count} brokers)" if count > 1 else ""))
        if "s3" in state:
            print("S3          {endpoint} bucket {bucket}, key {access_key}, secret {secret_key}".format(**state["s3"]))
        if "postgres" in state:
            print(f"PostgreSQL  {state['postgres']['url']}")
    print(f"logs        {folder.path / 'log'}")
    print(f"to end      {sys.argv[0]} down {folder.path}")
    print("for tests:")
    for name, value in variables(folder).items():
        print(f"    export {name}={value}")


if __name__ == "__main__":
    sys.exit(main())
