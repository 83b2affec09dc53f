"""Spate: LLM inference in C, from Python. docs/python.md tells how; the names are those of TensorRT-LLM's LLM API."""
from spate.builder import BuildConfig, PluginConfig, build
from spate.errors import (BusyError, CancelledError, Code, InvalidError, RequestTimeoutError, SpateError,
                          UnsupportedError)
from spate.generation import GenerationResult
from spate.inputs.multimodal import MultimodalParams
from spate.llm import LLM, KvCacheConfig
from spate.lora_manager import LoraManager
from spate.outputs import CompletionOutput, RequestOutput, TokenLogprob
from spate.pooling import (ClassificationOutput, ClassificationRequestOutput, EmbeddingOutput, EmbeddingRequestOutput,
                           PoolingParams, ScoringOutput, ScoringRequestOutput)
from spate.quantization import QuantAlgo, QuantMode
from spate.sampling_params import LoRARequest, SamplingParams

__version__ = "0.1.0"
__all__ = ["LLM", "BuildConfig", "BusyError", "CancelledError", "ClassificationOutput", "ClassificationRequestOutput", "Code",
           "CompletionOutput", "EmbeddingOutput", "EmbeddingRequestOutput", "GenerationResult", "InvalidError",
           "KvCacheConfig", "LoRARequest", "LoraManager", "MultimodalParams", "PluginConfig", "PoolingParams", "QuantAlgo",
           "QuantMode", "RequestOutput", "RequestTimeoutError", "SamplingParams", "ScoringOutput", "ScoringRequestOutput",
           "SpateError", "TokenLogprob", "UnsupportedError", "build"]
