"""The pages in a real Chromium, which test_web.py runs with the Python that has playwright and axe. Their policy is in force:
what is asked of a page goes through its elements, as people and screen readers meet them."""
import json
import pathlib
import re
import shutil
import subprocess
import tempfile
import types
import unittest

import spate_server
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import expect, sync_playwright
from spate_server import Engine, Server

CHROMIUM = "/usr/bin/chromium"
SHAPES = spate_server.ROOT / "tests/fixtures/trained/shapes"
ADAPTER = spate_server.ROOT / "tests/fixtures/adapter/tied"
LONG_NAME = "w" * 255
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1280, "height": 800}
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>"
expect.set_options(timeout=spate_server.WAIT_SECONDS * 1000)


def events(*pieces, usage=None):
    """A stream as the server sends it, for answers that must say what no random model does."""
    chunks = [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    if usage:
        chunks.append({"choices": [], "usage": {"completion_tokens": usage}})
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


class BrowserCase(spate_server.ServerCase):
    backend = "cpu"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.playwright = sync_playwright().start()
        cls.chromium = cls.playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])

    @classmethod
    def tearDownClass(cls):
        cls.chromium.close()
        cls.playwright.stop()
        super().tearDownClass()

    def setUp(self):
        self.said = []  # by the browser's console: a violated policy, an uncaught error

    def open(self, path="/", server=None, viewport=DESK, context=None, **options):
        context = context or self.chromium.new_context(viewport=viewport, **options)
        self.addCleanup(context.close)
        page = context.new_page()
        page.on("console", lambda message: self.said.append(message.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(dialog.message))
        self.asked = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.goto(f"http://127.0.0.1:{(server or self.server).port}{path}")
        return page

    def tearDown(self):
        self.assertEqual(self.said, [])

    def send(self, page, text, most=8):
        field = page.get_by_label("Max tokens")
        if not field.is_visible():
            page.get_by_text("Settings").click()
        field.fill(str(most))
        page.get_by_label("Message (").fill(text)
        page.keyboard.press("Enter")

    def assert_accessible(self, page, viewport):
        found = Axe().run(page)
        self.assertGreater(len(found["passes"]), 10)
        self.assertEqual([(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]], [])
        self.assertLessEqual(page.evaluate("document.documentElement.scrollWidth"), viewport["width"])


class Pages(BrowserCase):
    def test_answers_stream_and_are_kept(self):
        page = self.open()
        expect(page.locator("#model")).to_have_text("tiny")
        self.send(page, "Hello")
        expect(page.get_by_role("status")).to_have_text("The answer is complete.")
        note = page.locator(".assistant footer span")
        expect(note).to_have_text(re.compile(r"^8 tokens · .*first after .* · cut at the most tokens$"))
        origin = f"http://127.0.0.1:{self.server.port}/"
        self.assertEqual([url for url in self.asked if not url.startswith((origin, "data:"))], [])
        answer = page.locator(".assistant p").text_content()
        page.reload()
        expect(page.locator(".user p")).to_have_text("Hello")
        self.assertEqual(page.locator(".assistant p").text_content(), answer)
        page.get_by_label("Delete Hello").click()
        expect(page.locator(".message")).to_have_count(0)

    def test_keys(self):
        page = self.open()
        text = page.get_by_label("Message (")
        text.press_sequentially("one")
        text.press("Shift+Enter")
        text.press_sequentially("two")
        self.assertEqual(text.input_value(), "one\ntwo")
        self.send(page, "on and on", 60000)
        expect(page.locator(".assistant footer span")).to_have_text(re.compile("^about "))
        expect(page.get_by_role("button", name="Stop")).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.get_by_role("status")).to_have_text("Stopped.")
        expect(page.locator(".assistant footer span")).to_have_text(re.compile("stopped$"))
        expect(page.get_by_role("button", name="Send")).to_be_visible()
        spate_server.wait_for(lambda: self.server.metric("llm_requests_running") == 0, "the server stops too")

    def test_what_is_sent(self):
        page, sent = self.open(), []

        def answer(route):
            sent.append(route.request.post_data_json)
            route.fulfill(content_type="text/event-stream", body=events("Hi", "!", usage=5))

        page.route("**/v1/chat/completions", answer)
        page.get_by_label("System message").fill("Be brief.")
        page.get_by_label("Temperature").fill("0.5")
        page.get_by_label("Stop at").fill("END")
        self.send(page, "Hello", 7)
        expect(page.locator(".assistant footer span")).to_have_text(re.compile("^5 tokens"))
        page.get_by_label("Message (").fill("And?")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".assistant")).to_have_count(2)
        said = [("system", "Be brief."), ("user", "Hello"), ("assistant", "Hi!"), ("user", "And?")]
        self.assertEqual(sent[1], {"stream": True, "stream_options": {"include_usage": True}, "temperature": 0.5, "stop": "END",
                                   "max_tokens": 7, "messages": [{"role": role, "content": text} for role, text in said]})

    def test_markup_is_text(self):
        page = self.open()
        page.route("**/v1/chat/completions", lambda route: route.fulfill(
            content_type="text/event-stream", body=events(MARKUP, "\n```\n" + MARKUP + "\n```\n")))
        self.send(page, MARKUP)
        expect(page.get_by_role("status")).to_have_text("The answer is complete.")
        page.reload()
        expect(page.locator(".user p")).to_have_text(MARKUP)
        expect(page.locator(".assistant p").first).to_have_text(MARKUP)
        expect(page.locator(".assistant code")).to_have_text(MARKUP)
        self.assertEqual(page.locator("img").count(), 0)
        self.assertEqual(page.locator("script").count(), 1)

    def test_the_end_stays_in_sight(self):
        """Also when the note of a complete answer takes another line."""
        page = self.open(viewport=PHONE)
        for count in 1, 2, 3:
            self.send(page, "Hello " * 20)
            expect(page.locator(".assistant")).to_have_count(count)
            expect(page.get_by_role("status")).to_have_text("The answer is complete.")
            self.assertLess(page.evaluate("log.scrollHeight - log.scrollTop - log.clientHeight"), 2)

    def test_wide_code_scrolls_by_itself(self):
        page = self.open(viewport=PHONE)
        page.route("**/v1/chat/completions", lambda route: route.fulfill(
            content_type="text/event-stream", body=events("See:\n```\n" + "word " * 50 + "\n```\n")))
        self.send(page, "Hello")
        expect(page.locator("code")).to_contain_text("word")
        self.assertEqual(page.evaluate("[log.scrollWidth - log.clientWidth, document.querySelector('pre').scrollWidth > 360]"),
                         [0, True])

    def test_refused(self):
        page = self.open()
        self.send(page, "Hello", 70000)
        expect(page.get_by_role("status")).to_have_class("bad")
        expect(page.get_by_role("status")).to_have_text(re.compile(r"max_tokens"))
        self.said = [text for text in self.said if "status of 400" not in text]  # Chromium tells it on its own

    def test_what_does_not_exist_yet(self):
        page = self.open()
        expect(page.get_by_text("This server has no LoRA adapters.")).to_be_visible()
        expect(page.get_by_label("LoRA adapter")).to_be_disabled()

    def drop(self, page, name, kind):
        data = page.evaluate_handle(
            "([name, type]) => { const d = new DataTransfer(); d.items.add(new File(['x'], name, { type })); return d; }", [name, kind])
        page.dispatch_event("#log", "drop", {"dataTransfer": data})

    def test_images_that_go_nowhere(self):
        page = self.open()
        self.drop(page, "a.txt", "text/plain")
        expect(page.get_by_role("status")).to_have_text("a.txt is no JPEG, PNG or WebP image.")
        self.drop(page, "a.png", "image/png")
        expect(page.get_by_role("status")).to_have_text("The message goes with a.png.")
        page.get_by_role("button", name="Without").click()
        expect(page.get_by_text("with a.png")).to_have_count(0)
        self.drop(page, "b.png", "image/png")
        self.send(page, "What is it?")
        expect(page.get_by_role("status")).to_have_text(re.compile("this model sees none: send text alone"))
        self.said = [text for text in self.said if "status of 400" not in text]  # Chromium tells it on its own

    def test_key(self):
        with Server(self.engine, "--api-key", "secret") as server:
            page = self.open(server=server)
            page.get_by_label("API key", exact=True).last.fill("wrong")
            page.keyboard.press("Enter")
            page.get_by_label("API key", exact=True).last.fill("secret")
            page.keyboard.press("Enter")
            expect(page.locator("#model")).to_have_text("tiny")
            page.goto(page.url + "status")
            expect(page.get_by_role("status")).to_have_text(re.compile("^Asked every"))
            self.assertIsNone(page.evaluate("localStorage.getItem('spate.key')"))
        self.said = [text for text in self.said if "status of 401" not in text and "ERR_CONNECTION" not in text]

    def test_status(self):
        page = self.open("/status")
        self.server.generate(prompt="a", max_tokens=20)
        chart = page.locator("section", has=page.get_by_role("heading", name="Time to the first token"))
        expect(chart.locator(".value")).to_have_text(re.compile("^[0-9.]+ m?s$"))
        expect(page.locator(".chart")).to_have_count(9)
        expect(page.get_by_role("status")).to_have_text(re.compile("Engine 1 of this process serves.$"))
        self.assertEqual(page.locator(".chart polyline").first.get_attribute("class"), "first")

    def test_docs(self):
        page = self.open("/docs")
        api = json.loads(self.server.get("/openapi.json")[2])
        expect(page.locator("details")).to_have_count(sum(map(len, api["paths"].values())) + len(api["components"]["schemas"]))
        box = page.locator("details", has=page.locator("summary", has_text="POST/detokenize"))
        box.locator("summary").click()
        box.get_by_label("Body").fill('{"tokens": []}')
        box.get_by_role("button", name="Send").click()
        expect(box.locator("pre")).to_have_text(self.server.request("POST", "/detokenize", '{"tokens": []}')[2].decode())
        box = page.locator("details", has=page.locator("summary", has_text="GET/v1/models/{model}"))
        box.locator("summary").click()
        box.get_by_label("model").first.fill("tiny")
        box.get_by_role("button", name="Send").click()
        expect(box.locator("pre")).to_contain_text('"id":"tiny"')

    def test_theme(self):
        page = self.open(color_scheme="dark")
        back = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
        dark = back()
        page.get_by_role("button", name="Light colours").click()
        self.assertNotEqual(back(), dark)
        page.reload()
        self.assertNotEqual(back(), dark)
        page.get_by_role("button", name="Dark colours").click()
        self.assertEqual(back(), dark)

    def test_accessible_and_narrow(self):
        for path in "/", "/status", "/docs":
            for viewport in PHONE, DESK:
                for scheme in "light", "dark":
                    with self.subTest(path=path, width=viewport["width"], scheme=scheme):
                        page = self.open(path, viewport=viewport, color_scheme=scheme)
                        if path == "/":
                            self.send(page, "x" * 500)
                            expect(page.get_by_role("status")).to_have_text("The answer is complete.")
                        if path == "/docs":
                            for name in "POST/generate", "GET/generate":
                                page.locator("summary", has_text=name).click()
                        self.assert_accessible(page, viewport)


