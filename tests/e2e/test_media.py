"""Images that requests name by their address: what is fetched, what is refused and with which sentence, and that nobody
else notices. The servers that are asked run here, on the loopback, which --allow-media-address lets the server ask."""
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import subprocess
import tempfile
import threading
import unittest

from spate_server import SPATE, Engine, Server, main, wait_for
from test_images import SeeingCase, SeeingEngine, greedy, image, named, sse_objects

PATIENCE = 300  # --media-timeout of those whose images come
SECONDS = 2     # of those whose do not
MIB = 1 << 20


class Store(http.server.ThreadingHTTPServer):
    """A store of images: each path behaves in its own way. Keeps what it was asked."""

    daemon_threads = True
    address_family = socket.AF_INET

    def __init__(self, tls=None, address="127.0.0.1"):
        super().__init__((address, 0), Handler)
        self.asked, self.heads, self.open = [], [], threading.Event()
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """Clients that give up are what is tested."""

    def url(self, path, host="127.0.0.1", scheme="http"):
        return f"{scheme}://{host}:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", content_type="image/png", headers=()):
        self.send_response(status)
        if content_type is not None:
            self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        store, path = self.server, self.path
        store.asked.append(path)
        store.heads.append(dict(self.headers))
        name = path.partition("?")[0].rpartition("/")[2]
        if "/slow/" in path:
            store.open.wait(PATIENCE)
        if "/big/" in path:
            self.answer(200, b"\x89PNG" + b"\0" * (20 * MIB))
        elif "/chunks/" in path:
            self.chunks(image(name))
        elif "/endless/" in path:
            self.endless()
        elif "/cut/" in path:
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
            self.close_connection = True
        elif "/silent/" in path:
            self.close_connection = True
        elif "/junk/" in path:
            self.wfile.write(b"SSH-2.0-OpenSSH_9.2p1\r\n")
            self.close_connection = True
        elif "/drip/" in path:
            self.drip()
        elif "/status/" in path:
            self.answer(int(name), b"no", headers=(("Location", store.url("/ok/colour.png")),))
        elif "/type/" in path:
            self.answer(200, image("colour.png"), {"none": None, "html": "text/html; charset=utf-8",
                                                   "odd": "a<\"b", "octets": "application/octet-stream"}[name])
        else:
            self.answer(200, image(name), headers=(("Set-Cookie", "a=b"),))

    def chunks(self, body):
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for at in range(0, len(body), 7):
            piece = body[at:at + 7]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def endless(self):
        """Without a length: its end is that of the connection, which does not come."""
        self.wfile.write(b"HTTP/1.0 200 OK\r\nContent-Type: image/png\r\n\r\n")
        while True:
            self.wfile.write(b"\0" * MIB)

    def drip(self):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not self.server.open.wait(0.1):
            self.wfile.write(b"a")


def certificate(folder, name, subject):
    """(certificate, key) of a host, signed by itself."""
    paths = folder / f"{name}.pem", folder / f"{name}-key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                    "-subj", f"/CN={name}", "-addext", f"subjectAltName={subject}", "-out", paths[0], "-keyout", paths[1]],
                   check=True, stderr=subprocess.DEVNULL)
    return paths


def tls_context(paths):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*paths)
    return context


