/* tokenizer.json: its post-processor, to what is put around a text. */
#include "text/tokenizer_json.h"

static bool malformed(const char *what, struct error *error) {
  return error_set(error, ERROR_FORMAT, "The tokenizer.json is malformed: %s.", what);
}

enum { THE_TEXT = -1, FRAME_ITEMS = 2 * TOKENIZER_AROUND_MAX + 1 };

/* A text with tokens around it, in the parts that components of a post-processor leave to the next: a template makes
 * each token a part, and one part of many are what it takes for a text. */
struct frame {
  int n_item, n_part;
  int32_t items[FRAME_ITEMS];
  int ends[FRAME_ITEMS]; /* of parts, by items */
};

static bool frame_overflows(struct error *error) {
  return malformed("its post-processor puts too many tokens or unknown ones around a text", error);
}

static bool frame_add(struct frame *frame, int32_t item, struct error *error) {
  if (frame->n_item == FRAME_ITEMS) return frame_overflows(error);
  frame->items[frame->n_item++] = item;
  return true;
}

/* A token with its ids. */
static bool frame_add_token(const struct tokenizer_spec *spec, struct frame *frame, const json_t *ids,
                            struct error *error) {
  size_t i;
  const json_t *id;
  if (json_array_size(ids) == 0) return malformed("its post-processor names a special token without ids", error);
  json_array_foreach(ids, i, id) {
    json_int_t value = json_integer_value(id);
    if (!json_is_integer(id) || value < 0 || (size_t)value >= spec->n_token) return frame_overflows(error);
    if (!frame_add(frame, (int32_t)value, error)) return false;
  }
  return true;
}

static bool frame_copy(struct frame *to, const struct frame *from, int part, struct error *error) {
  for (int i = part ? from->ends[part - 1] : 0; i < from->ends[part]; i++)
    if (!frame_add(to, from->items[i], error)) return false;
  return true;
}

static bool frame_end_part(struct frame *frame, struct error *error) {
  if (frame->n_part == FRAME_ITEMS) return frame_overflows(error);
  frame->ends[frame->n_part++] = frame->n_item;
  return true;
}

/* ["[CLS]", 101] */
static bool pair_id(const struct tokenizer_spec *spec, struct frame *frame, const json_t *pair, struct error *error) {
  json_t *ids = json_pack("[O]", json_array_get(pair, 1));
  bool done =
      ids ? frame_add_token(spec, frame, ids, error) : malformed("its post-processor names no cls or sep token", error);
  json_decref(ids);
  return done;
}

/* BERT's, and RoBERTa's, which puts a sep before the second part, too. */
static bool frame_words(const struct tokenizer_spec *spec, struct frame *frame, const json_t *component, bool both,
                        struct error *error) {
  const json_t *cls = json_object_get(component, "cls"), *sep = json_object_get(component, "sep");
  struct frame out = {0};
  for (int part = 0; part < frame->n_part; part++) {
    const json_t *before = part == 0 ? cls : both ? sep : NULL;
    if ((before && !pair_id(spec, &out, before, error)) || !frame_copy(&out, frame, part, error) ||
        !pair_id(spec, &out, sep, error) || !frame_end_part(&out, error))
      return false;
  }
  *frame = out;
  return true;
}

static bool frame_template(const struct tokenizer_spec *spec, struct frame *frame, const json_t *component,
                           struct error *error) {
  const json_t *pieces = json_object_get(component, frame->n_part == 2 ? "pair" : "single"), *piece;
  struct frame out = {0};
  size_t i;
  if (frame->n_part > 2) return malformed("its post-processor's template is one of more than two parts", error);
  json_array_foreach(pieces, i, piece) {
    struct slice name = json_take_text(json_object_get(piece, "SpecialToken"), "id");
    struct slice which = json_take_text(json_object_get(piece, "Sequence"), "id");
    const json_t *token =
        json_object_getn(json_object_get(component, "special_tokens"), (const char *)name.data, name.size);
    int part = which.data && slice_is(which, "B") ? 1 : 0;
    if (!name.data && (!which.data || part >= frame->n_part))
      return malformed("its post-processor's template is not one text with special tokens around it", error);
    bool done = name.data ? frame_add_token(spec, &out, json_object_get(token, "ids"), error)
                          : frame_copy(&out, frame, part, error);
    if (!done || !frame_end_part(&out, error)) return false;
  }
  *frame = out;
  return true;
}

/* *templated: a template says what is around a text. */
static bool read_post_processor(const struct tokenizer_spec *spec, const json_t *component, struct frame *frame,
                                bool *templated, struct error *error) {
  struct slice type = json_type_of(component);
  if (!component || json_is_null(component) || slice_is(type, "ByteLevel")) return true;
  if (slice_is(type, "Sequence")) {
    size_t i;
    const json_t *element;
    json_array_foreach(json_object_get(component, "processors"), i, element) {
      if (!read_post_processor(spec, element, frame, templated, error)) return false;
    }
    return true;
  }
  *templated = true;
  bool roberta = slice_is(type, "RobertaProcessing");
  if (roberta || slice_is(type, "BertProcessing")) return frame_words(spec, frame, component, roberta, error);
  if (slice_is(type, "TemplateProcessing")) return frame_template(spec, frame, component, error);
  return json_unsupported("post-processor", type, error);
}

bool json_read_around(struct tokenizer_spec *spec, const json_t *component, bool *templated, struct error *error) {
  struct frame frame = {.n_item = 1, .n_part = 1, .items = {THE_TEXT}, .ends = {1}};
  if (!read_post_processor(spec, component, &frame, templated, error)) return false;
  bool after = false;
  for (int i = 0; i < frame.n_item; i++) {
    int *count = after ? &spec->n_suffix : &spec->n_prefix;
    if (frame.items[i] == THE_TEXT && after)
      return malformed("its post-processor's template is not one text with special tokens around it", error);
    if (frame.items[i] == THE_TEXT) {
      after = true;
      continue;
    }
    if (*count == TOKENIZER_AROUND_MAX) return frame_overflows(error);
    (after ? spec->suffix : spec->prefix)[(*count)++] = frame.items[i];
  }
  return after || malformed("its post-processor's template has no text", error);
}