class Images(BrowserCase):
    """A model that was taught what is on pictures of shapes (tests/fixtures/trained/shapes)."""

    def test_answer(self):
        case = json.loads((SHAPES / "pictures.json").read_text())["pictures"][0]
        with tempfile.TemporaryDirectory() as folder:
            built = pathlib.Path(folder) / "shapes.spate"
            subprocess.run([spate_server.SPATE, "build", SHAPES, "-o", built], check=True, capture_output=True)
            with Server(types.SimpleNamespace(path=built), backend="cpu") as server:
                page = self.open(server=server)
                page.get_by_label("Temperature").fill("0")
                page.get_by_label("Images").set_input_files(SHAPES / "pictures" / case["file"])
                expect(page.get_by_role("status")).to_have_text(f"The message goes with {case['file']}.")
                self.send(page, "What shape is it?")
                expect(page.get_by_role("status")).to_have_text("The answer is complete.")
                expect(page.locator(".user footer")).to_have_text(f"with {case['file']}")
                expect(page.locator(".assistant p")).to_have_text(case["shape"])
                self.assertNotIn("data:", page.evaluate("localStorage.getItem('spate.chats')"))


class Adapters(BrowserCase):
    """The playground of a server with adapters: one of a usual name, one of the longest."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        folder = cls.engine.folder / "adapters"
        for name in "shouting", LONG_NAME:
            shutil.copytree(ADAPTER, folder / name)
        cls.adapted = Server(cls.engine, "--lora-dir", str(folder), backend=cls.backend)

    @classmethod
    def tearDownClass(cls):
        cls.adapted.__exit__()
        super().tearDownClass()

    def opened(self, **options):
        page = self.open(server=self.adapted, **options)
        expect(page.locator("#model")).to_have_text("tiny")
        if not page.get_by_label("Temperature").is_visible():
            page.get_by_text("Settings").click()
        expect(page.get_by_label("LoRA adapter")).to_be_enabled()
        return page

    def answer(self, page, text):
        """(the adapters that were asked for, the answer, its note)"""
        n = page.locator(".assistant").count()
        with page.expect_request("**/v1/chat/completions") as asked:
            self.send(page, text, 12)
        expect(page.locator(".assistant")).to_have_count(n + 1)
        expect(page.get_by_role("status")).to_have_text("The answer is complete.")
        last = page.locator(".assistant").last
        fields = asked.value.post_data_json
        return fields.get("lora_request"), last.locator("p").text_content(), last.locator("footer span").text_content()

    def told(self, text, **fields):
        """What the server answers to a program."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0} | fields
        reply = json.loads(self.adapted.request("POST", "/v1/chat/completions", json.dumps(body), spate_server.JSON)[2])
        return reply["choices"][0]["message"]["content"]

    def test_choice(self):
        """The chosen adapter and its scale are asked for, and the answer is theirs; without one nothing is."""
        page = self.opened()
        adapter, scale = page.get_by_label("LoRA adapter"), page.get_by_label("LoRA scale")
        self.assertEqual(adapter.locator("option").all_text_contents(), ["none", "shouting", LONG_NAME])
        expect(scale).to_be_disabled()
        page.get_by_label("Temperature").fill("0")
        texts = []
        for name, given, wanted, note in (("none", None, None, ""),
                                          ("shouting", "", {"lora_name": "shouting", "lora_scale": 1}, " · with shouting"),
                                          ("shouting", "-2", {"lora_name": "shouting", "lora_scale": -2}, " · with -2 × shouting"),
                                          ("shouting", "0", {"lora_name": "shouting", "lora_scale": 0}, " · with 0 × shouting")):
            page.locator("#new").click()
            adapter.select_option(name)
            if given is not None:
                scale.fill(given)
            asked, text, said = self.answer(page, "Hello")
            self.assertEqual(asked, wanted)
            self.assertEqual(text, self.told("Hello", **({"lora_request": wanted} if wanted else {})))
            self.assertEqual("with" in said, wanted is not None)
            self.assertTrue(said.endswith(note), said)
            texts.append(text)
        plain, full, turned, nothing = texts
        self.assertEqual((plain == full, plain == turned, full == turned, plain == nothing), (False, False, False, True))

    def test_come_and_go(self):
        """Whoever comes back to the page sees the adapters that there are, and what is chosen of them stays."""
        page, folder = self.opened(), self.engine.folder / "adapters"
        adapter = page.get_by_label("LoRA adapter")
        adapter.select_option("shouting")
        page.get_by_label("Temperature").press_sequentially("0.5")  # not kept yet

        def seen(names):
            for _ in range(100):
                page.evaluate("window.dispatchEvent(new Event('focus'))")
                if adapter.locator("option").all_text_contents() == ["none", *names]:
                    return True
                page.wait_for_timeout(100)
            return False

        shutil.copytree(ADAPTER, folder / "later")
        self.addCleanup(shutil.rmtree, folder / "later", ignore_errors=True)
        self.assertTrue(seen(["later", "shouting", LONG_NAME]))
        expect(adapter).to_have_value("shouting")
        expect(page.get_by_label("Temperature")).to_have_value("0.5")
        adapter.select_option("later")
        shutil.rmtree(folder / "later")
        self.assertTrue(seen(["shouting", LONG_NAME]))
        expect(adapter).to_have_value("")
        expect(page.get_by_label("LoRA scale")).to_be_disabled()

    def test_kept(self):
        page = self.opened()
        page.get_by_label("LoRA adapter").select_option("shouting")
        page.get_by_label("LoRA scale").fill("0.8")
        page.get_by_label("LoRA scale").press("Tab")
        page.reload()
        expect(page.get_by_label("LoRA adapter")).to_have_value("shouting")
        expect(page.get_by_label("LoRA scale")).to_have_value("0.8")
        page.get_by_label("Temperature").fill("0")
        self.assertEqual(self.answer(page, "Hello")[0], {"lora_name": "shouting", "lora_scale": 0.8})
        page.get_by_role("button", name="Empty all").click()
        expect(page.get_by_label("LoRA adapter")).to_have_value("")
        expect(page.get_by_label("LoRA scale")).to_be_disabled()
        self.assertIsNone(self.answer(page, "Hello")[0])

    def test_one_that_is_no_more(self):
        """What was chosen and is not offered any more is none, and hides nothing."""
        page = self.opened()
        page.evaluate("localStorage.setItem('spate.settings', JSON.stringify({lora_name: 'gone', lora_scale: '2', temperature: '0'}))")
        page.reload()
        expect(page.get_by_label("LoRA adapter")).to_be_enabled()
        expect(page.get_by_label("LoRA adapter")).to_have_value("")
        self.assertIsNone(self.answer(page, "Hello")[0])

    def test_accessible_and_narrow(self):
        for viewport in PHONE, DESK:
            for scheme in "light", "dark":
                with self.subTest(width=viewport["width"], scheme=scheme):
                    page = self.opened(viewport=viewport, color_scheme=scheme)
                    page.get_by_label("LoRA adapter").select_option(LONG_NAME)
                    self.answer(page, "Hello")
                    self.assert_accessible(page, viewport)
                    self.assertEqual(page.evaluate("[...document.querySelectorAll('.panel')].map((box) => box.scrollWidth - box.clientWidth)"), [0, 0])


if __name__ == "__main__":
    unittest.main()
