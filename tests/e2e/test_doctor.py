"""spate doctor against a real server and engine: what it sees is what they say, and its exit codes."""
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import unittest

import spate_server
from spate_server import ROOT, SPATE, Server, wait_for


def doctor(*options, **more):
    environment = {name: value for name, value in os.environ.items() if name not in ("SPATE_API_KEY", "SPATE_ISA")}
    return subprocess.run([SPATE, "doctor", *map(str, options)], capture_output=True, text=True,
                          timeout=spate_server.WAIT_SECONDS, env=environment | more.pop("env", {}), **more)


def report(*options, **more):
    done = doctor(*options, "--json", **more)
    return done.returncode, json.loads(done.stdout)


def found(facts):
    """What is found of an engine and a server, but for times: those are the machine's, whatever else runs there."""
    times = ("queue_p99", "first_token_p99", "gap_p99", "gap_ratio", "gap_floors")
    return [finding["fact"] for finding in facts["findings"] if finding["area"] != "machine" and finding["fact"] not in times]


class Machine(unittest.TestCase):
    def test_facts(self):
        code, facts = report()
        self.assertIn(code, (0, 1))
        self.assertEqual(code, 1 if facts["findings"] else 0)
        self.assertEqual(facts["machine"]["memory"], os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGESIZE"))
        self.assertLessEqual(facts["machine"]["cpus"], len(os.sched_getaffinity(0)))
        self.assertEqual((facts["engine"], facts["server"], facts["problems"]), ({}, {}, []))

    def test_isa(self):
        code, facts = report(env={"SPATE_ISA": "scalar"})
        self.assertEqual(code, 1)
        self.assertIn("isa_forced", [finding["fact"] for finding in facts["findings"]])

    def test_cache_folder(self):
        _, facts = report("--cache-dir", "/proc")  # which has no room
        self.assertEqual(facts["machine"]["disk"], 0)
        self.assertIn("disk", [finding["fact"] for finding in facts["findings"]])

    def test_text(self):
        said = doctor().stdout
        self.assertRegex(said, r"^machine\n  cpu  ")
        self.assertRegex(said, r"(?m)^(No findings\.|\d+ findings?)$")


class Engine(spate_server.EngineCase):
    def test_engine(self):
        code, facts = report(self.engine.path, "--context", "1024", "--kv-cache-memory", "64M")
        inspected = json.loads(subprocess.run([SPATE, "inspect", self.engine.path, "--json"], capture_output=True, check=True).stdout)
        memory, config = inspected["memory"], inspected["manifest"]["config"]
        engine = facts["engine"]
        self.assertEqual((engine["weights"], engine["workspace"]), (memory["weights"], memory["workspace"]))
        self.assertEqual(engine["kv_tokens"], (64 << 20) // memory["kv_per_token"])
        self.assertEqual(engine["kv_sequences"], (64 << 20) // memory["kv_per_token"] // 1024)
        self.assertEqual((engine["max_batch_size"], engine["target"]), (config["max_batch_size"], inspected["manifest"]["target"]))
        self.assertIn(code, (0, 1))

    def test_small_cache(self):
        _, facts = report(self.engine.path, "--context", "65536", "--free-gpu-memory-fraction", "0.000001")
        self.assertEqual(found(facts), ["seats_filled"])
        change = facts["findings"][-1]["change"]
        wanted = re.search(r"--kv-cache-memory (\d+M)", change).group(1)
        _, facts = report(self.engine.path, "--context", "65536", "--kv-cache-memory", wanted)  # what it said helps
        self.assertEqual(facts["engine"]["seats_filled"], 1)

    def test_model(self):
        code, facts = report(ROOT / "tests/fixtures/model/smollm2")
        self.assertEqual((facts["engine"]["kind"], found(facts)), ("checkpoint", []))
        self.assertIn(code, (0, 1))

    def test_cpu_experts(self):
        """Of a mixture for a GPU, which is built without one; what inspect says of a layer is what leaves its memory,
        and a buffer as large as the gates and ups of the largest comes to its workspace."""
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "mixture.spate")
            subprocess.run([SPATE, "build", ROOT / "tests/fixtures/model/qwen3_moe", "-o", path, "--target", "cuda"],
                           capture_output=True, check=True)
            memory = json.loads(subprocess.run([SPATE, "inspect", path, "--json"], capture_output=True, check=True).stdout)["memory"]
            layers, workspaces = memory["experts"], memory["experts_workspace"]
            self.assertEqual(len(layers), len(workspaces))
            whole = report(path)[1]["engine"]
            self.assertNotIn("host_experts", whole)
            self.assertGreater(len(layers), 1)
            for count in (1, len(layers), 1000):
                engine = report(path, "--cpu-experts", str(count))[1]["engine"]
                self.assertEqual(engine["host_experts"], sum(layers[:count]))
                self.assertEqual((engine["weights"], engine["cpu_experts"]), (whole["weights"] - sum(layers[:count]), min(count, len(layers))))
                self.assertEqual(engine["workspace"], workspaces[:count][-1])
                stage = engine["workspace"] - whole["workspace"]
                self.assertGreaterEqual(stage, max(layers[:count]) * 2 // 3)
                self.assertEqual(engine["memory_needed"], whole["memory_needed"] - sum(layers[:count]) + stage)

    def test_measure(self):
        code, facts = report(self.engine.path, "--measure")
        self.assertIn(code, (0, 1))
        self.assertAlmostEqual(facts["engine"]["step_floor"], facts["engine"]["weights"] / facts["machine"]["read_rate"])

    def test_no_engine(self):
        for path, sentence in (("/nowhere", "/nowhere cannot be opened: No such file or directory."), (__file__, "")):
            code, facts = report(path)
            self.assertEqual((code, len(facts["problems"])), (2, 1))
            self.assertIn(sentence, facts["problems"][0])


class Running(spate_server.EngineCase):
    def test_server(self):
        """Against what its clients did; --during counts what comes meanwhile alone."""
        with Server(self.engine) as server:
            url = f"http://127.0.0.1:{server.port}"
            for _ in range(25):
                server.generate(prompt="Once upon a time", max_tokens=3)
            _, facts = report("--url", url)
            seen = facts["server"]
            self.assertEqual((seen["health"], seen["ready"], seen["requests"], seen["failed"]), (200, 200, 25, 0))
            self.assertEqual((seen["cache_tokens"], seen["cache_type"]),
                             (16 * server.metric("llm_kv_cache_blocks"), self.cache_type(server)))
            self.assertEqual(found(facts), [])
            _, facts = report("--url", url + "/", "--during", "1")
            self.assertEqual((facts["server"]["requests"], facts["server"]["steps_between"]), (0, 0))
            self.assertNotIn("first_token_p99", facts["server"])
            code, facts = report(self.engine.path, "--url", url)
            self.assertEqual((facts["engine"]["kind"], facts["server"]["requests"]), ("engine", 25))

    def cache_type(self, server):
        return re.search(r'cache_dtype="(\w+)"', server.get("/metrics")[2].decode()).group(1)

    def test_findings(self):
        """Clients that leave, keys that are wrong, fields that are unknown."""
        with Server(self.engine, "--api-key", "sesame", backend="cpu") as server:
            key = {"Authorization": "Bearer sesame"}
            for _ in range(10):
                self.assertEqual(server.get("/metrics")[0], 401)
            for _ in range(20):
                with server.socket() as client:
                    client.sendall(spate_server.post_bytes({"prompt": "Once", "max_tokens": 60000, "streaming": True},
                                                           headers="Authorization: Bearer sesame\r\n"))
                    client.recv(1)
            body = json.dumps({"prompt": "Once", "max_tokens": 1, "colour": "blue"})
            server.request("POST", "/v1/completions", body, spate_server.JSON | key)
            wait_for(lambda: b'reason="cancelled"} 20' in server.get("/metrics", key)[2], "all have left")
            url = f"http://127.0.0.1:{server.port}"
            code, facts = report("--url", url)
            self.assertEqual((code, facts["problems"]), (2, ["/metrics answers 401, expected 200: give its key with --api-key."]))
            for options, more in ((("--api-key", "sesame"), {}), ((), {"env": {"SPATE_API_KEY": "sesame,other"}})):
                code, facts = report("--url", url, *options, **more)
                self.assertEqual((code, found(facts)), (1, ["unauthorized", "cancelled", "ignored_fields"]))
            said = doctor("--url", url, "--api-key", "sesame").stdout
            self.assertIn("-> Compare the clients' keys with --api-key (SPATE_API_KEY).\n", said)
            self.assertNotIn("sesame", said)

    def test_stopping(self):
        with Server(self.engine, backend="cpu") as server:
            with server.socket() as client:
                client.sendall(spate_server.post_bytes({"prompt": "Once", "max_tokens": 60000, "streaming": True}))
                client.recv(1)
                server.stop()
                wait_for(lambda: server.get("/ready")[0] == 503, "it is stopping")
                code, facts = report("--url", f"http://127.0.0.1:{server.port}")
                self.assertEqual((code, found(facts), facts["problems"]), (2, ["ready"], ["/metrics answers 503, expected 200."]))

    def test_memory_beside(self):
        """What the running server holds is room for the engine that is looked at: it is the same one."""
        with Server(self.engine, "--kv-cache-memory", "64M") as server:
            _, alone = report(self.engine.path)
            _, facts = report(self.engine.path, "--url", f"http://127.0.0.1:{server.port}")
            held = server.metric("llm_process_memory_bytes")
            self.assertGreater(held, 0)
            self.assertEqual(alone["engine"]["memory_open"], alone["machine"]["memory_available"])
            self.assertAlmostEqual(facts["engine"]["memory_open"] - facts["machine"]["memory_available"], held, delta=16 << 20)

    def test_asleep(self):
        with Server(self.engine, "--admin-key", "king") as server:
            self.assertEqual(server.request("POST", "/sleep", headers={"Authorization": "Bearer king"})[0], 200)
            code, facts = report("--url", f"http://127.0.0.1:{server.port}")
            self.assertEqual((code, found(facts), facts["problems"]), (1, ["asleep"], []))
            self.assertEqual(server.request("POST", "/wake_up", headers={"Authorization": "Bearer king"})[0], 200)
            self.assertEqual(found(report("--url", f"http://127.0.0.1:{server.port}")[1]), [])

    def test_tls(self):
        """Of this machine, whoever listens is asked nothing; others must prove who they are."""
        certificate, key = self.engine.folder / "cert.pem", self.engine.folder / "key.pem"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out",
                        certificate, "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.2"], check=True, capture_output=True)
        with Server(self.engine, "--tls-cert", str(certificate), "--tls-key", str(key), "--host", "0.0.0.0") as server:
            port = re.search(r":(\d+)", server.welcome.partition("://")[2]).group(1)
            self.assertEqual(report("--url", f"https://127.0.0.1:{port}")[1]["problems"], [])
            code, facts = report("--url", f"https://127.0.0.2:{port}")
            self.assertEqual((code, facts["problems"]), (2, ["It took the connection and gave no answer."]))
            trusted = report("--url", f"https://127.0.0.2:{port}", env={"SSL_CERT_FILE": str(certificate)})[1]
            self.assertEqual(trusted["problems"], [])


    def test_six(self):
        """An address in brackets, as URLs have those of version 6."""
        try:
            socket.create_server(("::1", 0), family=socket.AF_INET6).close()
        except OSError:
            self.skipTest("SKIPPED: this machine has no loopback of version 6")
        with Server(self.engine, "--host", "::1") as server:
            port = re.search(r"\]:(\d+)", server.welcome).group(1)
            self.assertEqual(report("--url", f"http://[::1]:{port}")[1]["problems"], [])


class Strange(unittest.TestCase):
    """What else may listen there."""

    def answers(self, *answers):
        """The problem that doctor has with a server that gives these answers, one to each connection."""
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)

        def serve():
            for answer in answers:
                client, _ = listener.accept()
                with client:
                    client.recv(4096)
                    client.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        code, facts = report("--url", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
        self.assertEqual((code, len(facts["problems"])), (2, 1))
        return facts["problems"][0]

    def test_answers(self):
        well = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"
        for answers, sentence in (
                ((b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n",), "What listens there does not answer in HTTP."),
                ((b"",), "It took the connection and gave no answer."),
                ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}",), "Its answer is cut short."),
                ((b"HTTP/1.0 200 OK\r\n\r\n" + b"x" * 70000,), "Its answer has more than 65536 bytes."),
                ((well, well, b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"), "/metrics answers 404, expected 200."),
                ((well, well, b"HTTP/1.0 200 OK\r\n\r\n<html>\n"), "Line 1 of the metrics does not begin with a metric's name."),
                ((well, well, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\na 1\n\r\n0\r\n\r\n"),
                 "The metrics have no llm_steps_total: expected those of spate serve."),
                ((b"HTTP/1.1 100 Continue\r\n\r\n" + well, well, b"HTTP/1.0 200 OK\r\n\r\nllm_steps_total"),
                 "Line 1 of the metrics has no end: the page is cut short.")):
            self.assertEqual(self.answers(*answers), sentence)

    def test_options(self):
        for options, sentence in ((("--url", "127.0.0.1"), '"127.0.0.1" is no address of a server, expected http://HOST:PORT.'),
                                  (("--url", "http://127.0.0.1:1"), "127.0.0.1:1 cannot be reached: Connection refused."),
                                  (("--url", "http://127.0.0.1:1", "--api-key", "a\nb"), "The API key is no line of at most 1023 bytes."),
                                  (("--during", "5"), "--during is about a server: name one with --url.")):
            code, facts = report(*options)
            self.assertEqual((code, facts["problems"]), (2, [sentence]))


if __name__ == "__main__":
    spate_server.main(__name__)
