/* A GPU that fails while requests run and wait: all that have not ended are answered with the sentence, later ones are
 * refused with it, and the engine closes. */
#include "cuda_engine.h"

#include "../unit/lib/lib_fixture.h"

enum { SEATS = 3, REQUESTS = 300 }; /* some tenths of a second, in the midst of which the GPU fails */

void cuda_fault(void);

static uint64_t request_send(spate_engine *engine, spate_inbox *inbox, spate_error *error) {
  spate_request request;
  spate_engine_info info = {.size = sizeof info};
  spate_info(engine, &info);
  spate_request_init(engine, &request);
  request.prompt = "Once upon a time";
  request.prompt_size = strlen(request.prompt);
  request.max_tokens = info.max_seq_len; /* as many as the prompt leaves */
  request.ignore_eos = true;
  return spate_submit(engine, inbox, &request, error);
}

void test_lost(void **state) {
  (void)state;
  setenv("SPATE_TEST_BACKEND", "cuda", 1);
  engine_path_make();
  spate_error error = {0};
  spate_event event = {0};
  engine_make(tiny_model, SEATS, 64);
  engine_queue_tokens = 64 * REQUESTS;
  spate_engine *engine = engine_start(1);
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  for (int i = 0; i < REQUESTS; i++)
    if (!request_send(engine, inbox, &error)) fail_msg("%s", error.text);
  assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
  assert_int_equal(event.kind, SPATE_TEXT);
  cuda_fault();
  int failed = 0;
  for (int ended = 0; ended < REQUESTS;) {
    assert_int_equal(spate_inbox_take(inbox, &event, 1, 60000), 1);
    ended += event.kind == SPATE_DONE || event.kind == SPATE_FAILED;
    if (event.kind != SPATE_FAILED) continue;
    assert_int_equal(event.code, SPATE_DEVICE);
    if (failed++ == 0) printf("%.*s\n", (int)event.text_size, event.text);
  }
  printf("%d of %d requests were told\n", failed, REQUESTS);
  assert_in_range(failed, SEATS, REQUESTS);
  assert_int_equal(request_send(engine, inbox, &error), 0);
  assert_int_equal(error.code, SPATE_DEVICE);
  assert_non_null(strstr(error.text, "The GPU failed at "));
  assert_false(spate_healthy(engine, &error));
  spate_inbox_free(inbox);
  spate_close(engine);
  unlink(engine_path);
}
