/* Requests with images in a runtime, on the CPU as it is and a step late: what is out while the encoder runs, which
 * images it is not asked for, who has pages. This program is its own decoder. */
#include "seeing_fixture.h"

#include "base/file.h"
#include "image/decode_helper.h"
#include "runtime/runtime.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
  SEATS = 4,
  STEP_TOKENS = 64,
  FILE_ROOM = 1 << 16,
  STEP_US = 500,
  ONE_IMAGE = 64, /* rows of a pool that has room for one */
  LONG = 200,     /* tokens of an answer */
  FILLERS = 40,   /* answers that fill an inbox */
  WAIT_MS = 300000,
};

static struct seeing_folder folder;

/* --- a backend that counts ---------------------------------------------------------------------------------------- */

static struct {
  const struct backend *inner;
  atomic_int steps, out;  /* of the decoder: begun, and out now */
  atomic_int runs, above; /* of the encoder: ended; slices while a step was out */
  pthread_mutex_t gate;   /* the encoder waits while a test holds it, */
  atomic_bool broken;     /* and fails behind it */
} spy = {.gate = PTHREAD_MUTEX_INITIALIZER};

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
  if (atomic_load(&spy.out) > 0) atomic_fetch_add(&spy.above, 1);
  pthread_mutex_lock(&spy.gate);
  pthread_mutex_unlock(&spy.gate);
  if (atomic_load(&spy.broken)) return error_set(error, ERROR_DEVICE, "The device is on fire.");
  bool goes_on = spy.inner->advance(program, batch, us, done, error);
  atomic_fetch_add(&spy.runs, *done);
  return goes_on;
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
  atomic_store(&spy.broken, false);
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

/* As most tests want it. */
static const struct runtime_options usual = {.max_queue = 2 * FILLERS,
                                             .max_queue_tokens = INT64_MAX,
                                             .image_threads = 2,
                                             .images_most = 8,
                                             .image_bytes = 1 << 30,
                                             .image_request_bytes = 1 << 30};

