"""The names that TensorRT-LLM has in its llmapi."""
from spate.builder import BuildConfig
from spate.llm import LLM, KvCacheConfig
from spate.outputs import CompletionOutput, RequestOutput
from spate.quantization import QuantAlgo, QuantMode
from spate.sampling_params import LoRARequest, SamplingParams

__all__ = ["LLM", "BuildConfig", "CompletionOutput", "KvCacheConfig", "LoRARequest", "QuantAlgo", "QuantMode",
           "RequestOutput", "SamplingParams"]
