"""How an engine's weights are quantized: the names of `spate build --quant-mode` and `--quant-algo`."""
from __future__ import annotations

import enum
from typing import ClassVar

from spate.errors import InvalidError


class QuantAlgo(str, enum.Enum):
    """How integers are found (the first four), or one of TensorRT-LLM's names, which says what is quantized, too."""
    RTN = "RTN"
    AWQ = "AWQ"
    GPTQ = "GPTQ"
    SMOOTHQUANT = "SMOOTHQUANT"
    W8A8 = "W8A8"
    W8A8_SQ_PER_CHANNEL = "W8A8_SQ_PER_CHANNEL"
    W8A16 = "W8A16"
    W8A16_GPTQ = "W8A16_GPTQ"
    W4A16 = "W4A16"
    W4A16_AWQ = "W4A16_AWQ"
    W4A8_AWQ = "W4A8_AWQ"
    W4A16_GPTQ = "W4A16_GPTQ"
    FP8 = "FP8"


class QuantMode:
    """A mode, and perhaps an algorithm. Those named here are constants; a BuildConfig has a copy of its own, which
    add_quant_algo changes."""
    FP32: ClassVar[QuantMode]
    FP16: ClassVar[QuantMode]
    BF16: ClassVar[QuantMode]
    INT8_WEIGHT: ClassVar[QuantMode]
    INT4_WEIGHT: ClassVar[QuantMode]
    FP8: ClassVar[QuantMode]
    W8A8: ClassVar[QuantMode]
    AUTO: ClassVar[QuantMode]

    def __init__(self, name: str | None, quant_algo: QuantAlgo | None = None) -> None:
        self.name = name  # None: as the model's file is, or as the algorithm says
        self.quant_algo = quant_algo

    def add_quant_algo(self, algo: QuantAlgo | str) -> QuantMode:
        """In place. Whether the two go together is checked when an engine is built."""
        if self in CONSTANTS:
            raise InvalidError(f"QuantMode.{self.name} is a constant: give it to a BuildConfig, and add to the "
                               "quant_mode of that.")
        try:
            self.quant_algo = QuantAlgo(algo)
        except ValueError:
            raise InvalidError(f"quant_algo is {algo!r}; it must be one of "
                               f"{', '.join(known.value for known in QuantAlgo)}.") from None
        return self

    def copy(self) -> QuantMode:
        return QuantMode(self.name, self.quant_algo)

    def __repr__(self) -> str:
        return f"QuantMode({self.name!r}, {self.quant_algo})"


CONSTANTS = [QuantMode(name if name != "AUTO" else "auto")
             for name in ("FP32", "FP16", "BF16", "INT8_WEIGHT", "INT4_WEIGHT", "FP8", "W8A8", "AUTO")]
for constant in CONSTANTS:
    setattr(QuantMode, str(constant.name).upper(), constant)
