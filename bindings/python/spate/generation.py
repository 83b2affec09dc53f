"""A request that runs: what generate_async returns. It can be awaited, iterated over with `async for`, or waited for by
a thread that has no event loop. All of it belongs to one thread: the loop's, or the one that waits."""
from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Generator
from typing import TYPE_CHECKING

from spate import _library
from spate.errors import SHUT, Code, InvalidError, RequestTimeoutError, error_of
from spate.outputs import Answer, CompletionOutput, Prompt, RequestOutput, TokenLogprob, logprobs_of

if TYPE_CHECKING:
    from spate._engine import Engine
    from spate._inbox import Inbox


class GenerationResult:
    owns_inbox = False

    def __init__(self, engine: Engine, inbox: Inbox, request_id: int, prompt: Prompt, stop: list[str], n: int,
                 streaming: bool) -> None:
        self.request_id, self.streaming = request_id, streaming
        self._engine, self._inbox, self._prompt, self._stop = engine, inbox, prompt, stop
        self._answers = [Answer(i) for i in range(n)]
        self._prompt_logprobs: list[TokenLogprob] | None = None
        self._cached_tokens = self._prompt_tokens = 0
        self._aborted = False
        self._failure: tuple[int, str] | None = None  # code and sentence
        self._changes = 0
        self._last: tuple[int, RequestOutput] | None = None  # what was given last, after so many changes
        self._waiting: list[asyncio.Future[None]] = []

    # ---- events, from the inbox

    def take(self, event: _library.Event) -> None:
        self._changes += 1
        if event.kind == _library.FAILED:
            self.fail(event.code, _library.bytes_at(event.text, event.text_size).decode(errors="replace"))
        elif event.kind == _library.DONE and event.finish == _library.CANCELLED and not self._aborted:
            self.fail(Code.CANCELLED, SHUT)
        elif event.kind == _library.PROMPT:
            self._prompt_logprobs = (self._prompt_logprobs or []) + logprobs_of(event)
        else:
            self._cached_tokens, self._prompt_tokens = event.cached_tokens, event.prompt_tokens
            self._answers[event.answer].take(event, self._stop)

    def fail(self, code: int, sentence: str) -> None:
        if not self.finished:
            self._changes += 1
            self._failure = code, sentence

    def wake(self) -> None:
        if not self.streaming and not self.finished:
            return
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # ---- what there is

    @property
    def finished(self) -> bool:
        return self._failure is not None or all(answer.finish_reason for answer in self._answers)

    @property
    def prompt(self) -> str | None:
        return self._prompt.text

    @property
    def prompt_token_ids(self) -> list[int]:
        return self._prompt.ids()

    @property
    def outputs(self) -> tuple[CompletionOutput, ...]:
        return self._now().outputs

    @property
    def prompt_tokens(self) -> int:
        return self._prompt_tokens

    @property
    def generated_tokens(self) -> int:
        return self._now().generated_tokens

    @property
    def output_token_ids(self) -> list[int]:
        return self._now().output_token_ids

    def _now(self) -> RequestOutput:
        """What came since what was given last is new in it."""
        if self._last and self._last[0] == self._changes:
            return self._last[1]
        before = self._last[1].outputs if self._last else [None] * len(self._answers)
        outputs = tuple(CompletionOutput(answer, last) for answer, last in zip(self._answers, before))
        scores = tuple(self._prompt_logprobs) if self._prompt_logprobs is not None else None
        return RequestOutput(self.request_id, self._prompt, outputs, self.finished, self._prompt_tokens,
                             self._cached_tokens, scores)

    def _give(self) -> RequestOutput:
        if self._failure is not None:
            raise error_of(*self._failure)  # a new one each time: an exception keeps whoever it came through
        now = self._now()
        self._last = self._changes, now
        return now

    # ---- waiting in an event loop

    async def aresult(self) -> RequestOutput:
        """When all has been generated; raises the sentence of a failure. Who cancels the wait cancels the request."""
        try:
            while not self.finished:
                await self._change()
        finally:
            self.abort()
        return self._give()

    def __await__(self) -> Generator[object, None, RequestOutput]:
        return self.aresult().__await__()

    async def __aiter__(self) -> AsyncIterator[RequestOutput]:
        """What there is whenever there is more; one that is not streaming gives the whole, once. Who stops iterating
        cancels the request."""
        seen = 0
        try:
            while True:
                while self._changes == seen or not (self.streaming or self.finished):
                    await self._change()
                seen = self._changes
                output = self._give()
                yield output
                if output.finished:
                    return
        finally:
            self.abort()

    async def _change(self) -> None:
        loop = asyncio.get_running_loop()
        if self._inbox.loop is None:
            self._inbox.attach(loop)
        elif self._inbox.loop is not loop:
            raise InvalidError("The request belongs to another event loop: wait for it there.")
        future: asyncio.Future[None] = loop.create_future()
        self._waiting.append(future)
        await future

    # ---- waiting in a thread without one

    def result(self, timeout_s: float | None = None) -> RequestOutput:
        """The same for a thread without an event loop; RequestTimeoutError leaves the request running."""
        if self._inbox.loop is not None:
            raise InvalidError("The request belongs to an event loop: await it there, with aresult().")
        if not self.finished:
            with self._engine.use():  # the inbox is not closed while it is waited for
                self._wait(timeout_s)
        return self._give()

    def _wait(self, timeout_s: float | None) -> None:
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not self.finished:
            left = None if end is None else end - time.monotonic()
            if left is not None and left < 0:
                raise RequestTimeoutError(f"The request has not finished in {timeout_s} s.")
            self._inbox.wait(left)
            self._inbox.drain()

    # ---- its end

    def abort(self) -> None:
        """Ends a request that runs; it finishes with what it has, as cancelled. From any thread."""
        if not self.finished:
            self._aborted = True
            self._engine.cancel(self.request_id)

    def __del__(self) -> None:
        self.abort()
        if self.owns_inbox:
            self._engine.inbox_close(self._inbox)
