"""What images may keep from others: their turn, their time, the server's memory; what a template without a place says."""
import functools
import itertools
import json
import select
import statistics
import struct
import subprocess
import threading
import time
import unittest
import zlib

from spate_server import JSON, SANITIZED, SPATE, Server, wait_for
from test_images import FIXTURES, SeeingCase, SeeingEngine, base, greedy, named, png

MEBI = 1 << 20
DECODERS = 2
# docs/images.md, "Memory": of bodies that arrive (256 MiB), of what is read of them (as much), of requests (256) and for each decoder's
# thread a conversation and what it says, or a file and its pixels. Pixels that wait for the encoder are tiny here.
BOUND = (256 + 256 + 256 + DECODERS * max(2 * 64, 20 + 144)) * MEBI


@functools.cache
def large(width, height):
    return png(width, height)


def marked(picture, index):
    """The same PNG with a comment of its own: other bytes, another image."""
    text = b"tEXtn\0%s" % str(index).encode()
    return picture[:33] + struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text)) + picture[33:]


def slow_picture(index):
    """Takes long to decode and little to send."""
    return base(marked(large(3000, 2000), index))


def rounds(one, what):
    """What five rounds say. One whose condition was not met says None, and is done again."""
    return [wait_for(lambda: (value := one()) is not None and (value,), what)[0] for _ in range(5)]


class NoPlace(unittest.TestCase):
    def test_template(self):
        engine = SeeingEngine("idefics3")
        try:
            model = engine.folder / "idefics3"
            (model / "chat_template.jinja").write_text("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}")
            subprocess.run([SPATE, "build", model, "-o", engine.path, "--quant-mode", "FP32"], check=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            with Server(engine, backend="cpu") as server:
                part = {"type": "image_url", "image_url": {"url": named("colour.png")}}
                body = json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]})
                status, _, answer = server.request("POST", "/v1/chat/completions", body, JSON)
                self.assertEqual((status, json.loads(answer)["error"]["message"]),
                                 (400, "messages[0].content[1] is an image, and the model's chat template has no place for one: send "
                                       "it as image_data to /generate."))
                self.assertEqual(server.post({"prompt": "a", "image_data": named("colour.png"), **greedy(2)})[0], 200)
        finally:
            engine.remove()


class Turns(SeeingCase):
    """One decoder, which has more work than one who comes later may wait for. Who was answered when is the server's word: its
    log's lines, in their order."""
    options = ("--image-decoders", "1", "--api-key", "one,two", "--workers", "1", "--log-format", "json")
    PIPELINE = 3  # of whom the decoder and what is behind it have begun, and who are answered before whoever comes then

    def send(self, name, images, key="one", **fields):
        thread = threading.Thread(target=self.server.post, args=(
            {"prompt": "see", "image_data": images, **greedy(2), **fields}, {"Authorization": f"Bearer {key}", "X-Request-ID": name}))
        thread.start()
        return thread

    def slow(self, name, **fields):
        """A request of tenant one, with two slow pictures of its own."""
        return self.send(name, [slow_picture(f"{name} {i}") for i in range(2)], **fields)

    def accepted(self):
        page = self.server.get("/metrics", {"Authorization": "Bearer one"})[2].decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith("llm_requests_total "))

    def answered(self, prefix):
        """Of those whose names begin so, which were answered, in order; the last line may be incomplete."""
        lines = [json.loads(line) for line in self.server.errors().splitlines(keepends=True) if line[0] == "{" and line[-1] == "\n"]
        return [line["request_id"] for line in lines if line.get("status") == 200 and line["request_id"].startswith(prefix)]

    def overtakes(self, prefix, slow, **quick):
        """Six are there; one that comes then is answered before most of those that were not answered yet. Where more than two were
        answered before it came, nothing is told, and others come."""
        names = (f"{prefix}{n:03}" for n in itertools.count())
        wait_for(lambda: self.overtaken(next(names), slow, **quick), "one comes while most wait")

    def overtaken(self, prefix, slow, **quick):
        before = self.accepted()
        threads = [self.slow(f"{prefix}-{i}", **slow) for i in range(6)]
        wait_for(lambda: self.accepted() == before + 6, "they have come")
        threads.append(self.send(f"{prefix}-quick", [base(png(9, 9, len(prefix)))], **quick))
        wait_for(lambda: self.accepted() == before + 7, "it has come")
        ahead = len(self.answered(prefix))
        for thread in threads:
            thread.join()
        wait_for(lambda: len(self.answered(prefix)) == 7, "all are answered")
        order = self.answered(prefix)
        if ahead > 2:
            return False
        self.assertLessEqual(order.index(f"{prefix}-quick"), ahead + self.PIPELINE, order)
        return True

    def test_priority(self):
        self.overtakes("ranked", {"priority": 5}, priority=1)

    def test_tenants(self):
        self.overtakes("tenant", {}, key="two")

    def test_timeout(self):
        """It hears of its time while others are being prepared, of whom there are more for as long as it waits."""
        over, number, before, told = threading.Event(), itertools.count(), self.accepted(), []

        def feed():
            while not over.is_set():
                self.slow(f"fed-{next(number)}").join()

        def late():
            told.append(self.server.post({"prompt": "see", "image_data": [slow_picture("late")], "timeout_s": 0.1, **greedy(2)},
                                         {"Authorization": "Bearer one"}))
        threads = [threading.Thread(target=feed) for _ in range(6)]
        for thread in threads:
            thread.start()
        try:
            wait_for(lambda: self.accepted() >= before + 6, "they have come")
            threads.append(threading.Thread(target=late))
            threads[-1].start()
            wait_for(lambda: told, "it hears of its time while others are being prepared")
        finally:
            over.set()
            for thread in threads:
                thread.join()
        self.assertEqual(json.loads(told[0][2])["error"],
                         "The request has taken the 0.1 seconds of its timeout_s before its images were prepared.")


