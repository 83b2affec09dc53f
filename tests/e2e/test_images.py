"""Images in requests: the answers of transformers through every door, who shares what of an image, bad ones beside good
streams, what is counted."""
import base64
import json
import pathlib
import random
import shutil
import struct
import subprocess
import tempfile
import threading
import unittest
import zlib

from spate_server import JSON, ROOT, SPATE, Engine, Server, sse_objects, wait_for

FIXTURES = ROOT / "tests/fixtures"
TEXT_LIMIT = 1 << 20
LETTERS = list(range(36, 130))  # "!" to "~" in the tiny tokenizer: what tools/make_image_answers.py let the networks say


class SeeingEngine(Engine):
    """One of the tiny networks that see images, in full precision; of llama.cpp's pair of files where `pair` says so, with
    their own settings of pictures where it is "alone"."""

    def __init__(self, name, *options, pair=False):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-images-"))
        model = self.folder / name
        model.mkdir()
        network = FIXTURES / "vision" / name
        if pair:
            for path in (network / "gguf").glob("*.gguf"):
                shutil.copy(path, model)
            if pair != "alone":
                shutil.copy(network / "serve/preprocessor_config.json", model)
        for source in () if pair else (network, network / "serve"):
            for path in source.iterdir():
                if path.is_file():
                    shutil.copy(path, model)
        self.path = self.folder / f"{name}.spate"
        own = network / "gguf/answers.json"
        self.answers = json.loads((own if pair == "alone" and own.exists() else network / "serve/answers.json").read_text())
        subprocess.run([SPATE, "build", model, "-o", self.path, "--quant-mode", "FP32", *options], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def image(name):
    return (FIXTURES / "image/decode" / name).read_bytes()


def bad_image(name):
    return (FIXTURES / "image/bad" / name).read_bytes()


def base(data):
    return base64.b64encode(data).decode()


def url(data, mime):
    return f"data:{mime};base64,{base(data)}"


MIME = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def named(name):
    return url(image(name), MIME[name.rpartition(".")[2]])


def png(width, height, colour=0):
    """A picture of one colour, which no other test sends."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    rows = (b"\0" + bytes([colour % 256, colour // 256 % 256, 7]) * width) * height
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def greedy(n=24):
    return {"temperature": 0, "max_tokens": n, "ignore_eos": True, "allowed_token_ids": LETTERS}


def drawn(case):
    """As the case was drawn."""
    return greedy() | {name: case[name] for name in ("repetition_penalty",) if name in case}


def openai_messages(case):
    """The case's messages with its images as OpenAI's clients send them."""
    images = iter(case["images"])
    return [{**m, "content": [{"type": "image_url", "image_url": {"url": named(next(images)), "detail": "auto"}}
                              if part["type"] == "image" else part for part in m["content"]]} for m in case["messages"]]


class SeeingCase(unittest.TestCase):
    model, options, build, pair, backend = "idefics3", (), (), False, "cpu"

    @classmethod
    def setUpClass(cls):
        cls.engine = SeeingEngine(cls.model, *cls.build, pair=cls.pair)
        cls.server = Server(cls.engine, *cls.options, backend=cls.backend)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.engine.remove()

    def chat(self, messages, headers=None, **fields):
        body = json.dumps({"messages": messages, **fields})
        status, _, answer = self.server.request("POST", "/v1/chat/completions", body, JSON | (headers or {}))
        return status, json.loads(answer)

    def ask(self, *images, prompt="<image>?", headers=None, **fields):
        status, _, answer = self.server.post({"prompt": prompt, "image_data": list(images), **greedy(4), **fields}, headers)
        self.assertEqual(status, 200, answer)
        return json.loads(answer)

    def refused(self, sentence, image_data, prompt="see", code=400):
        status, _, answer = self.server.post({"prompt": prompt, "image_data": image_data, **greedy(4)})
        self.assertEqual((status, json.loads(answer)["error"]), (code, sentence))


class Answers:
    """Every case of transformers: through /generate or /v1/chat/completions, whole and streamed, and on the terminal."""

    def test_all(self):
        for case in self.engine.answers:
            with self.subTest(case=str(case)[:100]):
                if "messages" in case:
                    self.check_chat(case)
                else:
                    self.check_generate(case)

    def said(self, tokens, case):
        """The tokens, and their probabilities, which differ where a picture does too little to change a token."""
        self.assertEqual([token["id"] for token in tokens], case["tokens"])
        for token, expected in zip(tokens, case["logprobs"]):
            self.assertLess(abs(token["logprob"] - expected), 3e-3)

    def check_generate(self, case):
        images = [base(image(name)) for name in case["images"]]
        answer = self.server.generate(prompt=case["prompt"], image_data=images, logprobs=True, **drawn(case))
        self.assertEqual(answer["usage"]["prompt_tokens"], case["prompt_tokens"])
        self.said(answer["logprobs"], case)
        self.assertEqual(answer["text"], case["text"])
        urls = [named(name) for name in case["images"]]
        one = urls[0] if len(urls) == 1 else urls
        events = sse_objects(self.server.post({"prompt": case["prompt"], "image_data": one, "streaming": True, **drawn(case)})[2])
        self.assertEqual("".join(event.get("text", "") for event in events), case["text"])

    def check_chat(self, case):
        status, answer = self.chat(openai_messages(case), logprobs=True, **drawn(case))
        self.assertEqual(status, 200, answer)
        self.assertEqual(answer["usage"]["prompt_tokens"], case["prompt_tokens"])
        self.assertEqual(answer["choices"][0]["message"]["content"], case["text"])
        for token, expected in zip(answer["choices"][0]["logprobs"]["content"], case["logprobs"]):
            self.assertLess(abs(token["logprob"] - expected), 3e-3)

    def test_in_front(self):
        """A prompt without a mark has its images in front."""
        first = self.engine.answers[0]
        self.assertTrue(first["prompt"].startswith("<image>"))
        answer = self.server.generate(prompt=first["prompt"].replace("<image>", ""), image_data=named(first["images"][0]),
                                      **drawn(first))
        self.assertEqual(answer["text"], first["text"])

    def test_all_at_once(self):
        """The same beside each other, several times: batches of other images change nothing."""
        cases = [case for case in self.engine.answers if "prompt" in case] * 4
        said = [None] * len(cases)

        def ask(i):
            said[i] = self.server.generate(prompt=cases[i]["prompt"], image_data=[named(n) for n in cases[i]["images"]],
                                           **drawn(cases[i]))["text"]
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(cases))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(said, [case["text"] for case in cases])

    def test_terminal(self):
        case = self.engine.answers[2]
        files = [word for name in case["images"] for word in ("--image", FIXTURES / "image/decode" / name)]
        run = subprocess.run([SPATE, "generate", self.engine.path, "--prompt", case["prompt"], *files, "--temperature", "0",
                              "--max-tokens", "24", "--threads", "1"], capture_output=True)
        self.assertEqual(run.returncode, 0, run.stderr)
        self.assertIn(f"{case['prompt_tokens']} prompt tokens".encode(), run.stderr)


class IdeficsAnswers(Answers, SeeingCase):
    model = "idefics3"


class LlavaAnswers(Answers, SeeingCase):
    model = "llava"


class SmallSteps(Answers, SeeingCase):
    """Prompts in chunks that cut through images, and a pool that holds one request's at a time."""

    model, options = "idefics3", ("--max-num-tokens", "16", "--max-batch-size", "4", "--image-cache-memory", "1",
                                  "--block-size", "4")

    def test_all_at_once(self):
        """A step has room for one image, the pool for little more: who waits for whose pages is told in test_embed_pool."""


class Sharing(SeeingCase):
    options = ("--api-key", "one,two", "--image-decoders", "3", "--limit-mm-per-prompt", "2")

    def test_tenants(self):
        """An image that was sent before is not encoded again: for its tenant, whatever is asked about it."""
        picture, keys = url(png(40, 40, 1), "image/png"), [{"Authorization": f"Bearer {key}"} for key in ("one", "two")]
        for headers, prompt, misses, runs in ((keys[0], "<image>a", 1, 1), (keys[0], "<image>a", 0, 0), (keys[0], "b<image>", 0, 0),
                                              (keys[1], "<image>a", 1, 1), (keys[1], "<image>c", 0, 0)):
            before = self.metrics(keys[0])
            answer = self.ask(picture, prompt=prompt, headers=headers)
            after = self.metrics(keys[0])
            self.assertEqual([a - b for a, b in zip(after, before)], [1, 1 - misses, misses, runs], prompt)
            self.assertEqual(answer["usage"]["completion_tokens"], 4)

    def metrics(self, headers):
        page = self.server.get("/metrics", headers)[2].decode()
        names = ("llm_images_total", "llm_image_cache_hits_total", "llm_image_cache_misses_total", "llm_image_encoder_seconds_count")
        return [sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name + " ")) for name in names]

    def test_limit(self):
        status, _, answer = self.server.post({"prompt": "a", "image_data": [base(png(1, 1))] * 3}, {"Authorization": "Bearer one"})
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, "3 images were sent, and a prompt may have 2 (--limit-mm-per-prompt): send fewer."))

    def test_prefixes(self):
        """Equal tokens of other pictures are other prefixes; those of the same picture are found."""
        key = {"Authorization": "Bearer one"}
        first, second = (url(png(44, 44, colour), "image/png") for colour in (2, 3))
        cached = [self.ask(p, prompt="<image> the same words", headers=key)["usage"].get("cached_tokens") for p in (first, second, first)]
        pages = self.server.get("/metrics", key)[2].decode()
        hits = [float(line.split()[-1]) for line in pages.splitlines() if line.startswith("llm_prefix_cache_hit_tokens_total ")]
        self.assertGreater(hits[0], 0, cached)

    def test_answers_of_equal_tokens(self):
        """Two pictures with the same number of tokens give other answers, in either order."""
        key = {"Authorization": "Bearer two"}
        pictures = [named("progressive.jpg"), named("sampling_444.jpg"), url(png(61, 47, 60000), "image/png")]
        said = [self.ask(p, prompt="<image>?", headers=key, max_tokens=16)["text"] for p in pictures + pictures]
        self.assertEqual(said[:3], said[3:])
        self.assertNotEqual(said[0], said[2])


