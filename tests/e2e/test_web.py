"""The pages for people: their heads and what is in their files; with SPATE_TEST_BROWSER (the Python that `get_clients.sh
browser` prints) and Debian's chromium also what they do: web_in_browser.py."""
import base64
import hashlib
import json
import os
import pathlib
import re
import subprocess
import unittest

import spate_server
from spate_server import Server

PAGES = "/", "/status", "/docs"
POLICY = ("default-src 'none'; style-src '{style}'; script-src '{script}'; connect-src 'self'; img-src data:; base-uri 'none'; "
          "form-action 'none'; frame-ancestors 'none'")


def hash_of(page, tag):
    """As browsers make it; a page has one such element, without attributes."""
    inside = re.findall(rf"<{tag}\b([^>]*)>(.*?)</{tag}>", page, re.DOTALL)
    assert len(inside) == 1 and inside[0][0] == "", tag
    return "sha256-" + base64.b64encode(hashlib.sha256(inside[0][1].encode()).digest()).decode()


class Web(spate_server.ServerCase):
    def test_head(self):
        for path in PAGES:
            status, headers, body = self.server.get(path)
            page = body.decode()
            self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
            self.assertEqual(headers["Content-Security-Policy"],
                             POLICY.format(style=hash_of(page, "style"), script=hash_of(page, "script")))
            self.assertEqual((headers["X-Content-Type-Options"], headers["Referrer-Policy"]), ("nosniff", "no-referrer"))
            status, headers, nothing = self.server.request("HEAD", path)
            self.assertEqual((status, int(headers["Content-Length"]), nothing), (200, len(body), b""))
            self.assertEqual(self.server.request("POST", path, "{}")[0], 405)

    def test_file(self):
        for path in PAGES:
            page = self.server.get(path)[2].decode()
            self.assertTrue(page.startswith("<!doctype html>") and page.endswith("</html>\n"))
            self.assertEqual(set(re.findall(r"https?://[^\"' ]*", page)) - {"http://www.w3.org/2000/svg"}, set())
            for never in r"\bon[a-z]+=\"", r"\bstyle=\"", "innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", r"\beval\(", "@WEB_":
                self.assertIsNone(re.search(never, page), never)

    def test_fields_exist(self):
        """What the playground sends is what chat takes."""
        schemas = json.loads(self.server.get("/openapi.json")[2])["components"]["schemas"]
        fields = schemas["ChatCompletionRequest"]["properties"]
        names = set(re.findall(r'name="(\w+)"', self.server.get("/")[2].decode())) - {"viewport", "system"}
        adapter = {name for name in names if name.startswith("lora_")}
        self.assertGreater(len(names), 5)
        self.assertLessEqual(names - adapter, set(fields))
        self.assertEqual(adapter, set(fields["lora_request"]["oneOf"][0]["properties"]))

    def test_metrics_exist(self):
        """What the status page shows is what the server exports."""
        page, exported = self.server.get("/status")[2].decode(), self.server.get("/metrics")[2].decode()
        names = set(re.findall(r'"(llm_\w+)"', page))
        self.assertGreater(len(names), 8)
        for name in names:
            self.assertIn(f"# TYPE {name} ", exported)

    def test_without_key(self):
        with Server(self.engine, "--api-key", "secret") as server:
            for path in PAGES:
                self.assertEqual(server.get(path)[0], 200)
            self.assertEqual(server.get("/metrics")[0], 401)

    def test_in_browser(self):
        python = os.environ.get("SPATE_TEST_BROWSER")
        missing = ("SPATE_TEST_BROWSER is not set to what `scripts/get_clients.sh browser` prints" if not python else
                   "there is no /usr/bin/chromium" if not os.path.exists("/usr/bin/chromium") else None)
        if missing:
            print(f"SKIPPED in part: {missing}")
            raise unittest.SkipTest(missing)
        script = pathlib.Path(__file__).with_name("web_in_browser.py")
        done = subprocess.run([python, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    spate_server.main(__name__)
