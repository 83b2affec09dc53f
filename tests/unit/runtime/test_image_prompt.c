/* Prompts with pictures against what transformers' processors make of them (tools/make_image_answers.py): the ids,
 * where tokens are and which see each other; and what does not fit a model, with its sentence. */
#include "seeing_fixture.h"

#include "runtime/image_prompt.h"
#include "text/conversation.h"

#include <jansson.h>

enum { PICTURES = 8, TOKENS = 2048 };

static const char *const models[] = {"idefics3", "llava",    "llava_next", "gemma3",
                                     "pixtral",  "mistral3", "qwen2_vl",   "qwen2_5_vl"};

static struct seeing_folder folder;

/* What of a model makes prompts. */
struct seeing {
  struct engine_file file;
  struct tokenizer *tokenizer;
  struct chat_template *template;
  struct image_form form;
};

/* --- engines ------------------------------------------------------------------------------------------------------ */

static void seeing_open(struct seeing *s, const char *name) {
  struct error error = {0};
  seeing_build(&folder, name, (struct engine_config){.max_batch_size = 1, .max_num_tokens = 64});
  if (!engine_file_open(&s->file, folder.engine, &error)) fail_msg("%s: %s", name, error.text);
  s->tokenizer = tokenizer_open(s->file.tokenizer, &error);
  s->template = chat_template_open(s->file.chat_template, &error);
  if (!s->tokenizer || !s->template) fail_msg("%s: %s", name, error.text);
  if (!image_form_init(&s->form, s->file.images, s->file.vision, s->tokenizer, &error))
    fail_msg("%s: %s", name, error.text);
}

static void seeing_close(struct seeing *s) {
  chat_template_close(s->template);
  tokenizer_close(s->tokenizer);
  engine_file_close(&s->file);
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

static bool picture_take(void *user, struct slice url, struct error *error) {
  (void)url;
  (void)error;
  ++*(int *)user;
  return true;
}

/* As OpenAI's clients write it. */
static void parts_rename(json_t *messages) {
  size_t i, k;
  json_t *message, *part;
  json_array_foreach(messages, i, message) json_array_foreach(json_object_get(message, "content"), k, part) {
    if (strcmp(json_string_value(json_object_get(part, "type")), "image") != 0) continue;
    json_object_set_new(part, "type", json_string("image_url"));
    json_object_set_new(part, "image_url", json_string("x"));
  }
}

static void case_write(const struct seeing *s, json_t *one, int n, struct chat_text *text) {
  struct error error = {0};
  const char *prompt = json_string_value(json_object_get(one, "prompt"));
  chat_text_init(text);
  if (prompt) {
    if (!image_prompt_mark(&s->form, slice_text(prompt), n, &text->text, &error)) fail_msg("%s", error.text);
    return;
  }
  int taken = 0;
  parts_rename(json_object_get(one, "messages"));
  char *json = json_dumps(one, 0);
  const struct conversation_images images = {picture_take, &taken};
  if (!conversation_write(s->template, slice_text(json), &images, s->tokenizer, text, &error))
    fail_msg("%s", error.text);
  assert_int_equal(taken, n);
  free(json);
}

static int32_t number_at(const json_t *array, size_t i) {
  return (int32_t)json_integer_value(json_array_get(array, i));
}

static void ids_check(const json_t *expected, const struct token_list *ids) {
  assert_int_equal(ids->count, json_array_size(expected));
  for (size_t i = 0; i < ids->count; i++)
    if (ids->ids[i] != number_at(expected, i))
      fail_msg("token %zu is %d, expected %d", i, ids->ids[i], number_at(expected, i));
}

static void places_check(const json_t *expected, const struct image_layout *layout, int32_t count) {
  static int32_t position[TOKENS][3];
  image_positions(layout->image, layout->n_image, 0, count, position);
  for (size_t axis = 0; axis < 3; axis++)
    for (int32_t i = 0; i < count; i++)
      assert_int_equal(position[i][axis], number_at(json_array_get(expected, axis), (size_t)i));
}

/* A token of an image sees to the end of the run that it is in. */
static void types_check(const json_t *expected, const struct image_layout *layout, int32_t count) {
  static int32_t see[TOKENS];
  image_see(layout->image, layout->n_image, 0, count, see);
  for (int32_t i = count - 1, end = 0; i >= 0; i--) {
    bool image = number_at(expected, (size_t)i) == 1, next = i + 1 < count && number_at(expected, (size_t)i + 1) == 1;
    if (image && !next) end = i;
    assert_int_equal(see[i], image ? end : i);
  }
}

/* Each row is a mark's, once and in its order, or is left out where pictures of tiles have bars. */
static void rows_check(const struct seeing *s, const struct image_shape *shape, const struct sequence_span *span,
                       const struct token_list *ids, const int32_t *embed) {
  int32_t marks = 0, before = -1;
  bool tiles = s->file.vision->vision.text == TEXT_TILES;
  for (int32_t i = span->first; i < span->first + span->count; i++) {
    assert_int_equal(embed[i] == EMBED_NONE, ids->ids[i] != s->form.mark);
    if (embed[i] == EMBED_NONE) continue;
    assert_true(embed[i] == EMBED_OWN ? tiles : embed[i] < shape->tile_rows * shape->plan.tiles);
    if (!tiles) assert_int_equal(embed[i], before + 1);
    before = embed[i];
    marks++;
  }
  assert_int_equal(marks, shape->marks);
  assert_int_equal(ids->ids[span->first], s->form.mark);
  assert_int_equal(ids->ids[span->first + span->count - 1], s->form.mark);
}

static void case_check(const struct seeing *s, json_t *one) {
  struct image_shape shapes[PICTURES];
  const struct image_shape *shape[PICTURES];
  const json_t *sizes = json_object_get(one, "sizes"), *found;
  struct error error = {0};
  struct chat_text text, whole;
  struct token_list ids;
  struct image_layout layout;
  int n = (int)json_array_size(sizes);
  for (int i = 0; i < n; i++) {
    const json_t *size = json_array_get(sizes, (size_t)i);
    shape[i] = &shapes[i];
    if (!image_form_measure(&s->form, number_at(size, 0), number_at(size, 1), &shapes[i], &error))
      fail_msg("%s", error.text);
  }
  case_write(s, one, n, &text);
  chat_text_init(&whole);
  token_list_init(&ids, TOKENS);
  if (!image_prompt_check(&s->form, &text, n, &error) ||
      !image_prompt_write(&s->form, &text, shape, n, &whole, &error) ||
      !chat_text_encode(&whole, s->tokenizer, &ids, &error) ||
      !image_prompt_place(&s->form, shape, n, &ids, &layout, &error))
    fail_msg("%s", error.text);
  ids_check(json_object_get(one, "ids"), &ids);
  for (int i = 0; i < n; i++) rows_check(s, shape[i], &layout.span[i], &ids, layout.embed);
  if ((found = json_object_get(one, "places"))) places_check(found, &layout, (int32_t)ids.count);
  if ((found = json_object_get(one, "types"))) types_check(found, &layout, (int32_t)ids.count);
  assert_int_equal(n > 0 && s->file.vision->vision.axes, json_object_get(one, "places") != NULL);
  assert_int_equal(n > 0 && s->file.vision->vision.mutual, json_object_get(one, "types") != NULL);
  image_layout_release(&layout);
  token_list_release(&ids);
  chat_text_release(&text);
  chat_text_release(&whole);
}

static void test_prompts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    char path[512];
    struct seeing s;
    json_t *one;
    size_t index;
    snprintf(path, sizeof path, "%s/vision/%s/serve/answers.json", FIXTURES, models[i]);
    json_t *cases = json_load_file(path, 0, NULL);
    assert_true(json_array_size(cases) >= 6);
    seeing_open(&s, models[i]);
    json_array_foreach(cases, index, one) case_check(&s, one);
    json_decref(cases);
    seeing_close(&s);
  }
}

