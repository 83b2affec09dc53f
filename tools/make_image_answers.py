#!/usr/bin/env python3
"""What `transformers` answers to prompts with images: its processors and its greedy tokens, of the tiny networks of
make_vision_fixtures.py with a tokenizer that has the marks of images.

    make_image_answers.py --out tests/fixtures/vision [NAME ...]      needs torch, transformers, numpy, PIL; no network

Written to DIR/NAME/serve/: tokenizer.json, preprocessor_config.json, chat_template.jinja, and

    answers.json   a list of cases: "images" (names of tests/fixtures/image/decode) and their "sizes" (width, height),
                   "prompt" (a text) or "messages", "ids" of the whole prompt and "prompt_tokens", their number, "places" on
                   three axes or "types" (1: of an image, Gemma 3) of these tokens, "tokens" (24 greedy ones, of "!" to "~"
                   alone) and their "text"
    tokenizer_config.json    where the template names its tokens
    ../gguf/answers.json    the same of LLaVA 1.5 where its pictures are padded to squares, as its pair of GGUF files has it
    config.json    where the network's pictures are to be cut otherwise than in its own fixture
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
from unittest import mock

import torch
import transformers
from PIL import Image, ImageOps

from make_model_fixtures import write_json, write_tokenizer

IMAGES = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/image/decode"
TOKENS = 24
SPECIAL = ["<a>", "<b>", "<c>", "<d>", "<e>", "<f>", "<g>"]


def template(*lines):
    return "".join(lines)


# Idefics3's own, LLaVA-1.5's and LLaVA-NeXT's, Qwen2-VL's without films, Gemma 3's, Pixtral's whose answers may be parts too.
IDEFICS3_TEMPLATE = template(
    "{% for message in messages %}{{message['role'] | capitalize}}{% if message['content'][0]['type'] == 'image' %}"
    "{{':'}}{% else %}{{': '}}{% endif %}{% for line in message['content'] %}{% if line['type'] == 'text' %}"
    "{{line['text']}}{% elif line['type'] == 'image' %}{{ '<image>' }}{% endif %}{% endfor %}<end_of_utterance>\n"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}")
LLAVA_TEMPLATE = template(
    "{% for message in messages %}{% if message['role'] != 'system' %}{{ message['role'].upper() + ': '}}{% endif %}"
    "{# Render all images first #}{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}"
    "{{ '<image>\n' }}{% endfor %}{# Render all text next #}{% if message['role'] != 'assistant' %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] + ' '}}"
    "{% endfor %}{% else %}{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}"
    "{% generation %}{{ content['text'] + ' '}}{% endgeneration %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}")
LLAVA_NEXT_TEMPLATE = template(
    "{% for message in messages %}{% if message['role'] == 'system' %}{{ '<<SYS>>\n' + message['content'][0]['text'] + '\n<</SYS>>\n\n' }}"
    "{% elif message['role'] == 'user' %}{{ '[INST] ' }}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'image') %}{{ '<image>\n' }}{% endfor %}"
    "{% for content in message['content'] | selectattr('type', 'equalto', 'text') %}{{ content['text'] }}{% endfor %}{{' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + message['content'][0]['text'] + '</s> '}}"
    "{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}")
QWEN_TEMPLATE = template(
    "{% set image_count = namespace(value=0) %}{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}{{ message['content'] }}<|im_end|>\n{% else %}"
    "{% for content in message['content'] %}"
    "{% if content['type'] == 'image' or 'image' in content or 'image_url' in content %}"
    "{% set image_count.value = image_count.value + 1 %}{% if add_vision_id %}Picture {{ image_count.value }}: {% endif %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% elif 'text' in content %}{{ content['text'] }}{% endif %}{% endfor %}"
    "<|im_end|>\n{% endif %}{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")
GEMMA3_TEMPLATE = template(
    "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- if messages[0]['content'] is string -%}\n"
    "        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- else -%}\n"
    "        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}\n    {%- endif -%}\n"
    "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n"
    "    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n"
    "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}\n"
    "        {{ raise_exception(\"Conversation roles must alternate user/assistant/user/assistant/...\") }}\n    {%- endif -%}\n"
    "    {%- if (message['role'] == 'assistant') -%}\n        {%- set role = \"model\" -%}\n    {%- else -%}\n"
    "        {%- set role = message['role'] -%}\n    {%- endif -%}\n"
    "    {{ '<start_of_turn>' + role + '\n' + (first_user_prefix if loop.first else \"\") }}\n"
    "    {%- if message['content'] is string -%}\n        {{ message['content'] | trim }}\n"
    "    {%- elif message['content'] is iterable -%}\n        {%- for item in message['content'] -%}\n"
    "            {%- if item['type'] == 'image' -%}\n                {{ '<start_of_image>' }}\n"
    "            {%- elif item['type'] == 'text' -%}\n                {{ item['text'] | trim }}\n            {%- endif -%}\n"
    "        {%- endfor -%}\n    {%- else -%}\n        {{ raise_exception(\"Invalid content type\") }}\n    {%- endif -%}\n"
    "    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n")
PIXTRAL_TEMPLATE = template(
    "{{- bos_token }}\n{%- for message in messages %}\n"
    "    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}\n"
    "        {{- raise_exception('After the optional system message, conversation roles must alternate user/assistant/user/assistant/...') }}\n"
    "    {%- endif %}\n    {%- if message[\"role\"] == \"user\" %}\n        {{- \"[INST]\" }}\n"
    "        {%- if message[\"content\"] is not string %}\n            {%- for chunk in message[\"content\"] %}\n"
    "                {%- if chunk[\"type\"] == \"text\" %}\n                    {{- chunk[\"text\"] }}\n"
    "                {%- elif chunk[\"type\"] == \"image\" %}\n                    {{- \"[IMG]\" }}\n                {%- else %}\n"
    "                    {{- raise_exception(\"Unrecognized content type!\") }}\n                {%- endif %}\n"
    "            {%- endfor %}\n        {%- else %}\n            {{- message[\"content\"] }}\n        {%- endif %}\n"
    "        {{- \"[/INST]\" }}\n    {%- elif message[\"content\"] is string %}\n        {{- message[\"content\"] + eos_token}}\n"
    "    {%- else %}\n        {{- message[\"content\"][0][\"text\"] + eos_token}}\n    {%- endif %}\n{%- endfor %}\n")

CLIP_COLOURS = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
HALF_COLOURS = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
ALWAYS = {"do_convert_rgb": True, "do_normalize": True, "do_rescale": True, "do_resize": True,
          "rescale_factor": 0.00392156862745098}
QWEN_PREPROCESSOR = {"image_processor_type": "Qwen2VLImageProcessor", **ALWAYS, **CLIP_COLOURS, "resample": 3, "patch_size": 4,
                     "merge_size": 2, "temporal_patch_size": 2, "min_pixels": 256, "max_pixels": 1600}
QWEN = {"merges": 1,
        "marks": ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
                  "<|image_pad|>"],
        "place": "<|vision_start|><|image_pad|><|vision_end|>", "template": QWEN_TEMPLATE, "preprocessor": QWEN_PREPROCESSOR}
PIXTRAL = {"merges": 1, "marks": ["[INST]", "[/INST]", *SPECIAL[:3], "[IMG]", "[IMG_BREAK]", "[IMG_END]"], "place": "[IMG]",
           "template": PIXTRAL_TEMPLATE}
PIXTRAL_PREPROCESSOR = {"image_processor_type": "PixtralImageProcessor", **ALWAYS, **CLIP_COLOURS, "resample": 3}

# draw: of a network whose tied embeddings would say its last token for ever.
# marks: tokens behind those of the vocabulary, so that the network's own has its number; place: what its processor
# replaces; merges: of line ends, so that what stands beside a picture joins what is written for it; config: of the
# network, where its pictures are to be cut otherwise than in its own fixture.
FAMILIES = {
    "idefics3": {"marks": ["<fake_token_around_image>", "<global-img>", "<row_1_col_1>", "<image>", "<row_1_col_2>",
                           "<row_2_col_1>", "<row_2_col_2>", "<end_of_utterance>"],
                 "place": "<image>", "template": IDEFICS3_TEMPLATE,
                 "preprocessor": {"image_processor_type": "Idefics3ImageProcessor", "do_convert_rgb": True,
                                  "do_image_splitting": True, "do_normalize": True, "do_pad": True, "do_rescale": True,
                                  "do_resize": True, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
                                  "max_image_size": {"longest_edge": 24}, "resample": 1,
                                  "rescale_factor": 0.00392156862745098, "size": {"longest_edge": 48}}},
    "llava": {"marks": ["<a>", "<b>", "<c>", "<d>", "<e>", "<image>"], "place": "<image>", "template": LLAVA_TEMPLATE,
              "padded": {"image_processor_type": "LlavaImageProcessor", "do_pad": True, "size": {"shortest_edge": 20},
                         "crop_size": {"height": 20, "width": 20}, **CLIP_COLOURS},
              "preprocessor": {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 20, "width": 20},
                               "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "do_rescale": True,
                               "do_resize": True, "image_mean": [0.48145466, 0.4578275, 0.40821073],
                               "image_std": [0.26862954, 0.26130258, 0.27577711], "resample": 3,
                               "rescale_factor": 0.00392156862745098, "size": {"shortest_edge": 20}}},
    "llava_next": {"marks": [*SPECIAL[:6], "<image>"], "place": "<image>", "template": LLAVA_NEXT_TEMPLATE, "odd": True,
                   "config": {"image_grid_pinpoints": [[20, 40], [40, 20], [40, 40], [60, 20]]},
                   "preprocessor": {"image_processor_type": "LlavaNextImageProcessor", **ALWAYS, **CLIP_COLOURS,
                                    "crop_size": {"height": 20, "width": 20}, "do_center_crop": True, "do_pad": True,
                                    "resample": 3, "size": {"shortest_edge": 20},
                                    "image_grid_pinpoints": [[20, 40], [40, 20], [40, 40], [60, 20]]}},
    "gemma3": {"merges": 2, "marks": ["<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>",
                                      "<image_soft_token>"],
               "place": "<start_of_image>", "template": GEMMA3_TEMPLATE, "odd": True, "draw": {"repetition_penalty": 50.0},
               "config": {"text_config": {"max_position_embeddings": 320}},
               "preprocessor": {"image_processor_type": "Gemma3ImageProcessor", **ALWAYS, **HALF_COLOURS, "resample": 2,
                                "image_seq_length": 9, "size": {"height": 24, "width": 24}, "do_pan_and_scan": True,
                                "pan_and_scan_min_crop_size": 10, "pan_and_scan_max_num_crops": 3,
                                "pan_and_scan_min_ratio_to_activate": 1.4}},
    "pixtral": {**PIXTRAL, "odd": True, "preprocessor": {**PIXTRAL_PREPROCESSOR, "patch_size": {"height": 4, "width": 4},
                                                         "size": {"longest_edge": 28}}},
    "mistral3": {**PIXTRAL, "odd": True, "preprocessor": {**PIXTRAL_PREPROCESSOR, "patch_size": 4, "size": {"longest_edge": 44}}},
    "qwen2_vl": {**QWEN, "odd": True},
    "qwen2_5_vl": {**QWEN, "odd": True},
}


def user(*parts):
    return {"role": "user", "content": [{"type": "image"} if part is None else {"type": "text", "text": part} for part in parts]}


def cases(names, odd):
    a, b = names[:2]
    yield {"images": [a], "prompt": "<image>What is it?"}
    yield {"images": [b], "prompt": "Before <image> and after"}
    yield {"images": [a, b], "prompt": "<image><image>\nboth"}
    yield {"images": [a], "messages": [user(None, "What is it?")]}
    yield {"images": [a, b], "messages": [user("One", None), {"role": "assistant", "content": [{"type": "text", "text": "yes"}]},
                                          user(None, "and this?")]}
    yield {"images": [], "messages": [user("No image at all")]}
    if odd:  # narrow, of one pixel, turned; and line ends that join what is written for a picture
        yield {"images": ["narrow.jpg", "one_pixel.jpg", "held.webp"], "prompt": "A\n<image>\nB\n\n<image>C<image>"}
        yield {"images": ["grey.jpg", "grey.jpg"], "messages": [user("See\n", None, "\nand", None)]}


def write_marks(path, spec):
    write_tokenizer(path)
    tokenizer = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    vocab, ends = tokenizer["model"]["vocab"], spec.get("merges", 0)
    for n in range(1, ends + 1):  # of "\n" as bytes are written
        vocab["\u010a" * (n + 1)] = len(vocab)
        tokenizer["model"]["merges"].append(["\u010a" * n, "\u010a"])
    first = len(vocab)
    tokenizer["added_tokens"] += [{**tokenizer["added_tokens"][0], "id": first + i, "content": text}
                                  for i, text in enumerate(spec["marks"])]
    with open(path, "w", encoding="utf-8") as file:
        json.dump(tokenizer, file, ensure_ascii=False, separators=(",", ":"))


def merged(config, change):
    return {**config, **{key: merged(config[key], value) if isinstance(value, dict) else value for key, value in change.items()}}


def processors():
    """Processors whose modules ask for torchvision, which their texts and the pictures of the PIL backend do not need."""
    transformers.utils.is_torchvision_available()  # before it is asked for what is put into its place
    for module in ("torchvision", "torchvision.transforms", "torchvision.transforms.v2", "torchvision.transforms.v2.functional"):
        sys.modules.setdefault(module, mock.MagicMock())
    from transformers.models.gemma3.processing_gemma3 import Gemma3Processor
    from transformers.models.pixtral.processing_pixtral import PixtralProcessor
    from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
    from transformers.models.qwen2_vl.processing_qwen2_vl import Qwen2VLProcessor
    return Gemma3Processor, PixtralProcessor, Qwen2VLProcessor, Qwen2_5_VLProcessor


def processor_of(name, folder, config):
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=os.path.join(folder, "tokenizer.json"), bos_token="<s>",
                                                     eos_token="</s>", unk_token="<unk>", pad_token="<unk>",
                                                     extra_special_tokens=named if name == "gemma3" else {})
    images = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
    vision, chat = config["vision_config"], FAMILIES[name]["template"]
    if name == "llava":
        return transformers.LlavaProcessor(images, tokenizer, patch_size=vision["patch_size"], chat_template=chat,
                                           vision_feature_select_strategy="default", num_additional_image_tokens=1)
    if name == "llava_next":
        return transformers.LlavaNextProcessor(images, tokenizer, patch_size=vision["patch_size"], chat_template=chat,
                                               vision_feature_select_strategy="default", num_additional_image_tokens=1)
    if name == "idefics3":
        side = vision["image_size"] // vision["patch_size"]
        return transformers.Idefics3Processor(images, tokenizer, image_seq_len=(side // config["scale_factor"]) ** 2,
                                              chat_template=chat)
    gemma3, pixtral, qwen2, qwen25 = processors()
    with mock.patch.object(transformers.ProcessorMixin, "check_argument_for_proper_class"):  # there are no films
        if name == "gemma3":
            return gemma3(images, tokenizer, image_seq_length=config["mm_tokens_per_image"], chat_template=chat)
        if name in ("pixtral", "mistral3"):
            return pixtral(images, tokenizer, patch_size=vision["patch_size"], chat_template=chat,
                           spatial_merge_size=config.get("spatial_merge_size", 1))
        return (qwen2 if name == "qwen2_vl" else qwen25)(images, tokenizer, None, chat_template=chat)


def inputs_of(name, processor, text, pictures):
    # Gemma 3's processor takes parts of pictures as arguments, whatever its image processor's file says
    file = FAMILIES[name]["preprocessor"]
    pans = {key: value for key, value in file.items() if "pan_and_scan" in key} if pictures else {}
    return processor(images=pictures or None, text=text, return_tensors="pt", **pans)


def answer(name, processor, model, case):
    spec = FAMILIES[name]
    pictures = [ImageOps.exif_transpose(Image.open(IMAGES / image)).convert("RGB") for image in case["images"]]
    text = case["prompt"].replace("<image>", spec["place"]) if "prompt" in case else \
        processor.apply_chat_template(case["messages"], add_generation_prompt=True)
    inputs = inputs_of(name, processor, text, pictures)
    ids = inputs["input_ids"]
    letters = set(processor.tokenizer.convert_tokens_to_ids([chr(i) for i in range(0x21, 0x7f)]))
    places = {}
    if name.startswith("qwen") and pictures:
        found = model.model.get_rope_index(ids, mm_token_type_ids=inputs["mm_token_type_ids"], image_grid_thw=inputs["image_grid_thw"])
        places = {"places": found[0][:, 0].tolist()}
    if name == "gemma3" and pictures:
        places = {"types": inputs["token_type_ids"][0].tolist()}
    out = model.generate(**inputs, max_new_tokens=TOKENS, min_new_tokens=TOKENS, do_sample=False, pad_token_id=0,
                         return_dict_in_generate=True, output_logits=True, **spec.get("draw", {}),
                         suppress_tokens=[i for i in range(model.config.text_config.vocab_size) if i not in letters])
    tokens = out.sequences[0, ids.shape[1]:]
    logs = [torch.log_softmax(logits[0], -1)[token].item() for logits, token in zip(out.logits, tokens)]
    return {**case, "sizes": [list(picture.size) for picture in pictures], "prompt_tokens": ids.shape[1], "ids": ids[0].tolist(),
            **places, **spec.get("draw", {}), "tokens": tokens.tolist(), "logprobs": [round(log, 5) for log in logs],
            "text": processor.tokenizer.decode(tokens, skip_special_tokens=True)}


def write_answers(path, name, folder, config, model, odd):
    processor = processor_of(name, folder, config)
    found = [answer(name, processor, model, case) for case in cases(["progressive.jpg", "lossless.webp"], odd)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("[\n" + ",\n".join(json.dumps(case) for case in found) + "\n]\n")
    print(path, [(case["prompt_tokens"], case["text"][:20]) for case in found])


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("names", nargs="*")
    args = parser.parse_args()
    torch.set_grad_enabled(False)
    for name in args.names or FAMILIES:
        spec = FAMILIES[name]
        network, serve = os.path.join(args.out, name), os.path.join(args.out, name, "serve")
        os.makedirs(serve, exist_ok=True)
        write_marks(os.path.join(serve, "tokenizer.json"), spec)
        write_json(os.path.join(serve, "preprocessor_config.json"), spec["preprocessor"])
        pathlib.Path(serve, "chat_template.jinja").write_text(spec["template"], encoding="utf-8")
        config = merged(json.loads(pathlib.Path(network, "config.json").read_text()), spec.get("config", {}))
        if "bos_token" in spec["template"]:
            write_json(os.path.join(serve, "tokenizer_config.json"), {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"})
        if "config" in spec:
            write_json(os.path.join(serve, "config.json"), config)
        with tempfile.TemporaryDirectory() as folder:
            for source in (network, serve):
                for path in pathlib.Path(source).iterdir():
                    if path.is_file():
                        shutil.copy(path, folder)
            model = transformers.AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
            model.generation_config.eos_token_id = None
            write_answers(os.path.join(serve, "answers.json"), name, folder, config, model, spec.get("odd", False))
            if "padded" in spec:
                write_json(os.path.join(folder, "preprocessor_config.json"), spec["padded"])
                os.makedirs(os.path.join(network, "gguf"), exist_ok=True)
                write_answers(os.path.join(network, "gguf", "answers.json"), name, folder, config, model, True)


if __name__ == "__main__":
    main()
