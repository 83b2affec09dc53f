#!/usr/bin/env python3
"""Images, and what PIL and `transformers` make of them: tests/fixtures/image/.

    make_image_fixtures.py --out tests/fixtures/image [decode|bad|resize|processors ...]

Needs pillow and numpy; `processors` needs transformers (and torch) too. No network. The parts:

decode       files of each format, and decode.tsv: name, width, height and CRC-32 of the pixels of
             exif_transpose(Image.open(file)).convert("RGB").
bad          files that are to be refused; tests/unit/image/test_decode.c has the sentences.
resize       resize.tsv: sizes, filters and the CRC-32 of what PIL makes of a picture of random numbers.
processors   processors.json: configurations, sizes, and what the processors of transformers make of them.
"""
import argparse
import io
import pathlib
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

SEED = 7


def picture(width, height, channels=3, seed=SEED):
    """Smooth colours with some noise: what both codecs and filters have work with."""
    random = np.random.default_rng(seed + width * 1009 + height)
    y, x = np.mgrid[0:height, 0:width]
    waves = [np.sin(x / (5 + c) + c) * np.cos(y / (7 - c) + 2 * c) * 90 + 128 for c in range(channels)]
    noise = random.normal(0, 12, (height, width, channels))
    return np.clip(np.stack(waves, -1) + noise, 0, 255).astype(np.uint8)


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, depth, colour, rows, *before, interlace=0, after=b""):
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(before) + chunk(b"IDAT", zlib.compress(rows, 9)) + after +
            chunk(b"IEND", b""))


def interlaced(width, height, pixel_bytes, pixels):
    """Rows of Adam7's seven passes, each with filter 0."""
    rows = b""
    for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)):
        for y in range(y0, height, dy):
            row = b"".join(pixels(x, y) for x in range(x0, width, dx))
            if row:
                assert len(row) % pixel_bytes == 0
                rows += b"\0" + row
    return rows


def plain_rows(array):
    return b"".join(b"\0" + row.tobytes() for row in array)


def exif(orientation, big=False, kind=3):
    order = ">" if big else "<"
    value = struct.pack(order + ("HH" if kind == 3 else "I"), *((orientation, 0) if kind == 3 else (orientation,)))
    entries = [struct.pack(order + "HHI", 0x100, 4, 1) + struct.pack(order + "I", 9), struct.pack(order + "HHI", 0x112, kind, 1) + value]
    return (b"MM\0*" if big else b"II*\0") + struct.pack(order + "IH", 8, len(entries)) + b"".join(entries) + b"\0\0\0\0"


def saved(image, kind, **options):
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def jpegs():
    colours = Image.fromarray(picture(61, 47))
    for name, sampling in (("444", "4:4:4"), ("422", "4:2:2"), ("420", "4:2:0"), ("411", "4:1:1")):
        yield f"sampling_{name}.jpg", saved(colours, "JPEG", quality=80, subsampling=sampling)
    yield "progressive.jpg", saved(colours, "JPEG", quality=70, progressive=True)
    yield "restarts.jpg", saved(colours, "JPEG", quality=70, restart_marker_blocks=3)
    yield "grey.jpg", saved(Image.fromarray(picture(33, 21, 1)[..., 0]), "JPEG")
    yield "one_pixel.jpg", saved(Image.fromarray(picture(1, 1)), "JPEG")
    yield "narrow.jpg", saved(Image.fromarray(picture(3, 50)), "JPEG", subsampling="4:2:0")
    inks = Image.fromarray(picture(40, 25, 4), "CMYK")
    cmyk = saved(inks, "JPEG", quality=90)
    yield "cmyk.jpg", cmyk
    at = cmyk.index(b"Adobe") + 11  # its transform: 2 reads the same numbers as YCCK
    yield "ycck.jpg", cmyk[:at] + b"\2" + cmyk[at + 1:]
    yield "rgb_stored.jpg", saved(colours, "JPEG", quality=80, keep_rgb=True)
    yield "profile.jpg", saved(colours, "JPEG", quality=60, icc_profile=b"not a profile" * 20)
    yield "twelve_tails.jpg", saved(colours, "JPEG", quality=40) + b"what follows the end is nobody's" * 12
    for orientation in range(1, 9):
        yield f"held_{orientation}.jpg", saved(Image.fromarray(picture(13, 9)), "JPEG", quality=90, subsampling="4:4:4",
                                               exif=b"Exif\0\0" + exif(orientation, big=orientation % 2))
    small = Image.fromarray(picture(13, 9))
    yield "held_9.jpg", saved(small, "JPEG", exif=b"Exif\0\0" + exif(9))
    yield "held_long.jpg", saved(small, "JPEG", exif=b"Exif\0\0" + exif(6, kind=4))
    yield "held_cut.jpg", saved(small, "JPEG", exif=b"Exif\0\0" + exif(6)[:30])