class MediaCase(SeeingCase):
    """One server that fetches below /ok, /slow and others of the store, but nothing below /no."""

    model = "llava"

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="spate-media-")
        folder = pathlib.Path(cls.folder.name)
        believed, other = (certificate(folder, name, "DNS:localhost,IP:127.0.0.1") for name in ("believed", "other"))
        elsewhere = certificate(folder, "elsewhere", "DNS:elsewhere.example")
        authorities = folder / "authorities.pem"
        authorities.write_bytes(believed[0].read_bytes() + elsewhere[0].read_bytes())
        os.environ["SSL_CERT_FILE"] = str(authorities)
        cls.store = Store()
        cls.sealed, cls.strange, cls.misnamed = (Store(tls_context(paths)) for paths in (believed, other, elsewhere))
        cls.other = Store()
        stores = [cls.store.url(path) for path in ("/ok/", "/chunks", "/slow", "/big", "/endless", "/cut", "/silent", "/junk", "/drip", "/status",
                                                   "/type")]
        stores += [cls.store.url("/ok", host="localhost")]
        stores += [store.url("/", scheme="https", host=host) for store in (cls.sealed, cls.strange, cls.misnamed)
                   for host in ("localhost", "127.0.0.1")]
        stores += ["http://nowhere.invalid/", f"http://127.0.0.1:{cls.closed_port()}/", cls.sealed.url("/plain"),
                   cls.store.url("/tls", scheme="https")]
        cls.options = ("--allow-media-url-prefix", ",".join(stores), "--allow-media-address", "127.0.0.0/8,::1",
                       "--media-timeout", str(cls.seconds), "--limit-mm-per-prompt", "8", *cls.more)
        super().setUpClass()

    more = ()
    seconds = PATIENCE

    @staticmethod
    def closed_port():
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            return s.getsockname()[1]

    @classmethod
    def tearDownClass(cls):
        for store in (cls.store, cls.sealed, cls.strange, cls.misnamed, cls.other):
            store.open.set()
            store.shutdown()
            store.server_close()
        super().tearDownClass()
        del os.environ["SSL_CERT_FILE"]
        cls.folder.cleanup()

    def refused_url(self, url, sentence, code=400):
        """Through /generate and in a conversation."""
        status, _, answer = self.server.post({"prompt": "see", "image_data": url, **greedy(4)})
        self.assertEqual(status, code, answer)
        said = json.loads(answer)["error"]
        status, answer = self.chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}])
        self.assertEqual((status, answer["error"]["message"]), (code, said))
        if code == 400:
            self.assertEqual(answer["error"]["param"], "messages")
        if isinstance(sentence, str):
            self.assertEqual(said, sentence)
        else:
            self.assertRegex(said, sentence)


class Fetching(MediaCase):
    def test_answers(self):
        """Those of the same images sent as they are: by name, by number, sealed, in chunks, several, beside others."""
        alone = {name: self.server.generate(prompt="<image>what", image_data=named(name), **greedy())["text"]
                 for name in ("colour.png", "progressive.jpg", "sampling_444.jpg")}
        self.assertEqual(len(set(alone.values())), 3)
        for name, text in alone.items():
            for url in (self.store.url(f"/ok/{name}"), self.store.url(f"/ok/{name}?signed=a%2Fb&c", host="LOCALHOST"),
                        self.store.url(f"/chunks/{name}"), self.sealed.url(f"/{name}", "localhost", "https"),
                        self.sealed.url(f"/a/b/{name}", scheme="HTTPS")):
                with self.subTest(url=url):
                    answer = self.server.generate(prompt="<image>what", image_data=url, **greedy())
                    self.assertEqual(answer["text"], text)
                    events = sse_objects(self.server.post({"prompt": "<image>what", "image_data": [url], "streaming": True,
                                                           **greedy()})[2])
                    self.assertEqual("".join(event.get("text", "") for event in events), text)

    def test_conversations(self):
        names = ["colour.png", "progressive.jpg", "sampling_444.jpg"]
        urls = [self.store.url(f"/ok/{names[0]}"), named(names[1]), self.sealed.url(f"/{names[2]}", "localhost", "https")]

        def say(images):
            part = [{"type": "image_url", "image_url": {"url": url}} for url in images]
            status, answer = self.chat([{"role": "user", "content": [part[0], {"type": "text", "text": "and"}, part[1]]},
                                        {"role": "assistant", "content": "what"},
                                        {"role": "user", "content": [{"type": "image_url", "image_url": part[2]["image_url"]["url"]}]}],
                                       **greedy())
            self.assertEqual(status, 200, answer)
            return answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]
        self.assertEqual(say(urls), say([named(name) for name in names]))
        self.assertNotEqual(say(urls), say([urls[2], urls[1], urls[0]]))

    def test_query(self):
        url = self.store.url("/ok/colour.png")
        status, _, answer = self.server.get("/generate?prompt=see&max_tokens=2&temperature=0&image_data=" + url.replace("?", "%3F"))
        self.assertEqual(status, 200, answer)

    def test_beside_other_images(self):
        images = [named("colour.png"), self.store.url("/ok/progressive.jpg"), named("sampling_444.jpg")]
        mixed = self.ask(*images, prompt="<image><image><image>", max_tokens=24)["text"]
        plain = self.ask(*(named(n) for n in ("colour.png", "progressive.jpg", "sampling_444.jpg")), prompt="<image><image><image>",
                         max_tokens=24)["text"]
        self.assertEqual(mixed, plain)

    def test_what_the_store_is_told(self):
        """The path and a host; no key, cookie or agent of the client's."""
        headers = {"Authorization": "Bearer secret", "Cookie": "a=b", "Referer": "http://c", "User-Agent": "somebody"}
        self.store.heads.clear()
        self.store.asked.clear()
        self.ask(self.store.url("/ok/colour.png?x=1"), headers=headers)
        self.assertEqual(self.store.asked, ["/ok/colour.png?x=1"])
        self.assertEqual(self.store.heads, [{"Host": f"127.0.0.1:{self.store.server_port}", "User-Agent": "spate",
                                             "Accept": "image/jpeg, image/png, image/webp"}])

    def test_type_that_was_not_told(self):
        for name in ("none", "octets"):
            self.ask(self.store.url(f"/type/{name}"))

    def test_counted(self):
        def count():
            return [self.server.metric(f'llm_image_fetches_total{{result="{result}"}}') for result in ("fetched", "failed")]
        before = count()
        self.ask(self.store.url("/ok/colour.png"), self.store.url("/ok/colour.png"), prompt="")
        self.server.post({"prompt": "see", "image_data": self.store.url("/status/404")})
        self.assertEqual([b - a for a, b in zip(before, count())], [2, 1])


