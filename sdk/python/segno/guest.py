"""The plugin's side of the component: three exports, two imports.

Owns: what stands between the world of wit/transform.wit and an `Engine`, and what of Python a plugin must not reach.
Does not own: what the messages mean (`engine`). Nothing else imports this module: it exists in a component only.

Invariants: nothing that a plugin can call gives it what a replay could not give it again: clocks and unseeded randomness
raise an error that says what to use instead. An exception is logged with its place before the call traps. What is printed is logged.
"""

import _strptime  # noqa: F401: what `datetime.strptime` imports when it is first called
import builtins
import codecs
import datetime
import decimal
import gc
import io
import os
import random
import sys
import time
import warnings
from importlib.machinery import BuiltinImporter, FrozenImporter

import segno
from componentize_py_types import Err

from . import observe
from .engine import Engine, Refused
from .transform import Plan

#: Where the author's files lie while the component runs.
_OWN = "/0/"
_SDK = "/0/segno/"


class NotDeterministic(Exception):
    """Segno runs a plugin again to prove and to recover: what differs from run to run is not there."""


def _refuse(what: str, instead: str):
    def refused(*_, **__):
        raise NotDeterministic(f"{what} is not there for a plugin, since a replay would differ: {instead}")

    return refused


_CLOCK = "take the record's event time (EventTime)"
_ROWS = "hand rows in as a side table of the step"
_CHANCE = "use random.Random(seed) with a seed from the record, such as its key"


def _seeded(cls):
    class Random(cls):
        """`random.Random`, which wants a seed."""

        def __init__(self, *seed):
            if not seed or seed[0] is None:
                _refuse("random.Random() without a seed", _CHANCE)()
            super().__init__(*seed)

        def seed(self, a=None, version=2):
            if a is None:
                _refuse("random.seed() without a seed", _CHANCE)()
            super().seed(a, version)

    return Random


class SystemRandom(random.Random):
    """Modules make one when they are imported; it refuses to give anything."""

    random = getrandbits = seed = _refuse("random.SystemRandom", _CHANCE)

    def __init__(self):
        pass


class _Lines:
    """A stream whose lines go to the log; while the component is made, to whoever makes it."""

    encoding, errors, closed = "utf-8", "strict", False

    def __init__(self, level: int, maker):
        self._level, self._rest, self._maker = level, "", maker

    def write(self, text: str) -> int:
        if self._maker:
            return self._maker.write(text)
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            observe.log(self._level, line)
        return len(text)

    def flush(self) -> None:
        if self._maker:
            self._maker.flush()

    def seal(self) -> None:
        self._maker = None

    def isatty(self) -> bool:
        return False

    def end(self) -> None:
        """What has no end of its line is a line, too."""
        if self._rest:
            self.write("\n")


_OUT, _ERR = _Lines(observe.INFO, sys.stdout), _Lines(observe.WARN, sys.stderr)


def _no_clock(name: str):
    refused = _refuse(f"time.{name}()", _CLOCK)

    def clock(*_, **__):
        # It asks when it is imported and for each line, and needs none: the host knows when a line was written.
        return 0 if sys._getframe(1).f_globals.get("__name__") == "logging" else refused()

    return clock


def restrict() -> None:
    """Takes from Python what differs from run to run. Before the plugin is imported, so that it cannot keep a reference."""
    for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "process_time", "process_time_ns",
                 "thread_time", "thread_time_ns", "clock_gettime", "clock_gettime_ns", "localtime", "gmtime", "ctime", "asctime"):  # fmt: skip
        if hasattr(time, name):
            setattr(time, name, _refuse(f"time.{name}()", _CLOCK))
    for name in ("time", "time_ns"):
        setattr(time, name, _no_clock(name))
    time.sleep = _refuse("time.sleep()", "set a timer (self.timers.set)")
    strftime = time.strftime
    time.strftime = lambda form, *at: strftime(form, *at) if at else _refuse("time.strftime() without a time", _CLOCK)()
    # When objects that hold each other are collected follows from how many there are, also of other records. What they take is
    # given back with the instance, at the end of an epoch.
    gc.disable()
    for name in ("collect", "enable"):
        setattr(gc, name, _refuse(f"gc.{name}()", "an instance lives as long as an epoch"))
    sys.stdout, sys.stderr = _OUT, _ERR

    class Date(datetime.date):
        today = classmethod(_refuse("date.today()", _CLOCK))

    class DateTime(datetime.datetime):
        now = classmethod(_refuse("datetime.now()", _CLOCK))
        utcnow = classmethod(_refuse("datetime.utcnow()", _CLOCK))
        today = classmethod(_refuse("datetime.today()", _CLOCK))

    for original, replaced in ((datetime.date, Date), (datetime.datetime, DateTime)):
        replaced.__name__ = replaced.__qualname__ = original.__name__
        replaced.__module__ = "datetime"
    datetime.date, datetime.datetime = Date, DateTime

    random.Random = _seeded(random.Random)
    random.SystemRandom = SystemRandom
    for name in dir(random):
        if callable(getattr(random, name)) and name[0].islower():
            setattr(random, name, _refuse(f"random.{name}()", _CHANCE))
    os.urandom = _refuse("os.urandom()", _CHANCE)
    if hasattr(os, "getrandom"):
        os.getrandom = os.urandom
    builtins.open = io.open = _refuse("a file", _ROWS)
    os.environ.clear()
    builtins.input = _refuse("input()", "take values from the configuration of the step")
    # Rounding never depends on what other code did to the context; 38 digits and their products are exact.
    decimal.DefaultContext.prec = 76
    decimal.setcontext(decimal.Context(prec=76))