class BadImages(SeeingCase):
    """Each is a 400 with its sentence; the streams beside them say what they say alone."""

    SENTENCES = {
        "animation.webp": "The WebP image is an animation, expected a single picture: send one of its frames.",
        "bomb_60000.png": "The image is 60000 × 60000 pixels, but a side may have 16384: scale it down.",
        "bomb_chunk.png": "The PNG image ends before its last row: it was cut off, send it whole.",
        "bomb_pixels.png": "The image is 16000 × 16000, 256000000 pixels, but it may have 50331648: scale it down.",
        "cut.jpg": "The JPEG image ends before its end marker: it was cut off, send it whole.",
        "cut.png": "The PNG image ends before its last row: it was cut off, send it whole.",
        "cut.webp": "The WebP image ends before its last row: it was cut off, send it whole.",
        "many_scans.jpg": "The JPEG image has more than 100 scans: save it anew.",
        "two_components.jpg": "The JPEG image has 2 components, expected 1, 3 or 4: convert it.",
        "empty.png": "The image has no bytes: send a JPEG, PNG or WebP file.",
        "text.png": "The image is neither JPEG, PNG nor WebP by its first bytes: send one of these.",
        "picture.gif": "The image is a GIF file, expected JPEG, PNG or WebP: convert it.",
        "page.svg": "The image is a SVG file, expected JPEG, PNG or WebP: convert it.",
    }

    def test_sentences(self):
        for name, sentence in self.SENTENCES.items():
            with self.subTest(name=name):
                self.refused(sentence, base(bad_image(name)))

    def test_every_bad_file(self):
        """With a stream beside: its text is the one that it has alone."""
        case = self.engine.answers[0]
        fields = {"prompt": case["prompt"], "image_data": named(case["images"][0]), **greedy(120)}
        alone = self.server.generate(**fields)["text"]
        beside = []
        thread = threading.Thread(target=lambda: beside.extend(self.server.generate(**fields)["text"] for _ in range(8)))
        thread.start()
        for path in sorted((FIXTURES / "image/bad").iterdir()):
            status, _, answer = self.server.post({"prompt": "see", "image_data": base(path.read_bytes())})
            self.assertEqual(status, 400, (path.name, answer))
            sentence = json.loads(answer)["error"]
            self.assertTrue(sentence.endswith("."), sentence)
        thread.join()
        self.assertEqual(beside, [alone] * 8)

    def test_what_was_sent(self):
        good = base(image("colour.png"))
        self.refused("The image is said to be image/jpeg, but by its first bytes it is PNG: call it image/png.",
                     f"data:image/jpeg;base64,{good}")
        self.refused("The image's data: URL has no comma: write data:image/png;base64,...", "data:image/png;base64")
        self.refused("The image's data: URL is not in base64: write data:image/png;base64,...", "data:image/png,abc")
        self.refused("The image is an address, and this server fetches none (--allow-media-url-prefix): send its bytes as "
                     "data:image/png;base64,...",
                     "https://example.com/a.png")
        self.refused("Image 2 of 2: The image has no bytes: send a JPEG, PNG or WebP file.", [good, ""])
        self.refused("The prompt has 1 marks for images (<image>) and 2 images were sent: write one for each, or none.",
                     [good, good], "one <image>")
        for n in 3, 20:
            self.refused(f"The prompt has {n} marks for images (<image>) and 1 images were sent: write one for each, or none.",
                         good, "<image>" * n)
        self.refused("17 images were sent, and a prompt may have 16 (--limit-mm-per-prompt): send fewer.", [good] * 17)
        self.refused("image_data is a list, expected an image in base64, as a data: URL or by its address, or a list of up to 64.",
                     [base(png(1, 1))] * 5000)
        self.refused("image_data is a number, expected an image in base64, as a data: URL or by its address, or a list of up to 64."
                     .replace("a number", "7"), 7)

    def test_messages(self):
        good = named("colour.png")
        rows = (
            ({"type": "image_url", "image_url": {"url": "http://127.0.0.1/a.png"}},
             "The image is an address, and this server fetches none (--allow-media-url-prefix): send its bytes as "
                     "data:image/png;base64,..."),
            ({"type": "image_url", "image_url": {}},
             "messages[0].content[0].image_url.url must be a string: data:image/png;base64,..."),
            ({"type": "image_url", "image_url": {"url": good, "detail": "huge"}},
             'messages[0].content[0]: detail must be "auto", "low" or "high".'),
            ({"type": "input_audio"}, 'messages[0].content[0] is of type "input_audio"; there are only text and image_url.'),
        )
        for part, sentence in rows:
            status, answer = self.chat([{"role": "user", "content": [part]}])
            self.assertEqual((status, answer["error"]["message"]), (400, sentence))
        many = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": good}}] * 17}]
        self.assertEqual(self.chat(many)[1]["error"]["message"],
                         "17 images were sent, and a prompt may have 16 (--limit-mm-per-prompt): send fewer.")

    def test_long_text(self):
        """A body is large for its images' sake alone."""
        status, _, answer = self.server.post({"prompt": "a" * TEXT_LIMIT, "image_data": base(image("colour.png"))})
        self.assertEqual(status, 400)
        self.assertIn("bytes beside its images, and this path takes 1048576 of them", json.loads(answer)["error"])
        many = b'{"prompt": "a", "x": [' + b"{}," * TEXT_LIMIT + b'{}]}'  # which would take a gigabyte once read
        status, _, answer = self.server.request("POST", "/generate", many, JSON)
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, f"The body has {len(many) - 8} bytes beside its strings, and this path takes 1048576 of them: send less."))

    def test_user_words(self):
        """Marks that a user writes in a conversation are letters."""
        status, answer = self.chat([{"role": "user", "content": "<image>"}], **greedy(2))
        self.assertEqual(status, 200, answer)
        self.assertGreater(answer["usage"]["prompt_tokens"], len("user:<image>"))


