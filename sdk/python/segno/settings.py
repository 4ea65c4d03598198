"""Reading a plugin's configuration into its author's class, with errors that say where and what to do.

Owns: types of settings, and the words of errors, which are the same in each of Segno's SDKs. Does not own: the pipeline file:
the host hands over the step's `config:` as JSON.

Invariant: an unknown field is an error, never ignored.
"""

import dataclasses
import enum
import json
import math
import types
import typing


class ConfigError(Exception):
    """What is wrong with a configuration, and where."""


_KINDS = {type(None): "null", bool: "a bool", str: "a string", list: "a list", dict: "an object"}
_INTEGERS = {"int": (-(1 << 63), (1 << 63) - 1)}


class _Number(str):
    """A number as it is written, so that nothing is rounded."""


def config(cls):
    """A configuration, or a part of one: a class whose fields are `bool`, `int`, `float`, `str`, an `Enum` of strings, a
    `list` or a `dict[str, ...]` of these, `T | None`, or another such class. Fields without a default must be given."""
    made = dataclasses.dataclass(slots=True)(cls)
    made.__segno_config__ = typing.get_type_hints(made, include_extras=True)
    return made


def read(cls, text: bytes):
    """The configuration of a plugin; raises `ConfigError`. `cls` is `None` for a plugin that has none."""
    try:
        found = json.loads(text.decode(), parse_int=_Number, parse_float=_Number, parse_constant=_refuse, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"config: not valid JSON: {error}") from None
    return _read_object(cls, found, "")


def _refuse(word):
    raise ValueError(f"{word} is no JSON")


def _once(pairs):
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name occurs twice")
    return found


def _error(place: str, what: str) -> ConfigError:
    return ConfigError(f"config.{place}: {what}" if place else f"config: {what}")


def _expected(place: str, what: str, found) -> ConfigError:
    shown = found if isinstance(found, _Number) else _KINDS[type(found)]
    return _error(place, f"{what} is expected, not {shown}")


def _within(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _read_object(cls, found, place: str):
    if not isinstance(found, dict):
        raise _expected(place, "an object", found)
    hints = cls.__segno_config__ if cls else {}
    known = [one.name for one in dataclasses.fields(cls)] if cls else []
    for name in found:
        if name not in known:
            near = nearest(name, known)
            if near:
                hint = f"; did you mean `{near}`?"
            else:
                hint = f"; known are {', '.join(known)}" if known else "; this plugin has no configuration"
            raise _error(_within(place, name), f"unknown field{hint}")
    if cls is None:
        return None
    values = {}
    for one in dataclasses.fields(cls):
        inside = _within(place, one.name)
        if one.name in found:
            values[one.name] = _read(hints[one.name], found[one.name], inside)
        elif one.default is not dataclasses.MISSING or one.default_factory is not dataclasses.MISSING:
            pass
        elif _optional(hints[one.name]):
            values[one.name] = None
        else:
            raise _error(inside, "is missing")
    return cls(**values)


def _optional(hint):
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _read(hint, found, place: str):
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return _integer(found, place, *_range(hint)) if arguments[0] is int else _read(arguments[0], found, place)
    if _optional(hint):
        inner = next(one for one in arguments if one is not type(None))
        return None if found is None else _read(inner, found, place)
    if hint is bool:
        if type(found) is not bool:
            raise _expected(place, "true or false", found)
        return found
    if hint is int:
        return _integer(found, place, *_INTEGERS["int"])
    if hint is float:
        if not isinstance(found, _Number):
            raise _expected(place, "a number", found)
        if not math.isfinite(float(found)):
            raise _error(place, f"{found} is too large for a number")
        return float(found)
    if hint is str:
        if type(found) is not str:
            raise _expected(place, "a string", found)
        return found
    if origin is list:
        if not isinstance(found, list):
            raise _expected(place, "a list", found)
        return [_read(arguments[0], item, f"{place}[{at}]") for at, item in enumerate(found)]
    if origin is dict:
        if not isinstance(found, dict):
            raise _expected(place, "an object", found)
        return {name: _read(arguments[1], item, _within(place, name)) for name, item in found.items()}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        if type(found) is not str:
            raise _expected(place, "a string", found)
        words = [one.value for one in hint]
        if found in words:
            return hint(found)
        near = nearest(found, words)
        raise _error(place, f"unknown value `{found}`; " + (f"did you mean `{near}`?" if near else f"it is one of {', '.join(words)}"))
    if hasattr(hint, "__segno_config__"):
        return _read_object(hint, found, place)
    raise TypeError(f"{place}: {hint!r} is no type of a setting; see segno.settings")


def _range(hint):
    kind = next(note for note in hint.__metadata__ if hasattr(note, "letter"))
    return {"i": (-(1 << 31), (1 << 31) - 1), "Q": (0, (1 << 64) - 1), "q": _INTEGERS["int"]}[kind.letter]


def _integer(found, place: str, least: int, most: int) -> int:
    if not isinstance(found, _Number) or any(one in found for one in ".eE"):
        raise _expected(place, "a whole number", found)
    if not least <= int(found) <= most:
        raise _error(place, f"{found} is not between {least} and {most}")
    return int(found)


def nearest(name: str, known) -> str | None:
    """The known name that a misspelt one most likely means."""
    # Two swapped letters are two edits; a name of three letters is another name by then.
    limit = 1 if len(name) <= 3 else 2 if len(name) <= 8 else 3
    near = min(((_edits(name, one), one) for one in known), default=(limit + 1, None))
    return near[1] if near[0] <= limit else None


def _edits(a: str, b: str) -> int:
    row = list(range(len(b) + 1))
    for i, left in enumerate(a):
        diagonal, row[0] = row[0], i + 1
        for j, right in enumerate(b):
            replaced = diagonal + (left != right)
            diagonal = row[j + 1]
            row[j + 1] = min(replaced, row[j] + 1, diagonal + 1)
    return row[len(b)]
