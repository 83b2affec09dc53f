"""What a program that is checked with mypy --strict sees of the package: checked by test_package.py, never run."""
import asyncio
from typing import assert_type

from spate import (LLM, BuildConfig, CompletionOutput, EmbeddingRequestOutput, GenerationResult, KvCacheConfig,
                   MultimodalParams, PoolingParams, RequestOutput, SamplingParams)
from spate.quantization import QuantAlgo, QuantMode


async def stream(llm: LLM) -> None:
    promise = llm.generate_async("a", SamplingParams(max_tokens=1), streaming=True)
    assert_type(promise, GenerationResult)
    async for output in promise:
        assert_type(output, RequestOutput)
        assert_type(output.outputs[0], CompletionOutput)
        assert_type(output.outputs[0].text_diff, str)
        assert_type((output.finished, output.generated_tokens), tuple[bool, int])
    assert_type(await promise, RequestOutput)
    assert_type(await promise.aresult(), RequestOutput)
    assert_type(promise.output_token_ids, list[int])


def main() -> None:
    config = BuildConfig(max_batch_size=1, quant_mode=QuantMode.INT4_WEIGHT)
    config.plugin_config.paged_kv_cache = True
    if config.quant_mode is not None:
        assert_type(config.quant_mode.add_quant_algo(QuantAlgo.W8A8), QuantMode)
    with LLM("model", kv_cache_config=KvCacheConfig(block_size=16), build_config=config) as llm:
        assert_type(llm.generate("a"), RequestOutput)
        assert_type(llm.generate([1, 2]), RequestOutput)
        assert_type(llm.generate(["a", "b"]), list[RequestOutput])
        assert_type(llm.generate("a", multimodal_params=MultimodalParams({"image": b""})), RequestOutput)
        assert_type(llm.generate(["a"], multimodal_params=[MultimodalParams({}), None]), list[RequestOutput])
        assert_type(llm.embed("a")[0].outputs.embedding, list[float])
        assert_type(llm.embed(["a", "b"], pooling_params=PoolingParams(dimensions=4)), list[EmbeddingRequestOutput])
        assert_type(llm.classify([[1, 2]])[0].outputs.label, str)
        assert_type(llm.score("a", ["b", "c"])[0].outputs.score, float)
        assert_type(llm.model_name, str)
        asyncio.run(stream(llm))
        SamplingParams(max_tokens="x")  # type: ignore[arg-type]
        LLM("model", tensor_parallel=1)  # type: ignore[call-arg]
