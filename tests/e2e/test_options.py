"""Each command-line option does what its line of --help says. scripts/check_options.py asks that all are here or in
another test."""
import json
import os
import pathlib
import pty
import shutil
import struct
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor

import spate_server
from spate_server import ROOT, SPATE, Server

MODEL = ROOT / "tests/fixtures/model/smollm2"
SMALL_KV = ("--kv-cache-memory", "256M")
COMMANDS = ("serve", "generate", "chat", "build", "inspect", "bench", "bench-serve", "tokenize", "config", "tune")


def run(*command, **more):
    return subprocess.run((SPATE, *command), capture_output=True, text=True, timeout=spate_server.WAIT_SECONDS, **more)


def flipped(engine, section):
    """The bytes of an engine file with a bit in the middle of a section (docs/engine-file.md) turned over."""
    index = ("facts", "plan", "weight table", "tokenizer").index(section)
    offset, size = struct.unpack_from("<QQ", engine, 40 + 32 * index)
    place = offset + size // 2
    return engine[:place] + bytes([engine[place] ^ 1]) + engine[place + 1:]


class Options(spate_server.EngineCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-options-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def output_of(self, *command, **more):
        answer = run(*command, **more)
        self.assertEqual(answer.returncode, 0, answer.stderr)
        return answer.stdout

    def generate(self, *options):
        return self.output_of("generate", self.engine.path, "--prompt", "Once", "--max-tokens", "16", *SMALL_KV, *options)

    def refused(self, sentence, *command):
        answer = run(*command)
        self.assertEqual((answer.returncode, answer.stderr), (1, f"spate: {sentence}\n"))

    def test_sentences_do_not_command_the_terminal(self):
        config = {"architectures": ["LlamaForCausalLM"], "quantization_config": {
            "quant_method": "compressed-tensors", "format": "pack-quantized",
            "config_groups": {"\x1b[2J": {"weights": {"num_bits": 3}}}}}
        (self.folder / "config.json").write_text(json.dumps(config))
        shutil.copy(MODEL / "model.safetensors", self.folder)
        self.refused("config.json: quantization_config.config_groups. [2J.weights.num_bits is 3; expected 2, 4 or 8.",
                     "inspect", self.folder)

    def test_help(self):
        usage = self.output_of("--help")
        for command in COMMANDS:
            self.assertIn(command, usage)
            self.assertIn(f"usage: spate {command} ", self.output_of(command, "--help"))
        self.assertRegex(self.output_of("--version"), r"^spate \d+\.\d+\.\d+\n$")

    def test_keys_share_no_prefix(self):
        """What one key's prompts have cached is not found by another's."""
        prompt = "the same long beginning of a prompt, " * 8
        with spate_server.Server(self.engine, "--api-key", "first,second", backend="cpu") as server:
            cached = []
            for key in ("first", "first", "second", "second"):
                status, _, body = server.post({"prompt": prompt, "max_tokens": 1}, {"Authorization": f"Bearer {key}"})
                self.assertEqual(status, 200, body)
                cached.append(json.loads(body)["usage"]["prompt_tokens_details"]["cached_tokens"])
            self.assertEqual((cached[0], cached[2]), (0, 0))
            self.assertGreater(cached[1], 0)
            self.assertEqual(cached[1], cached[3])

    def test_api_keys(self):
        """Every path but health asks for a key; what is no key is refused at the start."""
        for keys, which in (("", 1), ("good,", 2), ("with space", 1)):
            self.refused(f"API key {which} is empty, longer than 512 characters, or holds a space or another character "
                         "that a header cannot carry.",
                         "serve", self.engine.path, "--port", "0", "--backend", "null", *SMALL_KV, "--api-key", keys)
        with spate_server.Server(self.engine, "--api-key", "first,second") as server:
            for path in ("/health", "/ready", "/live"):
                self.assertEqual(server.get(path)[0], 200)
            for path in ("/metrics", "/v1/models", "/version", "/openapi.json", "/generate?prompt=a", "/nowhere"):
                for header in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer firs"}, {"Authorization": "first"},
                               {"Authorization": "Bearer first,second"}, {"Authorization": "Basic first"}):
                    status, headers, body = server.get(path, header)
                    self.assertEqual((status, headers["WWW-Authenticate"]), (401, "Bearer"), (path, header))
                    self.assertIn("Authorization: Bearer KEY", str(json.loads(body)["error"]))
            for key in ("first", "second"):
                header = {"Authorization": f"bearer {key}"}
                self.assertEqual(server.get("/version", header)[0], 200)
                self.assertEqual(server.get("/nowhere", header)[0], 404)
            self.assertEqual(server.post({"prompt": "a", "max_tokens": 1})[0], 401)

    def test_min_priority(self):
        """Nobody is put before the others who may not be: by default nobody, or as each key may."""
        for options, allowed in (((), {None: 0}), (("--min-priority", "-5"), {None: -5}),
                                 (("--api-key", "a,b", "--min-priority", "2,-2147483648"), {"a": 2, "b": -2 ** 31}),
                                 (("--api-key", "a,b", "--min-priority", "-1"), {"a": -1, "b": -1})):
            with Server(self.engine, *options) as server:
                for key, least in allowed.items():
                    headers = {"Authorization": f"Bearer {key}"} if key else {}
                    body = {"prompt": "a", "max_tokens": 1, "priority": least}
                    self.assertEqual(server.post(body, headers)[0], 200)
                    if least == -2 ** 31:
                        continue
                    status, _, answer = server.post(body | {"priority": least - 1}, headers)
                    self.assertEqual((status, json.loads(answer)["error"]),
                                     (400, f"priority is {least - 1}, expected at least {least}, which this server allows you "
                                           "(--min-priority)."))
        for keys, wrong in (((), "1.5"), ((), ""), ((), "x"), ((), " 1"), ((), "+1"), ((), "1,"), ((), "2147483648"), ((), "-")):
            self.refused(f'--min-priority is "{wrong}", expected whole numbers with commas.' if wrong != "1," else
                         '--min-priority is "1,", expected one number, or as many as there are API keys: 0.',
                         "serve", self.engine.path, "--port", "0", "--backend", "null", *SMALL_KV, "--min-priority", wrong, *keys)
        for wrong in "1,2", "1,2,3,4":
            self.refused(f'--min-priority is "{wrong}", expected one number, or as many as there are API keys: 3.', "serve",
                         self.engine.path, "--port", "0", "--backend", "null", *SMALL_KV, "--api-key", "a,b,c", "--min-priority", wrong)

    # ---- building

    def test_build_config(self):
        config = {"max_batch_size": 6, "opt_batch_size": 3, "max_input_len": 40, "max_seq_len": 50,
                  "max_num_tokens": 24, "kv_cache_type": "CONTIGUOUS", "quant_mode": "INT8_WEIGHT",
                  "quant_algo": "GPTQ", "quant_override": "*.q_proj=BF16,*down*=INT4_WEIGHT"}
        wanted, text = self.folder / "a.spate", self.folder / "text"
        text.write_text("One morning the river was high and the boats lay still. " * 20)
        self.output_of("build", MODEL, "--output", wanted, "--target", "cpu", "--max-batch-size", "6",
                       "--opt-batch-size", "3", "--max-input-len", "40", "--max-seq-len", "50", "--max-num-tokens", "24",
                       "--kv-cache-type", "contiguous", "--quant-mode", "int8_weight", "--quant-algo", "gptq",
                       "--calib-data", text, "--quant-override", config["quant_override"])
        facts = json.loads(self.output_of("inspect", wanted, "--json"))
        self.assertEqual(facts["manifest"]["config"], config)
        schemes = {weight["name"]: weight["scheme"] for weight in facts["manifest"]["weights"]}
        self.assertEqual((schemes["qkv.0"], schemes["gate_up.0"]), ("BF16", "int8 g32 f16 a8"))
        self.assertEqual({scheme for name, scheme in schemes.items() if "down" in name}, {"int4 g32 f16 min a8"})
        self.assertEqual(sorted(os.listdir(self.folder)), ["a.spate", "text"])
        long_prompt = run("generate", wanted, "-p", "one two three " * 30)
        self.assertRegex(long_prompt.stderr, r"max_input_len 40: shorten it\.\n$")

    def test_limits_of_steps_at_opening(self):
        """One engine is built for all of them, and an engine file takes them, too."""
        built, texts = self.folder / "b.spate", set()
        self.output_of("build", MODEL, "-o", built)
        for options in ((), ("--max-batch-size", "2"), ("--max-num-tokens", "33", "--max-batch-size", "33"),
                        ("--opt-batch-size", "3", "--max-num-tokens", "64")):
            for what in (MODEL, built):
                texts.add(self.output_of("generate", what, "-p", "Once", "-n", "8", "--temperature", "0", "--cache-dir",
                                         self.folder / "cache", *SMALL_KV, *options))
        self.assertEqual((len(texts), len(list((self.folder / "cache").glob("*.spate")))), (1, 1))
        answer = run("generate", built, "-p", "a", "--max-batch-size", "8", "--max-num-tokens", "4", *SMALL_KV)
        self.assertEqual(answer.stderr, "spate: max_num_tokens is 4 and max_batch_size is 8; a step takes a token of each "
                                        "sequence: raise max_num_tokens or lower max_batch_size.\n")

    def test_build_auto(self):
        """The average that inspect tells is within the bits asked for; the table adds up to it."""
        wanted = self.folder / "a.spate"
        shown = self.output_of("build", MODEL, "-o", wanted, "--quant-mode", "auto", "--target-bits", "7.5",
                               "--quant-override", "*.q_proj=BF16")
        manifest = json.loads(self.output_of("inspect", wanted, "--json"))["manifest"]
        matrices = [weight for weight in manifest["weights"] if weight["rows"] > 1]
        numbers = sum(weight["rows"] * weight["cols"] for weight in matrices)
        average = 8 * sum(weight["bytes"] for weight in matrices) / numbers
        self.assertAlmostEqual(manifest["average_bits"], average, 9)
        self.assertLessEqual(average, 7.5)
        self.assertEqual((manifest["config"]["quant_mode"], manifest["config"]["target_bits"]), ("AUTO", 7.5))
        self.assertEqual({weight["scheme"] for weight in matrices if weight["name"].startswith("qkv")}, {"BF16"})
        lines = shown.splitlines()
        self.assertEqual(lines[-1], f"On average {average:.3f} bits of 7.5.")
        rows = [line.rsplit(maxsplit=3) for line in lines[2:-1]]
        self.assertEqual({row[0] for row in rows}, {weight["scheme"] for weight in matrices})
        self.assertEqual(sum(int(row[1]) for row in rows), len(matrices))
        self.assertNotEqual(self.output_of("generate", wanted, "-p", "Once", "-n", "8", *SMALL_KV), "")

    def test_build_refuses(self):
        for options, sentence in (
                (("--opt-batch-size", "9", "--max-batch-size", "8"),
                 "opt_batch_size is 9; it must be from 1 to 8, the max_batch_size."),
                (("--max-num-tokens", "4", "--max-batch-size", "8"),
                 "max_num_tokens is 4 and max_batch_size is 8; a step takes a token of each sequence: raise "
                 "max_num_tokens or lower max_batch_size."),
                (("--max-seq-len", "9", "--max-input-len", "9"),
                 "max_input_len is 9; it must be from 1 to 8: max_seq_len is 9 and an answer needs a token."),
                (("--quant-algo", "GUESS"), 'quant_algo is "GUESS"; it must be RTN, AWQ, GPTQ or SMOOTHQUANT, or a name of '
                 "TensorRT-LLM's: W8A8, W8A8_SQ_PER_CHANNEL, W8A16, W8A16_GPTQ, W4A16, W4A16_AWQ, W4A8_AWQ, W4A16_GPTQ or FP8."),
                (("--quant-algo", "AWQ", "--quant-mode", "FP16"),
                 "quant_algo is AWQ and quant_mode is FP16; it finds integers: choose quant_mode INT8_WEIGHT, "
                 "INT4_WEIGHT, W8A8 or auto, or leave quant_algo out."),
                (("--quant-algo", "W8A8", "--quant-mode", "FP32"),
                 "quant_mode is FP32 and quant_algo is W8A8, which belongs to quant_mode W8A8; choose that, or "
                 "leave quant_algo out."),
                (("--quant-mode", "FP8"),
                 "qkv.0: FP8 has no arithmetic of its own on cpu and would run as floats, at their speed; choose "
                 "quant_mode W8A8 or INT8_WEIGHT, or allow it with emulate."),
                (("--quant-mode", "auto"),
                 "target_bits is 0; with quant_mode auto it must be from 2 to 16, the bits that a number of the matrices "
                 "may take on average, such as 4.5."),
                (("--quant-mode", "BF16", "--target-bits", "4.5"),
                 "target_bits is 4.5 and quant_mode is BF16; it belongs to quant_mode auto: choose that, or leave "
                 "target_bits out."),
                (("--quant-override", "lm_head"),
                 'quant_override has "lm_head"; expected NAME=MODE, with commas between, such as '
                 "lm_head=INT8_WEIGHT,*.down_proj=BF16."),
                (("--quant-override", "*.down_proj=BF16,q_proj=INT9"),
                 'quant_override: quant_mode is "INT9"; it must be FP32, FP16, BF16, INT8_WEIGHT, INT4_WEIGHT, FP8, '
                 "W8A8 or auto, or be left out to keep the weights as the file has them."),
                (("--quant-override", "model.layers.0.mlp.down_prj=BF16"),
                 'quant_override\'s "model.layers.0.mlp.down_prj" matches no matrix of the model; the nearest is '
                 '"model.layers.0.mlp.down_proj".'),
                (("--quant-mode", "INT4_WEIGHT", "--quant-algo", "FP8"),
                 "quant_mode is INT4_WEIGHT and quant_algo is FP8, which belongs to quant_mode FP8; choose that, or leave "
                 "quant_algo out."),
                (("--kv-cache-type", "ring"), '--kv-cache-type is "ring", expected PAGED or CONTIGUOUS.'),
                (("--target", "abacus"), 'There is no target "abacus"; this binary builds for "cpu" and "cuda".')):
            self.refused(sentence, "build", MODEL, "-o", self.folder / "a.spate", *options)
        absent = run("build", MODEL, "-o", self.folder / "a.spate", "--quant-mode", "INT4_WEIGHT", "--quant-algo", "AWQ",
                     "--calib-data", self.folder / "absent")
        self.assertRegex(absent.stderr, r"\nspate: \S+/absent cannot be opened: No such file or directory\.\n$")
        self.assertEqual(os.listdir(self.folder), [])

    def test_progress(self):
        """Plain lines into a pipe, a bar on a terminal."""
        plain = run("build", MODEL, "-o", self.folder / "a.spate")
        self.assertEqual(plain.stderr, "plan ...\ntokenizer ...\npack ...\nflush ...\n")
        try:
            reader, terminal = pty.openpty()
        except OSError as error:
            self.skipTest(f"SKIPPED: the bar needs a pseudo-terminal: {error}")
        subprocess.run((SPATE, "build", MODEL, "-o", self.folder / "b.spate"), stdout=subprocess.DEVNULL,
                       stderr=terminal, check=True)
        os.close(terminal)
        shown = b""
        try:
            while piece := os.read(reader, 1 << 16):
                shown += piece
        except OSError:
            pass  # how Linux says that the other side has closed
        os.close(reader)
        self.assertRegex(shown, rb"pack +\[#{30}\] [\d.]+/[\d.]+ MB +\d+ MB/s")

    def test_cache(self):
        command = ("generate", MODEL, "--prompt", "a", "--max-tokens", "2", "--temperature", "0", *SMALL_KV,
                   "--cache-dir", self.folder)
        text = self.output_of(*command)
        built = list(self.folder.glob("*.spate"))
        self.assertEqual(len(built), 1)
        inode = built[0].stat().st_ino
        self.assertEqual(self.output_of(*command), text)
        self.assertEqual([file.stat().st_ino for file in self.folder.glob("*.spate")], [inode])
        self.output_of(*command, "--max-seq-len", "64")
        self.assertEqual(len(list(self.folder.glob("*.spate"))), 2)

    def test_cache_limit(self):
        """The engines used longest ago go, whenever they were built; the one in use stays, however large."""
        def cached(length, limit):
            before = set(self.folder.glob("*.spate"))
            self.output_of("generate", MODEL, "--prompt", "a", "--max-tokens", "1", *SMALL_KV, "--cache-dir", self.folder,
                           "--max-seq-len", str(length), "--cache-limit", str(limit))
            return set(self.folder.glob("*.spate")), before

        engines = []
        for length in (32, 48, 64):
            after, before = cached(length, 0)
            engines += after - before
        self.assertEqual(len(engines), 3)
        size = engines[0].stat().st_size
        (self.folder / "mine.txt").write_text("x" * 100)
        cached(32, 0)  # the first is now the last used
        self.assertEqual(cached(64, 2 * size + 4096)[0], {engines[0], engines[2]})
        self.assertEqual(cached(32, 1)[0], {engines[0]})
        self.assertTrue((self.folder / "mine.txt").exists())

    def test_cache_heals(self):
        """An engine of the cache that cannot be opened is built again, and the log says so."""
        command = ("generate", MODEL, "--prompt", "a", "--max-tokens", "2", "--temperature", "0", *SMALL_KV,
                   "--cache-dir", self.folder)
        text = self.output_of(*command)
        [cached] = self.folder.glob("*.spate")
        whole = cached.read_bytes()
        for damaged, sentence in (
                (whole[:-1], "is truncated: it has "),
                (b"", "is not an engine file"),
                (b"x" + whole[1:], "is not an engine file"),
                (whole[:8] + b"\x63" + whole[9:], "has engine format 99 "),
                (whole[:300] + b"\x00" + whole[301:], None),  # padding that nothing reads
                (whole[:50] + b"x" + whole[51:], "is damaged: its header does not match its checksum"),
                (flipped(whole, "tokenizer"), "is damaged: its section tokenizer does not match its checksum")):
            cached.write_bytes(damaged)
            answer = run(*command)
            self.assertEqual((answer.returncode, answer.stdout), (0, text), answer.stderr)
            warned = f"An engine in the cache cannot be used and is built again now. {cached} {sentence}"
            self.assertEqual(sentence is not None, warned in answer.stderr, answer.stderr)
            self.assertEqual(cached.stat().st_size, len(whole))

    # ---- opening

    def test_engine_options(self):
        greedy = self.generate("--temperature", "0")
        for options in (("--threads", "2"), ("--block-size", "64"), ("--backend", "cpu"), ("--kv-cache-dtype", "fp16"),
                        ("--kv-cache-dtype", "auto"), ("--backend", "late"), ("--tensor-parallel-size", "1"), ("--enable-block-reuse",),
                        ("--no-enable-block-reuse",), ("--batch-invariant",), ("--cpu-experts", "2")):
            self.assertEqual(self.generate("--temperature", "0", *options), greedy, options)
        self.assertNotEqual(self.generate("--kv-cache-dtype", "fp32"), "")

    def test_cpu_experts(self):
        """Where nothing follows from it, a warning says why; a number that is none is refused."""
        options = "generate", self.engine.path, "-p", "a", "-n", "1", *SMALL_KV
        for given in ("1", "1024"):
            answer = run(*options, "--backend", "cpu", "--cpu-experts", given)
            self.assertEqual(answer.returncode, 0, answer.stderr)
            self.assertIn("cpu_experts changes nothing on cpu: all weights are in the host's memory there.", answer.stderr)
        self.assertNotIn("cpu_experts", run(*options, "--cpu-experts", "0").stderr)
        for wrong in ("-1", "1025", "all"):
            self.refused(f'--cpu-experts is "{wrong}", expected a whole number from 0 to 1024.', *options, "--cpu-experts", wrong)

    def test_no_fuse(self):
        """Op by op in double: another program's answer from the same engine file."""
        for mode in ("FP32", "INT4_WEIGHT", "W8A8", "FP8"):
            engine = spate_server.Engine("--quant-mode", mode, "--emulate")
            self.addCleanup(engine.remove)
            options = "generate", engine.path, "-p", "Once upon", "--temperature", "0", "-n", "12", "--kv-cache-dtype", "fp32"
            fused, unfused = run(*options), run(*options, "--no-fuse")
            self.assertEqual((unfused.returncode, unfused.stdout), (0, fused.stdout), unfused.stderr)
        self.refused("no_fuse and the backend cpu were asked for; no_fuse has its own: name none.",
                     "generate", self.engine.path, "-p", "a", "--no-fuse", "--backend", "cpu")

    def test_emulation_is_asked_for_each_time(self):
        """An engine in the cache that was allowed to emulate does not stand for one that was not."""
        options = "generate", MODEL, "-p", "a", "-n", "2", "--cache-dir", self.folder, "--quant-mode", "FP8", *SMALL_KV
        self.output_of(*options, "--emulate")
        self.refused("qkv.0: FP8 has no arithmetic of its own on cpu and would run as floats, at their speed; choose "
                     "quant_mode W8A8 or INT8_WEIGHT, or allow it with emulate.", *options)

    def test_engine_options_refused(self):
        for options, sentence in (
                (("--block-size", "3"), "block_size is 3; it must be a power of two up to 256."),
                (("--kv-cache-dtype", "fp4"),
                 '--kv-cache-dtype is "fp4", expected auto, fp16, bf16, fp32, fp8 or int8.'),
                (("--kv-cache-dtype", "int8", "--block-size", "8"),
                 "int8 KV needs blocks of at least 16 tokens, not 8: use fp16."),
                (("--free-gpu-memory-fraction", "2"),
                 '--free-gpu-memory-fraction is "2", expected a number from 0 to 1.'),
                (("--threads", "x"), '--threads is "x", expected a whole number from 0 to 256.')):
            self.refused(sentence, "generate", self.engine.path, "-p", "a", *options)
        little = run("generate", self.engine.path, "-p", "a", "--free-gpu-memory-fraction", "1e-9")
        self.assertRegex(little.stderr, r"^spate: One sequence of max_seq_len 65536 takes \d+ MiB of KV cache and 0 MiB ")

    def test_block_reuse(self):
        prompt = "Once upon a time " * 8
        for options, found in (((), True), (("--no-enable-block-reuse",), False),
                               (("--no-enable-block-reuse", "--enable-block-reuse"), True)):
            with Server(self.engine, *options) as server:
                for _ in range(2):
                    server.generate(prompt=prompt, max_tokens=1)
                self.assertEqual(server.metric("llm_prefix_cache_hit_tokens_total") > 0, found, options)

    def test_scheduler(self):
        for options in (("--scheduler", "continuous"), ("--scheduler", "dynamic", "--batch-delay-ms", "5"),
                        ("--scheduler", "static")):
            with Server(self.engine, *options) as server:
                self.assertEqual(server.generate(prompt="a", max_tokens=3)["usage"]["completion_tokens"], 3)
        for options, sentence in (
                (("--scheduler", "fair"), '--scheduler is "fair", expected continuous, dynamic or static.'),
                (("--batch-delay-ms", "-1"), '--batch-delay-ms is "-1", expected a whole number from 0 to 60000.'),
                (("--max-queue-tokens", "-1"), '--max-queue-tokens is "-1", expected a whole number from 0 to 1000000000.')):
            self.refused(sentence, "serve", self.engine.path, *SMALL_KV, *options)

    def test_target_itl(self):
        """What a target does to gaps is timing; that every answer stays the same, and that it is told, is not."""
        wanted = [{"prompt": "Once upon a time " * (1 + 40 * (i % 2)), "max_tokens": 12, "temperature": 0} for i in range(8)]
        answers = {}
        for target in ("0", "0.001", "60000"):
            with Server(self.engine, "--target-itl-ms", target, backend="cpu") as server, ThreadPoolExecutor(8) as pool:
                answers[target] = list(pool.map(lambda fields: server.generate(**fields)["text"], wanted))
                limits = [server.metric(name) for name in ("llm_itl_target_seconds", "llm_itl_sequence_limit")]
                self.assertEqual(limits[0], float(target) / 1000)
                self.assertEqual(limits[1] > 0, target != "0")
                self.assertEqual(server.metric("llm_itl_missed_steps_total") > 0, target == "0.001")
        self.assertEqual(answers["0"], answers["0.001"])
        self.assertEqual(answers["0"], answers["60000"])
        self.refused('--target-itl-ms is "-1", expected a number from 0 to 60000.', "serve", self.engine.path, *SMALL_KV,
                     "--target-itl-ms", "-1")

    def test_host(self):
        self.refused("Cannot listen on 192.0.2.1 port 8000: address not available.", "serve", self.engine.path,
                     "--host", "192.0.2.1", *SMALL_KV)
        with Server(self.engine, "--host", "127.0.0.1", "--workers", "2", "--timeout-keep-alive", "1", "--log-level",
                    "error", "--limit-concurrency", "8", "--max-queue", "4") as server:
            self.assertEqual(server.get("/health")[0], 200)

    def test_keep_alive(self):
        """Seconds between requests; with 0 none are awaited."""
        request = b"GET /health HTTP/1.1\r\nHost: t\r\n\r\n"
        with Server(self.engine, "--timeout-keep-alive", "0") as server:
            answer = server.raw(request + request)  # returns because the server closes
            self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 1)
            self.assertIn(b"\r\nConnection: close\r\n", answer)
        with Server(self.engine, "--timeout-keep-alive", "1") as server:
            answer = server.raw(request + request)
            self.assertEqual(answer.count(b"HTTP/1.1 200 OK\r\n"), 2)
            self.assertEqual(answer.count(b"\r\nConnection: keep-alive\r\n"), 2)

    # ---- generating, tokenizing, measuring

    def test_sampling(self):
        greedy = self.generate("--temperature", "0")
        self.assertEqual(self.generate("--top-k", "1"), greedy)
        self.assertEqual(self.generate("--top-p", "1e-6"), greedy)
        self.assertEqual(self.generate("--seed", "3"), self.generate("--seed", "3"))
        self.assertNotEqual(self.generate("--seed", str((1 << 63) - 1)), self.generate("--seed", "3"))
        self.assertEqual(self.generate("--min-p", "1"), greedy)
        self.assertEqual(self.generate("--temperature", "0", "--typical-p", "0.5"), greedy)
        for option, value in (("--repetition-penalty", "100"), ("--frequency-penalty", "2"), ("--presence-penalty", "2")):
            self.assertNotEqual(self.generate("--temperature", "0", option, value), greedy, option)
        self.assertEqual(self.generate("--temperature", "0", "--ignore-eos", "--min-tokens", "16"), greedy)
        self.assertNotEqual(self.generate("--temperature", "0", "--bad-word", greedy[len(greedy) // 3]), greedy)
        stop = greedy[len(greedy) // 2]
        self.assertEqual(self.generate("--temperature", "0", "--stop", "\x01", "--stop", stop),
                         greedy[:greedy.index(stop)] + "\n")
        self.assertEqual(self.generate("--temperature", "0", "--include-stop", "--stop", stop),
                         greedy[:greedy.index(stop) + 1] + "\n")

    def test_no_special(self):
        model = self.folder / "model"
        shutil.copytree(MODEL, model)
        shutil.copy(ROOT / "tests/fixtures/text/llama2.tokenizer.json", model / "tokenizer.json")
        text = ("tokenize", model, "--prompt", "a b")
        begin, *rest = self.output_of(*text).splitlines()
        self.assertEqual(begin.split()[1], "<s>")
        self.assertEqual(self.output_of(*text, "--no-special").splitlines(), rest)

    def test_bench(self):
        report = json.loads(self.output_of(
            "bench", self.engine.path, "--backend", "null", *SMALL_KV, "--json", "--batch", "3", "--prompt-tokens", "50",
            "--decode-tokens", "4", "--repeat", "2", "--all-outputs"))
        self.assertEqual({name: report[name] for name in ("batch", "prompt_tokens", "decode_tokens", "repeat", "all_outputs")},
                         {"batch": 3, "prompt_tokens": 50, "decode_tokens": 4, "repeat": 2, "all_outputs": True})
        for name in ("step_bytes", "decode_gbs", "bandwidth_gbs", "prefill", "decode", "fallbacks", "machine"):
            self.assertIn(name, report)

    def test_bench_random(self):
        report = json.loads(self.output_of(
            "bench", "--random", "smollm2-135m", "--device", "cpu", "--json", "--batch", "1,2", "--context", "5",
            "--prompt-tokens", "12", "--repeat", "2", "--threads", "1"))
        self.assertEqual([(step["work"], step["batch"], step["context"]) for step in report["steps"]],
                         [("decode", 1, 5), ("decode", 2, 5), ("prefill", 1, 12)])
        for step in report["steps"]:
            self.assertGreater(step["floor_seconds"], 0)
        for step in report["steps"][:2]:
            self.assertTrue(step["finite"] and step["same_argmax"])
            self.assertLess(step["difference"], 1e-3)
        mixed = json.loads(self.output_of(
            "bench", "--random", "smollm2-135m", "--device", "cpu", "--json", "--batch", "2", "--context", "5",
            "--beside", "7", "--prompt-tokens", "12", "--repeat", "1", "--threads", "1"))
        self.assertEqual([(step["work"], step["batch"], step.get("prompt_tokens")) for step in mixed["steps"]],
                         [("decode", 2, None), ("mixed", 2, 7), ("prefill", 1, None)])
        self.assertGreaterEqual(mixed["steps"][1]["floor_seconds"], mixed["steps"][0]["floor_seconds"])
        for options, sentence in (
                (("--random", "abacus"), 'There is no known model "abacus"; these are: llama-3.1-8b, '),
                (("--random", "qwen3-8b", "--batch", "1,x"), "--batch is no list of up to 16 whole numbers"),
                (("--random", "smollm2-135m", "--quant-mode", "FP32", "--device", "cpu"),
                 "A network with random weights runs in BF16, INT8_WEIGHT, INT4_WEIGHT, FP8 or W8A8, not in FP32."),
                (("--random", "smollm2-135m", "--quant-mode", "W8A8", "--device", "cpu"),
                 "Random weights of this quant_mode are made on a GPU: use --device cuda."),
                (("--machine", "--device", "abacus"), '--device is "abacus", expected auto, cpu or cuda.')):
            result = subprocess.run([spate_server.SPATE, "bench", *options], capture_output=True, text=True)
            self.assertEqual(result.returncode, 1)
            self.assertIn(sentence, result.stderr)

    def test_bench_machine(self):
        machine = json.loads(self.output_of("bench", "--machine", "--json", "--threads", "1"))["machine"]
        self.assertGreater(machine["fp32_gflops"], 0)
        self.assertGreaterEqual(len(machine["read"]), 3)
        self.assertTrue({"int8_gops", "bf16_gflops", "fp16_gflops"} <= set(machine))


if __name__ == "__main__":
    spate_server.main(__name__)