class Aborts(SeeingCase):
    def test_closed_connections(self):
        """Clients that go away before, while and after their images are encoded leave nothing behind."""
        for i in range(30):
            body = json.dumps({"prompt": "<image>?", "image_data": base(png(90, 60, 100 + i)), "max_tokens": 100,
                               "ignore_eos": True}).encode()
            with self.server.socket() as client:
                client.sendall(b"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                               % len(body) + body)
        wait_for(lambda: self.server.metric("llm_requests_running") + self.server.metric("llm_requests_waiting") == 0,
                 "all requests have ended")
        case = self.engine.answers[0]
        self.assertEqual(self.server.generate(prompt=case["prompt"], image_data=named(case["images"][0]), **greedy())["text"],
                         case["text"])


class FewPages(SeeingCase):
    """Room for a few images alone, which those that wait hold parts of."""
    options = "--image-cache-memory", "80K"

    def test_nobody_waits_for_ever(self):
        pictures, done = [base(png(40, 40, 700 + i)) for i in range(9)], []

        def ask(seed):
            draw = random.Random(seed)
            for _ in range(40):
                status, _, answer = self.server.post({"prompt": "see", "image_data": draw.sample(pictures, draw.choice((1, 2, 3))),
                                                      **greedy(4)})
                done.append((status, answer))

        threads = [threading.Thread(target=ask, args=(seed,), daemon=True) for seed in range(8)]
        for thread in threads:
            thread.start()
        wait_for(lambda: not any(thread.is_alive() for thread in threads), "all are answered")
        self.assertEqual([answer for status, answer in done if status != 200], [])
        self.assertEqual(len(done), 8 * 40)


class TextOnly(unittest.TestCase):
    def test_sentences(self):
        engine = Engine()
        try:
            with Server(engine, backend="cpu") as server:
                status, _, answer = server.post({"prompt": "a", "image_data": base(image("colour.png"))})
                self.assertEqual((status, json.loads(answer)["error"]),
                                 (400, "The model tiny sees no images: send text alone."))
                body = json.dumps({"messages": [{"role": "user", "content": [
                    {"type": "image_url", "image_url": {"url": named("colour.png")}}]}]})
                status, _, answer = server.request("POST", "/v1/chat/completions", body, JSON)
                self.assertEqual((status, json.loads(answer)["error"]["message"]),
                                 (400, "messages[0].content[0] is an image, and this model sees none: send text alone."))
        finally:
            engine.remove()


if __name__ == "__main__":
    unittest.main()
