"""Vectors, labels and scores of texts, by the names that vLLM has for them. A text's numbers come in one event."""
from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Union

from spate import _library
from spate.errors import SHUT, BusyError, Code, InvalidError, error_of, text_bytes
from spate.sampling_params import INT_MAX, check_number, check_whole, ids_array

if TYPE_CHECKING:
    from spate._engine import Engine
    from spate._inbox import Inbox

Text = Union[str, Sequence[int]]
AT_ONCE = 256  # texts at the engine, which fill its steps and leave room for others


@dataclass
class PoolingParams:
    """What is wanted of each text. None: as the model has it."""
    dimensions: int | None = None  # the first numbers of a vector alone, normed by themselves
    normalize: bool | None = None  # False: the numbers as the network gives them; also no sigmoid or softmax of labels
    truncate_prompt_tokens: int | None = None  # cuts longer texts, -1: to what the model takes; None: they are refused
    prompt_name: str | None = None  # of the model's prompts, that before each text; "": none
    priority: int = 0
    timeout_s: float | None = None

    def fill(self, request: _library.EmbedRequest) -> None:
        check_whole("dimensions", self.dimensions, 1, INT_MAX)
        check_whole("truncate_prompt_tokens", self.truncate_prompt_tokens, -1, INT_MAX)
        check_whole("priority", self.priority, -INT_MAX, INT_MAX)
        check_number("timeout_s", self.timeout_s)
        if self.normalize:
            raise InvalidError("normalize is True, expected None, which is as the model's files say, or False.")
        request.dimensions, request.truncate = self.dimensions or 0, self.truncate_prompt_tokens or 0
        request.plain, request.priority, request.timeout_s = self.normalize is False, self.priority, self.timeout_s or 0
        if self.prompt_name is not None:
            request.prompt_name = text_bytes("prompt_name", self.prompt_name)


@dataclass(frozen=True)
class EmbeddingOutput:
    embedding: list[float]

    @property
    def hidden_size(self) -> int:
        return len(self.embedding)


@dataclass(frozen=True)
class ClassificationOutput:
    probs: list[float]
    label: str = ""  # of the largest

    @property
    def num_classes(self) -> int:
        return len(self.probs)


@dataclass(frozen=True)
class ScoringOutput:
    score: float


@dataclass(frozen=True)
class EmbeddingRequestOutput:
    request_id: int
    outputs: EmbeddingOutput
    prompt_tokens: int
    finished: bool = True


@dataclass(frozen=True)
class ClassificationRequestOutput:
    request_id: int
    outputs: ClassificationOutput
    prompt_tokens: int
    finished: bool = True


@dataclass(frozen=True)
class ScoringRequestOutput:
    outputs: ScoringOutput
    prompt_tokens: int
    finished: bool = True


@dataclass(eq=False)
class Pooled:
    """A text at the engine, then its numbers. The inbox gives it its event."""
    request_id: int
    numbers: list[float] = field(default_factory=list)
    tokens: int = 0
    finished: bool = False
    failure: tuple[int, str] | None = None

    def take(self, event: _library.Event) -> None:
        if event.kind == _library.FAILED:
            self.fail(event.code, _library.bytes_at(event.text, event.text_size).decode(errors="replace"))
        elif event.kind == _library.DONE and event.finish == _library.CANCELLED:
            self.fail(Code.CANCELLED, SHUT)
        else:
            self.numbers, self.tokens, self.finished = event.numbers[:event.n_numbers], event.prompt_tokens, True

    def fail(self, code: int, sentence: str) -> None:
        if not self.finished:
            self.failure, self.finished = (code, sentence), True

    def wake(self) -> None:
        """Nobody sleeps but the thread that drains the inbox."""


def request_of(text: Text, pair: str | None, params: PoolingParams) -> _library.EmbedRequest:
    request = _library.EmbedRequest(size=ctypes.sizeof(_library.EmbedRequest))
    params.fill(request)
    if isinstance(text, str):
        data = text_bytes("The text", text)
        request.text, request.text_size = data, len(data)
    elif isinstance(text, (list, tuple)):
        request.tokens, request.n_token = ids_array("The text", text), len(text)
    else:
        raise InvalidError(f"The text is {text!r}, expected a string or a list of token ids.")
    if pair is not None:
        data = text_bytes("The second text", pair)
        request.pair, request.pair_size = data, len(data)
    return request


def pool_all(engine: Engine, texts: Sequence[Text], pairs: Sequence[str] | None, params: PoolingParams) -> list[Pooled]:
    """All of them, in their order; the first failure is raised, and ends the others."""
    with engine.use() as handle:
        inbox = engine.inbox_open()
        try:
            return pool_through(handle, inbox, texts, pairs, params)
        finally:
            engine.inbox_close(inbox)


def pool_through(engine: int, inbox: Inbox, texts: Sequence[Text], pairs: Sequence[str] | None,
                 params: PoolingParams) -> list[Pooled]:
    results: list[Pooled] = []
    done = 0
    while done < len(texts):
        if len(results) < len(texts) and len(results) - done < AT_ONCE:
            i = len(results)
            if pool_submit(engine, inbox, request_of(texts[i], pairs[i] if pairs else None, params), results):
                continue
        inbox.wait()  # for the end of one of them; where none is left, for the room that others leave
        inbox.drain()
        while done < len(results) and results[done].finished:
            failure = results[done].failure
            if failure is not None:
                raise error_of(*failure)
            done += 1
    return results


def pool_submit(engine: int, inbox: Inbox, request: _library.EmbedRequest, results: list[Pooled]) -> bool:
    """False: there is no room for it now. The first of all is refused then, as any request is."""
    request.again = bool(results)
    try:
        result = Pooled(inbox.embed(engine, request))
    except BusyError:
        if not results:
            raise
        return False
    inbox.add(result)
    results.append(result)
    return True


def texts_of(texts: Any) -> list[Any]:
    """As a list, also of one alone."""
    one = isinstance(texts, str) or (len(texts) > 0 and isinstance(texts[0], int))
    return [texts] if one else list(texts)


def likeness(similarity: int, a: Sequence[float], b: Sequence[float]) -> float:
    """As the server compares vectors; of distances the negative."""
    product = sum(x * y for x, y in zip(a, b))
    if similarity == _library.DOT:
        return product
    if similarity == _library.EUCLIDEAN:
        return -math.dist(a, b)
    if similarity == _library.MANHATTAN:
        return -sum(abs(x - y) for x, y in zip(a, b))
    lengths = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return product / lengths if lengths > 0 else 0.0
