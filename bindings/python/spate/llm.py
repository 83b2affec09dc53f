"""The front door: a model, and text from it."""
from __future__ import annotations

import asyncio
import ctypes
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from types import TracebackType
from typing import Any, overload

from spate import _library
from spate._engine import Engine, ProgressCall
from spate._inbox import Inbox
from spate.builder import BuildConfig
from spate.errors import BusyError, InvalidError, UnsupportedError, option_bytes, unknown_name
from spate.generation import GenerationResult
from spate.inputs.multimodal import MultimodalParams, multimodal_of_each
from spate.lora_manager import LoraManager
from spate.outputs import Prompt, RequestOutput
from spate.pooling import (ClassificationOutput, ClassificationRequestOutput, EmbeddingOutput, EmbeddingRequestOutput,
                           PoolingParams, ScoringOutput, ScoringRequestOutput, likeness, pool_all, texts_of)
from spate.sampling_params import INT_MAX, SamplingParams, check_number, check_whole


@dataclass
class KvCacheConfig:
    """None: the default that `spate serve --help` names."""
    free_gpu_memory_fraction: float | None = None  # of the memory that is available on the device
    enable_block_reuse: bool = True  # a prefix that prompts share is computed once
    block_size: int | None = None  # tokens
    memory: int | None = None  # bytes; overrides the fraction
    dtype: str | None = None  # "fp32", "fp16", "bf16", "fp8", "int8" or "auto"

    def fill(self, options: _library.OpenOptions) -> None:
        check_number("free_gpu_memory_fraction", self.free_gpu_memory_fraction)
        check_whole("block_size", self.block_size, 1, INT_MAX)
        check_whole("memory", self.memory, 1, 2**63)
        options.free_gpu_memory_fraction = self.free_gpu_memory_fraction or 0
        options.no_block_reuse = not self.enable_block_reuse
        options.block_size, options.kv_cache_memory = self.block_size or 0, self.memory or 0
        options.kv_cache_dtype = option_bytes("dtype", self.dtype)


def kv_cache_config_of(config: KvCacheConfig | Mapping[str, Any] | None) -> KvCacheConfig:
    if config is None or isinstance(config, KvCacheConfig):
        return config or KvCacheConfig()
    names = [field.name for field in fields(KvCacheConfig)]
    for name in config:
        if name not in names:
            raise unknown_name("kv_cache_config", name, names)
    return KvCacheConfig(**config)


