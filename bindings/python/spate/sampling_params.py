"""What a request asks for besides its prompt, and how that becomes a spate_request."""
from __future__ import annotations

import ctypes
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from spate import _library
from spate.errors import InvalidError, name_bytes, option_bytes

EARLY_STOPPING: dict[object, int] = {False: 0, True: 1, "never": 2}
INT_MAX = 2**31 - 1


@dataclasses.dataclass
class LoRARequest:
    """An adapter that a request asks for, and how much of it."""
    lora_name: str
    lora_scale: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.lora_name, str):
            raise InvalidError(f"lora_name is {self.lora_name!r}, expected a string.")
        check_number("lora_scale", math.nan if self.lora_scale is None else self.lora_scale)


@dataclasses.dataclass
class SamplingParams:
    """What is None is the model's, or off. The members mean what the fields of docs/http-api.md mean."""
    max_tokens: int | None = None
    temperature: float | None = None  # 0: greedy
    top_p: float | None = None
    top_k: int | None = None
    seed: int | None = None
    stop: str | Sequence[str] | None = None
    min_p: float | None = None
    typical_p: float | None = None
    repetition_penalty: float | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    min_tokens: int | None = None
    logit_bias: Mapping[int, float] | Mapping[str, float] | None = None
    allowed_token_ids: Sequence[int] | None = None
    bad_words: str | Sequence[str] | None = None
    stop_token_ids: Sequence[int] | None = None
    include_stop_str_in_output: bool = False
    skip_special_tokens: bool = True
    ignore_eos: bool = False
    logprobs: int | None = None  # so many likeliest tokens beside each generated one
    prompt_logprobs: int | None = None
    n: int | None = None
    use_beam_search: bool = False
    best_of: int | None = None  # beams of a search, n to 16
    length_penalty: float | None = None
    early_stopping: bool | Literal["never"] = False
    priority: int | None = None  # lower runs first
    timeout_s: float | None = None
    cache_salt: str | None = None
    lora_request: LoRARequest | Mapping[str, Any] | Sequence[LoRARequest | Mapping[str, Any]] | None = None

    def __post_init__(self) -> None:
        for name in WHOLE_NUMBERS:
            check_whole(name, getattr(self, name), *WHOLE_NUMBERS[name])
        for name in NUMBERS:
            check_number(name, getattr(self, name))
        for name, kinds in CONTAINERS.items():
            value = getattr(self, name)
            if value is not None and not isinstance(value, kinds):
                raise InvalidError(f"{name} is {value!r}, expected {WORDS[kinds]}.")
        for name in FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise InvalidError(f"{name} is {getattr(self, name)!r}, expected True or False.")
        if not isinstance(self.early_stopping, (bool, str)) or self.early_stopping not in EARLY_STOPPING:
            raise InvalidError(f'early_stopping is {self.early_stopping!r}, expected True, False or "never".')
        if self.best_of is not None and not self.use_beam_search and self.best_of != (self.n or 1):
            raise InvalidError(f"best_of is {self.best_of} and n is {self.n or 1}: only a beam search looks at more "
                               "answers than it gives; set use_beam_search, or leave best_of out.")


# What C's types hold; the library checks what makes sense, when a request is submitted.
WHOLE_NUMBERS: dict[str, tuple[int, int]] = {
    "max_tokens": (1, INT_MAX), "top_k": (-1, INT_MAX), "seed": (-(2**63), 2**64 - 1), "min_tokens": (0, INT_MAX),
    "logprobs": (0, INT_MAX), "prompt_logprobs": (0, INT_MAX), "n": (1, INT_MAX), "best_of": (1, INT_MAX),
    "priority": (-INT_MAX - 1, INT_MAX)}
NUMBERS = ("temperature", "top_p", "min_p", "typical_p", "repetition_penalty", "frequency_penalty", "presence_penalty",
           "length_penalty", "timeout_s")
CONTAINERS: dict[str, tuple[type, ...]] = {
    "stop": (str, list, tuple), "bad_words": (str, list, tuple), "allowed_token_ids": (list, tuple),
    "stop_token_ids": (list, tuple), "logit_bias": (Mapping,)}
WORDS: dict[tuple[type, ...], str] = {(str, list, tuple): "a string or a list of them", (list, tuple): "a list of token ids",
                                      (Mapping,): "token ids, each with a number"}
