"""What a plugin tells its host while it works: log lines and counters.

Owns: both. Does not own: where they go: in the sandbox to the host (`guest`), natively to the test harness.

Invariant: nothing comes back, so that nothing can depend on it.
"""

TRACE, DEBUG, INFO, WARN, ERROR = range(5)

_counts: dict[str, int] = {}
_U64_MAX = (1 << 64) - 1


def _nowhere(*_):
    pass


#: Replaced by whoever runs the plugin.
send_log = _nowhere
send_count = _nowhere


def log(level: int, message: str) -> None:
    """Writes a line to the host's log, at once. `level` is one of `TRACE`, `DEBUG`, `INFO`, `WARN`, `ERROR`. The host limits
    the number and the length of lines."""
    if level not in range(5):
        raise TypeError(f"log(level, message): the level is one of TRACE, DEBUG, INFO, WARN, ERROR, not {level!r}")
    # Half of a pair of surrogates has no bytes.
    send_log(level, str(message).encode("utf-8", "backslashreplace").decode())


def debug(message: str) -> None:
    log(DEBUG, message)


def info(message: str) -> None:
    log(INFO, message)


def warn(message: str) -> None:
    log(WARN, message)


def count(name: str, delta: int = 1) -> None:
    """Adds to a counter of this step. Sent at the end of the batch; a batch that fails counts nothing."""
    if not isinstance(name, str) or not isinstance(delta, int) or delta < 0:
        raise TypeError(f"count(name, delta): a text and a whole number from 0 on, not {name!r} and {delta!r}")
    _counts[name] = min(_counts.get(name, 0) + delta, _U64_MAX)


def flush_counts() -> None:
    for name, total in _counts.items():
        send_count(name, total)
    _counts.clear()


def drop_counts() -> None:
    _counts.clear()
