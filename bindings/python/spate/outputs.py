"""What a request has generated. An Answer grows as events come, in the thread that takes them; a RequestOutput is what
there was at one moment, which later events do not change: it holds the answers and how far they went."""
from __future__ import annotations

import dataclasses
import weakref
from typing import TYPE_CHECKING, Literal

from spate import _library
from spate.errors import InvalidError, SpateError
from spate.inputs.multimodal import MultimodalParams, images_array

if TYPE_CHECKING:
    from spate._engine import Engine

FinishReason = Literal["stop", "length", "cancelled"]
FINISH: dict[int, FinishReason] = {_library.STOP: "stop", _library.LENGTH: "length", _library.CANCELLED: "cancelled"}


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
    """Natural logarithm of a token's probability before penalties, temperature and filters; None: the token follows
    nothing. `top` has those of the likeliest, when they were asked for."""
    token_id: int
    logprob: float | None
    top: tuple[TokenLogprob, ...] = ()


def logprobs_of(event: _library.Event) -> list[TokenLogprob]:
    width, rows = 1 + event.top_logprobs, []
    for row in range(event.n_logprobs):
        pairs = [(p.token, p.logprob if p.logprob == p.logprob else None)
                 for p in event.logprobs[row * width:(row + 1) * width]]
        top = tuple(TokenLogprob(*pair) for pair in pairs[1:] if pair[0] >= 0)
        rows.append(TokenLogprob(*pairs[0], top))
    return rows


class Answer:
    """One text of a request, so far."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = ""
        self.logprobs: list[TokenLogprob] = []  # one of each token
        self.finish_reason: FinishReason | None = None
        self.stop_reason: str | int | None = None

    def take(self, event: _library.Event, stop: list[str]) -> None:
        self.text += _library.bytes_at(event.text, event.text_size).decode(errors="replace")
        self.logprobs += logprobs_of(event)
        if event.kind == _library.DONE:
            self.finish_reason = FINISH.get(event.finish)
            if event.stop_string >= 0:
                self.stop_reason = stop[event.stop_string]
            elif event.stop_token >= 0:
                self.stop_reason = event.stop_token


class CompletionOutput:
    """One answer as it was at one moment; text_diff and token_ids_diff are what came since the moment before."""

    def __init__(self, answer: Answer, before: CompletionOutput | None = None) -> None:
        self._answer = answer
        self._text_from = before._text_to if before else 0
        self._tokens_from = before._tokens_to if before else 0
        self._text_to: int = len(answer.text)
        self._tokens_to: int = len(answer.logprobs)
        self.index = answer.index
        self.finish_reason = answer.finish_reason  # None: it goes on
        self.stop_reason = answer.stop_reason  # the stop string or token that ended it

    @property
    def text(self) -> str:
        return self._answer.text[:self._text_to]

    @property
    def text_diff(self) -> str:
        return self._answer.text[self._text_from:self._text_to]

    @property
    def n_tokens(self) -> int:
        return self._tokens_to

    @property
    def logprobs(self) -> list[TokenLogprob]:
        return self._answer.logprobs[:self._tokens_to]

    @property
    def token_ids(self) -> list[int]:
        return [token.token_id for token in self.logprobs]

    @property
    def token_ids_diff(self) -> list[int]:
        return [token.token_id for token in self._answer.logprobs[self._tokens_from:self._tokens_to]]

    def __repr__(self) -> str:
        return f"CompletionOutput(index={self.index}, text={self.text!r}, finish_reason={self.finish_reason!r})"


class Prompt:
    """A prompt and its token ids, which are found when they are first asked for: of one with images those of its text."""

    def __init__(self, engine: Engine, prompt: str | list[int], multimodal: MultimodalParams | None = None) -> None:
        if not isinstance(prompt, (str, list, tuple)):
            raise InvalidError(f"The prompt is {prompt!r}, expected a string or a list of token ids.")
        self.text = prompt if isinstance(prompt, str) else None
        self.known = None if isinstance(prompt, str) else list(prompt)
        self.images = images_array(multimodal)  # until they are submitted
        self._engine = weakref.ref(engine)  # what was generated keeps no model in memory

    def ids(self) -> list[int]:
        if self.known is None:
            engine = self._engine()
            if engine is None or self.text is None:
                raise SpateError("The engine is gone: ask for prompt_token_ids while there is one.")
            self.known = engine.encode(self.text)
        return self.known


class RequestOutput:
    """A request's answers as they were at one moment."""

    def __init__(self, request_id: int, prompt: Prompt, outputs: tuple[CompletionOutput, ...], finished: bool,
                 prompt_tokens: int, cached_tokens: int, prompt_logprobs: tuple[TokenLogprob, ...] | None) -> None:
        self._prompt = prompt
        self.request_id = request_id
        self.outputs = outputs
        self.finished = finished
        self.prompt_tokens = prompt_tokens  # those that stand for images included; 0 while none has been generated
        self.cached_tokens = cached_tokens  # of the prompt, that did not have to be computed
        self.prompt_logprobs = prompt_logprobs

    @property
    def prompt(self) -> str | None:
        """None: token ids were given."""
        return self._prompt.text

    @property
    def prompt_token_ids(self) -> list[int]:
        return self._prompt.ids()

    @property
    def generated_tokens(self) -> int:
        """Of all answers together."""
        return sum(output.n_tokens for output in self.outputs)

    @property
    def output_token_ids(self) -> list[int]:
        """Those of the first answer."""
        return self.outputs[0].token_ids

    def __repr__(self) -> str:
        return f"RequestOutput(request_id={self.request_id}, outputs={self.outputs}, finished={self.finished})"
