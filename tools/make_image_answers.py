#!/usr/bin/env python3
"""What `transformers` answers to prompts with images: its processors and its greedy tokens, of the tiny networks of
make_vision_fixtures.py with a tokenizer that has the marks of images.

    make_image_answers.py --out tests/fixtures/vision      needs torch, transformers, numpy, PIL; no network

Written to DIR/NAME/serve/: tokenizer.json, preprocessor_config.json, chat_template.jinja, and

    answers.json   a list of cases: "images" (names of tests/fixtures/image/decode), "prompt" (a text) or "messages",
                   "prompt_tokens" (their number), "tokens" (24 greedy ones, of "!" to "~" alone) and their "text"
"""
import argparse
import json
import os
import pathlib
import shutil
import tempfile

import torch
import transformers
from PIL import Image, ImageOps

from make_model_fixtures import write_json, write_tokenizer

IMAGES = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/image/decode"
TOKENS = 24
MARKS = {
    "idefics3": ["<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<image>", "<row_1_col_2>", "<row_2_col_1>",
                 "<row_2_col_2>", "<end_of_utterance>"],
    "llava": ["<a>", "<b>", "<c>", "<d>", "<e>", "<image>"],
}
TEMPLATES = {
    # Idefics3's own, and LLaVA-1.5's own.
    "idefics3": "{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}"
                "{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
                "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
                "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}",
    "llava": "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
             "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
             "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
             "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
             "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
             "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
             "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}",
}
PREPROCESSORS = {
    "idefics3": {"image_processor_type": "Idefics3ImageProcessor", "do_convert_rgb": True, "do_image_splitting": True,
                 "do_normalize": True, "do_pad": True, "do_rescale": True, "do_resize": True,
                 "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "max_image_size": {"longest_edge": 24},
                 "resample": 1, "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 48}},
    "llava": {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 20, "width": 20},
              "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
              "image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711],
              "resample": 3, "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 20}},
}


def user(*parts):
    return {"role": "user", "content": [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]}


def cases(names):
    a, b = names[:2]
    yield {"images": [a], "prompt": "<image>What is it?"}
    yield {"images": [b], "prompt": "Before <image> and after"}
    yield {"images": [a, b], "prompt": "<image><image>\nboth"}
    yield {"images": [a], "messages": [user(None, "What is it?")]}
    yield {"images": [a, b], "messages": [user("One", None), {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
                                          user(None, "and this?")]}
    yield {"images": [], "messages": [user("No image at all")]}


def write_marks(path, marks):
    write_tokenizer(path)
    tokenizer = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    first = len(tokenizer["model"]["vocab"])
    tokenizer["added_tokens"] += [{**tokenizer["added_tokens"][0], "id": first + i, "content": text} for i, text in enumerate(marks)]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, separators=(",", ":"))


def processor_of(name, folder, config):
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), bos_token="<s>",
                                                     eos_token="</s>", unk_token="<unk>", pad_token="<unk>")
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    vision, template = config["vision_config"], TEMPLATES[name]
    side = vision["image_size"] // vision["patch_size"]
    if name == "llava":
        return transformers.LlavaProcessor(images, tokenizer, patch_size=vision["patch_size"], chat_template=template,
                                           vision_feature_select_strategy="default", num_additional_image_tokens=1)
    return transformers.Idefics3Processor(images, tokenizer, image_seq_len=(side // config["scale_factor"]) ** 2,
                                          chat_template=template)


def answer(processor, model, case):
    pictures = [ImageOps.exif_transpose(Image.open(IMAGES / name)).convert("RGB") for name in case["images"]]
    text = case.get("prompt") or processor.apply_chat_template(case["messages"], add_generation_prompt=True)
    inputs = processor(images=pictures or None, text=text, return_tensors="pt")
    ids = inputs["input_ids"]
    letters = set(processor.tokenizer.convert_tokens_to_ids([chr(i) for i in range(0x21, 0x7f)]))
    inputs = {key: value for key, value in inputs.items() if key in ("input_ids", "attention_mask", "pixel_values", "pixel_attention_mask")}
    out = model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0,
                         suppress_tokens=[i for i in range(model.config.text_config.vocab_size) if i not in letters])
    return {**case, "prompt_tokens": ids.shape[1],
            "tokens": out[0, ids.shape[1]:].tolist(),
            "text": processor.tokenizer.decode(out[0, ids.shape[1]:], skip_special_tokens=True)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    names = ["progressive.jpg", "lossless.webp"]
    for name in MARKS:
        network, serve = os.path.join(args.out, name), os.path.join(args.out, name, "serve")
        os.makedirs(serve, exist_ok=True)
        write_marks(os.path.join(serve, "tokenizer.json"), MARKS[name])
        write_json(os.path.join(serve, "preprocessor_config.json"), PREPROCESSORS[name])
        pathlib.Path(serve, "chat_template.jinja").write_text(TEMPLATES[name], encoding="utf-8")
        with tempfile.TemporaryDirectory() as folder:
            for source in (network, serve):
                for path in pathlib.Path(source).iterdir():
                    if path.is_file():
                        shutil.copy(path, folder)
            config = json.loads(pathlib.Path(folder, "config.json").read_text())
            model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            model.generation_config.eos_token_id = None
            processor = processor_of(name, folder, config)
            found = [answer(processor, model, case) for case in cases(names)]
        write_json(os.path.join(serve, "answers.json"), found)
        print(name, [(case["prompt_tokens"], case["text"][:20]) for case in found])


if __name__ == "__main__":
    main()
