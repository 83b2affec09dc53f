"""Users who stream one question's answer from /v1/chat/completions through the package openai. By hand:
locust -f tests/load/chat_users.py --headless -u 100 -r 10 -t 180 --host http://127.0.0.1:8000"""
import time

from locust import User, between, task

import openai  # after locust, which makes sockets cooperative

QUESTION = [{"role": "user", "content": "What is the meaning of life?"}]
TOKENS = 128


class ChatUser(User):
    wait_time = between(1, 3)  # seconds

    def on_start(self):
        self.client = openai.OpenAI(base_url=f"{self.host}/v1", api_key="none", max_retries=0, timeout=600)

    def on_stop(self):
        self.client.close()

    def stream(self):
        """The bytes of an answer; raises when anything about it is not as it should be."""
        size, end, usage = 0, None, None
        stream = self.client.chat.completions.create(
            model=self.model(), messages=QUESTION, max_tokens=TOKENS, temperature=0.7, stream=True,
            stream_options={"include_usage": True})
        for chunk in stream:
            usage = chunk.usage or usage
            for choice in chunk.choices:
                size += len(choice.delta.content or "")
                end = choice.finish_reason or end
        if end not in ("length", "stop") or not 0 < usage.completion_tokens <= TOKENS:
            raise ValueError(f"A stream that ended by {end} with {usage}.")
        return size

    def model(self):
        return self.client.models.list().data[0].id

    @task
    def ask(self):
        start, size, problem = time.perf_counter(), 0, None
        try:
            size = self.stream()
        except Exception as error:  # whatever the package raises is a failed request
            problem = error
        self.environment.events.request.fire(
            request_type="stream", name="/v1/chat/completions", response_length=size, exception=problem,
            response_time=1000 * (time.perf_counter() - start), context={})