def _no_codec(name: str):
    raise LookupError(f"the codec {name} is not there for a record: `import encodings.{name}` at the top of the file, which makes it a part of the component")


#: They would end the call without a word.
_OF_THE_SYSTEM = ("abort", "_exit", "access", "chdir", "chmod", "getcwd", "kill", "link", "listdir", "lstat", "mkdir", "open", "readlink",
                  "remove", "rename", "replace", "rmdir", "scandir", "stat", "symlink", "unlink", "utime")  # fmt: skip


#: Of modules that the plugin imported: module, class, name, what it is, what to do.
_OUTSIDE = [
    ("socket", "socket", "__init__", "a socket", _ROWS),
    *(("socket", None, name, f"socket.{name}()", _ROWS) for name in ("create_connection", "create_server", "getaddrinfo", "gethostbyname", "gethostname")),
    ("threading", "Thread", "start", "a thread", "do its work at once"),
]


def _seal() -> None:
    """Takes what is needed while the component is made, and by no record."""
    # Not before: what is printed while it is made, such as a mistake of the module, is for who makes it.
    _OUT.seal()
    _ERR.seal()
    sys.meta_path[:] = [BuiltinImporter, FrozenImporter, _NoFiles]
    codecs.register(_no_codec)
    for name in _OF_THE_SYSTEM:
        if hasattr(os, name):
            setattr(os, name, _refuse(f"os.{name}()", _ROWS))
    io.FileIO = io.open_code = builtins.open
    for module, of, name, what, instead in _OUTSIDE:
        if module in sys.modules:
            holder = getattr(sys.modules[module], of) if of else sys.modules[module]
            setattr(holder, name, _refuse(what, instead))
    warnings.showwarning = lambda message, category, file, line, *_: observe.log(observe.WARN, f"{file}:{line}: {category.__name__}: {message}")


class _NoFiles:
    """Finds no module: those that are imported while the component is made are all there are."""

    @staticmethod
    def find_spec(name: str, *_):
        if name in ("socket", "ssl"):
            _refuse("a network", _ROWS)()
        raise ImportError(f"module {name} is not there for a record: import it at the top of the file, which makes it a part of the component")


def _place(error: BaseException, entry) -> str:
    """The innermost line of the author's own files; where there is none, that of the method that ran."""
    # Not by the module traceback: it looks for the text of lines in files.
    places, at = [], error.__traceback__
    while at is not None:
        places.append((at.tb_frame.f_code.co_filename, at.tb_lineno))
        at = at.tb_next
    own = [place for place in places if place[0].startswith(_OWN) and not place[0].startswith(_SDK)]
    code = getattr(entry, "__code__", None)
    if not own and code:
        own = [(code.co_filename, code.co_firstlineno)]
    file, line = own[-1] if own else places[-1]
    return f"{file.removeprefix(_OWN)}:{line}"


def _log_failure(error: BaseException, entry=None) -> None:
    try:
        text = str(error)
    except Exception:
        text = "it has no text"
    observe.log(observe.ERROR, f"panicked at {_place(error, entry)}:\n{type(error).__name__}: {text}")


def world(base, imports, name: str, version: str):
    """The class that a component exports: `base` is the generated one, `imports` the generated functions of `observe`."""
    observe.send_log = imports.log
    observe.send_count = imports.count
    if len(segno._plugins) != 1:
        raise TypeError(f"a project has one class with @plugin, and this one has {len(segno._plugins)}")
    engine = Engine(Plan(segno._plugins[0], name, version))
    described = engine.describe()

    class WitWorld(base):
        def describe(self):
            return described

        def init(self, config):
            _seal()
            try:
                engine.init(config)
            except Refused as error:
                raise Err(str(error)) from None
            except BaseException as error:
                _log_failure(error)
                raise RuntimeError from error

        def process(self, batch):
            try:
                return engine.process(batch)
            except Refused as error:
                raise Err(str(error)) from None
            except BaseException as error:
                # Also `sys.exit()`, which would end the call without a word.
                _log_failure(error, engine.entry)
                raise RuntimeError from error
            finally:
                _OUT.end()
                _ERR.end()

    return WitWorld


# What a plugin imports by name must be what it finds restricted.
restrict()
