"""Users who ask one question of /generate again and again. By hand:
locust -f tests/load/generate_users.py --headless -u 100 -r 10 -t 180 --host http://127.0.0.1:8000"""
from locust import HttpUser, between, task

QUESTION = {"prompt": "What is the meaning of life?", "max_tokens": 128, "temperature": 0.7}


class GenerateUser(HttpUser):
    wait_time = between(1, 3)  # seconds

    @task
    def ask(self):
        with self.client.post("/generate", json=QUESTION, catch_response=True) as response:
            if response.status_code != 200:
                return  # counted as a failure
            answer = response.json()
            tokens = answer["usage"]["completion_tokens"]
            whole = tokens == QUESTION["max_tokens"] if answer["finish_reason"] == "length" else tokens > 0
            if not whole:
                response.failure(f"An answer with {tokens} tokens that ended by {answer['finish_reason']}.")
