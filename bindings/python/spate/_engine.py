"""An open engine of the library: requests, the inboxes of event loops, and its end, which waits for calls under way."""
from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import os
import threading
import weakref
from collections.abc import Callable, Iterator

from spate import _library
from spate._inbox import Inbox
from spate.errors import SHUT, CancelledError, InvalidError, error_taken, text_bytes
from spate.generation import GenerationResult
from spate.outputs import Prompt
from spate.sampling_params import SamplingParams, ids_array, request_fill

ProgressCall = Callable[[str, int, int], object]


class Progress:
    """Hands the progress of a build, or of loading an engine, to a Python function; what that raises (Ctrl-C, too) ends
    it, and is raised when the library has returned."""

    def __init__(self, call: ProgressCall | None) -> None:
        self.raised: BaseException | None = None
        self._call = call
        self.function = _library.Progress(self._step)

    def _step(self, _user: int | None, stage: bytes, done: int, total: int) -> bool:
        try:
            if self._call:
                self._call(stage.decode(), done, total)
        except BaseException as error:
            self.raised = error
        return self.raised is None


class Engine:
    def __init__(self, options: _library.OpenOptions, call: ProgressCall | None) -> None:
        error, progress = _library.Error(), Progress(call)
        options.progress = progress.function
        self._library = _library.libspate()
        engine = self._library.spate_open(ctypes.byref(options), ctypes.byref(error))
        if not engine:
            raise progress.raised or error_taken(error)
        self._engine: int | None = engine
        self._idle = threading.Condition()
        self._users = 0
        self._inboxes: set[Inbox] = set()  # all that are open
        self._loops: dict[asyncio.AbstractEventLoop, Inbox] = {}
        self._process = os.getpid()
        self._end = weakref.finalize(self, engine_close, engine, self._inboxes, self._process)
        self._end.atexit = False  # then engines_close, which waits for daemon threads, too
        ENGINES.add(self)
        if progress.raised:
            self.close()
            raise progress.raised

    @contextlib.contextmanager
    def use(self) -> Iterator[int]:
        """The engine, which is not closed meanwhile."""
        if os.getpid() != self._process:
            raise InvalidError("The engine is its first process's, whose threads a fork leaves behind: open one in each "
                               "process.")
        with self._idle:
            if self._engine is None:
                raise CancelledError(SHUT)
            engine, self._users = self._engine, self._users + 1
        try:
            yield engine
        finally:
            with self._idle:
                self._users -= 1
                self._idle.notify_all()

    def close(self) -> None:
        """Requests that run end with an error."""
        with self._idle:
            if self._engine is None or os.getpid() != self._process:
                return
            engine, self._engine = self._engine, None
            self._library.spate_cancel(engine, 0)
            while not self._idle.wait_for(lambda: self._users == 0, timeout=0.1):
                self._library.spate_cancel(engine, 0)  # of a call that was about to submit
        self._end()

    # ---- facts

    def info(self) -> _library.EngineInfo:
        info = _library.EngineInfo(size=ctypes.sizeof(_library.EngineInfo))
        with self.use() as engine:
            self._library.spate_info(engine, ctypes.byref(info))
            for name in ("name", "architecture", "device", "kv_dtype"):
                setattr(info, name, bytes(getattr(info, name)))  # its own copy, for when the engine is closed
        return info

    def metrics(self) -> str:
        pieces: list[bytes] = []

        def write(_user: int | None, text: int | None, size: int) -> None:
            pieces.append(_library.bytes_at(text, size))

        with self.use() as engine:
            self._library.spate_metrics(engine, _library.Write(write), None)
        return b"".join(pieces).decode()

    def healthy(self) -> None:
        error = _library.Error()
        with self.use() as engine:
            if not self._library.spate_healthy(engine, ctypes.byref(error)):
                raise error_taken(error)

    def label(self, index: int) -> str:
        with self.use() as engine:
            return (self._library.spate_label(engine, index) or b"").decode(errors="replace")

    def encode(self, text: str) -> list[int]:
        return self._tokens("spate_encode", text_bytes("The prompt", text), True)

    def encode_chat(self, conversation: str) -> list[int]:
        return self._tokens("spate_chat_tokens", conversation.encode())

    def _tokens(self, function: str, data: bytes, *more: bool) -> list[int]:
        tokens, error = _library.TokenList(), _library.Error()
        with self.use() as engine:
            call = getattr(self._library, function)
            if not call(engine, data, len(data), *more, ctypes.byref(tokens), ctypes.byref(error)):
                raise error_taken(error)
        ids: list[int] = tokens.ids[:tokens.count]
        self._library.spate_tokens_free(ctypes.byref(tokens))
        return ids

    # ---- requests

    def inbox_open(self) -> Inbox:
        with self.use() as engine, self._idle:
            inbox = Inbox(self, engine)
            self._inboxes.add(inbox)
            return inbox

    def inbox_close(self, inbox: Inbox) -> None:
        if os.getpid() != self._process:
            return
        inbox.close()
        with self._idle:
            self._inboxes.discard(inbox)  # last: until then the engine's end waits for it

    def inbox_of(self, loop: asyncio.AbstractEventLoop) -> Inbox:
        """Called in the loop's thread. Those of closed loops go."""
        with self._idle:
            for other in [other for other in self._loops if other.is_closed()]:
                self.inbox_close(self._loops.pop(other))
            if loop not in self._loops:
                self._loops[loop] = self.inbox_open()
                self._loops[loop].attach(loop)
            return self._loops[loop]

    def submit(self, inbox: Inbox, prompt: Prompt, params: SamplingParams, streaming: bool) -> GenerationResult:
        request = _library.Request(size=ctypes.sizeof(_library.Request))
        stop = [params.stop] if isinstance(params.stop, str) else list(params.stop or ())
        with self.use() as engine:
            self._library.spate_request_defaults(engine, ctypes.byref(request))
            request_fill(params, request)
            if prompt.images is not None:
                request.images, request.n_images = prompt.images, len(prompt.images)
            if prompt.known is not None and (prompt.text is None or prompt.images is None):
                request.tokens, request.n_token = ids_array("The prompt", prompt.known), len(prompt.known)
            if prompt.text is not None:
                request.prompt = text = text_bytes("The prompt", prompt.text)
                request.prompt_size = len(text)
            request_id = inbox.submit(engine, request)
        prompt.images = None  # which the library has copied
        result = GenerationResult(self, inbox, request_id, prompt, stop, params.n or 1, streaming)
        inbox.add(result)
        return result

    def submit_alone(self, prompt: Prompt, params: SamplingParams, streaming: bool) -> GenerationResult:
        """With an inbox of its own: for a thread without a loop."""
        inbox = self.inbox_open()
        try:
            result = self.submit(inbox, prompt, params, streaming)
        except BaseException:
            self.inbox_close(inbox)
            raise
        result.owns_inbox = True
        return result

    def cancel(self, request_id: int) -> None:
        with contextlib.suppress(CancelledError, InvalidError), self.use() as engine:
            self._library.spate_cancel(engine, request_id)


def engine_close(engine: int, inboxes: set[Inbox], process: int) -> None:
    """Of an engine that nobody uses any more: inboxes go first."""
    if os.getpid() != process:
        return
    while inboxes:  # others may take theirs off meanwhile
        with contextlib.suppress(KeyError):
            inboxes.pop().close()
    _library.libspate().spate_close(engine)


ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


@atexit.register
def engines_close() -> None:
    for engine in list(ENGINES):
        engine.close()
