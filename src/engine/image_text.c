/* The texts are the processors' own, spaces and line ends included. */
#include "engine/image_text.h"

#include "engine/image_tiles.h"

#include <stdio.h>
#include <string.h>

struct image_writer {
  struct slice mark;
  struct buffer *out;
};

static void text_add(const struct image_writer *w, const char *text) { buffer_append(w->out, text, strlen(text)); }

static void marks_add(const struct image_writer *w, int32_t count) {
  for (int32_t i = 0; i < count; i++) buffer_append(w->out, w->mark.data, w->mark.size);
}

static void split_add(const struct image_writer *w, const struct image_text_shape *s) {
  static const char around[] = "<fake_token_around_image>";
  int32_t each = s->lines * s->across;
  for (int32_t y = 1; y <= s->rows; y++) {
    for (int32_t x = 1; x <= s->columns; x++) {
      char place[48];
      snprintf(place, sizeof place, "<row_%d_col_%d>", y, x);
      text_add(w, around);
      text_add(w, place);
      marks_add(w, each);
    }
    text_add(w, "\n");
  }
  if (s->rows > 0) text_add(w, "\n");
  text_add(w, around);
  text_add(w, "<global-img>");
  marks_add(w, each);
  text_add(w, around);
}

static void framed_add(const struct image_writer *w, int32_t count) {
  text_add(w, "\n\n<start_of_image>");
  marks_add(w, count);
  text_add(w, "<end_of_image>\n\n");
}

static void pan_add(const struct image_writer *w, const struct image_text_shape *s) {
  int32_t parts = s->rows * s->columns, each = s->lines * s->across;
  if (parts > 0) text_add(w, "Here is the original image ");
  framed_add(w, each);
  if (parts > 0) text_add(w, " and here are some crops to help you see better ");
  for (int32_t i = 0; i < parts; i++) {
    if (i > 0) text_add(w, " ");
    framed_add(w, each);
  }
}

static void lines_add(const struct image_writer *w, const struct image_text_shape *s) {
  for (int32_t y = 0; y < s->lines; y++) {
    marks_add(w, s->across);
    text_add(w, y + 1 < s->lines ? "[IMG_BREAK]" : "[IMG_END]");
  }
}

void image_text_append(const struct plan *plan, struct slice mark, const struct image_text_shape *shape,
                       struct buffer *out) {
  const struct plan_vision *v = &plan->vision;
  const struct image_writer w = {mark, out};
  const struct image_tiles tiles = {shape->rows, shape->columns, shape->lines, shape->width, shape->height};
  switch (v->text) {
  case TEXT_TILES: marks_add(&w, image_tiles_count(&tiles)); break;
  case TEXT_SPLIT: split_add(&w, shape); break;
  case TEXT_PAN: pan_add(&w, shape); break;
  case TEXT_LINES: lines_add(&w, shape); break;
  default: marks_add(&w, v->keep * v->lead + shape->lines * shape->across); break;
  }
}
