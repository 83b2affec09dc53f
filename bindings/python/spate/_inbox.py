"""One inbox of the library and whoever waits for its events.

It has one consumer: the event loop that it is attached to, whose thread takes events when the descriptor says that there
are some, or the thread that asks for them. A lock lets another thread close it in between.
"""
from __future__ import annotations

import asyncio
import ctypes
import os
import select
import threading
import weakref
from typing import TYPE_CHECKING, Protocol

from spate import _library
from spate.errors import SHUT, Code, error_taken

if TYPE_CHECKING:
    from spate._engine import Engine



class Waiter(Protocol):
    """Who a request's events are for."""

    @property
    def request_id(self) -> int: ...
    def take(self, event: _library.Event) -> None: ...
    def fail(self, code: int, sentence: str) -> None: ...
    def wake(self) -> None: ...


AT_ONCE = 64
LOOK_AGAIN_S = 0.2


class Inbox:
    def __init__(self, owner: Engine, engine: int) -> None:
        error = _library.Error()
        self._library = _library.libspate()
        self._owner = weakref.ref(owner)
        self._inbox = self._library.spate_inbox_new(engine, ctypes.byref(error))
        if not self._inbox:
            raise error_taken(error)
        self._events = (_library.Event * AT_ONCE)()
        self._results: weakref.WeakValueDictionary[int, Waiter] = weakref.WeakValueDictionary()
        self._lock = threading.RLock()
        # The loop's own descriptor: it stays what it is until the loop lets go of it, whoever closes the inbox.
        self._descriptor = os.dup(self._library.spate_inbox_descriptor(self._inbox))
        self.loop: asyncio.AbstractEventLoop | None = None

    def submit(self, engine: int, request: _library.Request) -> int:
        error = _library.Error()
        request_id: int = self._library.spate_submit(engine, self._inbox, ctypes.byref(request), ctypes.byref(error))
        if request_id == 0:
            raise error_taken(error)
        return request_id

    def embed(self, engine: int, request: _library.EmbedRequest) -> int:
        error = _library.Error()
        request_id: int = self._library.spate_embed(engine, self._inbox, ctypes.byref(request), ctypes.byref(error))
        if request_id == 0:
            raise error_taken(error)
        return request_id

    def add(self, result: Waiter) -> None:
        """In the thread that takes, before it takes again: the first event finds who it is for."""
        self._results[result.request_id] = result

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        loop.add_reader(self._descriptor, self.drain)

    def drain(self) -> None:
        """Takes all events that are there."""
        owner = self._owner()  # not to be collected, and this inbox closed with it, in the middle of this
        woken: dict[int, Waiter] = {}
        with self._lock:
            while owner and self._inbox and self._take(woken) == AT_ONCE:
                pass
        for result in woken.values():
            result.wake()

    def _take(self, woken: dict[int, Waiter]) -> int:
        size = ctypes.sizeof(_library.Event)
        count: int = self._library.spate_inbox_take_sized(self._inbox, self._events, size, AT_ONCE, 0)
        for event in self._events[:count]:
            result = self._results.get(event.id)
            if result is not None:
                woken[event.id] = result
                result.take(event)
        return count

    def wait(self, timeout_s: float | None = None) -> None:
        """Without a loop: until events may be there, at most for timeout_s and for LOOK_AGAIN_S, as another thread may have
        taken them. Signals are handled meanwhile."""
        poll = select.poll()
        poll.register(self._descriptor, select.POLLIN)
        poll.poll(1000 * max(0.0, min(LOOK_AGAIN_S, LOOK_AGAIN_S if timeout_s is None else timeout_s)))

    def close(self) -> None:
        """Cancels its requests. From any thread that has no call of `wait` under way."""
        with self._lock:
            inbox, self._inbox = self._inbox, None
            if not inbox:
                return
            self._library.spate_inbox_free(inbox)  # who closes it too waits: the engine may be freed next
        if self.loop is None:
            self._let_go()
        elif not self.loop.is_closed():
            try:
                self.loop.call_soon_threadsafe(self._let_go)
            except RuntimeError:  # it has been closed just now
                os.close(self._descriptor)
        else:
            os.close(self._descriptor)

    def _let_go(self) -> None:
        if self.loop is not None:
            self.loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        for result in list(self._results.values()):
            result.fail(Code.CANCELLED, SHUT)
            result.wake()