class LargeBodies(SeeingCase):
    """Bodies that take half a second to read: others of the same loop, and of the same worker, are answered meanwhile, in most
    of five rounds. Where the answer is there before a client has asked, since it waited for a processor, nothing is told."""
    options = ("--workers", "1", "--image-decoders", "1")

    def others(self, path, body, request):
        """Sends a body but for its end, waits until all of that has been read, then the end, and requests of others before the
        answer is there: how many of these were answered before it; None where it was there before the first."""
        with self.server.socket() as client:
            head = f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body[:-1])
            for _ in range(300):  # the loop reads what has come between any two
                self.server.get("/live")
            client.sendall(body[-1:])
            count = 0
            while count < 20 and not select.select([client], [], [], 0)[0]:
                request()
                count += 1
            self.assertIn(b" 400 ", client.recv(64))
            return count or None

    def meanwhile(self, path, body, request):
        counts = rounds(lambda: self.others(path, body, request), "others ask before the answer is there")
        self.assertGreaterEqual(statistics.median(counts), 5, counts)

    def live(self):
        self.assertEqual(self.server.get("/live")[0], 200)

    def test_loop(self):
        filler = b"A" * (19 * MEBI)
        image = b'"data:image/png;base64,' + filler + b'"'
        part = b'{"type": "image_url", "image_url": {"url": ' + image + b"}}"
        for path, body in (("/generate", b'{"prompt": "see", "image_data": [' + b", ".join([image] * 3) + b"]}"),
                           ("/generate", b'{"prompt": "see", "image_data": [' + b", ".join([image] * 3) + b"]]"),
                           ("/v1/chat/completions", b'{"messages": [{"role": "user", "content": [' + b", ".join([part] * 3) + b"]}]}")):
            with self.subTest(path=path, end=body[-4:]):
                self.meanwhile(path, body, self.live)

    def test_worker(self):
        """A conversation is read once more for its template: texts get their tokens meanwhile."""
        image = b"A" * (19 * MEBI)
        part = b'{"type": "image_url", "image_url": {"url": "data:image/png;base64,' + image + b'"}}'
        body = b'{"messages": [{"role": "user", "content": [' + b", ".join([part] * 3) + b', {"type": "none"}]}]}'
        texts = []

        def text():
            texts.append(self.server.generate(prompt="a", max_tokens=1))
        self.meanwhile("/v1/chat/completions", body, text)


