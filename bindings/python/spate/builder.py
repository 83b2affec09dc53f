"""What an engine is built with, and building one."""
from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any

from spate import _library
from spate._engine import Progress, ProgressCall
from spate.errors import InvalidError, UnsupportedError, error_taken, option_bytes
from spate.quantization import QuantMode
from spate.sampling_params import INT_MAX, check_number, check_whole

SIZES = ("max_batch_size", "opt_batch_size", "max_input_len", "max_seq_len", "max_num_tokens")


@dataclass
class PluginConfig:
    paged_kv_cache: bool | None = None  # False: a contiguous one; None: as kv_cache_type says
    bert_attention: bool = False  # of encoders, which Spate does not run


@dataclass
class BuildConfig:
    """None: the default that `spate build --help` names."""
    max_batch_size: int | None = None  # sequences in one step
    max_input_len: int | None = None
    max_seq_len: int | None = None
    kv_cache_type: str | None = None  # "PAGED" or "CONTIGUOUS"
    quant_mode: QuantMode | None = None
    opt_batch_size: int | None = None  # the batch that kernel choices are timed at
    max_num_tokens: int | None = None  # of one step
    calib_data: str | None = None  # a text file that AWQ, GPTQ and SMOOTHQUANT watch the model read
    quant_override: str | None = None  # modes of single weights: "lm_head=INT8_WEIGHT,*.down_proj=BF16"
    emulate: bool = False  # FP8 may run as floats where there is no such arithmetic
    target_bits: float | None = None  # of QuantMode.AUTO
    merge_lora: str | os.PathLike[str] | None = None  # an adapter's folder, or "FOLDER=SCALE": it becomes part of the weights
    rerank: bool = False  # pairs of texts have a score, by the words yes and no of a decoder (Qwen3-Reranker)
    plugin_config: PluginConfig = field(default_factory=PluginConfig)

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"BuildConfig has no {name}.")
        super().__setattr__(name, value.copy() if isinstance(value, QuantMode) else value)

    def options(self) -> _library.BuildOptions:
        options = _library.BuildOptions(size=ctypes.sizeof(_library.BuildOptions))
        for name in SIZES:
            check_whole(name, getattr(self, name), 1, INT_MAX)
            setattr(options, name, getattr(self, name) or 0)
        for name in ("calib_data", "quant_override"):
            setattr(options, name, option_bytes(name, getattr(self, name)))
        options.merge_lora = None if self.merge_lora is None else os.fsencode(self.merge_lora)
        options.kv_cache_type = option_bytes("kv_cache_type", self.cache_type())
        if self.quant_mode is not None:
            algo = self.quant_mode.quant_algo
            options.quant_mode = option_bytes("quant_mode", self.quant_mode.name)
            options.quant_algo = algo.value.encode() if algo else None
        check_number("target_bits", self.target_bits)
        options.emulate, options.target_bits, options.rerank = self.emulate, self.target_bits or 0, self.rerank
        if self.plugin_config.bert_attention:
            raise UnsupportedError("bert_attention is for encoders, which do not exist here: leave it False.")
        return options

    def cache_type(self) -> str | None:
        paged = self.plugin_config.paged_kv_cache
        if paged is None:
            return self.kv_cache_type
        wanted = "PAGED" if paged else "CONTIGUOUS"
        if self.kv_cache_type not in (None, wanted):
            raise InvalidError(f"kv_cache_type is {self.kv_cache_type} and plugin_config.paged_kv_cache is {paged}: "
                               "they must agree.")
        return wanted


def build(model_dir: str | os.PathLike[str], output: str | os.PathLike[str], build_config: BuildConfig | None = None, *,
          target: str | None = None, progress: ProgressCall | None = None) -> None:
    """Writes an engine file. progress(stage, done, total) is called about ten times a second."""
    error, calls = _library.Error(), Progress(progress)
    options = (build_config or BuildConfig()).options()
    options.model, options.output = os.fsencode(model_dir), os.fsencode(output)
    options.target = option_bytes("target", target)
    options.progress = calls.function
    built = _library.libspate().spate_build(ctypes.byref(options), ctypes.byref(error))
    if calls.raised or not built:
        raise calls.raised or error_taken(error)
