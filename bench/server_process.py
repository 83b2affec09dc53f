"""Servers as child processes, for the benches."""
import http.client
import subprocess
import time


def wait_healthy(process, port, seconds=120):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit("The server did not become healthy.")


class Spate:
    """`spate serve` with more options, on a free port."""

    def __init__(self, binary, model, *options):
        self.process = subprocess.Popen(
            [binary, "serve", model, "--port", "0", "--log-level", "error", *options], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "http://127.0.0.1:" in line:
                self.port = int(line.split("http://127.0.0.1:")[1].split()[0])
                break
        wait_healthy(self.process, self.port)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


class LlamaServer:
    """llama-server with np slots of `length` tokens each."""

    def __init__(self, binary, model, threads, n_parallel, length, port=18080):
        self.port = port
        self.process = subprocess.Popen(
            [binary, "-m", model, "-t", str(threads), "-tb", str(threads), "-np", str(n_parallel), "-c",
             str(n_parallel * length), "--host", "127.0.0.1", "--port", str(port), "--no-webui"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_healthy(self.process, port)

    __enter__, __exit__ = Spate.__enter__, Spate.__exit__
