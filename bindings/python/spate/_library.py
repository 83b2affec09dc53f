"""libspate through ctypes: the structs and functions of include/spate.h that the package uses, as they stand there.

Each struct begins with its size, so a library that is newer than this file works too. Every call gives the GIL back
while it runs. `tests/python/test_layout.py` compares the structs with the header.
"""
from __future__ import annotations

import ctypes
import functools
import os
import pathlib
import shutil
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

S = TypeVar("S", bound=type[ctypes.Structure])


def structure(cls: S) -> S:
    """A struct whose members are its annotations, in their order: what Python sees, and the type in C."""
    hints = get_type_hints(cls, include_extras=True)
    cls._fields_ = [(name, get_args(hints[name])[1]) for name in cls.__annotations__]
    return cls


Progress = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64, ctypes.c_uint64)
Write = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)

Visit = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p)

Int = Annotated[int, ctypes.c_int]
Int32 = Annotated[int, ctypes.c_int32]
Int64 = Annotated[int, ctypes.c_int64]
Uint64 = Annotated[int, ctypes.c_uint64]
Size = Annotated[int, ctypes.c_size_t]
Bool = Annotated[bool, ctypes.c_bool]
Float = Annotated[float, ctypes.c_float]
Double = Annotated[float, ctypes.c_double]
Text = Annotated[bytes | None, ctypes.c_char_p]
Address = Annotated[int | None, ctypes.c_void_p]
Texts = Annotated[Any, ctypes.POINTER(ctypes.c_char_p)]
Tokens = Annotated[Any, ctypes.POINTER(ctypes.c_int32)]


@structure
class Error(ctypes.Structure):
    code: Int
    text: Annotated[bytes, ctypes.c_char * 512]


@structure
class BuildOptions(ctypes.Structure):
    size: Size
    model: Text
    output: Text
    quant_mode: Text
    target: Text
    kv_cache_type: Text
    max_batch_size: Int
    opt_batch_size: Int
    max_input_len: Int
    max_seq_len: Int
    max_num_tokens: Int
    progress: Annotated[Any, Progress]
    user: Address
    quant_algo: Text
    calib_data: Text
    eval_text: Text
    quant_override: Text
    emulate: Bool
    eval_against: Text
    target_bits: Double
    merge_lora: Text
    rerank: Bool


@structure
class OpenOptions(ctypes.Structure):
    size: Size
    model: Text
    build: Annotated[Any, ctypes.POINTER(BuildOptions)]
    cache_dir: Text
    backend: Text
    threads: Int
    free_gpu_memory_fraction: Double
    kv_cache_memory: Uint64
    kv_cache_dtype: Text
    block_size: Int
    max_queue: Int
    progress: Annotated[Any, Progress]
    user: Address
    scheduler: Text
    batch_delay_ms: Int
    no_block_reuse: Bool
    stall_timeout_s: Double
    max_queue_tokens: Int64
    cache_limit: Uint64
    device: Text
    no_fuse: Bool
    max_outputs: Int
    batch_invariant: Bool
    target_itl_ms: Double
    idle_release_s: Double
    beside: Address
    lora_dir: Text
    max_loras: Int
    max_lora_rank: Int
    max_cpu_loras: Int
    lora_memory: Uint64
    image_helper: Text
    image_decoders: Int
    max_images: Int
    image_cache_memory: Uint64
    cpu_experts: Int


@structure
class EngineInfo(ctypes.Structure):
    size: Size
    name: Text
    architecture: Text
    device: Text
    vocab_size: Int
    max_batch_size: Int
    max_input_len: Int
    max_seq_len: Int
    max_num_tokens: Int
    weight_bytes: Uint64
    kv_bytes: Uint64
    created: Int64
    kv_dtype: Text
    weights_seconds: Double
    file_seconds: Double
    device_seconds: Double
    program_seconds: Double
    task: Int
    vector_size: Int
    similarity: Int
    cpu_experts: Int
    host_weight_bytes: Uint64
    host_token_bytes: Uint64
    host_gbs: Double
    normalizes: Bool


@structure
class LogitBias(ctypes.Structure):
    token: Int32
    bias: Float


@structure
class Lora(ctypes.Structure):
    name: Text
    scale: Float


@structure
class Image(ctypes.Structure):
    data: Text
    size: Size
    mime_type: Text
    is_text: Bool


@structure
class Request(ctypes.Structure):
    size: Size
    prompt: Text
    prompt_size: Size
    tokens: Tokens
    n_token: Int
    max_tokens: Int
    temperature: Float
    top_p: Float
    top_k: Int
    has_seed: Bool
    seed: Uint64
    stop: Texts
    n_stop: Int
    ignore_eos: Bool
    priority: Int
    cache_salt: Text
    min_p: Float
    typical_p: Float
    repetition_penalty: Float
    frequency_penalty: Float
    presence_penalty: Float
    min_tokens: Int
    logit_bias: Annotated[Any, ctypes.POINTER(LogitBias)]
    n_logit_bias: Int
    allowed_token_ids: Tokens
    n_allowed_token_ids: Int
    bad_words: Texts
    n_bad_words: Int
    stop_token_ids: Tokens
    n_stop_token_ids: Int
    include_stop_str_in_output: Bool
    logprobs: Bool
    top_logprobs: Int
    chat: Bool
    tenant: Int
    timeout_s: Float
    n: Int
    use_beam_search: Bool
    beam_width: Int
    length_penalty: Float
    early_stopping: Int
    prompt_logprobs: Bool
    top_prompt_logprobs: Int
    loras: Annotated[Any, ctypes.POINTER(Lora)]
    n_loras: Int
    images: Annotated[Any, ctypes.POINTER(Image)]
    n_images: Int
    write_special_tokens: Bool
    write_marks: Bool