class LLM:
    """A model's engine, open. model_dir is an engine file, or a model (a Hugging Face folder, a .gguf), whose engine is
    built into the cache first. Any thread may call; none holds the GIL while the engine works."""

    def __init__(self, model_dir: str | os.PathLike[str], tensor_parallel_size: int = 1,
                 kv_cache_config: KvCacheConfig | Mapping[str, Any] | None = None, *,
                 build_config: BuildConfig | None = None, device: str | None = None, threads: int = 0,
                 scheduler: str | None = None, batch_delay_ms: int = 0, max_queue: int = 0, max_queue_tokens: int = 0,
                 target_itl_ms: float = 0, stall_timeout: float = 0, idle_release: float = 0,
                 cache_dir: str | os.PathLike[str] | None = None, cache_limit: int = 0, backend: str | None = None,
                 no_fuse: bool = False, batch_invariant: bool = False, cpu_experts: int = 0,
                 lora_manager: LoraManager | None = None, limit_mm_per_prompt: int = 0,
                 image_decoders: int = 0, image_cache_memory: int = 0,
                 image_helper: str | os.PathLike[str] | None = None,
                 progress: ProgressCall | None = None) -> None:
        if tensor_parallel_size != 1:
            raise UnsupportedError(f"tensor_parallel_size is {tensor_parallel_size}; above 1 does not exist yet: one "
                                   "device serves a model. Leave it out.")
        for name, number, most in (("threads", threads, INT_MAX), ("batch_delay_ms", batch_delay_ms, INT_MAX),
                                   ("max_queue", max_queue, INT_MAX), ("max_queue_tokens", max_queue_tokens, 2**63 - 1),
                                   ("cache_limit", cache_limit, 2**63 - 1), ("limit_mm_per_prompt", limit_mm_per_prompt, INT_MAX),
                                   ("image_decoders", image_decoders, INT_MAX), ("cpu_experts", cpu_experts, INT_MAX),
                                   ("image_cache_memory", image_cache_memory, 2**63 - 1)):
            check_whole(name, number, 0, most)
        for name, seconds in (("target_itl_ms", target_itl_ms), ("stall_timeout", stall_timeout), ("idle_release", idle_release)):
            check_number(name, seconds)
        options = _library.OpenOptions(size=ctypes.sizeof(_library.OpenOptions), threads=threads, max_queue=max_queue,
                                       target_itl_ms=target_itl_ms, batch_delay_ms=batch_delay_ms, stall_timeout_s=stall_timeout,
                                       max_queue_tokens=max_queue_tokens, idle_release_s=idle_release, cache_limit=cache_limit,
                                       no_fuse=no_fuse, batch_invariant=batch_invariant, cpu_experts=cpu_experts,
                                       max_images=limit_mm_per_prompt, image_decoders=image_decoders,
                                       image_cache_memory=image_cache_memory)
        helper = _library.image_helper() if image_helper is None else image_helper
        options.image_helper = None if helper is None else os.fsencode(helper)
        options.model = os.fsencode(model_dir)
        options.cache_dir = None if cache_dir is None else os.fsencode(cache_dir)
        options.device, options.backend = option_bytes("device", device), option_bytes("backend", backend)
        options.scheduler = option_bytes("scheduler", scheduler)
        kv_cache_config_of(kv_cache_config).fill(options)
        if lora_manager is not None:
            lora_manager.fill(options)
        if build_config is not None:
            options.build = ctypes.pointer(build_config.options())
        self._engine = Engine(options, progress)
        if lora_manager is not None:
            lora_manager.attach(self._engine)
        self._info = self._engine.info()

    # ---- facts

    @property
    def model_name(self) -> str:
        return (self._info.name or b"").decode()

    @property
    def device(self) -> str:
        """Backend, kernel set, threads."""
        return (self._info.device or b"").decode()

    @property
    def max_seq_len(self) -> int:
        return self._info.max_seq_len

    @property
    def max_batch_size(self) -> int:
        return self._info.max_batch_size

    def encode(self, text: str) -> list[int]:
        """The token ids of a prompt, with those that the tokenizer puts around it."""
        return self._engine.encode(text)

    def encode_chat(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True,
                    chat_template_kwargs: Mapping[str, Any] | None = None) -> list[int]:
        """A conversation as the model's own chat template writes it, in token ids, which are a prompt."""
        return self._engine.encode_chat(json.dumps({
            "messages": list(messages), "add_generation_prompt": add_generation_prompt,
            "chat_template_kwargs": dict(chat_template_kwargs or {})}))

    def metrics(self) -> str:
        """In Prometheus' text format, as docs/metrics.md tells."""
        return self._engine.metrics()

    def check_health(self) -> None:
        """Raises the sentence of what keeps the engine from making steps."""
        self._engine.healthy()

    # ---- text

    @overload  # a str is a sequence of them, too: the first that fits is meant
    def generate(self, prompts: str | list[int],  # type: ignore[overload-overlap]
                 sampling_params: SamplingParams | None = None, *,
                 multimodal_params: MultimodalParams | None = None) -> RequestOutput: ...

    @overload
    def generate(self, prompts: Sequence[str] | Sequence[list[int]],
                 sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                 multimodal_params: MultimodalParams | Sequence[MultimodalParams | None] | None = None
                 ) -> list[RequestOutput]: ...

    def generate(self, prompts: str | Sequence[str] | list[int] | Sequence[list[int]],
                 sampling_params: SamplingParams | Sequence[SamplingParams] | None = None, *,
                 multimodal_params: MultimodalParams | Sequence[MultimodalParams | None] | None = None
                 ) -> RequestOutput | list[RequestOutput]:
        """Text for a prompt (a text, with images or without, or its token ids), or for each of a list of them, which are
        computed together. Waits for all; the first failure is raised, and ends the others."""
        one = isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int))
        all_prompts: list[Any] = [prompts] if one else list(prompts)
        with self._engine.use():
            inbox = self._engine.inbox_open()
            try:
                outputs = self._generate_all(inbox, all_prompts, params_of_each(sampling_params, len(all_prompts)),
                                             multimodal_of_each(multimodal_params, len(all_prompts)))
            finally:
                self._engine.inbox_close(inbox)
        return outputs[0] if one else outputs

    def _generate_all(self, inbox: Inbox, prompts: list[Any], params: Sequence[SamplingParams],
                      multimodal: Sequence[MultimodalParams | None]) -> list[RequestOutput]:
        results: list[GenerationResult] = []
        for prompt, wanted, media in zip(prompts, params, multimodal):
            known = Prompt(self._engine, prompt, media)
            known.ids()  # which are the request's tokens then, and need no engine later
            results.append(self._submit_patiently(inbox, known, wanted, results))
        return [result.result() for result in results]

    def _submit_patiently(self, inbox: Inbox, prompt: Prompt, params: SamplingParams,
                          before: list[GenerationResult]) -> GenerationResult:
        """A full queue has room again when one of those before has ended."""
        while True:
            try:
                return self._engine.submit(inbox, prompt, params, streaming=False)
            except BusyError:
                if all(result.finished for result in before):
                    raise
                inbox.wait()
                inbox.drain()

    def generate_async(self, prompt: str | list[int], sampling_params: SamplingParams | None = None,
                       streaming: bool = False, *, multimodal_params: MultimodalParams | None = None
                       ) -> GenerationResult:
        """Starts a request. In an event loop, await what this returns, or iterate over it with `async for`; outside of
        one, call its result()."""
        params = SamplingParams() if sampling_params is None else sampling_params
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return self._engine.submit_alone(Prompt(self._engine, prompt, multimodal_params), params, streaming)
        return self._engine.submit(self._engine.inbox_of(loop), Prompt(self._engine, prompt, multimodal_params), params,
                                   streaming)

    # ---- numbers

    def embed(self, prompts: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]], *,
              pooling_params: PoolingParams | None = None, truncate_prompt_tokens: int | None = None,
              prompt_name: str | None = None) -> list[EmbeddingRequestOutput]:
        """The vector of a text (or of its token ids, taken as they are), or of each of a list of them, which are computed
        together. Any number of texts: as many wait at the engine as have room there. Of a model that makes vectors."""
        self._expects(_library.TASK_EMBED, "embed")
        texts = texts_of(prompts)
        params = self._pooling(pooling_params, truncate_prompt_tokens, prompt_name)
        return [EmbeddingRequestOutput(r.request_id, EmbeddingOutput(r.numbers), r.tokens)
                for r in pool_all(self._engine, texts, None, params)]

    def classify(self, prompts: str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]], *,
                 pooling_params: PoolingParams | None = None,
                 truncate_prompt_tokens: int | None = None) -> list[ClassificationRequestOutput]:
        """The labels' numbers of each text. Of a model that tells labels."""
        self._expects(_library.TASK_CLASSIFY, "classify")
        texts = texts_of(prompts)
        pooled = pool_all(self._engine, texts, None, self._pooling(pooling_params, truncate_prompt_tokens, None))
        labels = [self._engine.label(i) for i in range(self._info.vector_size)]
        return [ClassificationRequestOutput(r.request_id, ClassificationOutput(
            r.numbers, labels[max(range(len(r.numbers)), key=r.numbers.__getitem__)]), r.tokens) for r in pooled]

    def score(self, data_1: str | Sequence[str], data_2: str | Sequence[str], *, pooling_params: PoolingParams | None = None,
              truncate_prompt_tokens: int | None = None) -> list[ScoringRequestOutput]:
        """How well each of data_2 fits the one text of data_1, or its own: by a classifier of pairs with one label, else by
        their vectors, as the model's files say to compare them."""
        left, right = texts_of(data_1), texts_of(data_2)
        if len(left) not in (1, len(right)):
            raise InvalidError(f"There are {len(left)} and {len(right)} texts; expected as many, or one first text for all.")
        params = self._pooling(pooling_params, truncate_prompt_tokens, None)
        if self._info.task == _library.TASK_CLASSIFY:
            if self._info.vector_size != 1:
                raise InvalidError(f"The model {self.model_name} tells {self._info.vector_size} labels, where one score is "
                                   "wanted: see classify.")
            firsts = left * len(right) if len(left) == 1 else left
            return [ScoringRequestOutput(ScoringOutput(r.numbers[0]), r.tokens)
                    for r in pool_all(self._engine, firsts, right, params)]
        self._expects(_library.TASK_EMBED, "score")
        pooled = pool_all(self._engine, left + right, None, params)
        firsts, seconds = pooled[:len(left)], pooled[len(left):]
        return [ScoringRequestOutput(ScoringOutput(likeness(self._info.similarity, a.numbers, b.numbers)), a.tokens + b.tokens)
                for a, b in zip(firsts * len(right) if len(left) == 1 else firsts, seconds)]

    def _pooling(self, params: PoolingParams | None, truncate: int | None, prompt_name: str | None) -> PoolingParams:
        given = params or PoolingParams()
        return replace(given, truncate_prompt_tokens=given.truncate_prompt_tokens if truncate is None else truncate,
                       prompt_name=given.prompt_name if prompt_name is None else prompt_name)

    def _expects(self, task: int, method: str) -> None:
        does = {_library.TASK_GENERATE: "generates text", _library.TASK_EMBED: "makes vectors of texts",
                _library.TASK_CLASSIFY: "tells labels of texts"}
        if self._info.task != task:
            raise InvalidError(f"The model {self.model_name} {does[self._info.task]}; {method} is of one that {does[task]}.")

    # ---- the end

    def shutdown(self) -> None:
        """Ends what runs and frees the engine; also done when the LLM is dropped, or left as a context."""
        self._engine.close()

    def __enter__(self) -> LLM:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.shutdown()


def params_of_each(params: SamplingParams | Sequence[SamplingParams] | None, count: int) -> Sequence[SamplingParams]:
    if params is None or isinstance(params, SamplingParams):
        return [params or SamplingParams()] * count
    if len(params) != count:
        raise InvalidError(f"There are {count} prompts and {len(params)} sampling_params; expected one for each, or one "
                           "for all.")
    return params
