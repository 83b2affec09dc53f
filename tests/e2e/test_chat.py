"""spate chat says what /v1/chat/completions says of the same conversation, on a pipe and on a terminal."""
import json
import os
import pty
import re
import select
import signal
import subprocess
import time

import spate_server
from spate_server import JSON, SPATE, Engine, Server

FIGURES = re.compile(r"^\[(\d+) prompt tokens(?: \((\d+) cached\))?, first text after \d+ ms; (\d+) tokens", re.M)


class Chat(spate_server.EngineCase):
    def chat(self, text, *options, engine=None):
        command = (SPATE, "chat", (engine or self.engine).path, "--kv-cache-memory", "256M", *options)
        return subprocess.run(command, input=text.encode(), capture_output=True, timeout=spate_server.WAIT_SECONDS)

    def said(self, messages, **fields):
        """What the server answers to the questions of a conversation, one after the other."""
        answers, history = [], []
        with Server(self.engine, backend="cpu") as server:
            for message in messages:
                history.append(message)
                if message["role"] != "user":
                    continue
                body = json.dumps({"messages": history} | fields)
                status, _, answer = server.request("POST", "/v1/chat/completions", body, JSON)
                self.assertEqual(status, 200, answer)
                answers.append(json.loads(answer)["choices"][0]["message"]["content"])
                history.append({"role": "assistant", "content": answers[-1]})
        return answers

    def test_turns(self):
        """Each line is a turn, a fenced message one turn of several lines; what was said before is not computed again."""
        turns = ["Hello, who are you and what may I ask?", 'and "then"?', "two\nlines \\ of text"]
        history = [{"role": "system", "content": "Be brief."}] + [{"role": "user", "content": turn} for turn in turns]
        wanted = self.said(history, max_tokens=24, temperature=0)
        text = f'{turns[0]}\n\n{turns[1]}\n"""\n{turns[2]}\n"""\n'
        answer = self.chat(text, "--system", "Be brief.", "--max-tokens", "24", "--temperature", "0")
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertEqual(answer.stdout.decode(), "".join(f"{said}\n" for said in wanted))
        figures = [[int(n or 0) for n in found] for found in FIGURES.findall(answer.stderr.decode())]
        self.assertEqual(len(figures), 3, answer.stderr)
        for (prompt, _, generated), (_, cached, _) in zip(figures, figures[1:]):
            self.assertGreaterEqual(cached, prompt - 32)  # blocks of 16, and a seam that may merge into other tokens
        self.assertIn(b"The answer was cut at the 24 tokens of --max-tokens.", answer.stderr)

    def test_commands(self):
        """/reset forgets all but the system message; /exit ends; others are told; a last line needs no end."""
        options = ("--max-tokens", "12", "--temperature", "0", "--system", "s")
        alone = self.chat("Hello", *options)
        again = self.chat("Hi\n/reset\n/nonsense\nHello\n/exit\nnever asked\n", *options)
        self.assertEqual((alone.returncode, again.returncode), (0, 0))
        self.assertTrue(again.stdout.endswith(alone.stdout), again.stdout)
        self.assertEqual(len(FIGURES.findall(again.stderr.decode())), 2)
        self.assertIn(b"There is no command /nonsense: /reset begins a new conversation, ", again.stderr)

    def test_sampling(self):
        """The options of generate mean the same here: the two tables are one."""
        helps = [subprocess.run((SPATE, command, "--help"), capture_output=True, text=True).stdout.splitlines()
                 for command in ("generate", "chat")]
        options = [{line for line in lines if line.startswith("  ")} for lines in helps]
        self.assertEqual({line.split()[0] for line in options[0] ^ options[1]}, {"-p,", "--system", "--image"})
        texts = {self.chat("Hello", "--max-tokens", "12", "--seed", seed).stdout for seed in ("1", "1", "2")}
        self.assertEqual(len(texts), 2)

    def test_does_not_fit(self):
        engine = Engine("--max-seq-len", "64")
        self.addCleanup(engine.remove)
        cut = self.chat("Hello", "--temperature", "0", engine=engine)
        self.assertEqual(cut.returncode, 0)
        self.assertIn(b"The conversation has reached max_seq_len 64 tokens, which cut the answer: begin a new one with "
                      b"/reset.\n", cut.stderr)
        full = self.chat("Hello\n" + "word " * 80 + "\n/reset\nHello\n", "--temperature", "0", engine=engine)
        self.assertEqual(full.returncode, 1)
        self.assertEqual(full.stdout, 2 * cut.stdout)
        self.assertIn(b"spate: The conversation does not fit any more. The prompt has more tokens than max_input_len 63: "
                      b"shorten it. Or begin a new one with /reset.\n", full.stderr)

    def test_no_template(self):
        engine = Engine(template=None)
        self.addCleanup(engine.remove)
        answer = self.chat("Hello\n", engine=engine)
        self.assertEqual((answer.returncode, answer.stdout), (1, b""))
        self.assertRegex(answer.stderr.decode(), r"(?m)^spate: .*chat template.*\.$")

    def test_interrupt(self):
        """Ctrl-C ends an answer that would go on for ever, and the conversation goes on; at the sign it ends the program."""
        command = (SPATE, "chat", self.engine.path, "--kv-cache-memory", "256M", "--seed", "1")
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdin.close(), process.stdout.close(),
                                 process.stderr.close()))
        for _ in range(2):
            process.stdin.write(b"Hello\n")
            process.stdin.flush()
            self.assertNotEqual(os.read(process.stdout.fileno(), 1), b"")
            process.send_signal(signal.SIGINT)
            while not (line := process.stderr.readline()).startswith(b"["):
                self.assertNotEqual(line, b"", "it ended")
            self.assertIn(b" tokens", line)
            while select.select([process.stdout], [], [], 0)[0]:  # all of the answer was written before its figures
                os.read(process.stdout.fileno(), 1 << 16)
        process.stdin.close()
        process.stdout.read()
        self.assertEqual(process.wait(timeout=spate_server.WAIT_SECONDS), 0)

    def test_terminal(self):
        """A sign asks for each line, help comes first, Ctrl-D ends."""
        try:
            pid, terminal = pty.fork()
        except OSError as error:
            self.skipTest(f"SKIPPED: this needs a pseudo-terminal: {error}")
        if pid == 0:
            os.execv(SPATE, (SPATE, "chat", self.engine.path, "--kv-cache-memory", "256M", "--max-tokens", "4"))
        shown = b""

        def read_until(wanted):
            nonlocal shown
            end = time.monotonic() + spate_server.WAIT_SECONDS
            while wanted not in shown and time.monotonic() < end:
                if select.select([terminal], [], [], 0.1)[0]:
                    shown += os.read(terminal, 1 << 16)
            self.assertIn(wanted, shown)
            shown = shown.partition(wanted)[2]

        read_until(b"Ctrl-C stops an answer; ")
        read_until(b"> ")
        os.write(terminal, b'"""a\n')
        read_until(b". ")
        os.write(terminal, b'b"""\n')
        read_until(b"4 tokens")
        read_until(b"> ")
        os.write(terminal, b"\x04")
        _, status = os.waitpid(pid, 0)
        os.close(terminal)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)


if __name__ == "__main__":
    spate_server.main(__name__)