def pngs():
    colours = picture(29, 19)
    for name, mode, channels in (("grey", "L", 1), ("grey_alpha", "LA", 2), ("colour", "RGB", 3), ("colour_alpha", "RGBA", 4)):
        yield f"{name}.png", saved(Image.fromarray(picture(29, 19, channels).squeeze(), mode), "PNG")
    yield "palette.png", saved(Image.fromarray(colours).quantize(200), "PNG")
    yield "palette_clear.png", saved(Image.fromarray(colours).quantize(16), "PNG", transparency=bytes(range(16)))
    for bits in (1, 2, 4):
        yield f"palette_{bits}.png", saved(Image.fromarray(colours).quantize(2 ** bits), "PNG", bits=bits)
        packed = np.random.default_rng(bits).integers(0, 256, (19, (29 * bits + 7) // 8), dtype=np.uint8)
        yield f"grey_{bits}.png", png(29, 19, bits, 0, plain_rows(packed))
    yield "palette_short.png", png(16, 2, 8, 3, plain_rows(np.arange(32, dtype=np.uint8).reshape(2, 16)), chunk(b"PLTE", bytes(range(60))))
    deep = np.random.default_rng(1).integers(0, 65536, (9, 11, 4)).astype(">u2")
    for name, colour, channels in (("grey", 0, 1), ("grey_alpha", 4, 2), ("colour", 2, 3), ("colour_alpha", 6, 4)):
        yield f"deep_{name}.png", png(11, 9, 16, colour, plain_rows(deep[..., :channels]))
    few = (deep[..., :1] >> 6).astype(">u2")
    yield "deep_grey_dark.png", png(11, 9, 16, 0, plain_rows(few))
    yield "deep_grey_interlaced.png", png(11, 9, 16, 0, interlaced(11, 9, 2, lambda x, y: few[y, x].tobytes()), interlace=1)
    yield "interlaced.png", png(29, 19, 8, 2, interlaced(29, 19, 3, lambda x, y: colours[y, x].tobytes()), interlace=1)
    yield "interlaced_tiny.png", png(2, 1, 8, 2, interlaced(2, 1, 3, lambda x, y: colours[y, x].tobytes()), interlace=1)
    yield "clear_colour.png", png(29, 19, 8, 2, plain_rows(colours), chunk(b"tRNS", b"\0\1\0\2\0\3"))
    yield "gamma.png", png(29, 19, 8, 2, plain_rows(colours), chunk(b"gAMA", struct.pack(">I", 100000)))
    yield "held_before.png", png(29, 19, 8, 2, plain_rows(colours), chunk(b"eXIf", exif(6)))
    yield "held_after.png", png(29, 19, 8, 2, plain_rows(colours), after=chunk(b"eXIf", exif(8, big=True)))
    yield "no_end.png", png(29, 19, 8, 2, plain_rows(colours))[:-12]
    frames = [Image.fromarray(picture(12, 8, seed=s)) for s in range(3)]
    yield "animation.png", saved(frames[0], "PNG", save_all=True, append_images=frames[1:])


def webps():
    colours = Image.fromarray(picture(45, 31))
    alpha = Image.fromarray(picture(45, 31, 4))
    yield "lossy.webp", saved(colours, "WEBP", quality=70)
    yield "lossless.webp", saved(colours, "WEBP", lossless=True)
    yield "lossy_alpha.webp", saved(alpha, "WEBP", quality=80)
    yield "lossless_alpha.webp", saved(alpha, "WEBP", lossless=True, exact=True)
    yield "held.webp", saved(colours, "WEBP", quality=50, exif=b"Exif\0\0" + exif(6))
    yield "held_bare.webp", saved(colours, "WEBP", quality=50, exif=exif(5, big=True))
    yield "one_pixel.webp", saved(Image.fromarray(picture(1, 1)), "WEBP", lossless=True)


def decode(out):
    lines = []
    for name, data in (*jpegs(), *pngs(), *webps()):
        (out / "decode" / name).write_bytes(data)
        image = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
        lines.append(f"{name}\t{image.width}\t{image.height}\t{zlib.crc32(image.tobytes()):08x}\n")
    (out / "decode.tsv").write_text("".join(lines))


def bad(out):
    colours = picture(29, 19)
    whole = png(29, 19, 8, 2, plain_rows(colours))
    jpeg = saved(Image.fromarray(colours), "JPEG")
    webp = saved(Image.fromarray(colours), "WEBP")
    frames = [Image.fromarray(picture(12, 8, seed=s)) for s in range(3)]
    size = jpeg.index(b"\xff\xc0") + 5
    many = saved(Image.fromarray(picture(16, 16, 1)[..., 0]), "JPEG", progressive=True)
    scan = many.index(b"\xff\xda")
    files = {
        "empty.png": b"",
        "text.png": b"This is no image.",
        "picture.gif": saved(Image.fromarray(colours).quantize(8), "GIF"),
        "page.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "bomb_60000.png": png(60000, 60000, 1, 0, b"\0" * 1000),
        "bomb_pixels.png": png(16000, 16000, 1, 0, b"\0" * 1000),
        "bomb_chunk.png": png(29, 19, 8, 2, plain_rows(colours), chunk(b"zTXt", b"k\0\0" + zlib.compress(b"\0" * (16 << 20)))) [:-40],
        "no_width.png": png(0, 19, 8, 2, b""),
        "cut.png": whole[:200],
        "no_pixels.png": whole[:33] + chunk(b"IEND", b""),
        "wrong_sum.png": whole[:50] + bytes([whole[50] ^ 1]) + whole[51:],
        "no_palette.png": png(4, 4, 8, 3, b"\0\1\2\3\4" * 4),
        "strange_depth.png": png(4, 4, 3, 2, b"\0" * 40),
        "cut.jpg": jpeg[:-200],
        "no_end.jpg": jpeg[:-2],
        "no_tables.jpg": b"\xff\xd8" + jpeg[jpeg.index(b"\xff\xc0"):],
        "tall.jpg": jpeg[:size] + struct.pack(">HH", 65500, 29) + jpeg[size + 4:],
        "twelve_bits.jpg": jpeg[:size - 1] + b"\x0c" + jpeg[size:],
        "two_components.jpg": b"\xff\xd8" + b"\xff\xc0" + struct.pack(">HBHHB", 14, 8, 8, 8, 2) + b"\1\x11\0\2\x11\0" + b"\xff\xda\0\x0a\2\1\0\2\0\0\x3f\0\xff\xd9",
        "many_scans.jpg": many[:scan] + many[scan:scan + 14] * 200 + many[scan:],
        "animation.webp": saved(frames[0], "WEBP", save_all=True, append_images=frames[1:]),
        "cut.webp": webp[:-100],
        "malformed.webp": webp[:23] + b"\0\0\0" + webp[26:],
        "head.webp": b"RIFF\x04\0\0\0WEBP",
    }
    for name, data in files.items():
        (out / "bad" / name).write_bytes(data)


def resize(out):
    """Of a picture of random bytes (a generator that C has too), by each filter in turn, to odd sizes."""
    random = np.random.default_rng(SEED)
    lines = []
    for case in range(200):
        width, height = (int(n) for n in random.integers(1, 200, 2))
        to_width, to_height = (int(n) for n in random.integers(1, 150, 2))
        to_width = width if case % 17 == 3 else to_width
        to_height = height if case % 13 == 5 else to_height
        if case % 40 == 7:
            width, height, to_width, to_height = 1, 1000 + case, 31, 7
        image = Image.fromarray(random_bytes(width * height * 3, case).reshape(height, width, 3))
        resized = image.resize((to_width, to_height), resample=case % 6)
        lines.append(f"{case}\t{case % 6}\t{width}\t{height}\t{to_width}\t{to_height}\t{zlib.crc32(resized.tobytes()):08x}\n")
    (out / "resize.tsv").write_text("".join(lines))


# Configurations as they are published, made small where only the arithmetic matters; sizes are width and height.
PROCESSORS = [
    ({"image_processor_type": "CLIPImageProcessor"}, [(300, 200), (224, 224), (37, 501)]),
    ({"image_processor_type": "CLIPImageProcessorFast", "size": 61, "crop_size": 50, "resample": 2}, [(100, 61), (61, 100), (7, 300), (55, 59)]),
    ({"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 40}, "crop_size": {"height": 57, "width": 31}}, [(90, 60), (40, 40), (30, 91)]),
    ({"image_processor_type": "CLIPImageProcessor", "do_resize": False, "crop_size": {"height": 33, "width": 48}}, [(90, 60), (20, 21), (47, 34), (48, 33)]),
    ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False, "size": {"height": 40, "width": 30}, "do_normalize": False}, [(90, 60)]),
    ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False, "do_rescale": False, "size": {"max_height": 40, "max_width": 64}}, [(90, 60), (20, 11)]),
    ({"image_processor_type": "CLIPImageProcessor", "do_center_crop": False, "size": {"shortest_edge": 40, "longest_edge": 70}}, [(90, 60), (200, 31), (31, 200), (40, 64)]),
    ({"image_processor_type": "CLIPImageProcessor", "image_mean": 0.25, "image_std": 0.75, "rescale_factor": 0.01, "size": 30, "crop_size": 30}, [(90, 60)]),
    ({"image_processor_type": "SiglipImageProcessor", "size": {"height": 96, "width": 96}, "resample": 2}, [(90, 60), (300, 301), (96, 96)]),
    ({"image_processor_type": "ViTImageProcessor", "size": 48}, [(90, 60)]),
    ({"image_processor_type": "LlavaImageProcessor", "do_pad": True, "size": {"shortest_edge": 56}, "crop_size": 56}, [(90, 60), (61, 90), (80, 80)]),
    ({"image_processor_type": "LlavaImageProcessor", "size": {"shortest_edge": 56}, "crop_size": 56}, [(90, 60)]),
    ({"image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": 42}, "crop_size": {"height": 42, "width": 42},
      "image_grid_pinpoints": [[42, 84], [84, 42], [84, 84], [126, 42], [42, 126]]}, [(90, 60), (200, 61), (50, 177), (20, 20), (84, 84), (333, 332)]),
    ({"image_processor_type": "LlavaNextImageProcessorFast", "size": {"shortest_edge": 30}, "crop_size": 40, "image_grid_pinpoints": [[40, 80], [80, 80]]},
     [(90, 60), (50, 177)]),
    ({"image_processor_type": "Idefics3ImageProcessor", "size": {"longest_edge": 256}, "max_image_size": {"longest_edge": 64}},
     [(90, 60), (60, 91), (300, 299), (1000, 17), (64, 64), (5, 5)]),
    ({"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}}, [(700, 530)]),
    ({"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 130}, "max_image_size": {"longest_edge": 48}, "do_image_splitting": False},
     [(90, 60), (20, 200)]),
    ({"image_processor_type": "SmolVLMImageProcessorFast", "size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 48}}, [(90, 60), (20, 200)]),
    ({"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 50176}, [(90, 60), (300, 500), (28, 28), (900, 5)]),
    ({"image_processor_type": "Qwen2VLImageProcessorFast", "size": {"shortest_edge": 784, "longest_edge": 40000}, "patch_size": 14, "merge_size": 2,
      "temporal_patch_size": 2}, [(90, 60), (30, 31), (400, 4)]),
    ({"image_processor_type": "Qwen2VLImageProcessor", "size": {"shortest_edge": 1024, "longest_edge": 65536}, "patch_size": 16, "merge_size": 3,
      "temporal_patch_size": 1}, [(150, 97)]),
    ({"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}, "do_pan_and_scan": None}, [(90, 60), (400, 60)]),
    ({"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 56, "width": 56}, "do_pan_and_scan": True, "pan_and_scan_min_crop_size": 32,
      "pan_and_scan_max_num_crops": 4, "pan_and_scan_min_ratio_to_activate": 1.2}, [(90, 60), (401, 60), (61, 150), (60, 60), (70, 60), (33, 35)]),
    ({"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 128}, "patch_size": {"height": 16, "width": 16}},
     [(90, 60), (301, 200), (128, 128), (129, 17), (40, 900)]),
    ({"image_processor_type": "PixtralImageProcessor", "size": {"height": 100, "width": 150}, "patch_size": 14}, [(301, 200)]),
]

# Of which only the sizes are looked at, over many pictures.
PLANS = [
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 336}, "do_center_crop": False},
    {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 336, "longest_edge": 700}, "do_center_crop": False},
    {"image_processor_type": "CLIPImageProcessor", "size": {"max_height": 336, "max_width": 470}, "do_center_crop": False},
    {"image_processor_type": "LlavaNextImageProcessor", "size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336},
     "image_grid_pinpoints": [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]},
    {"image_processor_type": "Idefics3ImageProcessor", "size": {"longest_edge": 1456}, "max_image_size": {"longest_edge": 364}},
    {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 2048}, "max_image_size": {"longest_edge": 512}},
    {"image_processor_type": "SmolVLMImageProcessor", "size": {"longest_edge": 5000}, "max_image_size": {"longest_edge": 512}},
    {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 3136, "max_pixels": 12845056},
    {"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 200704, "max_pixels": 1003520},
    {"image_processor_type": "Gemma3ImageProcessor", "size": {"height": 896, "width": 896}, "do_pan_and_scan": True, "pan_and_scan_min_crop_size": 256,
     "pan_and_scan_max_num_crops": 4, "pan_and_scan_min_ratio_to_activate": 1.2},
    {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 1024}, "patch_size": {"height": 16, "width": 16}},
    {"image_processor_type": "PixtralImageProcessor", "size": {"longest_edge": 1540}, "patch_size": {"height": 14, "width": 14}},
]


def processor_of(config):
    import importlib
    kind = config["image_processor_type"].replace("Fast", "").replace("ImageProcessor", "")
    folder = {"LlavaNext": "llava_next", "Qwen2VL": "qwen2_vl"}.get(kind, kind.lower())
    module = importlib.import_module(f"transformers.models.{folder}.image_processing_pil_{folder}")
    return getattr(module, f"{kind}ImageProcessorPil")(**{name: value for name, value in config.items() if name != "image_processor_type"})


def processed(processor, kind, picture):
    """The numbers, how many tiles, and the rows and columns of those beside the whole."""
    options = {"return_row_col_info": True} if kind.startswith(("Idefics3", "SmolVLM")) else {}
    made = processor.preprocess(picture, return_tensors="np", **options)
    values = np.asarray(made["pixel_values"], np.float32)
    if "rows" in made:
        return values[0], len(values[0]), int(made["rows"][0][0]), int(made["cols"][0][0])
    if "image_grid_thw" in made:
        return values, 1, int(made["image_grid_thw"][0][1]), int(made["image_grid_thw"][0][2])
    if kind.startswith("LlavaNext"):
        return values[0], len(values[0]), 0, 0
    return values, len(values), 0, 0


def processors(out):
    import json
    import transformers.image_processing_backends as backends
    exact = []
    for config, sizes in PROCESSORS:
        processor, cases = processor_of(config), []
        for width, height in sizes:
            pixels = random_bytes(width * height * 3, width * 7 + height).reshape(height, width, 3)
            values, tiles, rows, columns = processed(processor, config["image_processor_type"], Image.fromarray(pixels))
            cases.append([width, height, tiles, rows, columns, values.size, zlib.crc32(np.ascontiguousarray(values).tobytes())])
        exact.append({"config": config, "cases": cases})
    backends.np_resize = lambda image, size, **_: np.zeros((3, *size), np.uint8)  # sizes alone
    random, plans = np.random.default_rng(SEED), []
    for config in PLANS:
        processor, cases = processor_of({**config, "do_rescale": False, "do_normalize": False}), []
        while len(cases) < 60:
            width, height = (int(2 ** n) for n in random.uniform(2, 11.5, 2))
            if max(width, height) > 30 * min(width, height):
                continue
            values, tiles, rows, columns = processed(processor, config["image_processor_type"], Image.new("RGB", (width, height)))
            cases.append([width, height, tiles, rows, columns, *(values.shape[-2:])])
        plans.append({"config": config, "cases": cases})
    lists = [", ".join(f"{json.dumps(name)}: [\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]" for name, rows in (("exact", exact), ("plans", plans)))]
    (out / "processors.json").write_text("{" + lists[0] + "}\n")


def random_bytes(count, seed):
    """The upper bytes of a linear congruential generator modulo 2^32."""
    state, values = (seed * 2654435761 + 12345) % 2**32, bytearray(count)
    for i in range(count):
        state = (state * 1664525 + 1013904223) % 2**32
        values[i] = state >> 24
    return np.frombuffer(bytes(values), np.uint8)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("parts", nargs="*", default=["decode", "bad"])
    arguments = parser.parse_args()
    for part in arguments.parts:
        if part in ("decode", "bad"):
            (arguments.out / part).mkdir(parents=True, exist_ok=True)
        globals()[part](arguments.out)


if __name__ == "__main__":
    main()
