"""What goes wrong, as exceptions whose text is the library's sentence."""
from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable

from spate import _library

SHUT = "The engine was shut down."


class Code(enum.IntEnum):
    """spate_code of include/spate.h."""
    OK = 0
    INVALID = 1
    FORMAT = 2
    UNSUPPORTED = 3
    NOT_FOUND = 4
    LIMIT = 5
    MEMORY = 6
    IO = 7
    BUSY = 8
    CANCELLED = 9
    DEVICE = 10
    INTERNAL = 11
    TIMEOUT = 12


class SpateError(Exception):
    """A sentence: what, expected against actual, what to do."""
    code = Code.INTERNAL

    def __init__(self, text: str, code: Code | None = None) -> None:
        super().__init__(text)
        if code is not None:
            self.code = code


class InvalidError(SpateError, ValueError):
    """A request or an option is wrong."""
    code = Code.INVALID


class UnsupportedError(SpateError, NotImplementedError):
    """Well formed, but nothing that Spate does, or does yet."""
    code = Code.UNSUPPORTED


class BusyError(SpateError):
    """The queue is full: try again later."""
    code = Code.BUSY


class CancelledError(SpateError):
    """The request, or the engine, was ended before it had finished."""
    code = Code.CANCELLED


class RequestTimeoutError(SpateError, TimeoutError):
    """timeout_s has passed."""
    code = Code.TIMEOUT


KINDS: tuple[type[SpateError], ...] = (InvalidError, UnsupportedError, BusyError, CancelledError, RequestTimeoutError)


def error_of(code: int, text: str) -> SpateError:
    for kind in KINDS:
        if kind.code == code:
            return kind(text)
    return SpateError(text, Code(code) if code in Code._value2member_map_ else Code.INTERNAL)


def error_taken(error: _library.Error) -> SpateError:
    return error_of(error.code, error.text.decode(errors="replace"))


def unknown_name(what: str, name: str, names: Iterable[str]) -> InvalidError:
    """Of a member that does not exist, the nearest that does."""
    names = sorted(names)
    near = difflib.get_close_matches(name, names, 1)
    return InvalidError(f"{what} has no {name}; " + (f"did you mean {near[0]}?" if near else f"it has {', '.join(names)}."))


def text_bytes(what: str, text: str) -> bytes:
    """UTF-8 that C can take."""
    if not isinstance(text, str):
        raise InvalidError(f"{what} is {text!r}, expected a string.")
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidError(f"{what} is no text: {error.reason} at character {error.start}.") from None


def name_bytes(what: str, text: str) -> bytes:
    """The same of a text that ends where a NUL stands."""
    data = text_bytes(what, text)
    if b"\0" in data:
        raise InvalidError(f"{what} has a NUL character: leave it out.")
    return data


def option_bytes(what: str, text: str | None) -> bytes | None:
    return None if text is None else name_bytes(what, text)
