#!/usr/bin/env python3
"""What sleep, wake and reload take of time, and what an idle and a sleeping server hold, on a real engine; each answer must
be the first one's. usage: sleep_wake.py SPATE ENGINE [OPTION of serve]..."""
import concurrent.futures
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

from server_process import Spate

ASKED = {"prompt": "Once upon a time, " * 40, "max_tokens": 16, "temperature": 0, "ignore_eos": True}
STREAM = ASKED | {"max_tokens": 100, "streaming": True}
TOKEN = {"prompt": "a", "max_tokens": 1, "temperature": 0}
HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer boss"}
IDLE_SECONDS = 2


class Asked(Spate):
    def ask(self, path, fields=None, method="POST"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, fields and json.dumps(fields), HEADERS)
        response = connection.getresponse()
        body = response.read().decode()
        connection.close()
        if response.status != 200:
            raise SystemExit(f"{path}: {response.status} {body}")
        return body

    def held(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        said = ", ".join(f"{int(status.split(name + ':')[1].split()[0]) >> 10} MiB {what}"
                         for name, what in (("RssAnon", "of its own"), ("RssFile", "of files")))
        if shutil.which("nvidia-smi"):
            query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader"]
            said += ", on the GPU " + subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
        return said


def stream_text(body):
    return "".join(json.loads(event[len("data: "):])["text"] for event in body.split("\n\n") if event)


def main():
    binary, engine, *options = sys.argv[1:]
    gigabytes = os.path.getsize(engine) / 1e9
    with Asked(binary, engine, "--admin-key", "boss", "--idle-release", str(IDLE_SECONDS), *options) as server:
        def answer():
            return json.loads(server.ask("/generate", ASKED))["text"]

        def timed(path, fields=None):
            start = time.monotonic()
            server.ask(path, fields)
            return time.monotonic() - start

        def right():
            if answer() != first:
                raise SystemExit("another answer than at first")

        first = answer()
        print(f"serves {gigabytes:.2f} GB: {server.held()}")
        time.sleep(IDLE_SECONDS + 1)
        print(f"idle for {IDLE_SECONDS} s: {server.held()}")
        right()
        for _ in range(3):
            print(f"sleeps after {timed('/sleep'):.3f} s: {server.held()}")
            seconds = timed("/wake_up")
            tokens = [timed("/generate", TOKEN) for _ in range(8)]  # the first brings in pages while the file is hashed
            print(f"wakes after {seconds:.3f} s, {8 / gigabytes * seconds:.3f} s per 8 GB; one token then takes {tokens[0]:.3f} s, "
                  f"later {min(tokens):.3f}")
            right()
        alone = stream_text(server.ask("/generate", STREAM))
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(server.ask, "/generate", STREAM) for _ in range(4)]
            time.sleep(0.3)
            seconds = timed("/admin/reload")
            running = sum(not stream.done() for stream in streams)
            print(f"reloads in {seconds:.3f} s beside 4 streams, of which {running} still run: {server.held()}")
            right()
            if any(stream_text(stream.result()) != alone for stream in streams):
                raise SystemExit("a stream is not what it is alone")
        print(f"afterwards: {server.held()}")


if __name__ == "__main__":
    main()