class BodyTurns(SeeingCase):
    """Bodies that wait to be read: by turns of the keys."""
    options = ("--workers", "1", "--image-decoders", "1", "--api-key", "one,two")

    def begin(self, key, size):
        """All of a body but for its end, which makes it no JSON."""
        client, start = self.server.socket(), b'{"prompt": "see", "image_data": ["' + b"A" * size
        client.sendall(f"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nAuthorization: Bearer {key}\r\n"
                       f"Content-Length: {len(start) + 4}\r\n\r\n".encode() + start)
        return client

    def test_tenants(self):
        """The last is not the last, in most of five rounds in which all are sent before the first is answered."""
        places = rounds(self.place_of_the_last, "all are sent before the first is answered")
        self.assertLess(statistics.median(places), 5, places)

    def place_of_the_last(self):
        waiting = [self.begin("one", 15 * MEBI) for _ in range(8)]
        last = self.begin("two", 2 * MEBI)
        waiting.append(last)
        for _ in range(300):
            self.assertEqual(self.server.get("/live")[0], 200)
        for client in waiting:
            client.sendall(b'"]]}')
        late, order = select.select(waiting, [], [], 0)[0], []
        while waiting:
            for client in select.select(waiting, [], [])[0]:
                self.assertIn(b" 400 ", client.recv(64))
                waiting.remove(client)
                order.append(client)
                client.close()
        return None if late else order.index(last)


@unittest.skipIf(SANITIZED, "a sanitizer keeps what is freed")
class Memory(SeeingCase):
    """The table of hostile images, all at once: what the server holds at most."""
    options = ("--image-decoders", str(DECODERS), "--limit-mm-per-prompt", "64")

    def high_water(self):
        with open(f"/proc/{self.server.process.pid}/status") as status:
            return int(status.read().split("VmHWM:")[1].split()[0]) * 1024

    def bad_files(self):
        for path in sorted((FIXTURES / "image/bad").iterdir()):
            self.assertEqual(self.server.post({"prompt": "a", "image_data": base(path.read_bytes())})[0], 400, path.name)

    def tiny_pictures(self):
        """5,000 of them, in requests of as many as one may have."""
        for first in range(0, 5000, 64):
            images = [base(png(1, 1, first + i)) for i in range(64)]
            self.assertIn(self.server.post({"prompt": "a", "image_data": images, **greedy(1)})[0], (200, 400))

    def large_bodies(self):
        """As large as a body may be, of what is no image and of one that is too large."""
        for filler in ("A", "?"):
            body = json.dumps({"prompt": "a", "image_data": [filler * (20 * MEBI)] * 3})
            try:
                self.assertIn(self.server.post(body)[0], (400, 413, 429, 503))
            except OSError:
                pass  # refused before it was sent

    def large_pictures(self):
        for i in range(3):
            status, _, answer = self.server.post({"prompt": "a", "image_data": [base(marked(large(8000, 6000), i))], **greedy(1)})
            self.assertTrue(status == 200 or b"was not decoded within" in answer, answer)  # on a busy machine

    def idle_uploads(self):
        clients = [self.server.socket() for _ in range(40)]
        for client in clients:
            client.sendall(b"POST /generate HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 67000000\r\n\r\n{")
        for _ in range(20):  # as long as the server lets them, what they send is held
            for client in clients:
                try:
                    client.sendall(b" " * MEBI)
                except OSError:
                    pass
        for client in clients:
            client.close()

    def test_bound(self):
        case = self.engine.answers[0]
        good = {"prompt": case["prompt"], "image_data": named(case["images"][0]), **greedy()}
        self.assertEqual(self.server.generate(**good)["text"], case["text"])
        before, failed = self.high_water(), []

        def guarded(attack):
            try:
                attack()
            except (AssertionError, OSError) as failure:
                failed.append((attack.__name__, failure))
        attacks = [self.bad_files, self.tiny_pictures, self.idle_uploads] + 4 * [self.large_bodies] + 3 * [self.large_pictures]
        threads = [threading.Thread(target=guarded, args=(attack,)) for attack in attacks]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            self.assertEqual(self.server.generate(**good)["text"], case["text"])
            time.sleep(0.05)
        peak = self.high_water() - before
        print(f"peak {peak / MEBI:.0f} MiB over {before / MEBI:.0f}, of {BOUND / MEBI:.0f}")
        self.assertEqual(failed, [])
        self.assertLess(peak, BOUND)


if __name__ == "__main__":
    unittest.main()
