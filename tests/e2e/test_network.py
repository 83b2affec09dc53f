"""The server's side of the network: TLS, a Unix socket, other origins' pages, a proxy's path, limits of connections, and
deadlines against clients that stall or smuggle."""
import http.client
import json
import pathlib
import select
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile

import spate_server
from spate_server import JSON, SPATE, WAIT_SECONDS, Server, post_bytes, receive_all, wait_for

GET = b"GET /live HTTP/1.1\r\nHost: t\r\n\r\n"
FULL = "The server has as many connections as it may have; try again later."
CROWDED = "This address has as many connections as one may have; use those that it has."


def answered(client):
    """The status of a whole small answer on a connection that stays open."""
    received = b""
    while b"}" not in received:
        received += client.recv(4096)
    return int(received.split()[1])


def certificate(folder, name):
    """A self-signed certificate for localhost and its key, as files."""
    paths = folder / f"{name}.crt", folder / f"{name}.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                    "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
                    "-out", paths[0], "-keyout", paths[1]], check=True, capture_output=True)
    return paths


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=WAIT_SECONDS)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT_SECONDS)
        self.sock.connect(str(self.path))


class Network(spate_server.EngineCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-network-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def serve(self, *options, **more):
        server = Server(self.engine, *map(str, options), **more)
        self.addCleanup(server.__exit__)
        return server

    def refused(self, sentence, *options):
        place = () if "--uds" in options else ("--port", "0")
        answer = subprocess.run([SPATE, "serve", self.engine.path, *place, "--backend", "null", "--kv-cache-memory", "64M",
                                 *map(str, options)], capture_output=True, text=True, timeout=WAIT_SECONDS)
        self.assertEqual((answer.returncode, answer.stderr), (1, f"spate: {sentence}\n"))

    def dial(self, server):
        client = server.socket()
        self.addCleanup(client.close)
        return client

    # ---- TLS

    def secure(self, server, context):
        client = context.wrap_socket(server.socket(), server_hostname="localhost")
        self.addCleanup(client.close)
        return client

    def test_tls(self):
        cert, key = certificate(self.folder, "ours")
        server = self.serve("--tls-cert", cert, "--tls-key", key, "--limit-concurrency", "3")
        self.assertIn("https://127.0.0.1:", server.welcome)
        for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
            context = ssl.create_default_context(cafile=cert)
            context.minimum_version = context.maximum_version = version
            context.set_alpn_protocols(["h2", "http/1.1"])
            with self.secure(server, context) as client:
                self.assertEqual(client.selected_alpn_protocol(), "http/1.1")
                for _ in range(2):
                    client.sendall(GET)
                    self.assertEqual(answered(client), 200)
                client.sendall(post_bytes({"prompt": "x" * 20000, "max_tokens": 2000, "streaming": True}))
                answer = receive_all(client)  # ends with a close_notify, else this raises
                self.assertTrue(answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"\r\n0\r\n\r\n"), answer[:200])
        with self.dial(server) as plain:
            plain.sendall(GET)
            self.assertNotIn(b"HTTP/1.1", receive_all(plain))
        self.turned_away(server, context)

    def turned_away(self, server, context):
        """One connection more than may be is told so under TLS too."""
        held = [self.secure(server, context) for _ in range(3)]
        for client in held:
            client.sendall(GET)
            self.assertEqual(answered(client), 200)
        with self.secure(server, context) as client:
            answer = receive_all(client)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 ") and FULL.encode() in answer, answer)

    def test_tls_old_version(self):
        cert, key = certificate(self.folder, "ours")
        server = self.serve("--tls-cert", cert, "--tls-key", key)
        old = ssl.create_default_context(cafile=cert)
        old.set_ciphers("ALL:@SECLEVEL=0")
        with self.assertWarns(DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError):
            self.secure(server, old)

    def test_tls_refused(self):
        (cert, key), (_, other) = certificate(self.folder, "ours"), certificate(self.folder, "other")
        missing, empty = self.folder / "none.pem", self.folder / "empty.pem"
        empty.touch()
        for sentence, options in (
                ("A TLS certificate is given without its key: both or neither are needed.", ("--tls-cert", cert)),
                ("A TLS key is given without its certificate: both or neither are needed.", ("--tls-key", key)),
                (f'Cannot read the TLS certificate "{missing}": No such file or directory.',
                 ("--tls-cert", missing, "--tls-key", key)),
                (f'Cannot read the TLS key "{missing}": No such file or directory.',
                 ("--tls-cert", cert, "--tls-key", missing)),
                (f'"{empty}" holds no certificate in PEM form.', ("--tls-cert", empty, "--tls-key", key)),
                (f'"{empty}" holds no private key in PEM form without a passphrase.', ("--tls-cert", cert, "--tls-key", empty)),
                (f'The TLS key "{other}" does not belong to the certificate "{cert}".',
                 ("--tls-cert", cert, "--tls-key", other))):
            self.refused(sentence, *options)

    # ---- a Unix socket

    def test_unix_socket(self):
        path = self.folder / "spate.sock"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()
        server = self.serve("--uds", path, "--workers", "2", "--max-connections-per-ip", "1")
        self.assertIn(str(path), server.welcome)
        self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)
        for _ in range(20):
            connection = UnixConnection(path)
            connection.request("POST", "/generate", json.dumps({"prompt": "a", "max_tokens": 3}), JSON)
            self.assertEqual(connection.getresponse().status, 200)
            self.addCleanup(connection.close)
        self.refused(f'Cannot listen on "{path}": another program does. Stop it or choose another path.', "--uds", path)
        server.stop()
        self.assertEqual(server.exit_code(), 0)
        self.assertFalse(path.exists())
        path.write_text("mine")
        self.refused(f'Cannot listen on "{path}": a file that is no socket is there.', "--uds", path)
        self.refused("The path of the socket has 200 bytes, expected 1 to 107.", "--uds", "x" * 200)
        for place in (("--port", "0"), ("--host", "127.0.0.1")):
            self.refused(f"--uds and {place[0]} were both given, and a server listens on one or the other: leave one out.",
                         "--uds", path, *place)

    # ---- pages of other origins, a proxy's path

    def preflight(self, server, origin):
        return server.request("OPTIONS", "/generate", headers={
            "Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"})

    def test_cors_list(self):
        server = self.serve("--allowed-origins", "https://a.example, https://b.example", "--allowed-methods", "GET,POST",
                            "--allowed-headers", "content-type,authorization", "--allow-credentials", "--api-key", "k")
        status, headers, _ = self.preflight(server, "https://b.example")
        self.assertEqual(status, 204)
        self.assertEqual({n: v for n, v in headers.items() if n.startswith(("Access", "Vary"))}, {
            "Vary": "Origin", "Access-Control-Allow-Origin": "https://b.example", "Access-Control-Max-Age": "600",
            "Access-Control-Allow-Credentials": "true", "Access-Control-Allow-Methods": "GET,POST",
            "Access-Control-Allow-Headers": "content-type,authorization"})
        status, headers, _ = server.get("/live", {"Origin": "https://a.example"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (200, "https://a.example"))
        for origin in "https://c.example", "https://a.exampl", "null":
            status, headers, _ = self.preflight(server, origin)
            self.assertEqual((status, headers["Access-Control-Allow-Origin"], headers["Vary"]), (401, None, "Origin"))
        answer = server.raw(b"GET /\x01 HTTP/1.1\r\n\r\n")  # refused heads have no origin that could be told
        self.assertTrue(answer.startswith(b"HTTP/1.1 400 ") and b"Allow-Origin" not in answer)

    def test_cors_all(self):
        server = self.serve("--allowed-origins", "*", "--allowed-methods", "*", "--allowed-headers", "*")
        status, headers, _ = self.preflight(server, "https://anything.example")
        self.assertEqual((status, headers["Access-Control-Allow-Origin"], headers["Access-Control-Allow-Methods"],
                          headers["Access-Control-Allow-Headers"], headers["Vary"]),
                         (204, "*", "GET, HEAD, POST, OPTIONS", "content-type", None))
        for _ in range(2):
            status, headers, _ = server.get("/nowhere", {"Origin": "https://x.example"})
            self.assertEqual((status, headers["Access-Control-Allow-Origin"]), (404, "*"))

    def test_cors_off(self):
        server = self.serve()
        status, headers, _ = self.preflight(server, "https://a.example")
        self.assertEqual((status, headers["Access-Control-Allow-Origin"], headers["Vary"]), (204, None, None))
        self.refused("--allowed-methods, --allowed-headers and --allow-credentials say what pages of other origins may do: "
                     "name these with --allowed-origins.", "--allow-credentials")
        for origins in "a\r\nb: c", '["*"]', "", "x" * 1025:
            self.refused("--allowed-origins is no list of 1 to 1024 printable characters: separate its items with commas, "
                         "without quotes.", "--allowed-origins", origins)

    def test_root_path(self):
        server = self.serve("--root-path", "/llm/v2")
        for path, status in (("/llm/v2/live", 200), ("/live", 200), ("/llm/live", 404), ("/llm/v2live", 404),
                             ("/llm/v2", 404), ("/llm/v2/llm/v2/live", 404)):
            self.assertEqual(server.get(path)[0], status, path)
        self.assertEqual(json.loads(server.get("/openapi.json")[2])["servers"], [{"url": "/llm/v2"}])
        for path in "llm", "/llm/":
            self.refused(f'--root-path is "{path}", expected a path such as /api, without a / at its end.', "--root-path", path)

    # ---- limits of connections

    def test_connection_limits(self):
        for option, limit, status, sentence, reason in (("--limit-concurrency", 5, 503, FULL, "connections"),
                                                        ("--max-connections-per-ip", 3, 429, CROWDED, "address")):
            server = self.serve(option, limit)
            held = [self.dial(server) for _ in range(limit)]
            for client in held:
                client.sendall(GET)
                self.assertEqual(answered(client), 200)
            answer = server.raw(b"")
            self.assertTrue(answer.startswith(f"HTTP/1.1 {status} ".encode()), answer)
            self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
            self.assertTrue(answer.endswith(json.dumps({"error": sentence}, separators=(",", ":")).encode()), answer)
            held.pop().close()
            wait_for(lambda: server.raw(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))[9:12] == b"200", "room")
            held.pop().close()  # for the client that asks for metrics
            wait_for(lambda: server.get("/live")[0] == 200, "room for it")
            self.assertGreater(server.metric(f'http_requests_refused_total{{reason="{reason}"}}'), 0)
            for other in {"connections", "address", "bodies", "tokens"} - {reason}:
                self.assertEqual(server.metric(f'http_requests_refused_total{{reason="{other}"}}'), 0, other)
        self.refused('--max-connections-per-ip is "-1", expected a whole number from 0 to 1000000000.',
                     "--max-connections-per-ip", -1)

    def test_workers_share(self):
        """Connections are spread over the loops: each thread sleeps and wakes for those that it has."""
        server = self.serve("--workers", "3")
        tasks = pathlib.Path(f"/proc/{server.process.pid}/task")

        def naps():
            found = {}
            for task in tasks.iterdir():
                name = (task / "comm").read_text().strip()
                if name.startswith("http-"):
                    status = (task / "status").read_text()
                    found[name] = int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])
            return found
        before = naps()
        self.assertEqual(sorted(before), ["http-0", "http-1", "http-2"])
        clients = [self.dial(server) for _ in range(96)]
        for client in clients:
            client.sendall(GET)
            self.assertEqual(answered(client), 200)
        after = naps()
        for name in before:
            self.assertGreater(after[name] - before[name], 8, f"{name} has hardly any of 96 connections")

    # ---- deadlines

    def test_deadlines(self):
        """Clients that stall, each its own way, all at once: every one is answered and closed by its deadline (10 s), which
        a byte now and then does not move. Others are served meanwhile."""
        start = b"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        cases = {
            "silent": (b"", b""),
            "slow head": (b"GET /live HTTP/1.1\r\nHost: t\r\nX-A: ", b"HTTP/1.1 408 "),
            "slow body": (start + b"Content-Length: 100\r\n\r\n{", b"HTTP/1.1 408 "),
            "slow chunk": (start + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", b"HTTP/1.1 408 "),
            "dripping head": (b"GET /live HTTP/1.1\r\nHost: t\r\nX-A: ", b"HTTP/1.1 408 "),
            "dripping body": (start + b"Content-Length: 100\r\n\r\n{", b"HTTP/1.1 408 "),
            "dripping chunk": (start + b"Transfer-Encoding: chunked\r\n\r\n50\r\n{", b"HTTP/1.1 408 "),
            "pipelined, then slow": (GET + b"GET /live HT", b"HTTP/1.1 200 "),
        }
        server = self.serve()
        clients = {name: self.dial(server) for name in cases}
        for name, client in clients.items():
            client.sendall(cases[name][0])
        dripping = [client for name, client in clients.items() if name.startswith("dripping")]
        while not select.select(dripping, [], [], 0.5)[0]:
            for client in dripping:
                client.sendall(b" ")
            self.assertEqual(server.get("/live")[0], 200)
        for name, client in clients.items():
            answer = receive_all(client)
            self.assertTrue(answer.startswith(cases[name][1]) and bool(answer) == bool(cases[name][1]), (name, answer))
        self.assertEqual(answer.count(b"HTTP/1.1 "), 2)
        self.assertIn(b"HTTP/1.1 408 ", answer)

    def test_smuggling(self):
        """A request hidden in the body of another is never answered, and the connection is closed."""
        hidden = b"GET /hidden HTTP/1.1\r\nHost: t\r\n\r\n"
        start = b"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n"
        for head in (b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n", b"Content-Length: 6\r\nContent-Length: 0\r\n",
                     b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", b"Transfer-Encoding: chunked, x\r\n",
                     b"Transfer-Encoding : chunked\r\n", b"Transfer-Encoding: chunked\t\r\nUpgrade: x\r\nConnection: upgrade\r\n",
                     b"Content-Length: 1\r\nExpect: 100-continue\r\nTransfer-Encoding:\tchunked\r\n"):
            server = self.serve() if head.startswith(b"Content-Length: 6\r\nT") else server
            answer = server.raw(start + head + b"\r\n0\r\nX\r\n\r\n" + hidden)
            self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), (head, answer))
            self.assertEqual(answer.count(b"HTTP/1.1 "), 1, (head, answer))
        answer = server.raw(GET * 500 + b"X" * 20000)  # pipelined, then a head over its limit
        self.assertEqual(answer.count(b"HTTP/1.1 200 "), 500)
        self.assertEqual(answer.count(b"HTTP/1.1 400 "), 1)

    def test_body_caps(self):
        server = self.serve()
        for path, size in (("/generate", (1 << 20) + 1), ("/live", 1), ("/v1/models", 1)):
            method = "POST" if path == "/generate" else "GET"
            answer = server.raw(f"{method} {path} HTTP/1.1\r\nHost: t\r\nContent-Length: {size}\r\n\r\n".encode())
            limit = size - 1
            self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), (path, answer))
            self.assertIn(f"The body is larger than the {limit} bytes that this path takes.".encode(), answer)


if __name__ == "__main__":
    spate_server.main(__name__)
