/* A GPU that fails while requests run: each is answered with the sentence, later ones are refused with it, and the
 * engine closes. Skipped (77) where there is no GPU. */
#include "../unit/lib/lib_fixture.h"

#include <cuda_runtime_api.h>

enum { REQUESTS = 3 };

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

static void test_lost(void **state) {
  (void)state;
  spate_error error = {0};
  spate_event event = {0};
  engine_make(tiny_model, REQUESTS, 64);
  spate_engine *engine = engine_start(1);
  spate_inbox *inbox = spate_inbox_new(engine, &error);
  for (int i = 0; i < REQUESTS; i++)
    if (!request_send(engine, inbox, &error)) fail_msg("%s", error.text);
  assert_int_equal(spate_inbox_take(inbox, &event, 1, -1), 1);
  assert_int_equal(event.kind, SPATE_TEXT);
  cuda_fault();
  for (int failed = 0; failed < REQUESTS;) {
    assert_int_equal(spate_inbox_take(inbox, &event, 1, 60000), 1);
    assert_int_not_equal(event.kind, SPATE_DONE);
    if (event.kind != SPATE_FAILED) continue;
    assert_int_equal(event.code, SPATE_DEVICE);
    if (failed++ == 0) printf("%.*s\n", (int)event.text_size, event.text);
  }
  assert_int_equal(request_send(engine, inbox, &error), 0);
  assert_int_equal(error.code, SPATE_DEVICE);
  assert_non_null(strstr(error.text, "The GPU failed at "));
  assert_false(spate_healthy(engine, &error));
  spate_inbox_free(inbox);
  spate_close(engine);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_lost)};
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess || count == 0) {
    printf("SKIPPED: there is no GPU\n");
    return 77;
  }
  setenv("SPATE_TEST_BACKEND", "cuda", 1);
  engine_path_make();
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  unlink(engine_path);
  return failed;
}
