#!/usr/bin/env python3
"""Runs every suite, prints the time of each, and closes with the totals. `make test` sets the environment.

    scripts/test.py [SUITE…]              default: every suite; a suite is a crate's tests, or `documentation`
    scripts/test.py SUITE… -- ARGUMENT…   hands the arguments to the suite's binaries, and shows what they say

All crates are built by one command: with the features that the whole workspace wants, each dependency compiles once.
Built apart, crate by crate, the heavy ones would compile up to six times.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = ["cargo", "test", "--release", "--workspace"]
CARGO = shutil.which("cargo") or "cargo"
LIBRARIES = subprocess.run(["rustc", "--print", "target-libdir"], cwd=ROOT, capture_output=True, text=True).stdout.strip()
RESULT = re.compile(rb"^test result: .*?(\d+) passed; (\d+) failed", re.MULTILINE)
FAILED = re.compile(r"^test (.+) \.\.\. FAILED$", re.MULTILINE)
# What needs other crates stands last, so that a mistake shows where it was made.
ORDER = ["segno-wire", "segno-sdk", "segno-core", "segno-input", "segno-plugin", "segno-proxy", "segno-durable", "segno-kafka",
         "segno-postgres", "segno", "segno-checker", "segno-simulation",
         "segno-faults", "segno-languages"]
# Tests at a time, where most of their time is waiting: for brokers that start, sessions that end, elections.
AT_A_TIME = {"segno-kafka": 4}
# Lines of a failed suite that are shown: its end names the failures.
SHOWN = 150
# Lines that the end of the output repeats for each failed test, from its panic on.
TOLD = 12


def build():
    """Compiles all test binaries: (crate, folder of the crate, binary)."""
    done = subprocess.run(BUILD + ["--no-run", "--quiet", "--message-format=json-render-diagnostics"],
                          cwd=ROOT, stdout=subprocess.PIPE)
    if done.returncode:
        print("the tests do not compile\n0 passed, 1 failed")
        sys.exit(1)
    binaries = []
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            folder = os.path.dirname(message["manifest_path"])
            with open(message["manifest_path"]) as manifest:
                crate = re.search(r'^name = "(.*)"', manifest.read(), re.MULTILINE).group(1)
            binaries.append((crate, folder, message["executable"]))
    rank = {crate: number for number, crate in enumerate(ORDER)}
    # Plugins and other crates that are not listed come after the SDK, by name.
    return sorted(binaries, key=lambda b: (rank.get(b[0], 1.5), b))


def suite(name, commands):
    """Runs commands one after the other; gives (passed, failed, what failed)."""
    started, passed, failed, said = time.time(), 0, 0, b""
    for command, folder in commands:
        # As cargo sets it for tests: macros of a compiler plugin need the toolchain's own libraries.
        libraries = os.pathsep.join(filter(None, [LIBRARIES, os.environ.get("LD_LIBRARY_PATH")]))
        env = dict(os.environ, CARGO=CARGO, CARGO_MANIFEST_DIR=folder, LD_LIBRARY_PATH=libraries)
        done = subprocess.run(command, cwd=folder, env=env, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        counts = RESULT.findall(done.stdout)
        passed += sum(int(count) for count, _ in counts)
        wrong = sum(int(count) for _, count in counts)
        # A binary that did not get as far as a result failed, whatever it counted.
        failed += max(wrong, 1 if done.returncode or not counts else 0)
        said += done.stdout
    print(f"{name:16} {passed:5} passed {failed:4} failed {time.time() - started:7.1f} s", flush=True)
    said = said.decode(errors="replace")
    lines = said.splitlines()
    if failed:
        shown = [line for line in lines if not line.endswith("... ok")]
        print("\n".join("    " + line for line in shown[-SHOWN:]), flush=True)
    else:
        # What a suite wants to be seen: seeds, counts.
        for line in lines:
            if line.startswith("## "):
                print("    " + line[3:], flush=True)
    return passed, failed, failures(name, said) if failed else ""


def failures(name, said):
    """What a failed suite says of each failed test: for the end of the output, which is often all that is kept."""
    told = []
    for test in FAILED.findall(said) or ["(a binary that ended without a result)"]:
        _, _, of_it = said.partition(f"---- {test} stdout ----\n")
        of_it = re.split("\n---- |\nfailures:\n", of_it)[0] if of_it else said
        panics = [line for line in of_it.partition("stack backtrace:")[0].splitlines() if line.strip()]
        starts = [at for at, line in enumerate(panics) if " panicked at " in line]
        told.append("\n".join([f"FAILED {name}: {test}"]
                              + ["    " + line[:400] for line in panics[(starts or [-TOLD])[-1]:][:TOLD]]))
    return "\n".join(told)


def main():
    started = time.time()
    suites = {}
    for crate, folder, binary in build():
        threads = [f"--test-threads={AT_A_TIME[crate]}"] if crate in AT_A_TIME else []
        suites.setdefault(crate, []).append(([binary, "--show-output", *threads], folder))
    print(f"built in {time.time() - started:.0f} s", flush=True)
    suites["documentation"] = [(BUILD + ["--quiet", "--doc"], ROOT)]
    arguments = sys.argv[1:]
    handed = arguments[arguments.index("--") + 1:] if "--" in arguments else None
    chosen = arguments[:arguments.index("--")] if "--" in arguments else arguments
    chosen = chosen or list(suites)
    unknown = [name for name in chosen if name not in suites]
    if unknown:
        sys.exit(f"no suite {', '.join(unknown)}; there are {', '.join(suites)}")
    if handed is not None:
        codes = [subprocess.run([command[0], *handed], cwd=folder).returncode
                 for name in chosen for command, folder in suites[name]]
        sys.exit(1 if any(codes) else 0)
    totals = [suite(name, suites[name]) for name in chosen]
    print(f"all suites: {time.time() - started:.0f} s")
    passed, failed = (sum(column) for column in list(zip(*totals))[:2])
    for _, _, told in totals:
        if told:
            print(told)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