/* --- what users write --------------------------------------------------------------------------------------------- */

static const char *marked(const struct seeing *s, const char *prompt, int n) {
  static char text[512];
  struct error error = {0};
  struct buffer out;
  buffer_init(&out, sizeof text - 1);
  assert_true(image_prompt_mark(&s->form, slice_text(prompt), n, &out, &error));
  memcpy(text, out.data, out.size);
  text[out.size] = '\0';
  buffer_release(&out);
  return text;
}

static void test_marks(void **state) {
  (void)state;
  struct seeing s;
  seeing_open(&s, "qwen2_vl");
  assert_string_equal(marked(&s, "a<image>b", 1), "a<|vision_start|><|image_pad|><|vision_end|>b");
  assert_string_equal(marked(&s, "a<|image_pad|>b", 1), "a<|image_pad|>b");
  assert_string_equal(marked(&s, "ab", 2),
                      "<|vision_start|><|image_pad|><|vision_end|><|vision_start|><|image_pad|><|vision_end|>ab");
  seeing_close(&s);
  seeing_open(&s, "gemma3");
  assert_string_equal(marked(&s, "<image>a<start_of_image><image", 2), "<start_of_image>a<start_of_image><image");
  seeing_close(&s);
  seeing_open(&s, "llava");
  assert_string_equal(marked(&s, "a<image><image>", 2), "a<image><image>");
  seeing_close(&s);
}

