/* Requests with images in a runtime, on the CPU as it is and a step late: what is out while the encoder runs. This
 * program is its own decoder. */
#include "seeing_fixture.h"

#include "base/file.h"
#include "image/decode_helper.h"
#include "runtime/runtime.h"

#include <stdatomic.h>

enum { SEATS = 4, STEP_TOKENS = 64, FILE_ROOM = 1 << 16, STEP_US = 500 };

static struct seeing_folder folder;

/* --- a backend that counts ---------------------------------------------------------------------------------------- */

static struct {
  const struct backend *inner;
  atomic_int steps, out;  /* of the decoder: begun, and out now */
  atomic_int runs, above; /* slices of the encoder, and those while a step was out */
} spy;

static bool spy_submit(struct program *program, const struct batch *batch, struct error *error) {
  if (batch->token) {
    atomic_fetch_add(&spy.steps, 1);
    atomic_fetch_add(&spy.out, 1);
    usleep(STEP_US); /* so that answers are long beside a decoder's time */
  }
  return spy.inner->submit(program, batch, error);
}

/* Of the decoder alone: the encoder has none of its own here. */
static bool spy_collect(struct program *program, struct result *result, struct error *error) {
  bool collected = spy.inner->collect(program, result, error);
  if (result->token) atomic_fetch_sub(&spy.out, 1);
  return collected;
}

static bool spy_advance(struct program *program, const struct batch *batch, double us, bool *done,
                        struct error *error) {
  atomic_fetch_add(&spy.runs, 1);
  if (atomic_load(&spy.out) > 0) atomic_fetch_add(&spy.above, 1);
  return spy.inner->advance(program, batch, us, done, error);
}

static struct backend spy_backend;

static void spy_init(const struct backend *inner) {
  spy_backend = *inner;
  spy.inner = inner;
  spy_backend.submit = spy_submit;
  spy_backend.collect = spy_collect;
  spy_backend.advance = spy_advance;
  atomic_store(&spy.steps, 0);
  atomic_store(&spy.out, 0);
  atomic_store(&spy.runs, 0);
  atomic_store(&spy.above, 0);
}

/* --- a runtime that sees ------------------------------------------------------------------------------------------ */

struct seeing {
  struct loaded_engine *engine;
  struct tokenizer *tokenizer;
  struct image_form form;
  struct decode_pool *decoders;
  struct runtime *runtime;
  struct inbox *inbox;
};

/* pool: rows of images. */
static void seeing_open(struct seeing *s, const struct backend *backend, int32_t pool) {
  struct error error = {0};
  struct decode_pool_options decoders = {.helpers = 2, .timeout_ms = 20000, .wait_ms = 20000};
  struct engine_options engine = {
      .backend = &spy_backend, .device.n_thread = 1, .images = ENGINE_IMAGES_AUTO, .pool = pool, .block_size = 4};
  struct runtime_options options = {.max_queue = 32,
                                    .max_queue_tokens = INT64_MAX,
                                    .image_form = &s->form,
                                    .image_threads = 2,
                                    .images_most = 8};
  spy_init(backend);
  options.engine = s->engine = engine_open(folder.engine, &engine, &error);
  if (!s->engine) fail_msg("%s", error.text);
  options.tokenizer = s->tokenizer = tokenizer_open(s->engine->file.tokenizer, &error);
  if (!s->tokenizer ||
      !image_form_init(&s->form, s->engine->file.images, s->engine->file.vision, s->tokenizer, &error))
    fail_msg("%s", error.text);
  options.decoders = s->decoders = decode_pool_open(&decoders, &error);
  if (!s->decoders || !(s->runtime = runtime_new(&options, &error))) fail_msg("%s", error.text);
  if (!(s->inbox = runtime_inbox(s->runtime, &error))) fail_msg("%s", error.text);
}

static void seeing_close(struct seeing *s) {
  runtime_inbox_close(s->runtime, s->inbox);
  runtime_free(s->runtime);
  decode_pool_close(s->decoders);
  tokenizer_close(s->tokenizer);
  engine_close(s->engine);
}

/* A picture of its own for each index: bytes behind a PNG's end are no part of it. */
static struct image_source picture_of(int index, uint8_t bytes[FILE_ROOM]) {
  FILE *file = fopen(FIXTURES "/image/decode/colour.png", "rb");
  assert_non_null(file);
  size_t size = fread(bytes, 1, FILE_ROOM - 8, file);
  fclose(file);
  memcpy(bytes + size, &index, sizeof index);
  return (struct image_source){.data = slice_make(bytes, size + sizeof index)};
}

/* With the picture of this index, or (−1) without. */
static uint64_t ask(struct seeing *s, const char *prompt, int picture, int max_tokens) {
  uint8_t bytes[FILE_ROOM];
  struct error error = {0};
  struct image_source image;
  struct request_params params = {.prompt = slice_text(prompt),
                                  .n_answer = 1,
                                  .max_tokens = max_tokens,
                                  .sampling = {.temperature = 0, .top_p = 1},
                                  .rules.ignore_end = true};
  if (picture >= 0) {
    image = picture_of(picture, bytes);
    params.image = &image;
    params.n_image = 1;
  }
  uint64_t id = runtime_submit(s->runtime, s->inbox, &params, &error);
  if (!id) fail_msg("%s", error.text);
  return id;
}

/* Takes events until so many requests are over. */
static void answers_await(struct seeing *s, int count) {
  struct inbox_event event;
  while (count > 0) {
    assert_int_equal(inbox_take(s->inbox, &event, 1, -1), 1);
    if (event.kind == INBOX_FAILED) fail_msg("%.*s", SLICE_ARGS(event.text));
    count -= event.kind == INBOX_DONE;
  }
}

/* --- steps that are out ------------------------------------------------------------------------------------------- */

/* The encoder's time would be told to a step that was out meanwhile. */
static void steps_check(const struct backend *backend) {
  struct seeing s;
  seeing_open(&s, backend, 1 << 12);
  for (int i = 0; i < 5; i++) {
    ask(&s, "a long answer", -1, 200);
    ask(&s, "<image>?", i, 4);
    answers_await(&s, 2);
  }
  seeing_close(&s);
  assert_true(atomic_load(&spy.runs) >= 5);
  assert_true(atomic_load(&spy.steps) >= 5 * 200);
  assert_int_equal(atomic_load(&spy.above), 0);
}

static void test_no_step_is_out(void **state) {
  (void)state;
  steps_check(&backend_cpu);
  steps_check(&backend_late);
}

int main(int argc, char **argv) {
  decode_helper_main(argc, argv);
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_step_is_out)};
  if (!seeing_folder_make(&folder)) return 1;
  seeing_build(&folder, "idefics3", (struct engine_config){.max_batch_size = SEATS, .max_num_tokens = STEP_TOKENS});
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  seeing_folder_remove(&folder);
  return failed;
}
