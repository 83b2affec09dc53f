"""spate bench-serve against the real server, against clients of the Python standard library, and against servers that
answer nonsense. What is compared are counts, tokens and percentiles of recorded times; no test depends on how long
anything takes."""
import concurrent.futures
import http.server
import json
import os
import pathlib
import re
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import threading
import xml.etree.ElementTree

import spate_server
from spate_server import ROOT, SPATE, WAIT_SECONDS, Server
from test_network import certificate

sys.path.append(str(ROOT / "bench"))
import compare_clients

try:
    import numpy
except ImportError:  # statistics has the same definition
    numpy = None

NAMES = {"p50": 50, "p90": 90, "p99": 99, "p99.9": 99.9}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
LAST = b'data: {"text":"b","finished":true,"generated_tokens":2}\n\n'


def percentile(values, p):
    if numpy:
        return float(numpy.percentile(values, p))
    return values[0] if len(values) == 1 else statistics.quantiles(values, n=1000, method="inclusive")[round(10 * p) - 1]


def bench(url, *options, environment={}):
    return subprocess.run([SPATE, "bench-serve", url, *map(str, options)], capture_output=True, text=True,
                          timeout=WAIT_SECONDS, env=os.environ | environment)


class BadServer:
    """Answers each connection's first request with these bytes; then closes, or waits if it shall hang. piece: bytes of a
    write, each of which is probably a read of the client's."""

    def __init__(self, answer, hang=False, piece=1 << 30):
        self.answer, self.hang, self.piece, self.connections = answer, hang, piece, []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        for connection in [*self.connections, self.listener]:
            connection.close()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            try:
                self.request_read(connection)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for at in range(0, len(self.answer), self.piece):
                    connection.sendall(self.answer[at:at + self.piece])
            except OSError:
                pass
            if self.hang:
                self.connections.append(connection)
            else:
                connection.close()

    @staticmethod
    def request_read(connection):
        bytes_seen = b""
        while b"\r\n\r\n" not in bytes_seen:
            bytes_seen += connection.recv(65536)
        size = int(re.search(rb"Content-Length: (\d+)", bytes_seen)[1])
        while len(bytes_seen.partition(b"\r\n\r\n")[2]) < size:
            bytes_seen += connection.recv(65536)


def chunked(*pieces):
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class Sealed(spate_server.EngineCase):
    def test_tls(self):
        """A server that proves who it is is measured as one in the clear. One that does not is not asked."""
        with tempfile.TemporaryDirectory() as folder:
            cert, key = certificate(pathlib.Path(folder), "ours")
            with Server(self.engine, "--tls-cert", cert, "--tls-key", key) as server:
                port = server.port
                options = ("--clients", 4, "--requests", 40, "--input-tokens", 20, "--output-tokens", 30, "--json")
                refused = bench(f"https://localhost:{port}", *options)
                self.assertEqual(refused.returncode, 1)
                self.assertIn(f"localhost:{port} did not prove to be who it is: self-signed certificate.", refused.stderr + refused.stdout)
                result = bench(f"https://localhost:{port}", *options, environment={"SSL_CERT_FILE": str(cert)})
                self.assertEqual(result.returncode, 0, result.stderr)
                run = json.loads(result.stdout)["runs"][0]
                self.assertEqual((run["completed"], run["output_tokens"], run["errors"]), (40, 1200, {}))


    def test_connections(self):
        """A client's connection is used again: one handshake for each of two clients, whatever they ask."""
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            shaken = []

            def setup(self):
                super().setup()
                self.shaken.append(self.client_address)

            def log_message(self, *_):
                pass

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.wfile.write(HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(LAST), LAST))

        with tempfile.TemporaryDirectory() as folder:
            cert, key = certificate(pathlib.Path(folder), "ours")
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(cert, key)
            with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
                server.socket = context.wrap_socket(server.socket, server_side=True)
                threading.Thread(target=server.serve_forever, daemon=True).start()
                result = bench(f"https://127.0.0.1:{server.server_port}", "--clients", 2, "--requests", 20, "--json",
                               environment={"SSL_CERT_FILE": str(cert)})
                server.shutdown()
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertEqual(json.loads(result.stdout)["runs"][0]["completed"], 20)
            self.assertLessEqual(len(Handler.shaken), 3)  # the words of a prompt are counted by one request before