/* pool: rows of images; kv_bytes: of the cache, 0: plenty. */
static void seeing_open(struct seeing *s, const struct backend *backend, int32_t pool, uint64_t kv_bytes,
                        struct runtime_options options) {
  struct error error = {0};
  struct decode_pool_options decoders = {.helpers = 2, .timeout_ms = LIMIT_HELPER_MS, .wait_ms = DECODE_WAIT_MOST_MS};
  struct engine_options engine = {.backend = &spy_backend,
                                  .device.n_thread = 1,
                                  .images = ENGINE_IMAGES_AUTO,
                                  .pool = pool,
                                  .kv_bytes = kv_bytes,
                                  .block_size = 4};
  options.image_form = &s->form;
  spy_init(backend);
  options.engine = s->engine = engine_open(folder.engine, &engine, &error);
  if (!s->engine) fail_msg("%s", error.text);
  options.tokenizer = s->tokenizer = tokenizer_open(s->engine->file.tokenizer, &error);
  if (!s->tokenizer || !image_form_init(&s->form, s->engine->file.images, s->engine->file.vision, s->tokenizer, &error))
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

/* With the picture of this index, or (−1) without; top: log-probabilities of so many, which make events large. */
static uint64_t ask_at(struct seeing *s, struct inbox *inbox, const char *prompt, int picture, int max_tokens,
                       int top) {
  uint8_t bytes[FILE_ROOM];
  struct error error = {0};
  struct image_source image;
  struct request_params params = {.prompt = slice_text(prompt),
                                  .n_answer = 1,
                                  .max_tokens = max_tokens,
                                  .sampling = {.temperature = 0, .top_p = 1, .want_logprob = top > 0, .n_top = top},
                                  .rules.ignore_end = true};
  if (picture >= 0) {
    image = picture_of(picture, bytes);
    params.image = &image;
    params.n_image = 1;
  }
  uint64_t id = runtime_submit(s->runtime, inbox, &params, &error);
  if (!id) fail_msg("%s", error.text);
  return id;
}

static uint64_t ask(struct seeing *s, const char *prompt, int picture, int max_tokens) {
  return ask_at(s, s->inbox, prompt, picture, max_tokens, 0);
}

struct told {
  char text[4096];
  size_t size;
  int32_t cached;
};

/* Takes events until this request is over; what others tell is dropped. NULL told: nothing is kept. */
static void answer_await(struct inbox *inbox, uint64_t id, struct told *told) {
  struct inbox_event event;
  told->size = 0;
  do {
    if (inbox_take(inbox, &event, 1, WAIT_MS) != 1) fail_msg("nothing comes any more");
    if (event.request != id) continue;
    if (event.kind == INBOX_FAILED) fail_msg("%.*s", SLICE_ARGS(event.text));
    assert_true(told->size + event.text.size < sizeof told->text);
    if (event.text.size) memcpy(told->text + told->size, event.text.data, event.text.size);
    told->size += event.text.size;
    told->cached = event.cached;
  } while (event.request != id || event.kind != INBOX_DONE);
  told->text[told->size] = '\0';
}

/* Of a request by itself. */
static void answer(struct seeing *s, const char *prompt, int picture, int max_tokens, struct told *told) {
  answer_await(s->inbox, ask(s, prompt, picture, max_tokens), told);
}

/* --- steps that are out ------------------------------------------------------------------------------------------- */

/* The encoder's time would be told to a step that was out meanwhile. */
static void steps_check(const struct backend *backend) {
  struct seeing s;
  struct told told;
  seeing_open(&s, backend, 1 << 12, 0, usual);
  for (int i = 0; i < 5; i++) {
    uint64_t text = ask(&s, "a long answer", -1, LONG);
    answer(&s, "<image>?", i, 4, &told);
    answer_await(s.inbox, text, &told);
  }
  seeing_close(&s);
  assert_true(atomic_load(&spy.runs) >= 5);
  assert_true(atomic_load(&spy.steps) >= 5 * LONG);
  assert_int_equal(atomic_load(&spy.above), 0);
}

static void test_no_step_is_out(void **state) {
  (void)state;
  steps_check(&backend_cpu);
  steps_check(&backend_late);
}

/* --- what is in the cache ----------------------------------------------------------------------------------------- */

/* The pool has forgotten an image whose tokens the cache has: its encoder does not run again, and the answer is the
 * same. With another beginning it does. */
static void found_check(const struct backend *backend) {
  static const char *const prompts[] = {"<image> the same words", "<image> the same words, and others",
                                        "other words <image> the same words"};
  static const int runs[] = {0, 0, 1};
  struct seeing s;
  struct told first[3], again;
  seeing_open(&s, backend, ONE_IMAGE, 0, usual);
  for (int i = 0; i < 3; i++) {
    answer(&s, prompts[i], 10 + i, 24, &first[i]); /* pictures of the same pixels */
    assert_int_equal(atomic_load(&spy.runs), i + 1);
  }
  answer(&s, prompts[0], 20, 1, &again);
  answer(&s, "x<image>", 21, 1, &again); /* and 20 is gone */
  for (int i = 0; i < 3; i++) {
    int before = atomic_load(&spy.runs);
    answer(&s, prompts[i], 20, 24, &again);
    assert_int_equal(atomic_load(&spy.runs), before + runs[i]);
    assert_string_equal(again.text, first[i].text);
    if (!runs[i]) assert_true(again.cached > 0);
  }
  seeing_close(&s);
}

static void test_found(void **state) {
  (void)state;
  found_check(&backend_cpu);
  found_check(&backend_late);
}

/* An answer that nobody reads gives its pages to others, its blocks too; read on, it is what it is alone. */
static void paused_check(const struct backend *backend) {
  struct seeing s;
  struct told alone, told;
  struct error error;
  uint64_t filler[FILLERS];
  seeing_open(&s, backend, ONE_IMAGE, 64 << 10, usual);
  struct inbox *unread = runtime_inbox(s.runtime, &error);
  assert_non_null(unread);
  answer(&s, "<image> and more", 30, LONG, &alone);
  answer(&s, "x<image>", 31, 1, &told);
  for (int i = 0; i < FILLERS; i++) filler[i] = ask_at(&s, unread, "fill", -1, LONG, TOP_LOGPROBS);
  uint64_t paused = ask_at(&s, unread, "<image> and more", 32, LONG, 0);
  answer(&s, "y<image>", 33, LONG, &told); /* which needs the only pages, and nearly all blocks */
  answer(&s, "z<image>", 34, LONG, &told);
  for (int i = 0; i < FILLERS; i++) runtime_cancel(s.runtime, filler[i]);
  answer_await(unread, paused, &told);
  assert_string_equal(told.text, alone.text);
  assert_int_equal(atomic_load(&spy.runs), 6); /* the paused one's twice */
  runtime_inbox_close(s.runtime, unread);
  seeing_close(&s);
}

static void test_paused(void **state) {
  (void)state;
  paused_check(&backend_cpu);
  paused_check(&backend_late);
}

/* --- room for preprocessed images ----------------------------------------------------------------------------------
 */

/* A request of the pictures [first, first + n). */
static uint64_t ask_many(struct seeing *s, int first, int n) {
  static uint8_t bytes[8][FILE_ROOM];
  struct error error = {0};
  struct image_source image[8];
  struct request_params params = {.prompt = slice_text("see"),
                                  .n_answer = 1,
                                  .max_tokens = 1,
                                  .sampling = {.temperature = 0, .top_p = 1},
                                  .rules.ignore_end = true,
                                  .image = image,
                                  .n_image = n};
  for (int i = 0; i < n; i++) image[i] = picture_of(first + i, bytes[i]);
  uint64_t id = runtime_submit(s->runtime, s->inbox, &params, &error);
  if (!id) fail_msg("%s", error.text);
  return id;
}

/* Ends of so many requests, of which this is told of those that fail: how many do. */
static int ends_await(struct seeing *s, int count, const char *sentence) {
  struct inbox_event event;
  int failed = 0;
  while (count > 0) {
    if (inbox_take(s->inbox, &event, 1, WAIT_MS) != 1) fail_msg("nothing comes any more");
    if (event.kind == INBOX_FAILED) {
      assert_int_equal(event.text.size, strlen(sentence));
      assert_memory_equal(event.text.data, sentence, event.text.size);
      failed++;
    }
    count -= event.kind == INBOX_FAILED || event.kind == INBOX_DONE;
  }
  return failed;
}

/* Has the store looked at so many pictures? */
static bool taken_are(struct seeing *s, int count) {
  char line[64];
  struct buffer page;
  snprintf(line, sizeof line, "\nllm_image_cache_misses_total %d\n", count);
  buffer_init(&page, 1 << 20);
  assert_true(runtime_metrics(s->runtime, &page) && buffer_append(&page, "", 1));
  bool are = strstr(page.data, line) != NULL;
  buffer_release(&page);
  return are;
}

/* So many, and no more though there is time. */
static bool taken_await(struct seeing *s, int count) {
  for (int i = 0; i < WAIT_MS && !taken_are(s, count); i++) usleep(1000);
  usleep(20000);
  return taken_are(s, count);
}

/* What the picture's numbers take. */
static size_t picture_bytes(struct seeing *s) {
  struct image_shape shape;
  struct error error;
  assert_true(image_form_measure(&s->form, 29, 19, &shape, &error));
  return 3 * sizeof(float) * (size_t)shape.plan.tiles * (size_t)shape.plan.tile_width * (size_t)shape.plan.tile_height;
}

/* While the encoder stands still requests are begun as long as what waits is below the bound; the others wait, and all
 * are answered once it goes on. Whoever finds no room in the middle lets go, and begins again. */
static void test_room(void **state) {
  (void)state;
  struct seeing s;
  struct runtime_options options = usual;
  seeing_open(&s, &backend_cpu, 1 << 12, 0, usual);
  size_t each = picture_bytes(&s);
  seeing_close(&s);
  options.image_bytes = each * 5 / 2;
  options.image_request_bytes = each * 7 / 2;
  options.image_threads = 1;
  seeing_open(&s, &backend_cpu, 1 << 12, 0, options);
  pthread_mutex_lock(&spy.gate);
  for (int i = 0; i < 6; i++) ask_many(&s, 100 + 2 * i, 2);
  bool bounded = taken_await(&s, 4);
  pthread_mutex_unlock(&spy.gate);
  assert_true(bounded);
  assert_int_equal(ends_await(&s, 6, ""), 0);
  ask_many(&s, 120, 4);
  assert_int_equal(
      ends_await(&s, 1,
                 "Image 4 of 4: The images take 0 MiB together once they are preprocessed, and a request's "
                 "may take 0: send fewer or smaller ones."),
      1);
  seeing_close(&s);
  options.image_threads = 2;
  seeing_open(&s, &backend_cpu, 1 << 12, 0, options);
  for (int i = 0; i < 20; i++) ask_many(&s, 200 + 3 * i, 3);
  assert_int_equal(ends_await(&s, 20, ""), 0);
  seeing_close(&s);
}

/* The engine stops while requests wait for the room of images that are in its encoder: all of them hear of it. */
static void test_room_of_a_stopped_engine(void **state) {
  (void)state;
  struct seeing s;
  struct runtime_options options = usual;
  options.image_bytes = 1;
  options.image_threads = 1;
  seeing_open(&s, &backend_cpu, 1 << 12, 0, options);
  pthread_mutex_lock(&spy.gate);
  for (int i = 0; i < 8; i++) ask_many(&s, 300 + 2 * i, 2);
  taken_await(&s, 2); /* the others wait */
  atomic_store(&spy.broken, true);
  pthread_mutex_unlock(&spy.gate);
  assert_int_equal(ends_await(&s, 8, "The device is on fire."), 8);
  seeing_close(&s);
}

/* --- pages that threads let go -------------------------------------------------------------------------------------
 */

/* Requests share an image, and leave at any time: cancelled, or for a second image that is none, whose thread then lets
 * go of the first, perhaps as the last that holds it, while the encoder looks for work. */
static void test_let_go(void **state) {
  (void)state;
  struct seeing s;
  struct error error = {0};
  struct told told;
  uint8_t bytes[FILE_ROOM];
  seeing_open(&s, &backend_cpu, 1 << 9, 0, usual);
  for (int i = 0; i < 60; i++) {
    struct image_source image[2] = {picture_of(400 + i, bytes), {.data = slice_text("none")}};
    struct request_params params = {.prompt = slice_text("see"),
                                    .n_answer = 1,
                                    .max_tokens = 1,
                                    .sampling = {.temperature = 0, .top_p = 1},
                                    .image = image,
                                    .n_image = 1};
    uint64_t id = runtime_submit(s.runtime, s.inbox, &params, &error);
    params.n_image = 2;
    assert_true(id && runtime_submit(s.runtime, s.inbox, &params, &error));
    if (i % 3) usleep((useconds_t)(i % 7) * 300);
    runtime_cancel(s.runtime, id);
    if (i % 8 == 7)
      ends_await(&s, 16,
                 "Image 2 of 2: The image is neither JPEG, PNG nor WebP by its first bytes: send one of these.");
  }
  ends_await(&s, 8, "Image 2 of 2: The image is neither JPEG, PNG nor WebP by its first bytes: send one of these.");
  answer(&s, "<image>", 400, 4, &told);
  seeing_close(&s);
}

int main(int argc, char **argv) {
  decode_helper_main(argc, argv);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_no_step_is_out),
      cmocka_unit_test(test_found),
      cmocka_unit_test(test_paused),
      cmocka_unit_test(test_room),
      cmocka_unit_test(test_room_of_a_stopped_engine),
      cmocka_unit_test(test_let_go),
  };
  if (!seeing_folder_make(&folder)) return 1;
  seeing_build(&folder, "idefics3", (struct engine_config){.max_batch_size = SEATS, .max_num_tokens = STEP_TOKENS});
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  seeing_folder_remove(&folder);
  return failed;
}