class Refused(MediaCase):
    BELOW = "is below none of the addresses that this server fetches images from (--allow-media-url-prefix): send its bytes as " \
            "data:image/png;base64,..."

    def test_before_anything_is_asked(self):
        port = self.store.server_port
        dots = "The URL's path has a segment . or .., as it stands or percent-encoded: write the path that is meant."
        rows = (
            ("ftp://127.0.0.1/a.png", "The URL begins with neither http:// nor https://."),
            ("file:///etc/passwd", "The URL begins with neither http:// nor https://."),
            ("gopher://127.0.0.1:70/a", "The URL begins with neither http:// nor https://."),
            (self.store.url("/no/colour.png"), f"http://127.0.0.1:{port}/no/colour.png {self.BELOW}"),
            (self.store.url("/okay/colour.png"), f"http://127.0.0.1:{port}/okay/colour.png {self.BELOW}"),
            (self.store.url("/ok"), f"http://127.0.0.1:{port}/ok {self.BELOW}"),
            (self.store.url("/OK/colour.png"), f"http://127.0.0.1:{port}/OK/colour.png {self.BELOW}"),
            (self.other.url("/ok/colour.png"), f"http://127.0.0.1:{self.other.server_port}/ok/colour.png {self.BELOW}"),
            (self.store.url("/ok/a", scheme="https"), f"https://127.0.0.1:{port}/ok/a {self.BELOW}"),
            ("http://127.0.0.1/ok/a?secret", f"http://127.0.0.1/ok/a {self.BELOW}"),
            (f"http://127.0.0.2:{port}/ok/a", f"http://127.0.0.2:{port}/ok/a {self.BELOW}"),
            (f"http://2130706433:{port}/ok/a", f"http://2130706433:{port}/ok/a {self.BELOW}"),
            (f"http://[::ffff:127.0.0.1]:{port}/ok/a", f"http://[::ffff:127.0.0.1]:{port}/ok/a {self.BELOW}"),
            (f"http://127.0.0.1.evil.example:{port}/ok/a", f"http://127.0.0.1.evil.example:{port}/ok/a {self.BELOW}"),
            (f"http://127.0.0.1:{port}@evil.example/ok/a",
             "The URL names a user, and none is told to a server: leave out what stands before the @."),
            (f"http://evil.example?@127.0.0.1:{port}/ok/a", f"http://evil.example/ {self.BELOW}"),
            (self.store.url("/ok/../no/colour.png"), dots),
            (self.store.url("/ok/%2e%2E/no/colour.png"), dots),
            (self.store.url("/ok/%252e%252e%252fno"), dots),
            (self.store.url("/ok/..%5Cno"), dots),
            (self.store.url("/ok/..;a/no"), dots),
            (self.store.url("/ok/."), dots),
            (self.store.url("/ok\\..\\no"),
             f"The URL's byte {len(self.store.url('/ok')) + 1} is 0x5c, which no URL has: write it percent-encoded, and names of hosts "
             "in ASCII."),
            (self.store.url("/ok/a b"), re.compile("The URL's byte [0-9]+ is 0x20, which no URL has: ")),
            (self.store.url("/ok/a\r\nX-Injected: 1"), re.compile("The URL's byte [0-9]+ is 0x0d, which no URL has: ")),
            (self.store.url("/ok/a\0b"), re.compile("The URL's byte [0-9]+ is 0x00, which no URL has: ")),
            (self.store.url("/ok/ä"), re.compile("The URL's byte [0-9]+ is 0xc3, which no URL has: ")),
            (self.store.url("/ok/a#b"), "The URL has a fragment, which no server is told: leave out the #."),
            (self.store.url("/ok/%zz"), "The URL has a % that two hexadecimal digits do not follow: write %25 for it."),
            (self.store.url("/ok/" + "a" * 4096), re.compile("The URL has [0-9]+ bytes, expected at most 4096.")),
            ("http:///ok/a", re.compile("The URL has no host that is a name ")),
            ("http://127.0.0.1:0/ok/a", "The URL's port is no number from 1 to 65535."),
            ("http://127.0.0.1:/ok/a", "The URL's port is no number from 1 to 65535."),
        )
        self.store.asked.clear()
        for url, sentence in rows:
            with self.subTest(url=url[:100]):
                self.refused_url(url, sentence)
        self.assertEqual((self.store.asked, self.other.asked), ([], []))

    def test_what_stores_do(self):
        at = f"127.0.0.1:{self.store.server_port}"
        self.other.asked.clear()
        rows = [(self.store.url(f"/status/{status}"),
                 f"{at} answered with status {status}, which leads elsewhere, and redirects are not followed: send the address that "
                 "they end at.") for status in (301, 302, 303, 307, 308)]
        rows += [(self.store.url(f"/status/{status}"), f"{at} answered with status {status}, expected 200 and an image.")
                 for status in (204, 401, 404, 500)]
        rows += [
            (self.store.url("/type/html"), f'{at} sent "text/html", expected an image.'),
            (self.store.url("/type/odd"), f'{at} sent "a", expected an image.'),
            (self.store.url("/silent/a"), f"{at} sent no response."),
            (self.store.url("/cut/a"), f"{at} ended the connection before its response."),
            (self.store.url("/junk/a"), re.compile(f"{at} sent what is no HTTP: .*.$")),
            (self.store.url("/big/a"), f"The image of {at} has more than 20 MiB: make it smaller."),
            (self.store.url("/endless/a"), f"The image of {at} has more than 20 MiB: make it smaller."),
            ("http://nowhere.invalid/a", re.compile("nowhere.invalid cannot be found: .*.$")),
            (self.options[1].split(",")[-3] + "a", re.compile("127.0.0.1:[0-9]+ cannot be reached: connection refused.$")),
            (self.strange.url("/a", "localhost", "https"),
             re.compile(r"localhost:[0-9]+ did not prove to be who it is: self-signed certificate\.$")),
            (self.misnamed.url("/a", "localhost", "https"),
             re.compile(r"localhost:[0-9]+ did not prove to be who it is: hostname mismatch\.$")),
            (self.misnamed.url("/a", "127.0.0.1", "https"),
             re.compile(r"127.0.0.1:[0-9]+ did not prove to be who it is: IP address mismatch\.$")),
            (self.store.url("/tls/a", scheme="https"), f"{at} does not agree on TLS 1.2 or 1.3."),
            (self.sealed.url("/plain"), re.compile("127.0.0.1:[0-9]+ (sent no response|sent what is no HTTP: .*|broke the connection off: .*).$")),
        ]
        for url, sentence in rows:
            with self.subTest(url=url):
                self.refused_url(url, sentence)
        self.assertEqual(self.other.asked, [])

    def test_not_an_image(self):
        self.store.open.set()
        good = self.store.url("/ok/colour.png")
        status, _, answer = self.server.post({"prompt": "see", "image_data": [good, self.store.url("/status/404")]})
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, f"Image 2 of 2: 127.0.0.1:{self.store.server_port} answered with status 404, expected 200 and an image."))
        status, _, answer = self.server.post({"prompt": "see", "image_data": [good] * 9})
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, "9 images were sent, and a prompt may have 8 (--limit-mm-per-prompt): send fewer."))
        status, answer = self.chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": good}}] * 65}])
        self.assertEqual((status, answer["error"]["message"]),
                         (400, "65 images were sent, and a prompt may have 8 (--limit-mm-per-prompt): send fewer."))

    def test_limit_comes_first(self):
        """Who sends too many has none of them fetched, those that come within the body counted too."""
        self.store.asked.clear()
        status, _, answer = self.server.post({"prompt": "see", "image_data": [named("colour.png")] * 8 + [self.store.url("/ok/colour.png")]})
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, "9 images were sent, and a prompt may have 8 (--limit-mm-per-prompt): send fewer."))
        self.assertEqual(self.store.asked, [])

    def test_large_bodies(self):
        """A body that is read beside its loop, before its images are fetched and behind it."""
        case = self.engine.answers[0]
        image = self.store.url(f"/ok/{case['images'][0]}")
        filler = "data:image/png;base64," + "A" * (2 * MIB)
        fields = {"prompt": case["prompt"], **greedy(8)}
        self.assertEqual(self.server.generate(**fields, image_data=image)["text"],
                         json.loads(self.server.post(json.dumps({**fields, "image_data": image}) + " " * (MIB // 2))[2])["text"])
        self.store.asked.clear()
        status, _, answer = self.server.post({"prompt": "see", "image_data": [image, filler]})
        self.assertEqual((status, json.loads(answer)["error"]),
                         (400, "Image 2 of 2: The image is neither JPEG, PNG nor WebP by its first bytes: send one of these."))
        self.assertEqual(len(self.store.asked), 1)
        status, answer = self.chat([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}
                                                                 for url in (image, filler)]}])
        self.assertEqual((status, answer["error"]["message"]),
                         (400, "Image 2 of 2: The image is neither JPEG, PNG nor WebP by its first bytes: send one of these."))


class Late(MediaCase):
    seconds = SECONDS
    LATE = f"The images did not come within {SECONDS} seconds: send their bytes as data:image/png;base64,..."

    def test_time(self):
        """A store that says nothing, and one that says a byte now and then."""
        for path in ("/slow/colour.png", "/drip/a"):
            self.refused_url(self.store.url(path), self.LATE)


class Slow(MediaCase):
    def test_others_do_not_wait(self):
        """While as many as may be are being fetched: texts and images that were sent go on, one more is told to come later."""
        case = self.engine.answers[0]
        fields = {"prompt": case["prompt"], "image_data": [named(n) for n in case["images"]], **greedy(8)}
        alone = self.server.generate(**fields)["text"]
        slow, said = json.dumps({"prompt": "see", "image_data": self.store.url("/slow/colour.png")}), []
        for round_ in range(2):
            self.store.asked.clear()
            threads = [threading.Thread(target=lambda: said.append(self.server.post(slow)[0])) for _ in range(16)]
            for thread in threads:
                thread.start()
            wait_for(lambda: len(self.store.asked) == 16, "all are being fetched")
            status, headers, answer = self.server.post(slow)
            self.assertEqual((status, json.loads(answer)["error"]),
                             (429, "Too many requests have images fetched: try again later."))
            self.assertEqual(self.server.generate(**fields)["text"], alone)
            self.assertEqual(self.server.get("/health")[0], 200)
            self.store.open.set()
            for thread in threads:
                thread.join()
            self.store.open.clear()
        self.assertEqual(said, [200] * 32)

    def test_client_goes(self):
        """Nobody waits for the images of a client that has gone: they make room at once."""
        body = json.dumps({"prompt": "see", "image_data": self.store.url("/slow/colour.png")})
        for _ in range(40):
            with self.server.socket() as client:
                self.store.asked.clear()
                client.sendall(b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                               % (len(body), body.encode()))
                wait_for(lambda: self.store.asked, "it is being fetched")
        self.store.asked.clear()
        self.ask(self.store.url("/ok/colour.png"))

    def test_end_of_the_server(self):
        """A server that is told to end does not wait for a store."""
        with Server(self.engine, *self.options, backend="cpu") as server:
            with server.socket() as client:
                self.store.asked.clear()
                body = json.dumps({"prompt": "see", "image_data": self.store.url("/slow/colour.png")}).encode()
                client.sendall(b"POST /generate HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
                               % (len(body), body))
                wait_for(lambda: self.store.asked, "it is being fetched")
                server.stop()
                server.stop()
                self.assertEqual(server.exit_code(), 0)


class Places(MediaCase):
    """Several tenants: whoever comes finds a place, however many requests somebody else has images fetched for."""

    more = ("--api-key", "one,two,three")

    def fill(self, key, said):
        """Requests of a tenant, each once the one before is being fetched, until one is told to come later."""
        count, threads = 0, []
        body = json.dumps({"prompt": "see", "image_data": self.store.url("/slow/colour.png")})
        while True:
            before = len(self.store.asked)
            refused = threading.Event()

            def ask(refused=refused):
                status, _, _ = self.server.post(body, {"Authorization": f"Bearer {key}"})
                said.append(status)
                if status == 429:
                    refused.set()
            threads.append(threading.Thread(target=ask))
            threads[-1].start()
            wait_for(lambda: refused.is_set() or len(self.store.asked) > before, "it is fetched or refused")
            if refused.is_set():
                return count, threads
            count += 1

    def test_tenants(self):
        self.store.asked.clear()
        said, places, threads = [], [], []
        for key in ("one", "two", "three"):
            count, more = self.fill(key, said)
            places.append(count)
            threads += more
        self.store.open.set()
        for thread in threads:
            thread.join()
        self.store.open.clear()
        self.assertEqual(places, [8, 4, 2])
        self.assertEqual(sorted(said), [200] * 14 + [429] * 3)


class Public(unittest.TestCase):
    """Without --allow-media-address a prefix alone lets nobody ask this machine or its network."""

    NUMBERS = {"127.0.0.1": "loopback", "0.0.0.0": "of this network", "10.0.0.1": "private", "172.31.255.255": "private",
               "192.168.1.1": "private", "169.254.169.254": "link-local", "100.64.0.1": "shared by customers of a carrier",
               "224.0.0.1": "multicast", "255.255.255.255": "reserved", "[::1]": "loopback", "[::]": "of this network",
               "[::ffff:127.0.0.1]": "loopback", "[::ffff:a9fe:a9fe]": "link-local", "[64:ff9b::127.0.0.1]": "loopback",
               "[64:ff9b::a00:1]": "private", "[fd00::1]": "private", "[fe80::1]": "link-local", "[ff02::1]": "multicast",
               "[2002:7f00:1::]": "a tunnel to IPv4", "[::127.0.0.1]": "reserved", "localhost": "loopback", "2130706433": "loopback",
               "0x7f.1": "loopback", "0177.0.0.1": "loopback"}

    def test_addresses(self):
        engine = SeeingEngine("llava")
        store = Store()
        hosts = {f"{host}:{store.server_port}": what for host, what in self.NUMBERS.items()}
        try:
            with Server(engine, *(word for n in range(0, len(hosts), 4) for word in
                                  ("--allow-media-url-prefix", ",".join(f"http://{host}" for host in list(hosts)[n:n + 4]))),
                        "--allow-media-address", "10.1.0.0/16", backend="cpu") as server:
                for host, what in hosts.items():
                    with self.subTest(host=host):
                        status, _, answer = server.post({"prompt": "see", "image_data": f"http://{host}/ok/colour.png"})
                        said = json.loads(answer)["error"]
                        self.assertEqual(status, 400)
                        self.assertRegex(said, f"^.* has an address that is not public: {what}\\.$")
            self.assertEqual(store.asked, [])
        finally:
            store.shutdown()
            store.server_close()
            engine.remove()


class Off(SeeingCase):
    def test_sentence(self):
        self.refused("The image is an address, and this server fetches none (--allow-media-url-prefix): send its bytes as "
                     "data:image/png;base64,...", "https://example.com/a.png")


class Settings(unittest.TestCase):
    def test_bad(self):
        engine = Engine()
        try:
            for options, sentence in (
                    (("--allow-media-url-prefix", "example.com"),
                     "--allow-media-url-prefix example.com: The URL begins with neither http:// nor https://."),
                    (("--allow-media-url-prefix", "https://a/b?c"),
                     "--allow-media-url-prefix https://a/b?c: A prefix ends before the ? of a query."),
                    (("--allow-media-address", "10.0.0.0/33"),
                     '--allow-media-address: "10.0.0.0/33" is no range of addresses, expected one such as 10.1.0.0/16.'),
                    (("--media-timeout", "301"), '--media-timeout is "301", expected a whole number from 0 to 300.')):
                with self.assertRaises(AssertionError) as refused:
                    Server(engine, *options)
                self.assertIn(sentence, str(refused.exception))
        finally:
            engine.remove()

    def test_sources(self):
        """Lists of the command line, however often they are given, take the place of the environment's, and these of a file's."""
        def printed(*options, **variables):
            run = subprocess.run([SPATE, "config", *options, "--print"], capture_output=True, text=True, env=os.environ | variables)
            self.assertEqual(run.returncode, 0, run.stderr)
            return re.findall(r"^#?allow-media-url-prefix: (.*?) *# (.*)$", run.stdout, re.M)
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            print("allow-media-url-prefix: https://f/a,https://f/b", file=file, flush=True)
            config, variable = ("--config", file.name), {"SPATE_ALLOW_MEDIA_URL_PREFIX": "https://e"}
            self.assertEqual(printed(*config), [('"https://f/a,https://f/b"', f"{file.name}:1")])
            self.assertEqual(printed(*config, **variable), [('"https://e"', "SPATE_ALLOW_MEDIA_URL_PREFIX")])
            self.assertEqual(printed(*config, "--allow-media-url-prefix", "https://l/1", "--allow-media-url-prefix=https://l/2", **variable),
                             [('"https://l/1,https://l/2"', "command line")])
        self.assertEqual(printed(), [("none is fetched", "default")])

    def test_blind_model(self):
        """A model that sees no images has none fetched."""
        engine, store = Engine(), Store()
        try:
            with Server(engine, "--allow-media-url-prefix", store.url("/"), "--allow-media-address", "127.0.0.1") as server:
                status, _, answer = server.post({"prompt": "a", "image_data": store.url("/ok/colour.png")})
                self.assertEqual((status, json.loads(answer)["error"]), (400, "The model tiny sees no images: send text alone."))
            self.assertEqual(store.asked, [])
        finally:
            store.shutdown()
            store.server_close()
            engine.remove()


if __name__ == "__main__":
    main("__main__")