class Refused(spate_server.unittest.TestCase):
    def check(self, answer, kind, sentence, *options, **server):
        with BadServer(answer, **server) as bad:
            result = bench(bad.url, "--requests", 3, "--clients", 2, "--json", *options)
            run = json.loads(result.stdout)["runs"][0]
            self.assertEqual((result.returncode, result.stderr[-30:]), (1, "spate: No request was answered.\n"[-30:]))
            sentence = sentence.replace("HERE", bad.url[7:])
            self.assertIn(f"spate: a word is taken for a token: {sentence}\n", result.stderr)
            self.assertEqual(run["errors"], {kind: {"count": 3, "first": sentence}})
            self.assertEqual((run["sent"], run["completed"], run["failed"]), (3, 0, 3))

    def test_servers(self):
        stream = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
        event = b'data: {"text":"a","finished":false,"generated_tokens":1}\n\n'
        for answer, kind, sentence in (
                (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\noops", "http_status",
                 "The server answered 500: oops"),
                (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 4\r\n\r\nlate", "busy", "The server answered 429: late"),
                (b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", "busy", "The server answered 503: "),
                (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi", "garbage",
                 'The server answered in "text/html", expected text/event-stream.'),
                (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", "garbage",
                 'The server answered in "", expected text/event-stream.'),
                (stream + chunked(b"data: nonsense\n\n"), "garbage",
                 "An event of the stream cannot be read: Not valid JSON at line 1, column 8: '[' or '{' expected near "
                 "'nonsense'."),
                (stream + chunked(b'data: {"a":1}\n\n'), "garbage",
                 "An event of the stream is neither /generate's nor OpenAI's."),
                (stream + chunked(b'data: {"text":"a","finished":true,"generated_tokens":-1}\n\n'), "garbage",
                 "An event of the stream is neither /generate's nor OpenAI's."),
                (stream + chunked(b'data: {"choices":[],"usage":{"completion_tokens":"3"}}\n\n'), "garbage",
                 "An event of the stream is neither /generate's nor OpenAI's."),
                (stream + chunked(b"data: " + b"x" * (5 << 20)), "garbage",
                 "An event of the stream is longer than the 4 MiB that are read."),
                (stream + chunked(event, b'data: {"error":{"message":"The device failed."}}\n\n'), "reported",
                 "The server broke an answer off: The device failed."),
                (stream + chunked(event, b'data: {"error":7}\n\n'), "reported",
                 "The server broke an answer off: it does not say why."),
                (stream + chunked(event), "cut_off",
                 "The stream ended before the answer did: no event said that it was the last."),
                (stream + chunked(event)[:-5], "cut_off", "HERE ended the connection before its response."),
                (stream + chunked(event, LAST)[:-5], "cut_off", "HERE ended the connection before its response."),
                (stream + b"zz\r\n", "garbage", "HERE sent what is no HTTP: invalid character in chunk size header."),
                (HEAD + b"Content-Length: 1000\r\n\r\n" + event, "cut_off",
                 "HERE ended the connection before its response."),
                (b"SSH-2.0-OpenSSH_9.2\r\n", "garbage", "HERE sent what is no HTTP: invalid constant string."),
                (HEAD + b"X: " + b"x" * 100000, "garbage",
                 "HERE sent what is no HTTP: too many header bytes seen; overflow detected."),
                (b"", "cut_off", "HERE sent no response.")):
            with self.subTest(answer=answer[:200]):
                self.check(answer, kind, sentence)

    def test_silence(self):
        self.check(b"", "timeout", "An answer was not complete after 0.2 seconds.", "--timeout", "0.2", hang=True)

    def test_nobody(self):
        with socket.create_server(("127.0.0.1", 0)) as gone:
            port = gone.getsockname()[1]
        result = bench(f"http://127.0.0.1:{port}", "--requests", 2)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"2 connect: 127.0.0.1:{port} cannot be reached: connection refused.\n", result.stdout)

    def test_interrupted(self):
        """Ctrl-C ends what runs and reports what there is."""
        with BadServer(b"", hang=True) as server, tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            trace.write_text(3 * '{"prompt": "a", "max_tokens": 1}\n' + '{"at": 900, "prompt": "a", "max_tokens": 1}\n')
            process = subprocess.Popen([SPATE, "bench-serve", server.url, "--trace", trace, "--json"], stdout=subprocess.PIPE,
                                       stderr=subprocess.DEVNULL, text=True)
            spate_server.wait_for(lambda: len(server.connections) == 3, "three requests run")
            process.send_signal(signal.SIGINT)
            run = json.loads(process.communicate(timeout=WAIT_SECONDS)[0])["runs"][0]
            self.assertEqual(process.returncode, 1)
            self.assertEqual((run["sent"], run["errors"]), (3, {"stopped": {"count": 3, "first": ""}}))

    def test_interrupted_before(self):
        """Also while it is measured how many tokens words have."""
        with BadServer(b"", hang=True) as server:
            process = subprocess.Popen([SPATE, "bench-serve", server.url], stderr=subprocess.PIPE, text=True)
            spate_server.wait_for(lambda: len(server.connections) == 1, "the first is asked")
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.communicate(timeout=WAIT_SECONDS)[1].splitlines()[-1], "spate: Interrupted.")
            self.assertEqual(process.returncode, 1)

    def test_good_ones(self):
        """An answer after 100 Continue; events by \\r\\n, in pieces and with comments; ends of connections as ends of bodies, and
        between answers."""
        pieces = b": hello\r\nevent: x\r\ndata: {\"text\":\"a\",\r\ndata:\"finished\":false}\r\n\r\n" + LAST
        for answer in (b"HTTP/1.1 100 Continue\r\nContent-Type: text/html\r\n\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
                       + chunked(*(pieces[i:i + 1] for i in range(len(pieces)))),
                       HEAD + b"\r\n" + pieces,
                       HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(pieces), pieces)):
            for piece in 1, 7, 1 << 30:
                with BadServer(answer, piece=piece) as server:
                    result = bench(server.url, "--requests", 5, "--clients", 2, "--json")
                    self.assertEqual(result.returncode, 0, result.stdout)
                    self.assertIn("a word is taken for a token: The server does not say how many tokens a prompt has.", result.stderr)
                    run = json.loads(result.stdout)["runs"][0]
                    self.assertEqual((run["completed"], run["events"], run["output_tokens"], run["prompt_tokens"], run["errors"]),
                                     (5, 10, 10, None, {}))

    def test_options(self):
        for options, sentence in (
                (("ftp://x",), '"ftp://x" is no address of a server, expected http://HOST:PORT.'),
                (("https://x/?a=b",), '"https://x/?a=b" is no address of a server, expected http://HOST:PORT.'),
                (("http://x:99999",), '"http://x:99999" is no address of a server, expected http://HOST:PORT.'),
                (("http://x/?a=b",), '"http://x/?a=b" is no address of a server, expected http://HOST:PORT.'),
                (("--api", "soap"), '--api is "soap", expected generate, completions or chat.'),
                (("--clients", "1", "--rate", "1"), "--clients and --rate exclude each other: a loop is closed or open."),
                (("--clients", "1,0"), '--clients is "1,0", expected whole numbers from 1 to 65536, up to 32 with commas.'),
                (("--rate", "1,,2"), '--rate is "1,,2", expected requests a second, up to 32 numbers with commas.'),
                (("--requests", "0"), '--requests is "0", expected a whole number from 1 to 1048576.'),
                (("--arrivals", "x"), '--arrivals is "x", expected poisson or even.'),
                (("--input-tokens", "9:9"), '--input-tokens is "9:9", expected tokens, or MEAN:SPREAD of a log-normal '
                                            "distribution, such as 161:1."),
                (("--output-tokens", "0"), '--output-tokens is "0", expected tokens, or MEAN:SPREAD of a log-normal '
                                           "distribution, such as 161:1."),
                (("--slo", "ttft=4,fast"), '--slo is "ttft=4,fast", expected milliseconds such as ttft=400,itl=30,e2e=5000, '
                                           "any of the three."),
                (("--timeout", "0"), '--timeout is "0", expected seconds above 0, at most 3600.'),
                (("--api-key", "a\nb"), "The API key is no line of at most 8192 bytes."),
                (("--plot", "x", "--trace", "y"), "--plot draws over --clients or --rate: --trace has neither."),
                (("--rate", "1", "--trace", "y"), "--trace has its own times: leave --clients and --rate out."),
                (("--record", "/nowhere/x"), "/nowhere/x cannot be written.")):
            result = subprocess.run([SPATE, "bench-serve", *options], capture_output=True, text=True, timeout=WAIT_SECONDS)
            self.assertEqual((result.returncode, result.stderr), (1, f"spate: {sentence}\n"), options)


