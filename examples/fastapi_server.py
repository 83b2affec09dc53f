# The server of the article, whose names for LLM and SamplingParams are Spate's, too: its imports alone have changed.
# docs/python.md tells how to run it.
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse, JSONResponse
from spate.llmapi import LLM
from spate.llmapi import SamplingParams
import asyncio

app = FastAPI(title="TensorRT-LLM推理服务")
llm = None  # 全局LLM实例


@app.on_event("startup")
async def startup_event():
    """服务启动时初始化LLM引擎"""
    global llm
    llm = LLM(
        model_dir="/models/llama-7b-trt",  # TensorRT引擎目录
        tensor_parallel_size=1,  # 张量并行度
        kv_cache_config={"free_gpu_memory_fraction": 0.8}  # KV缓存配置
    )


@app.post("/generate")
async def generate(request: Request):
    """文本生成接口,支持流式响应"""
    request_dict = await request.json()
    prompt = request_dict.pop("prompt", "")
    streaming = request_dict.pop("streaming", False)
    sampling_params = SamplingParams(**request_dict)
    try:
        # 异步生成任务
        promise = llm.generate_async(
            prompt=prompt,
            sampling_params=sampling_params,
            streaming=streaming
        )
        if streaming:
            # 流式响应生成器
            async def stream_results():
                async for output in promise:
                    yield f"data: {output.outputs[0].text}\n\n"
            return StreamingResponse(stream_results(), media_type="text/event-stream")
        else:
            # 同步等待结果
            await promise.aresult()
            return JSONResponse({
                "text": promise.outputs[0].text,
                "usage": {
                    "prompt_tokens": len(promise.prompt_token_ids),
                    "completion_tokens": len(promise.output_token_ids)
                }
            })
    except Exception as e:
        return JSONResponse({"error": str(e)}, status_code=500)


@app.get("/health")
async def health_check():
    """服务健康检查接口"""
    return {"status": "healthy", "model": llm.model_name if llm else None}