/* What a user has written is no place, and stays guarded where texts grow before and behind it. */
static void test_plain(void **state) {
  (void)state;
  static const char written[] = "<start_of_image>|<start_of_image>|<start_of_image>|<end_of_image>";
  static struct text_range ranges[] = {{0, 16}, {34, 65}};
  struct seeing s;
  struct error error = {0};
  struct image_shape shape;
  const struct image_shape *shapes[] = {&shape};
  struct chat_text text = {.plain = ranges, .n_plain = 2}, whole;
  seeing_open(&s, "gemma3");
  buffer_init(&text.text, 256);
  buffer_text(&text.text, written);
  assert_true(image_form_measure(&s.form, 30, 30, &shape, &error));
  assert_true(image_prompt_check(&s.form, &text, 1, &error));
  assert_false(image_prompt_check(&s.form, &text, 3, &error));
  assert_string_equal(error.text, "The prompt has 1 marks for images (<start_of_image>) and 3 images were sent: write "
                                  "one for each, or none.");
  chat_text_init(&whole);
  assert_true(image_prompt_write(&s.form, &text, shapes, 1, &whole, &error));
  size_t grown = whole.text.size - text.text.size;
  assert_int_equal(whole.n_plain, 2);
  assert_int_equal(whole.plain[0].start, 0);
  assert_int_equal(whole.plain[1].start, 34 + grown);
  assert_int_equal(whole.plain[1].end, whole.text.size);
  assert_memory_equal(whole.text.data + whole.plain[1].start, written + 34, 31);
  chat_text_release(&whole);
  buffer_release(&text.text);
  seeing_close(&s);
}

/* Marks of rows that a prompt has without a picture are nobody's. */
static void test_written_rows(void **state) {
  (void)state;
  struct seeing s;
  struct error error = {0};
  struct image_shape shape;
  const struct image_shape *shapes[] = {&shape};
  struct token_list ids;
  struct image_layout layout;
  seeing_open(&s, "gemma3");
  assert_true(image_form_measure(&s.form, 30, 30, &shape, &error));
  token_list_init(&ids, TOKENS);
  for (int i = 0; i < 10; i++) token_list_append(&ids, s.form.mark);
  assert_false(image_prompt_place(&s.form, shapes, 1, &ids, &layout, &error));
  assert_string_equal(error.text, "The prompt has 10 tokens <image_soft_token> where its images are 9: they are not to "
                                  "be written by hand.");
  image_layout_release(&layout);
  token_list_release(&ids);
  seeing_close(&s);
}

/* --- what does not fit -------------------------------------------------------------------------------------------- */

static const char qwen_file[] = "{\"image_processor_type\": \"Qwen2VLImageProcessor\", \"patch_size\": %d, "
                                "\"merge_size\": 2, \"temporal_patch_size\": 2, \"min_pixels\": 256, "
                                "\"max_pixels\": 12845056}";

static void init_refused(struct seeing *s, const char *file, int patch, const char *sentence) {
  struct error error = {0};
  struct image_form form;
  char text[512];
  snprintf(text, sizeof text, file, patch);
  assert_false(image_form_init(&form, slice_text(text), s->file.vision, s->tokenizer, &error));
  assert_string_equal(error.text, sentence);
}

static void test_refused(void **state) {
  (void)state;
  static const char other[] = "preprocessor_config.json cuts pictures in another way than this model's encoder takes "
                              "them: it is another model's.";
  struct seeing s;
  seeing_open(&s, "qwen2_vl");
  init_refused(
      &s, qwen_file, 14,
      "preprocessor_config.json has patches of 14 pixels, 2 × 2 of which are joined; the model's encoder expects "
      "4, 2 × 2.");
  init_refused(&s, "{\"image_processor_type\": \"PixtralImageProcessor\"}", 0, other);
  struct plan *vision = (struct plan *)(uintptr_t)s.file.vision; /* mapped: a copy is changed */
  struct plan *copy = malloc(vision->bytes);
  memcpy(copy, vision, vision->bytes);
  copy->vision.text = TEXT_LINES;
  s.file.vision = copy;
  init_refused(&s, "{\"image_processor_type\": \"PixtralImageProcessor\"}", 0,
               "The model's tokenizer has no token [IMG_BREAK], which stands in a prompt beside those of a picture.");
  s.file.vision = vision;
  free(copy);
  seeing_close(&s);
  seeing_open(&s, "gemma3");
  init_refused(&s, "{\"image_processor_type\": \"CLIPImageProcessor\"}", 0, other);
  seeing_close(&s);
}

/* Pictures larger than the encoder takes become smaller, whatever the file says. */
static void test_largest(void **state) {
  (void)state;
  struct seeing s;
  struct error error = {0};
  struct image_form form;
  struct image_shape shape;
  char text[512];
  seeing_open(&s, "qwen2_vl");
  snprintf(text, sizeof text, qwen_file, 4);
  assert_true(image_form_init(&form, slice_text(text), s.file.vision, s.tokenizer, &error));
  assert_true(image_form_measure(&form, 4000, 3000, &shape, &error));
  assert_in_range(shape.tile_tokens, s.file.vision->vision.area * 9 / 10, s.file.vision->vision.area);
  seeing_close(&s);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_prompts), cmocka_unit_test(test_marks),
                                     cmocka_unit_test(test_plain),   cmocka_unit_test(test_written_rows),
                                     cmocka_unit_test(test_refused), cmocka_unit_test(test_largest)};
  if (!seeing_folder_make(&folder)) return 1;
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  seeing_folder_remove(&folder);
  return failed;
}
