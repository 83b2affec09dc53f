"""Users who ask one question again and again, a second or three after each answer:

locust -f deploy/loadtest/locustfile.py --headless -u 100 -r 10 --host http://localhost:8000

What it measures are whole answers; `spate bench-serve` also looks into streams (docs/load-testing.md)."""
from locust import HttpUser, between, task


class LLMUser(HttpUser):
    wait_time = between(1, 3)

    @task
    def generate_text(self):
        self.client.post("/generate", json={
            "prompt": "What is the meaning of life?",
            "max_tokens": 128,
            "temperature": 0.7,
        })
