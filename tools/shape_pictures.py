"""Pictures of coloured shapes, each from a number, and questions about them: what train_shapes.py teaches a model from,
and what tests ask it. Needs pillow and numpy; another version of them may round some pixels otherwise.

A picture has one to four copies of one shape in one colour, turned, of several sizes, on ground that runs from one dull
colour to another, with noise, as JPEG, PNG or WebP.
"""
import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw

COLOURS = {"red": (212, 36, 40), "orange": (242, 134, 24), "yellow": (244, 222, 40), "green": (44, 160, 60),
           "blue": (40, 76, 212), "purple": (142, 56, 176), "white": (248, 248, 248), "black": (14, 14, 14)}
SHAPES = ("circle", "square", "triangle", "star", "cross", "ring")
COUNTS = ("one", "two", "three", "four")
QUESTIONS = {
    "shape": ("What shape is it?", "Which shape do you see?", "What shape is in the picture?"),
    "colour": ("What colour is it?", "Which colour do you see?", "What color is it?"),
    "count": ("How many shapes are there?", "How many are there?"),
    "all": ("What is in the picture?", "Describe the picture."),
}
UNSEEN = 1 << 32  # numbers from here on are of pictures that no model is taught
FINE = 3  # pixels of the drawing a side of one of the picture


def answer_of(kind, facts):
    shape, colour, count = facts["shape"], facts["colour"], facts["count"]
    if kind != "all":
        return facts[kind]
    article = "an" if colour == "orange" else "a"
    return f"{article} {colour} {shape}" if count == "one" else f"{count} {colour} {shape}{'es' if shape == 'cross' else 's'}"


def corners(shape, turn):
    """Of the shape in a circle of radius 1."""
    def around(radii, first=0.0):
        step = 2 * math.pi / len(radii)
        return [(r * math.cos(first + turn + i * step), r * math.sin(first + turn + i * step)) for i, r in enumerate(radii)]
    if shape == "cross":
        arm = 0.3
        points = [(1, arm), (arm, arm), (arm, 1), (-arm, 1), (-arm, arm), (-1, arm), (-1, -arm), (-arm, -arm), (-arm, -1),
                  (arm, -1), (arm, -arm), (1, -arm)]
        return [(x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)) for x, y in points]
    return around({"square": [1] * 4, "triangle": [1] * 3, "star": [1, 0.42] * 5}[shape])


def shape_draw(draw, shape, x, y, radius, turn):
    if shape in ("circle", "ring"):
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
        if shape == "ring":
            hole = radius * 0.58
            draw.ellipse((x - hole, y - hole, x + hole, y + hole), fill=0)
    else:
        draw.polygon([(x + radius * a, y + radius * b) for a, b in corners(shape, turn)], fill=255)


def places(rng, count, width, height):
    """Centres and radii of shapes that do not touch."""
    side = min(width, height)
    while True:
        found = []
        for _ in range(40 * count):
            radius = side * (rng.uniform(0.17, 0.44) if count == 1 else rng.uniform(0.12, 0.22))
            x, y = (rng.uniform(radius * 1.05, extent - radius * 1.05) for extent in (width, height))
            if all(math.hypot(x - u, y - v) > (radius + r) * 1.08 for u, v, r in found):
                found.append((x, y, radius))
            if len(found) == count:
                return found


def ground(rng, width, height, colour):
    """From one dull colour to another, along some direction; none of them is near the shapes' colour."""
    ends = []
    while len(ends) < 2:
        grey, tint = rng.uniform(10, 245), [rng.uniform(-28, 28) for _ in range(3)]
        end = np.clip([grey + t for t in tint], 0, 255)
        if math.dist(end, colour) > 110 and (not ends or math.dist(end, ends[0]) < 130):
            ends.append(end)
    angle = rng.uniform(0, 2 * math.pi)
    y, x = np.mgrid[0:height, 0:width]
    along = (x / width - 0.5) * math.cos(angle) + (y / height - 0.5) * math.sin(angle)
    along = np.clip(along / 1.42 + 0.5, 0, 1)[..., None]
    return ends[0] * (1 - along) + ends[1] * along


def picture_make(number):
    """An image of PIL, and what is in it."""
    rng = random.Random(number)
    facts = {"shape": rng.choice(SHAPES), "colour": rng.choice(list(COLOURS)),
             "count": COUNTS[rng.choices(range(4), (4, 2, 2, 2))[0]]}
    height = rng.randint(72, 320)
    width = min(max(72, int(height * rng.uniform(0.7, 1.45))), 400)
    colour = np.clip([c + rng.uniform(-14, 14) for c in COLOURS[facts["colour"]]], 0, 255)
    mask = Image.new("L", (width * FINE, height * FINE))
    draw = ImageDraw.Draw(mask)
    for x, y, radius in places(rng, COUNTS.index(facts["count"]) + 1, width, height):
        shape_draw(draw, facts["shape"], x * FINE, y * FINE, radius * FINE, rng.uniform(0, 2 * math.pi))
    cover = np.asarray(mask.resize((width, height), Image.Resampling.BOX), dtype=np.float64)[..., None] / 255
    pixels = ground(rng, width, height, colour) * (1 - cover) + colour * cover
    noise = np.random.default_rng(number).normal(0, rng.uniform(0, 9), pixels.shape)
    return Image.fromarray(np.clip(pixels + noise + 0.5, 0, 255).astype(np.uint8)), facts


def picture_file(number):
    """Bytes of a file, its MIME type, and what is in the picture."""
    image, facts = picture_make(number)
    rng, file = random.Random(number + 1), io.BytesIO()
    kind = rng.choice(("jpeg", "jpeg", "png", "webp"))
    image.save(file, kind, **({} if kind == "png" else {"quality": rng.randint(55, 95)}))
    return file.getvalue(), "image/" + kind, facts
