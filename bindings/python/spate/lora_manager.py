"""Adapters of an engine: which there may be, and those that come and go."""
from __future__ import annotations

import ctypes
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from spate import _library
from spate.errors import InvalidError, error_taken, name_bytes
from spate.sampling_params import INT_MAX, LoRARequest, check_whole

if TYPE_CHECKING:
    from spate._engine import Engine

__all__ = ["LoRARequest", "LoraManager"]
NAMES_MOST = 2**63 - 1


@dataclass
class LoraManager:
    """A folder of adapters (docs/lora.md), how many of them may be on the device, and their largest rank. An LLM that is
    given one takes requests that name them; its methods are for the LLM that it was given to."""
    lora_dir: str | os.PathLike[str]
    max_loras: int = 4
    adapter_dim: int = 8  # as in the article's example; the option --adapter-dim of serve is 16 unless it is given
    max_cpu_loras: int | None = None  # in the host's memory; None: 4 × max_loras
    lora_memory: int | None = None  # bytes that all of those may take; None: a quarter of what is free
    _engine: Engine | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_whole("max_loras", self.max_loras, 1, INT_MAX)
        check_whole("adapter_dim", self.adapter_dim, 1, INT_MAX)
        check_whole("max_cpu_loras", self.max_cpu_loras, 1, INT_MAX)
        check_whole("lora_memory", self.lora_memory, 1, 2**63)

    def fill(self, options: _library.OpenOptions) -> None:
        if self._engine is not None:
            raise InvalidError("The LoraManager is another LLM's: make one for each.")
        options.lora_dir = os.fsencode(self.lora_dir)
        options.max_loras, options.max_lora_rank = self.max_loras, self.adapter_dim
        options.max_cpu_loras, options.lora_memory = self.max_cpu_loras or 0, self.lora_memory or 0

    def attach(self, engine: Engine) -> None:
        self._engine = engine

    def _attached(self) -> Engine:
        if self._engine is None:
            raise InvalidError("The LoraManager has no LLM yet: give it to one, as lora_manager.")
        return self._engine

    def names(self) -> list[str]:
        """Those that a request may ask for."""
        found: list[str] = []
        visit = _library.Visit(lambda _user, name: found.append(name.decode()))
        with self._attached().use() as engine:
            _library.libspate().spate_lora_list(engine, NAMES_MOST, visit, None)
        return found

    def load(self, lora_name: str, lora_path: str | os.PathLike[str]) -> None:
        """Reads the adapter anew and lets requests name it; lora_path is its name in lora_dir, or below that path."""
        path = os.fsencode(lora_path)
        error = _library.Error()
        with self._attached().use() as engine:
            if not _library.libspate().spate_lora_load(engine, name_bytes("lora_name", lora_name), path,
                                                       ctypes.byref(error)):
                raise error_taken(error)

    def unload(self, lora_name: str) -> None:
        """Requests that name it from now on are refused."""
        error = _library.Error()
        with self._attached().use() as engine:
            if not _library.libspate().spate_lora_unload(engine, name_bytes("lora_name", lora_name), ctypes.byref(error)):
                raise error_taken(error)