class Figures(spate_server.ServerCase):
    backend = "cpu"

    def run_bench(self, *options):
        """The report's runs, and the records of each."""
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "record"
            result = bench(f"http://127.0.0.1:{self.server.port}", "--json", "--record", path, *options)
            self.assertEqual(result.returncode, 0, result.stderr)
            runs = json.loads(result.stdout)["runs"]
            records = [json.loads(line) for line in path.read_text().splitlines()]
        return [(run, [r for r in records if r["run"] == i]) for i, run in enumerate(runs)]

    def check_spread(self, spread, seconds):
        values = [1000 * value for value in seconds]
        self.assertEqual(spread["count"], len(values))
        for name, p in NAMES.items():
            self.assertAlmostEqual(spread[name], percentile(values, p), delta=0.002, msg=name)
        self.assertAlmostEqual(spread["max"], max(values), delta=0.002)
        self.assertAlmostEqual(spread["mean"], sum(values) / len(values), delta=0.002)

    def check_run(self, run, records):
        self.assertEqual(run["completed"], len(records))
        self.assertEqual(run["errors"], {})
        self.check_spread(run["ttft_ms"], [(r["events"] or [r["done"]])[0] - r["sent"] for r in records])  # without any text
        self.check_spread(run["itl_ms"], [b - a for r in records for a, b in zip(r["events"], r["events"][1:])])
        self.check_spread(run["e2e_ms"], [r["done"] - r["sent"] for r in records])
        seconds = max(r["done"] for r in records) - min(r["sent"] for r in records)
        for name, value in (("requests_per_second", len(records)),
                            ("output_tokens_per_second", sum(r["output_tokens"] for r in records))):
            self.assertAlmostEqual(run[name] * seconds / value, 1, delta=1e-4)
        for name in "prompt_tokens", "output_tokens":
            self.assertEqual(run[name], sum(r[name] for r in records))

    def test_each_api(self):
        for api in "generate", "completions", "chat":
            asked = self.server.metric("llm_requests_total")
            [(run, records)] = self.run_bench("--api", api, "--requests", 12, "--clients", 3, "--input-tokens", 40,
                                              "--output-tokens", 7)
            self.check_run(run, records)
            self.assertEqual((run["loop"], run["clients"], run["output_tokens"]), ("closed", 3, 84), api)
            self.assertTrue(all(r["output_tokens"] == 7 >= len(r["events"]) for r in records), api)
            mean = statistics.mean(r["prompt_tokens"] for r in records)
            self.assertAlmostEqual(mean, 40, delta=8, msg=api)  # words of several tokens to this tokenizer, some of more
            running = sorted([(r["sent"], 1) for r in records] + [(r["done"], -1) for r in records])
            at_once = [sum(step for _, step in running[:i + 1]) for i in range(len(running))]
            self.assertEqual(max(at_once), 3)

    def test_lengths_come_from_the_seed(self):
        lengths = []
        for seed, loop in ((1, ("--clients", 4)), (1, ("--rate", 1000)), (2, ("--clients", 4))):
            [(run, records)] = self.run_bench("--seed", seed, "--requests", 20, "--input-tokens", "20:1", "--output-tokens", "5:1",
                                              *loop)
            self.check_run(run, records)
            lengths.append([(r["input_wanted"], r["output_wanted"]) for r in records])
            self.assertTrue(all(r["output_tokens"] == r["output_wanted"] for r in records))
        self.assertEqual(lengths[0], lengths[1])
        self.assertNotEqual(lengths[0], lengths[2])

    def test_open_loop(self):
        """A request is sent at its time, whatever becomes of those before."""
        for arrivals in "poisson", "even":
            runs = self.run_bench("--rate", "50,200", "--arrivals", arrivals, "--requests", 20, "--input-tokens", 10,
                                  "--output-tokens", 3)
            self.assertEqual([run["rate"] for run, _ in runs], [50, 200])
            for run, records in runs:
                self.check_run(run, records)
                self.assertEqual(run["loop"], "open")
                self.assertTrue(all(r["sent"] >= r["due"] for r in records))
                self.check_spread(run["lag_ms"], [r["sent"] - r["due"] for r in records])
                gaps = {round(run["rate"] * (b["due"] - a["due"]), 3) for a, b in zip(records, records[1:])}
                self.assertEqual(len(gaps) == 1, arrivals == "even", gaps)

    def test_goodput(self):
        """Of the same records, by hand."""
        [(run, records)] = self.run_bench("--requests", 20, "--clients", 8, "--input-tokens", 30, "--output-tokens", 8, "--slo",
                                          "ttft=4,itl=1,e2e=12")
        good = sum((r["events"] or [r["done"]])[0] - r["sent"] <= 0.004 and r["done"] - r["sent"] <= 0.012 and
                   (not r["events"] or (r["events"][-1] - r["events"][0]) / 7 <= 0.001) for r in records)
        self.assertEqual(run["goodput"]["requests"], good)
        self.assertAlmostEqual(run["goodput"]["share"], good / 20)
        [(run, _)] = self.run_bench("--requests", 5, "--output-tokens", 2, "--slo", "e2e=900000")
        self.assertEqual(run["goodput"]["share"], 1)

    def test_an_outside_client(self):
        """The same requests by asyncio at the same time: as many answers, as many tokens. The times of both are printed; how far
        they are apart where nothing else runs, bench/compare_clients.py tells."""
        clients, rounds, port = 4, 5, self.server.port
        jobs = [[(f"Story {c} {r}: once upon a time", 12 + r) for r in range(rounds)] for c in range(clients)]
        with concurrent.futures.ThreadPoolExecutor() as pool:
            mine = pool.submit(compare_clients.ours, SPATE, port, jobs)
            theirs = compare_clients.outside(port, [[("Outside: " + prompt, n) for prompt, n in job] for job in jobs])
        ours = mine.result()
        for name in ours:
            print(f"{name}: bench-serve {ours[name]:.2f}, outside {theirs[name]:.2f}", file=sys.stderr)
        for figures in ours, theirs:
            self.assertEqual((figures["requests"], figures["tokens"]), (20, sum(n for job in jobs for _, n in job)))

    def test_a_client_asks_in_order(self):
        """What a trace says of clients and times."""
        lines = [{"client": 0, "input_tokens": 5, "max_tokens": 3}, {"client": 0, "input_tokens": 5, "max_tokens": 3},
                 {"at": 0.3, "input_tokens": 5, "max_tokens": 2}, {"client": 0, "at": 0.2, "prompt": "a", "max_tokens": 1}]
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            trace.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
            [(run, records)] = self.run_bench("--trace", trace)
            self.check_run(run, records)
            self.assertGreaterEqual(records[1]["sent"], records[0]["done"])
            self.assertGreaterEqual(records[3]["sent"], max(records[1]["done"], 0.2))
            self.assertGreaterEqual(records[2]["sent"], 0.3)
            self.assertEqual([r["output_tokens"] for r in records], [3, 3, 2, 1])
            self.assertEqual([r["due"] for r in records], [0, records[0]["done"], 0.3, max(records[1]["done"], 0.2)])
            self.check_spread(run["lag_ms"], [r["sent"] - r["due"] for r in records])
            for text, sentence in (
                    ('{"max_tokens": 1, "input_tokens": 1}\n\n{"max_tokens"', "line 3: Not valid JSON at line 1, column 13: "
                                                                             "':' expected near end of file."),
                    ("", "A load of 0 requests, expected 1 to 1048576."),
                    *((line, 'request 1: expected an object with "prompt" or "input_tokens", "max_tokens" and, if wanted, "at" '
                             'in seconds and "client" below 65536.')
                      for line in ('[]', '{"max_tokens": 1}', '{"prompt": 1, "max_tokens": 1}', '{"prompt": "a"}',
                                   '{"prompt": "a", "max_tokens": 0}', '{"prompt": "a", "max_tokens": 1, "at": -1}',
                                   '{"prompt": "a", "max_tokens": 1, "client": 65536}'))):
                trace.write_text(text)
                result = bench(f"http://127.0.0.1:{self.server.port}", "--trace", trace)
                self.assertEqual((result.returncode, result.stderr), (1, f"spate: {trace}: {sentence}\n"), text)

    def test_tokens_of_a_trace(self):
        """input_tokens are tokens, not words, with what a template puts around them."""
        with tempfile.TemporaryDirectory() as folder:
            trace = pathlib.Path(folder) / "trace"
            trace.write_text(20 * '{"input_tokens": 80, "max_tokens": 1}\n')
            for api in "generate", "chat":
                [(_, records)] = self.run_bench("--trace", trace, "--api", api)
                self.assertAlmostEqual(statistics.mean(r["prompt_tokens"] for r in records), 80, delta=12, msg=api)

    def test_plot(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plot.svg"
            self.run_bench("--rate", "300,100,200", "--requests", 8, "--input-tokens", 10, "--output-tokens", 4, "--plot", path,
                           "--slo", "e2e=1000")
            picture = xml.etree.ElementTree.parse(path).getroot()
            of = lambda name: picture.findall("{http://www.w3.org/2000/svg}" + name)
            texts = {text.text for text in of("text")}
            self.assertLessEqual({"first token, ms", "between tokens, ms", "whole answer, ms", "answers a second", "p50", "p90", "p99",
                                  "p99.9", "within SLO", "requests a second asked for"}, texts)
            lines = of("polyline")
            self.assertEqual(len(lines), 14)  # four for each latency, and two
            for line in lines:
                places = [float(point.split(",")[0]) for point in line.get("points").split()]
                self.assertEqual((len(places), places), (3, sorted(places)))
            result = bench(f"http://127.0.0.1:{self.server.port}", "--requests", 1, "--plot", "/nowhere/x")
            self.assertEqual((result.returncode, result.stderr.splitlines()[-1]), (1, "spate: /nowhere/x cannot be written."))

    def test_key_and_name(self):
        """A server that asks for a key, by a name that may stand for addresses on which nobody listens."""
        with Server(self.engine, "--api-key", "a,b") as server:
            for options, completed in (((), 0), (("--api-key", "b"), 2)):
                run = json.loads(bench(f"http://localhost:{server.port}/", "--requests", 2, "--json", *options).stdout)["runs"][0]
                self.assertEqual((run["completed"], list(run["errors"])), (completed, [] if completed else ["http_status"]))

    def test_text(self):
        result = bench(f"http://127.0.0.1:{self.server.port}", "--requests", 4, "--clients", "1,2", "--input-tokens", 9,
                       "--output-tokens", 3, "--slo", "e2e=900000", "--allow-eos", "--model", "x" * 20, "--api", "chat")
        self.assertEqual(result.returncode, 1)
        self.assertIn("4 http_status: The server answered 404: ", result.stdout)
        result = bench(f"http://127.0.0.1:{self.server.port}", "--requests", 4, "--clients", "1,2", "--input-tokens", 9,
                       "--output-tokens", 3, "--slo", "e2e=900000", "--allow-eos")
        self.assertEqual(result.returncode, 0, result.stderr)
        for line in (r"2 clients: 4 of 4 answered in [\d.]+ s: [\d.]+ requests/s, [\d.]+ output tokens/s",
                     r"  ms +p50 +p90 +p99 +p99.9 +max +mean", r"  ttft( +[\d.]+){6}", r"  itl ( +[\d.]+){6}",
                     r"  e2e ( +[\d.]+){6}", r"  goodput [\d.]+ requests/s, 100.0 % within e2e=900000"):
            self.assertRegex(result.stdout, f"(?m)^{line}$")


class Locust(spate_server.ClientCase):
    def test_locustfile(self):
        """locust with the file that deploy/ has, and beside it our client with the same question: none of them fails."""
        with Server(self.engine, backend="cpu") as server:
            url = f"http://127.0.0.1:{server.port}"
            answer = self.client("locust", "-f", ROOT / "deploy/loadtest/locustfile.py", "--headless", "-u", 20, "-r", 20, "-t", 6,
                                 "--stop-timeout", 60, "--host", url, "--json", "--only-summary")
            [stats] = json.loads(answer.stdout)
            self.assertEqual((answer.returncode, stats["num_failures"]), (0, 0), answer.stderr)
            self.assertGreater(stats["num_requests"], 0)
            asked = server.metric("llm_generation_tokens_total")
            trace = self.engine.folder / "trace"
            trace.write_text("".join(json.dumps({"at": i / 10, "prompt": "What is the meaning of life?", "max_tokens": 128}) + "\n"
                                     for i in range(20)))
            [run] = json.loads(bench(url, "--json", "--trace", trace).stdout)["runs"]
            self.assertEqual((run["completed"], run["output_tokens"]), (20, 20 * 128))
            self.assertEqual(server.metric("llm_generation_tokens_total") - asked, 20 * 128)


if __name__ == "__main__":
    spate_server.main(__name__)
