"""Every family that sees images: transformers' answers whole and streamed, in steps and blocks of any size, beside each
other and beside texts, preempted, found in the cache, a step late, and of llama.cpp's pairs of files."""
import json
import threading
import unittest

import test_images
from test_images import SeeingCase, drawn, greedy, named, openai_messages

FAMILIES = ("llava_next", "gemma3", "pixtral", "mistral3", "qwen2_vl", "qwen2_5_vl")
PAIRS = ("gemma3", "idefics3", "pixtral", "mistral3", "qwen2_vl", "qwen2_5_vl", "llava", "llava_next")
ALONE = ("llava", "llava_next")  # whose encoder's files say how pictures are made
SMALL = ("--max-num-tokens", "16", "--max-batch-size", "4", "--image-cache-memory", "1", "--block-size", "4")


class FamilyAnswers(test_images.Answers):
    """And what each does beside the others and the cache."""

    def ask_case(self, case, **fields):
        """A prompt or a conversation, and what it says."""
        if "messages" in case:
            status, answer = self.chat(openai_messages(case), **(drawn(case) | fields))
            self.assertEqual(status, 200, answer)
            return answer["choices"][0]["message"]["content"]
        return self.server.generate(prompt=case["prompt"], image_data=[named(name) for name in case["images"]],
                                    **(drawn(case) | fields))["text"]

    def counted(self, name):
        page = self.server.get("/metrics")[2].decode()
        return sum(float(line.split()[-1]) for line in page.splitlines() if line.startswith(name + " "))

    def test_found_again(self):
        """A prompt whose first blocks, those of its images among them, are in the cache has the same answer."""
        for case in self.engine.answers:
            self.ask_case(case)
            before = self.counted("llm_prefix_cache_hit_tokens_total")
            self.assertEqual(self.ask_case(case), case["text"])
            self.assertGreater(self.counted("llm_prefix_cache_hit_tokens_total"), before)

    def test_goes_on(self):
        """And so has one that begins as another did, and parts from it behind an image, wherever blocks end: within the
        image too."""
        def ask(start, end, salt):
            answer = self.server.generate(prompt=f"{start}<image>{end}", image_data=named("progressive.jpg"), cache_salt=salt,
                                          logprobs=True, **(drawn(self.engine.answers[0]) | {"max_tokens": 8}))
            return answer["logprobs"], answer["usage"]["prompt_tokens_details"]["cached_tokens"]
        for start in ("Look at picture ", "Look at a picture ", "Look at this picture ", "Look at picture no ", "Look here, pictures come: "):
            alone, found = ask(start, "?", f"alone {start}")
            self.assertEqual(found, 0)
            ask(start, "Z and more", f"shared {start}")
            said, found = ask(start, "?", f"shared {start}")
            self.assertEqual(said, alone)
            self.assertGreater(found, 0)

    def test_beside_texts(self):
        """Images, conversations and texts in the same steps: each says what it says alone."""
        words = [f"Nothing to see here, number {i}" for i in range(4)]
        alone = [self.server.generate(prompt=text, **greedy(60))["text"] for text in words]
        wanted = [(case["text"], lambda case=case: self.ask_case(case)) for case in self.engine.answers * 2]
        wanted += [(said, lambda text=text: self.server.generate(prompt=text, **greedy(60))["text"])
                   for text, said in zip(words, alone)] * 3
        said = [None] * len(wanted)

        def ask(i):
            said[i] = wanted[i][1]()
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(len(wanted))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(said, [text for text, _ in wanted])

    def test_several_answers(self):
        """Answers of one prompt share its blocks, and go on from the same places."""
        case = self.engine.answers[4]
        status, answer = self.chat(openai_messages(case), n=3, **drawn(case))
        self.assertEqual(status, 200, answer)
        self.assertEqual([choice["message"]["content"] for choice in answer["choices"]], [case["text"]] * 3)


# Of the longest sequence, which is one or two of the prompts with their answers.
CACHE = {"llava_next": "97K", "gemma3": "181K", "pixtral": "97K", "mistral3": "97K", "qwen2_vl": "65K", "qwen2_5_vl": "65K"}


class FewBlocks(FamilyAnswers):
    """Room for few of the prompts: others are preempted, and computed again."""

    @classmethod
    def setUpClass(cls):
        cls.options = (*SMALL, "--kv-cache-memory", CACHE[cls.model])
        super().setUpClass()

    def test_beside_texts(self):
        for _ in range(20):  # whoever comes first, few are there at once now and then
            super().test_beside_texts()
            if self.counted("llm_preemptions_total") > 0:
                return
        self.fail("nobody was preempted")


def cases_of(names, suffix, base=FamilyAnswers, **attributes):
    for name in names:
        title = "".join(part.capitalize() for part in name.split("_")) + suffix
        yield title, type(title, (base, SeeingCase), {"model": name, "__module__": __name__, **attributes})


for title, case in (*cases_of(FAMILIES, "Default"), *cases_of(FAMILIES, "SmallSteps", options=SMALL),
                    *cases_of(FAMILIES, "FewBlocks", FewBlocks),
                    *cases_of(FAMILIES, "Late", backend="late"), *cases_of(PAIRS, "Pair", pair=True),
                    *cases_of(ALONE, "PairAlone", pair="alone")):
    globals()[title] = case
del title, case


class Refusals(SeeingCase):
    model, options = "gemma3", ("--max-num-tokens", "11", "--max-batch-size", "4")

    def test_step_too_small(self):
        """Images whose tokens see each other are of one step; texts are served all the same."""
        self.refused("An image's 9 tokens are of one step, which has room for 8 of them beside others: give the engine "
                     "more (--max-num-tokens).", named("progressive.jpg"))
        self.assertEqual(len(self.server.generate(prompt="a", **greedy(4))["text"]), 4)

    def test_written_rows(self):
        self.refused("The prompt has 10 tokens <image_soft_token> where its images are 9: they are not to be written by "
                     "hand.", named("progressive.jpg"), "<image><image_soft_token>")

    def test_marks(self):
        self.refused("The prompt has 2 marks for images (<start_of_image>) and 1 images were sent: write one for each, or "
                     "none.", named("progressive.jpg"), "<image><start_of_image>")
        self.refused("The prompt has 100000 marks for images (<start_of_image>) and 1 images were sent: write one for each, "
                     "or none.", named("progressive.jpg"), "<image>" * 100000)

    def test_scores(self):
        body = json.dumps({"messages": [{"role": "user", "content": [
            {"type": "image_url", "image_url": {"url": named("progressive.jpg")}}]}], "prompt_logprobs": 0})
        status, _, answer = self.server.request("POST", "/v1/chat/completions", body, test_images.JSON)
        self.assertEqual(status, 400, answer)


class Lent(SeeingCase):
    """A decoder of texts, whose vocabulary has no token for images."""
    model, pair = "llava", "alone"

    def test_written(self):
        self.refused("The prompt has 17 tokens <unk> where its images are 16: they are not to be written by hand.",
                     named("progressive.jpg"), "<image>a<unk>")

    def test_letters(self):
        """In a conversation they are letters, as the marks of images are."""
        def ask(text):
            status, answer = self.chat([{"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": named("progressive.jpg")}}, {"type": "text", "text": text}]}], **greedy(4))
            self.assertEqual(status, 200, answer)
            return answer["usage"]["prompt_tokens"]
        self.assertEqual(ask("a <unk> b <image>"), ask("a") + len(" <unk> b <image>"))


if __name__ == "__main__":
    unittest.main()
