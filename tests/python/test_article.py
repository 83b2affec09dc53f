"""The article's other pieces of code, as they stand there but for imports and the model's folder: what exists does what
they say, what does not exist yet says so in a sentence."""
import asyncio
import json
import pathlib
import shutil
import subprocess

import spate_python
import spate
import spate_server
import test_images as seeing
from spate import SamplingParams

BUILD = """
from spate.builder import BuildConfig
from spate.quantization import QuantMode
# 创建构建配置
build_config = BuildConfig(
    max_batch_size=32, # 最大批处理大小
    max_input_len=1024, # 最大输入长度
    max_seq_len=4096, # 最大序列长度
    kv_cache_type="PAGED", # KV缓存类型(分页式)
    quant_mode=QuantMode.INT4_WEIGHT # 量化模式(INT4权重量化)
)
# 设置插件配置
build_config.plugin_config.paged_kv_cache = True
build_config.plugin_config.bert_attention = False # 禁用BERT注意力优化
"""
QUANTIZE = """
from spate.quantization import QuantMode, QuantAlgo
# 配置INT4权重量化
build_config.quant_mode = QuantMode.INT4_WEIGHT
build_config.quant_mode.add_quant_algo(QuantAlgo.W8A8) # 添加W8A8量化算法
"""
BATCHES = """
# 动态批处理配置
build_config.max_batch_size = 32 # 最大批大小
build_config.opt_batch_size = 16 # 优化批大小
build_config.max_num_tokens = 8192 # 每批最大token数
"""
CACHE = """
# KV缓存配置最佳实践
from spate.llmapi import LLM, KvCacheConfig
kv_cache_config = KvCacheConfig(
    free_gpu_memory_fraction=0.8, # 分配80%空闲GPU内存给KV缓存
    enable_block_reuse=True, # 启用缓存块重用
    block_size=16 # 缓存块大小( tokens )
)
llm = LLM(
    model_dir="/models/llama-7b-trt",
    kv_cache_config=kv_cache_config
)
"""
STREAM = """
import json
# 优化的流式响应实现
async def stream_results(promise):
    \"\"\"带进度跟踪的流式响应生成器\"\"\"
    async for output in promise:
        # 包含当前生成进度
        yield json.dumps({
            "text": output.outputs[0].text_diff,
            "finished": output.finished,
            "generated_tokens": output.generated_tokens
        }) + "\\n"
"""
ADAPTER_REQUEST = """
from spate.llmapi import LoRARequest, SamplingParams
# 在生成请求中指定LoRA
sampling_params = SamplingParams(
    max_tokens=128,
    lora_request=LoRARequest(
        lora_name="medical_advice", # LoRA适配器名称
        lora_scale=0.8 # LoRA权重
    )
)
"""
ADAPTERS = """
from spate.lora_manager import LoraManager
# 初始化LoRA管理器
lora_manager = LoraManager(
    lora_dir="/models/lora_adapters",
    max_loras=4, # 最大同时加载LoRA数量
    adapter_dim=8 # LoRA适配器维度
)
"""
IMAGES = """
from spate.inputs.multimodal import MultimodalParams
request_dict = {"image_data": "iVBORw0KGgo="}
# 检查是否包含图像数据
if "image_data" in request_dict:
    multimodal_params = MultimodalParams(
        multimodal_data={
            "image": request_dict["image_data"]
        }
    )
"""


def run(*pieces):
    names = {}
    exec("\n".join(pieces), names)
    return names