TEXT, DONE, FAILED, PROMPT = range(4)  # spate_event_kind
STOP, LENGTH, CANCELLED = range(1, 4)  # spate_finish
TASK_GENERATE, TASK_EMBED, TASK_CLASSIFY = range(3)  # spate_engine_info.task
COSINE, DOT, EUCLIDEAN, MANHATTAN = range(4)  # spate_engine_info.similarity


@structure
class Logprob(ctypes.Structure):
    token: Int32
    logprob: Float


@structure
class Event(ctypes.Structure):
    id: Uint64
    kind: Int
    finish: Int
    text: Address
    text_size: Size
    token: Int32
    generated_tokens: Int
    prompt_tokens: Int
    cached_tokens: Int
    code: Int
    n_logprobs: Int
    top_logprobs: Int
    logprobs: Annotated[Any, ctypes.POINTER(Logprob)]
    answer: Int
    stop_string: Int
    stop_token: Int32
    prompt_end: Annotated[Any, ctypes.c_int32 * 8]
    n_numbers: Int
    numbers: Annotated[Any, ctypes.POINTER(ctypes.c_float)]


@structure
class EmbedRequest(ctypes.Structure):
    size: Size
    text: Text
    text_size: Size
    pair: Text
    pair_size: Size
    tokens: Tokens
    n_token: Int
    dimensions: Int
    truncate: Int
    plain: Bool
    priority: Int
    tenant: Int
    timeout_s: Float
    prompt_name: Text
    again: Bool
    behind: Int
    max_tokens_per_doc: Int
    chat: Bool
    instruct: Text
    instruct_size: Size


@structure
class TokenList(ctypes.Structure):
    ids: Tokens
    count: Size


STRUCTS = {"spate_error": Error, "spate_build_options": BuildOptions, "spate_open_options": OpenOptions,
           "spate_engine_info": EngineInfo, "spate_logit_bias": LogitBias, "spate_lora": Lora, "spate_image": Image,
           "spate_request": Request, "spate_logprob": Logprob, "spate_event": Event, "spate_tokens": TokenList,
           "spate_embed_request": EmbedRequest}

P = ctypes.POINTER
V = ctypes.c_void_p
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "spate_version": (ctypes.c_char_p, []),
    "spate_build": (ctypes.c_bool, [P(BuildOptions), P(Error)]),
    "spate_open": (V, [P(OpenOptions), P(Error)]),
    "spate_close": (None, [V]),
    "spate_info": (None, [V, P(EngineInfo)]),
    "spate_healthy": (ctypes.c_bool, [V, P(Error)]),
    "spate_metrics": (ctypes.c_bool, [V, Write, V]),
    "spate_request_defaults": (None, [V, P(Request)]),
    "spate_lora_load": (ctypes.c_bool, [V, ctypes.c_char_p, ctypes.c_char_p, P(Error)]),
    "spate_lora_unload": (ctypes.c_bool, [V, ctypes.c_char_p, P(Error)]),
    "spate_lora_list": (None, [V, ctypes.c_size_t, Visit, V]),
    "spate_submit": (ctypes.c_uint64, [V, V, P(Request), P(Error)]),
    "spate_embed": (ctypes.c_uint64, [V, V, P(EmbedRequest), P(Error)]),
    "spate_prompt": (ctypes.c_char_p, [V, ctypes.c_char_p]),
    "spate_label": (ctypes.c_char_p, [V, ctypes.c_int]),
    "spate_cancel": (None, [V, ctypes.c_uint64]),
    "spate_inbox_new": (V, [V, P(Error)]),
    "spate_inbox_free": (None, [V]),
    "spate_inbox_descriptor": (ctypes.c_int, [V]),
    "spate_inbox_take_sized": (ctypes.c_int, [V, V, ctypes.c_size_t, ctypes.c_int, ctypes.c_int]),
    "spate_encode": (ctypes.c_bool, [V, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_bool, P(TokenList), P(Error)]),
    "spate_chat_tokens": (ctypes.c_bool, [V, ctypes.c_char_p, ctypes.c_size_t, P(TokenList), P(Error)]),
    "spate_tokens_free": (None, [P(TokenList)]),
}


def bytes_at(address: int | None, size: int) -> bytes:
    """Of a text that is not NUL-terminated."""
    return ctypes.string_at(address, size) if address and size else b""


def image_helper() -> str | None:
    """The program that decodes images in processes of its own: `spate` beside the library, else where commands are found."""
    beside = pathlib.Path(libspate()._name).with_name("spate")
    return str(beside) if os.access(beside, os.X_OK) and beside.is_file() else shutil.which("spate")


@functools.cache
def libspate() -> ctypes.CDLL:
    """Named by SPATE_LIBRARY, else beside this file, else where the system's loader looks."""
    beside = pathlib.Path(__file__).with_name("libspate.so")
    name = os.environ.get("SPATE_LIBRARY") or (str(beside) if beside.exists() else "libspate.so.0")
    try:
        loaded = ctypes.CDLL(name)
    except OSError as error:
        raise ImportError(f"The Spate library does not load: {error}. Build it (cmake --build build/release --target "
                          "libspate) and name build/release/libspate.so in SPATE_LIBRARY.") from error
    for function, (result, arguments) in FUNCTIONS.items():
        call = getattr(loaded, function)
        call.restype, call.argtypes = result, arguments
    return loaded