FLAGS = ("include_stop_str_in_output", "skip_special_tokens", "ignore_eos", "use_beam_search")


def check_whole(name: str, value: object, least: int, most: int) -> None:
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
        return
    raise InvalidError(f"{name} is {value!r}, expected a whole number from {least} to {most}.")


def check_number(name: str, value: object) -> None:
    if value is None or (isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= 1e38):
        return
    raise InvalidError(f"{name} is {value!r}, expected a number.")


def ids_array(name: str, ids: Sequence[int]) -> ctypes.Array[ctypes.c_int32]:
    for i, value in enumerate(ids):
        check_whole(f"{name}[{i}]", -1 if value is None else value, 0, INT_MAX)
    return (ctypes.c_int32 * len(ids))(*ids)


def texts_array(name: str, texts: str | Sequence[str]) -> ctypes.Array[ctypes.c_char_p]:
    texts = [texts] if isinstance(texts, str) else texts
    named = [name_bytes(f"{name}[{i}]", text) for i, text in enumerate(texts)]
    return (ctypes.c_char_p * len(named))(*named)


def bias_array(biases: Mapping[Any, float]) -> ctypes.Array[_library.LogitBias]:
    pairs: list[_library.LogitBias] = []
    for token, bias in biases.items():
        number = int(token) if str(token).isdecimal() else None
        if number is None or number > INT_MAX:
            raise InvalidError(f"logit_bias names token {token!r}, expected a token id.")
        check_number(f"logit_bias[{token}]", math.nan if bias is None else bias)
        pairs.append(_library.LogitBias(number, bias))
    return (_library.LogitBias * len(pairs))(*pairs)


def lora_of(one: Any) -> LoRARequest:
    """A mapping is what a body of JSON has in its place."""
    if isinstance(one, Mapping) and "lora_name" in one and set(one) <= {"lora_name", "lora_scale"}:
        return LoRARequest(**one)
    if not isinstance(one, LoRARequest):
        raise InvalidError(f"lora_request is {one!r}, expected a LoRARequest, a mapping with its fields or a list of them.")
    return one


def loras_array(wanted: LoRARequest | Mapping[str, Any] | Sequence[LoRARequest | Mapping[str, Any]]) -> ctypes.Array[_library.Lora]:
    each = [lora_of(one) for one in ([wanted] if isinstance(wanted, (LoRARequest, Mapping)) else wanted)]
    return (_library.Lora * len(each))(*(_library.Lora(name_bytes("lora_name", one.lora_name), one.lora_scale)
                                         for one in each))


def request_numbers(params: SamplingParams, request: _library.Request) -> None:
    for name in (*WHOLE_NUMBERS, *NUMBERS):
        value = getattr(params, name)
        if value is not None and name not in ("seed", "logprobs", "prompt_logprobs", "best_of", "top_k"):
            setattr(request, name, value)
    for name in FLAGS:
        if name != "skip_special_tokens":
            setattr(request, name, getattr(params, name))
    request.write_special_tokens = not params.skip_special_tokens
    if params.top_k is not None:
        request.top_k = max(params.top_k, 0)
    if params.seed is not None and params.seed != -1:  # as over HTTP
        request.has_seed, request.seed = True, params.seed % 2**64
    if params.best_of is not None:
        request.beam_width = params.best_of
    request.early_stopping = EARLY_STOPPING[params.early_stopping]
    request.logprobs = True  # they bring the ids of tokens, too
    request.top_logprobs = params.logprobs or 0
    request.prompt_logprobs = params.prompt_logprobs is not None
    request.top_prompt_logprobs = params.prompt_logprobs or 0


def request_fill(params: SamplingParams, request: _library.Request) -> None:
    """On top of the defaults that are in `request`, which keeps what it points to."""
    if params.lora_request is not None:
        request.loras = loras = loras_array(params.lora_request)
        request.n_loras = len(loras)
    request_numbers(params, request)
    request.cache_salt = option_bytes("cache_salt", params.cache_salt)
    for name, make in (("stop", texts_array), ("bad_words", texts_array), ("allowed_token_ids", ids_array),
                       ("stop_token_ids", ids_array)):
        value = getattr(params, name)
        if value:
            array = make(name, value)
            setattr(request, name, array)
            setattr(request, f"n_{name}", len(array))
    if params.logit_bias:
        request.logit_bias = bias_array(params.logit_bias)
        request.n_logit_bias = len(params.logit_bias)