class Article(spate_python.LlmCase):
    def manifest(self, config):
        """What spate inspect says of an engine that was built with it."""
        path = pathlib.Path(self.engine.folder) / "article.spate"
        stages = []
        spate.build(self.engine.folder / "tiny", path, config, progress=lambda stage, done, total: stages.append(stage))
        self.assertTrue(stages)
        shown = subprocess.run([spate_server.SPATE, "inspect", path, "--json"], capture_output=True, check=True).stdout
        return json.loads(shown)["manifest"]

    def test_build(self):
        manifest = self.manifest(run(BUILD, QUANTIZE, BATCHES)["build_config"])
        limits = manifest["config"]
        self.assertEqual({name: limits[name] for name in ("max_batch_size", "opt_batch_size", "max_input_len", "max_seq_len",
                                                          "max_num_tokens", "kv_cache_type", "quant_mode")},
                         {"max_batch_size": 32, "opt_batch_size": 16, "max_input_len": 1024, "max_seq_len": 4096,
                          "max_num_tokens": 8192, "kv_cache_type": "PAGED", "quant_mode": "INT4_WEIGHT"})
        self.assertIsNone(spate.QuantMode.INT4_WEIGHT.quant_algo)  # the constant is as it was

    def test_opened_with_a_build_config(self):
        config = spate.BuildConfig(max_seq_len=128, quant_mode=spate.QuantMode.INT8_WEIGHT)
        with spate_python.engine_open(self.engine, build_config=config, cache_dir=self.engine.folder / "cache",
                                      model_dir=self.engine.folder / "tiny") as llm:
            self.assertEqual(llm.max_seq_len, 128)
            self.assertEqual(llm.generate("a", SamplingParams(max_tokens=3)).generated_tokens, 3)

    def test_wrong_build_configs(self):
        tiny = self.engine.folder / "tiny"
        for change, kind, sentence in (
                ("config.plugin_config.bert_attention = True", spate.UnsupportedError,
                 "bert_attention is for encoders, which do not exist here: leave it False."),
                ("config.plugin_config.paged_kv_cache = False; config.kv_cache_type = 'PAGED'", spate.InvalidError,
                 "kv_cache_type is PAGED and plugin_config.paged_kv_cache is False: they must agree."),
                ("config.kv_cache_type = 'ROUND'", spate.InvalidError, 'kv_cache_type is "ROUND"; it must be PAGED or CONTIGUOUS.'),
                ("config.max_batch_size = 2.5", spate.InvalidError,
                 "max_batch_size is 2.5, expected a whole number from 1 to 2147483647."),
                ("config.quant_mode = QuantMode.FP16; config.quant_mode.add_quant_algo('W8A8')", spate.InvalidError,
                 "quant_mode is FP16 and quant_algo is W8A8, which belongs to quant_mode W8A8; choose that, or leave "
                 "quant_algo out."),
                ("QuantMode.FP16.add_quant_algo('W8A8')", spate.InvalidError,
                 "QuantMode.FP16 is a constant: give it to a BuildConfig, and add to the quant_mode of that."),
                ("config.quant_mode = QuantMode.FP16; config.quant_mode.add_quant_algo('W9')", spate.InvalidError,
                 "quant_algo is 'W9'; it must be one of RTN, AWQ, GPTQ, SMOOTHQUANT, W8A8, W8A8_SQ_PER_CHANNEL, W8A16, "
                 "W8A16_GPTQ, W4A16, W4A16_AWQ, W4A8_AWQ, W4A16_GPTQ, FP8."),
                ("config.max_batchsize = 3", AttributeError, "BuildConfig has no max_batchsize.")):
            with self.subTest(sentence), self.assertRaises(kind) as raised:
                names = {"config": spate.BuildConfig(), "QuantMode": spate.QuantMode}
                exec(change, names)
                spate.build(tiny, self.engine.folder / "never.spate", names["config"])
            self.assertEqual(str(raised.exception), sentence)

    def test_merged_adapter(self):
        """The engine is that of spate build --merge-lora, byte for byte; the folder may be a path."""
        fixtures, folder = spate_server.ROOT / "tests/fixtures", pathlib.Path(self.engine.folder)
        model, adapter, path = fixtures / "model/llama3", fixtures / "adapter/all", folder / "merged.spate"
        command = [spate_server.SPATE, "build", model, "-o", path, "--merge-lora", f"{adapter}=0.5"]
        subprocess.run(command, capture_output=True, check=True)
        wanted = path.read_bytes()
        spate.build(model, path, spate.BuildConfig(merge_lora=f"{adapter}=0.5"))
        self.assertEqual(path.read_bytes(), wanted)
        spate.build(model, path, spate.BuildConfig(merge_lora=adapter))
        self.assertNotEqual(path.read_bytes(), wanted)
        with self.assertRaisesRegex(spate.SpateError, "^merge_lora: /none cannot be read: No such file or directory"):
            spate.build(model, path, spate.BuildConfig(merge_lora="/none"))
        other = folder / "other"
        shutil.copytree(adapter, other)
        config = other / "adapter_config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"spate_base_digest": "7" * 32}))
        with self.assertRaisesRegex(spate.SpateError, "is for the base model with the digest 7{32}, and this one has "):
            spate.build(model, path, spate.BuildConfig(merge_lora=other))

    def test_contiguous(self):
        config = spate.BuildConfig()
        config.plugin_config.paged_kv_cache = False
        self.assertEqual(self.manifest(config)["config"]["kv_cache_type"], "CONTIGUOUS")

    def test_a_build_that_is_given_up(self):
        class Enough(Exception):
            pass

        def stop(stage, done, total):
            raise Enough

        path = self.engine.folder / "given-up.spate"
        with self.assertRaises(Enough):
            spate.build(self.engine.folder / "tiny", path, progress=stop)
        self.assertFalse(path.exists())

    def test_cache(self):
        llm = run(CACHE.replace("/models/llama-7b-trt", str(self.engine.path)))["llm"]
        self.assertEqual(llm.generate("Once", SamplingParams(max_tokens=5, temperature=0)).output_token_ids,
                         self.llm.generate("Once", SamplingParams(max_tokens=5, temperature=0)).output_token_ids)
        llm.shutdown()

    def test_stream(self):
        params = SamplingParams(max_tokens=20, temperature=0)
        stream_results = run(STREAM)["stream_results"]

        async def read():
            promise = self.llm.generate_async("Once", params, streaming=True)
            return [json.loads(line) async for line in stream_results(promise)]

        lines = asyncio.run(read())
        self.assertEqual("".join(line["text"] for line in lines), self.llm.generate("Once", params).outputs[0].text)
        self.assertEqual((lines[-1]["finished"], lines[-1]["generated_tokens"]), (True, 20))
        self.assertFalse(any(line["finished"] for line in lines[:-1]))

    # ---- places

    def test_adapters(self):
        """The article's folder is another one's; the adapter is one of the fixtures for the tiny model."""
        manager = run(ADAPTERS)["lora_manager"]
        self.assertEqual((manager.lora_dir, manager.max_loras, manager.adapter_dim), ("/models/lora_adapters", 4, 8))
        with self.assertRaisesRegex(spate.InvalidError, "^The LoraManager has no LLM yet"):
            manager.names()
        params = run(ADAPTER_REQUEST)["sampling_params"]
        for call in (lambda: self.llm.generate("a", params), lambda: self.llm.generate_async("a", params)):
            with self.assertRaisesRegex(spate.InvalidError, "^An adapter was asked for and there are none"):
                call()
        manager.lora_dir = pathlib.Path(self.engine.folder) / "adapters"
        shutil.copytree(spate_server.ROOT / "tests/fixtures/adapter/tied", manager.lora_dir / "medical_advice")
        with spate_python.engine_open(self.engine, lora_manager=manager) as llm:
            self.assertEqual(manager.names(), ["medical_advice"])
            params.max_tokens, params.temperature = 16, 0
            text = llm.generate("a", params).outputs[0].text
            self.assertNotEqual(text, llm.generate("a", SamplingParams(max_tokens=16, temperature=0)).outputs[0].text)
            params.lora_request = [spate.LoRARequest("medical_advice", 0.5), spate.LoRARequest("medical_advice", 0.3)]
            self.assertEqual(llm.generate("a", params).outputs[0].text, text)
            manager.load("advice", "medical_advice")
            params.lora_request = spate.LoRARequest("advice", 0.8)
            self.assertEqual(llm.generate("a", params).outputs[0].text, text)
            manager.unload("advice")
            with self.assertRaisesRegex(spate.SpateError, '^There is no adapter "advice"'):
                llm.generate("a", params)
            with self.assertRaisesRegex(spate.InvalidError, "another LLM's: make one for each"):
                spate_python.engine_open(self.engine, lora_manager=manager)

    def test_images(self):
        params = run(IMAGES)["multimodal_params"]  # of a PNG no more than its first bytes
        with self.assertRaisesRegex(spate.UnsupportedError, "^The model tiny sees no images: send text alone.$"):
            self.llm.generate_async("a", multimodal_params=params)
        engine = seeing.SeeingEngine("llava")
        try:
            with spate_python.engine_open(engine) as llm:
                with self.assertRaisesRegex(spate.SpateError, "^The PNG image "):
                    llm.generate_async("a", multimodal_params=params).result()
                case = engine.answers[0]
                whole = [seeing.base(seeing.image(name)) for name in case["images"]]
                params = run(IMAGES.replace('"iVBORw0KGgo="', repr(whole)))["multimodal_params"]
                wanted = SamplingParams(max_tokens=24, temperature=0, ignore_eos=True, allowed_token_ids=seeing.LETTERS)
                promise = llm.generate_async(prompt=case["prompt"], sampling_params=wanted, multimodal_params=params)
                self.assertEqual(promise.result().outputs[0].text, case["text"])
        finally:
            engine.remove()

    # ---- beside the article

    def test_chat(self):
        """The ids are those that /tokenize has of the messages."""
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello 😀"}]
        with spate_server.Server(self.engine) as server:
            for fields in ({}, {"add_generation_prompt": False}, {"chat_template_kwargs": {"note": "x"}}):
                body = json.dumps({"messages": messages} | fields)
                answer = json.loads(server.request("POST", "/tokenize", body, spate_server.JSON)[2])
                self.assertEqual(self.llm.encode_chat(messages, **fields), answer["tokens"])
        ids = self.llm.encode_chat(messages)
        self.assertEqual(self.llm.generate(ids, SamplingParams(max_tokens=2)).prompt_token_ids, ids)
        with self.assertRaisesRegex(spate.UnsupportedError, "this model sees none: send text alone"):
            self.llm.encode_chat([{"role": "user", "content": [{"type": "image_url"}]}])


if __name__ == "__main__":
    spate_python.main(__name__)
