#!/usr/bin/env python3
"""How soon a request is refused when the queue is full: requests come at ten times the rate that the server answers.

usage: bench/overload.py SPATE MODEL [SECONDS]

Promised: 429 with Retry-After in under 10 ms, with every core busy generating. Told twice: as clients on the same cores see it,
each over a new connection, and as the server counts it, from the first byte of the request to the last of the answer."""
import http.client
import json
import sys
import threading
import time

from server_process import Spate
from serving_load import percentile

QUEUE, TIMES_OVER = 16, 10
BODY = json.dumps({"prompt": "What is the meaning of life?", "max_tokens": 128, "ignore_eos": True})
JSON = {"Content-Type": "application/json"}


class Overload:
    def __init__(self, port):
        self.port, self.refused, self.answered, self.others = port, [], [], []

    def ask(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        start = time.monotonic()
        try:
            connection.request("POST", "/generate", BODY, JSON)
            response = connection.getresponse()
            took = time.monotonic() - start
            response.read()
        except OSError as failure:
            self.others.append(failure)
            return
        finally:
            connection.close()
        if response.status == 429 and response.headers["Retry-After"]:
            self.refused.append(1000 * took)
        elif response.status == 200:
            self.answered.append(time.monotonic())
        else:
            self.others.append(response.status)

    def run(self, rate, seconds):
        """Requests at this rate, whatever becomes of them; then waits for the last answer."""
        asked, begin = [], time.monotonic()
        while time.monotonic() - begin < seconds:
            asked.append(threading.Thread(target=self.ask))
            asked[-1].start()
            time.sleep(max(0, begin + len(asked) / rate - time.monotonic()))
        for thread in asked:
            thread.join()
        return len(asked)


def capacity(port):
    """Answers a second when just as many ask as may."""
    load, begin = Overload(port), time.monotonic()
    clients = [threading.Thread(target=lambda: [load.ask() for _ in range(2)]) for _ in range(QUEUE)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    return len(load.answered) / (time.monotonic() - begin)


def within_10_ms(port):
    """How many requests the server has answered so soon; one that generates takes longer."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    name = 'http_request_duration_seconds_bucket{handler="/generate",le="0.01"} '
    page = connection.getresponse().read().decode()
    return int(page.partition(name)[2].split()[0])


def main():
    if len(sys.argv) not in (3, 4):
        raise SystemExit(__doc__)
    seconds = float(sys.argv[3]) if len(sys.argv) == 4 else 30
    with Spate(sys.argv[1], sys.argv[2], "--max-queue", str(QUEUE)) as server:
        rate = capacity(server.port)
        load = Overload(server.port)
        count = load.run(TIMES_OVER * rate, seconds)
        soon = within_10_ms(server.port)
    print(f"{rate:.2f} answers a second; {count} requests at {TIMES_OVER} times that: {len(load.answered)} answered, "
          f"{len(load.refused)} refused, {len(load.others)} otherwise {load.others[:3]}")
    print("a refusal takes " + ", ".join(f"{name} {percentile(load.refused, p):.2f} ms" for name, p in
                                         (("median", 0.5), ("p99", 0.99), ("at most", 1)))
          + f"; {100 * soon / len(load.refused):.2f} % under 10 ms in the server")


if __name__ == "__main__":
    main()
