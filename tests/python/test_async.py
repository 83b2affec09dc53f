"""generate_async in event loops: what it streams is what generate gives, requests run beside each other, and whoever
stops waiting ends the request."""
import asyncio
import gc
import os
import threading

import spate_python
import spate
import spate_server
from spate import SamplingParams

GREEDY = {"temperature": 0}
LONG = SamplingParams(max_tokens=60000, temperature=0)
PROMPTS = ["Once upon", "Twice", "a", "über 😀", "b b", "Once upon a time there", "1", "no"]


class Async(spate_python.LlmCase):
    def run_in_loop(self, coroutine):
        return asyncio.run(asyncio.wait_for(coroutine, spate_server.WAIT_SECONDS))

    # ---- what comes

    def test_stream(self):
        params = SamplingParams(max_tokens=20, **GREEDY)
        whole = self.llm.generate("über", params)

        async def stream():
            promise = self.llm.generate_async(prompt="über", sampling_params=params, streaming=True)
            seen = [output async for output in promise]
            return promise, seen

        promise, seen = self.run_in_loop(stream())
        text = whole.outputs[0].text
        self.assertEqual("".join(output.outputs[0].text_diff for output in seen), text)
        self.assertEqual([token for output in seen for token in output.outputs[0].token_ids_diff], whole.output_token_ids)
        self.assertEqual([output.finished for output in seen], [False] * (len(seen) - 1) + [True])
        so_far, counts = "", [output.generated_tokens for output in seen]
        for output in seen:  # as they were when they came
            so_far += output.outputs[0].text_diff
            self.assertEqual((output.outputs[0].text, output.generated_tokens), (so_far, len(output.output_token_ids)))
        self.assertEqual((counts, counts[-1]), (sorted(set(counts)), 20))
        self.assertEqual((promise.outputs[0].text, promise.output_token_ids), (text, whole.output_token_ids))
        self.assertEqual((promise.prompt_token_ids, promise.finished), (whole.prompt_token_ids, True))
        self.assertEqual(promise.outputs[0].text_diff, seen[-1].outputs[0].text_diff)

    def test_result(self):
        params = SamplingParams(max_tokens=9, **GREEDY)
        text = self.llm.generate("Once", params).outputs[0].text

        async def wait():
            first, second, third = (self.llm.generate_async("Once", params) for _ in range(3))
            await first.aresult()
            return [first.outputs[0].text, (await second).outputs[0].text, (await second).outputs[0].text,
                    *[output.outputs[0].text async for output in third]]

        self.assertEqual(self.run_in_loop(wait()), [text] * 4)

    def test_many_at_once(self):
        """Each has the text that it has alone."""
        params = SamplingParams(max_tokens=12, **GREEDY)
        alone = {output.prompt: output.outputs[0].text for output in self.llm.generate(PROMPTS, params)}

        async def one(prompt):
            return "".join([o.outputs[0].text_diff async for o in self.llm.generate_async(prompt, params, streaming=True)])

        async def every():
            return await asyncio.gather(*[one(prompt) for prompt in PROMPTS * 20])

        self.assertEqual(self.run_in_loop(every()), [alone[prompt] for prompt in PROMPTS * 20])

    def test_streams_interleave(self):
        """None of them ends before all have begun and each has seen tokens after that."""
        async def every():
            begun, all_begun = set(), asyncio.Event()

            async def one(index):
                promise, after = self.llm.generate_async(PROMPTS[index], LONG, streaming=True), 0
                async for output in promise:
                    begun.add(index)
                    if len(begun) == len(PROMPTS):
                        all_begun.set()
                    after += all_begun.is_set()
                    if after == 5:
                        promise.abort()
                return promise.outputs[0]

            return await asyncio.gather(*[one(i) for i in range(len(PROMPTS))])

        outputs = self.run_in_loop(every())
        self.assertEqual({output.finish_reason for output in outputs}, {"cancelled"})
        self.wait_cancelled(len(PROMPTS))

    def test_the_loop_goes_on(self):
        """While requests run, and nobody reads one of them. A loop whose thread had no processor tries again."""
        async def every():
            unread, ticks = self.llm.generate_async("a", LONG, streaming=True), 0
            other = asyncio.create_task(self.llm.generate_async("b", SamplingParams(max_tokens=500, **GREEDY)).aresult())
            while not other.done():
                await asyncio.sleep(0)
                ticks += 1
            return ticks, unread.finished

        for attempt in range(20):
            ticks, finished = self.run_in_loop(every())
            self.assertFalse(finished)
            if ticks > 100:
                break
        self.assertGreater(ticks, 100)
        self.wait_cancelled(attempt + 1)

    def test_two_loops(self):
        """In threads of their own, and a third thread that waits without one."""
        params = SamplingParams(max_tokens=50, **GREEDY)
        wanted, got = self.llm.generate("Once", params).outputs[0].text, []

        async def one():
            return (await self.llm.generate_async("Once", params)).outputs[0].text

        threads = [threading.Thread(target=lambda: got.append(asyncio.run(one()))) for _ in range(2)]
        threads.append(threading.Thread(target=lambda: got.append(self.llm.generate_async("Once", params).result().outputs[0].text)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(spate_server.WAIT_SECONDS)
        self.assertEqual(got, [wanted] * 3)

    def test_begun_outside_of_a_loop(self):
        promise = self.llm.generate_async("Once", SamplingParams(max_tokens=9, **GREEDY), streaming=True)

        async def stream():
            return "".join([output.outputs[0].text_diff async for output in promise])

        text = self.run_in_loop(stream())
        self.assertEqual(text, self.llm.generate("Once", SamplingParams(max_tokens=9, **GREEDY)).outputs[0].text)
        self.assertEqual(promise.outputs[0].text, text)

    # ---- who stops waiting ends the request

    def test_cancelled_waits(self):
        async def too_long():
            await asyncio.wait_for(self.llm.generate_async("a", LONG).aresult(), 0.05)

        async def streams_too_long():
            async def read():
                async for _ in self.llm.generate_async("a", LONG, streaming=True):
                    pass
            await asyncio.wait_for(read(), 0.05)

        async def breaks():
            async for _ in self.llm.generate_async("a", LONG, streaming=True):
                break
            raise asyncio.TimeoutError

        for wait in (too_long, streams_too_long, breaks):
            async def check():
                with self.assertRaises(asyncio.TimeoutError):  # before Python 3.11 another one
                    await wait()
                await asyncio.to_thread(self.wait_running, 0)  # the loop is still there
            self.run_in_loop(check())
        self.wait_cancelled(3)

    def test_dropped(self):
        async def drop():
            promise = self.llm.generate_async("a", LONG)
            await asyncio.to_thread(self.wait_running, 1)
            del promise
            gc.collect()
            await asyncio.to_thread(self.wait_running, 0)

        self.run_in_loop(drop())
        self.wait_cancelled(1)

    # ---- failures

    def test_failures(self):
        async def fail():
            promise = self.llm.generate_async("a", SamplingParams(max_tokens=60000, timeout_s=0.05), streaming=True)
            with self.assertRaisesRegex(spate.RequestTimeoutError, "timeout_s"):
                async for _ in promise:
                    pass
            for _ in range(2):
                with self.assertRaisesRegex(spate.RequestTimeoutError, "timeout_s"):
                    await promise
            with self.assertRaisesRegex(spate.InvalidError, "max_seq_len"):
                self.llm.generate_async("a", SamplingParams(max_tokens=1 << 30))
            with self.assertRaisesRegex(spate.SpateError, "max_input_len"):
                await self.llm.generate_async("a " * 70000)
            with self.assertRaisesRegex(spate.InvalidError, "await it"):
                self.llm.generate_async("a").result()

        self.run_in_loop(fail())

    def test_another_loop(self):
        async def begin():
            return self.llm.generate_async("a", LONG)

        loop = asyncio.new_event_loop()
        promise = loop.run_until_complete(begin())
        with self.assertRaisesRegex(spate.InvalidError, "another event loop"):
            self.run_in_loop(promise.aresult())
        loop.close()
        self.wait_cancelled(1)

    def test_full_queue(self):
        async def fill():
            with spate_python.engine_open(self.engine, max_queue=1) as llm:
                promises = []
                with self.assertRaises(spate.BusyError):
                    for _ in range(100):
                        promises.append(llm.generate_async("a", LONG))
                promises[0].abort()
                self.assertEqual((await promises[0]).outputs[0].finish_reason, "cancelled")

        self.run_in_loop(fill())

    def test_shutdown(self):
        async def end():
            llm = spate_python.engine_open(self.engine)
            waiting = asyncio.create_task(llm.generate_async("a", LONG).aresult())
            await asyncio.sleep(0.01)
            llm.shutdown()
            with self.assertRaisesRegex(spate.CancelledError, "^The engine was shut down.$"):
                await waiting

        self.run_in_loop(end())

    def test_nothing_is_left(self):
        """Loops that are closed leave no descriptor."""
        params = SamplingParams(max_tokens=2, **GREEDY)

        async def one():
            await self.llm.generate_async("a", params)

        asyncio.run(one())
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            asyncio.run(one())
        self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)


if __name__ == "__main__":
    spate_python.main(__name__)
