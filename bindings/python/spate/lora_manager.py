"""The place of adapters, which do not exist yet."""
from __future__ import annotations

import os

from spate.errors import UnsupportedError
from spate.sampling_params import NO_ADAPTERS, LoRARequest

__all__ = ["LoRARequest", "LoraManager"]


class LoraManager:
    """Will keep the adapters of a folder at hand; until adapters exist it says that they do not."""

    def __init__(self, lora_dir: str | os.PathLike[str], max_loras: int = 4, adapter_dim: int = 8) -> None:
        raise UnsupportedError(NO_ADAPTERS.format("LoraManager"))
