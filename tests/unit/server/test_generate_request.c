/* Requests for text, read from bodies and queries: what they set, and the sentence for each that is wrong. */
#include "server/generate_request.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static const spate_request defaults = {
    .size = sizeof defaults, .max_tokens = 256, .temperature = 0.7f, .top_p = 0.9f, .top_k = 40};

static bool read_body(struct generate_request *request, const char *body, struct error *error) {
  return generate_request_read_body(request, REQUEST_GENERATE, &defaults, slice_text(body), error);
}

static bool read_query(struct generate_request *request, const char *query, struct error *error) {
  return generate_request_read_query(request, &defaults, slice_text(query), error);
}

static void test_all_fields(void **state) {
  (void)state;
  static const char body[] = "{\"prompt\":\"a\\u0000b\",\"streaming\":true,\"max_tokens\":5,\"temperature\":0.5,"
                             "\"top_k\":3,\"top_p\":0.25,\"seed\":9007199254740993,\"stop\":[\"x\",\"yz\"]}";
  static const char query[] = "prompt=a%00b&streaming=true&max_tokens=5&temperature=0.5&top_k=3&top_p=0.25&"
                              "seed=9007199254740993&stop=x&stop=yz";
  for (int form = 0; form < 2; form++) {
    struct generate_request request;
    struct error error;
    assert_true(form ? read_query(&request, query, &error) : read_body(&request, body, &error));
    assert_int_equal(request.engine.prompt_size, 3);
    assert_memory_equal(request.engine.prompt, "a\0b", 3);
    assert_true(request.streaming && request.engine.has_seed);
    assert_int_equal(request.engine.max_tokens, 5);
    assert_int_equal(request.engine.top_k, 3);
    assert_true(request.engine.temperature == 0.5f && request.engine.top_p == 0.25f);
    assert_true(request.engine.seed == 9007199254740993u);
    assert_int_equal(request.engine.n_stop, 2);
    assert_string_equal(request.engine.stop[0], "x");
    assert_string_equal(request.engine.stop[1], "yz");
    generate_request_release(&request);
  }
}

/* Every kind of list, and each field once. */
static void test_rules(void **state) {
  (void)state;
  static const char body[] =
      "{\"prompt\":\"\",\"min_p\":0.5,\"typical_p\":0.25,\"repetition_penalty\":1.5,\"frequency_penalty\":-2,"
      "\"presence_penalty\":2,\"logit_bias\":{\"5\":-100,\"70\":0.5},\"bad_words\":[\"x\",\"y z\"],"
      "\"allowed_token_ids\":[1,2,3],\"min_tokens\":4,\"stop_token_ids\":[9],\"include_stop_str_in_output\":true,"
      "\"ignore_eos\":true,\"logprobs\":true,\"top_logprobs\":20}";
  static const char query[] =
      "prompt=&min_p=0.5&typical_p=0.25&repetition_penalty=1.5&frequency_penalty=-2&presence_penalty=2&"
      "logit_bias=%7B%225%22:-100,%2270%22:0.5%7D&bad_words=x&bad_words=y+z&allowed_token_ids=1&allowed_token_ids=2&"
      "allowed_token_ids=3&min_tokens=4&stop_token_ids=9&include_stop_str_in_output=true&ignore_eos=true&logprobs=true&"
      "top_logprobs=20";
  for (int form = 0; form < 2; form++) {
    struct generate_request request;
    const spate_request *engine = &request.engine;
    struct error error;
    if (!(form ? read_query(&request, query, &error) : read_body(&request, body, &error))) fail_msg("%s", error.text);
    assert_true(engine->min_p == 0.5f && engine->typical_p == 0.25f && engine->repetition_penalty == 1.5f);
    assert_true(engine->frequency_penalty == -2 && engine->presence_penalty == 2);
    assert_int_equal(engine->n_logit_bias, 2);
    assert_int_equal(engine->logit_bias[0].token + engine->logit_bias[1].token, 75);
    assert_true(engine->logit_bias[0].bias + engine->logit_bias[1].bias == -99.5f);
    assert_int_equal(engine->n_bad_words, 2);
    assert_string_equal(engine->bad_words[1], "y z");
    assert_int_equal(engine->n_allowed_token_ids, 3);
    assert_int_equal(engine->allowed_token_ids[2], 3);
    assert_int_equal(engine->min_tokens, 4);
    assert_int_equal(engine->n_stop_token_ids, 1);
    assert_int_equal(engine->stop_token_ids[0], 9);
    assert_true(engine->include_stop_str_in_output && engine->ignore_eos && engine->logprobs);
    assert_int_equal(engine->top_logprobs, 20);
    generate_request_release(&request);
  }
}

static void assert_defaults(const struct generate_request *request) {
  assert_int_equal(request->engine.max_tokens, 256);
  assert_int_equal(request->engine.top_k, 40);
  assert_true(request->engine.temperature == 0.7f && request->engine.top_p == 0.9f);
  assert_false(request->streaming || request->engine.has_seed || request->engine.n_stop);
}

static void test_defaults(void **state) {
  (void)state;
  static const char *const bodies[] = {
      "{\"prompt\":\"\"}",
      "{\"prompt\":\"\",\"streaming\":null,\"max_tokens\":null,\"temperature\":null,\"top_k\":null,\"top_p\":null,"
      "\"seed\":null,\"stop\":null,\"tensor_parallel_size\":null}",
      "{\"prompt\":\"\",\"tensor_parallel_size\":1}",
  };
  struct generate_request request;
  struct error error;
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    assert_true(read_body(&request, bodies[i], &error));
    assert_defaults(&request);
    generate_request_release(&request);
  }
  assert_true(read_query(&request, "prompt=a+b%2B", &error));
  assert_defaults(&request);
  assert_memory_equal(request.engine.prompt, "a b+", 4);
  generate_request_release(&request);
}

static void test_null_scale(void **state) {
  (void)state;
  static const char *const bodies[] = {
      "{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\"}}",
      "{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\",\"lora_scale\":null}}",
      "{\"prompt\":\"\",\"lora_request\":[{\"lora_scale\":null,\"lora_name\":\"a\"}]}",
  };
  struct generate_request request;
  struct error error;
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
    if (!read_body(&request, bodies[i], &error)) fail_msg("%s", error.text);
    assert_int_equal(request.engine.n_loras, 1);
    assert_string_equal(request.engine.loras[0].name, "a");
    assert_true(request.engine.loras[0].scale == 1);
    generate_request_release(&request);
  }
}

static void test_forms(void **state) {
  (void)state;
  struct generate_request request;
  struct error error;
  assert_true(
      read_body(&request, "{\"prompt\":\"\",\"stream\":true,\"top_k\":-1,\"max_tokens\":7.0,\"stop\":\"s\"}", &error));
  assert_true(request.streaming);
  assert_int_equal(request.engine.top_k, 0);
  assert_int_equal(request.engine.max_tokens, 7);
  assert_int_equal(request.engine.n_stop, 1);
  assert_string_equal(request.engine.stop[0], "s");
  generate_request_release(&request);
}

#define WHOLE "expected a whole number from 1 to 2147483647."
#define ADAPTERS                                                                                                       \
  "expected an object with a lora_name of 1 to 255 bytes and perhaps a number as lora_scale, or a list of up to 4."
#define SEED "expected a whole number from -9223372036854775808 to 9223372036854775807."
#define BIAS "expected an object of up to 1024 token ids, each with a number from -100 to 100."
#define STOP "expected a string or a list of up to 16 strings, each of 1 to 256 bytes and without U+0000."

static const struct {
  const char *body, *sentence;
} bad_bodies[] = {
    {"", "The body is empty: send {\"prompt\": \"...\"}."},
    {"[{}]", "The body is not a JSON object: send {\"prompt\": \"...\"}."},
    {"{}", "prompt is missing: send it as a string."},
    {"{\"prompt\":null}", "prompt is null, expected a string."},
    {"{\"prompt\":1}", "prompt is 1, expected a string."},
    {"{\"prompt\":{}}", "prompt is an object, expected a string."},
    {"{\"prompt\":\"\",\"streaming\":1}", "streaming is 1, expected true or false."},
    {"{\"prompt\":\"\",\"max_tokens\":0}", "max_tokens is 0, " WHOLE},
    {"{\"prompt\":\"\",\"max_tokens\":-5}", "max_tokens is -5, " WHOLE},
    {"{\"prompt\":\"\",\"max_tokens\":0.5}", "max_tokens is 0.5, " WHOLE},
    {"{\"prompt\":\"\",\"max_tokens\":2147483648}", "max_tokens is 2147483648, " WHOLE},
    {"{\"prompt\":\"\",\"max_tokens\":1e300}", "max_tokens is 1e+300, " WHOLE},
    {"{\"prompt\":\"\",\"max_tokens\":true}", "max_tokens is true, " WHOLE},
    {"{\"prompt\":\"\",\"temperature\":\"hot\"}", "temperature is a string, expected a number from 0 to 100."},
    {"{\"prompt\":\"\",\"temperature\":-0.1}", "temperature is -0.1, expected a number from 0 to 100."},
    {"{\"prompt\":\"\",\"temperature\":101}", "temperature is 101, expected a number from 0 to 100."},
    {"{\"prompt\":\"\",\"top_k\":-2}", "top_k is -2, expected a whole number from -1 to 2147483647."},
    {"{\"prompt\":\"\",\"top_p\":0}", "top_p is 0, expected a number above 0 and up to 1."},
    {"{\"prompt\":\"\",\"top_p\":1e-60}", "top_p is 1e-60, expected a number above 0 and up to 1."},
    {"{\"prompt\":\"\",\"top_p\":1.01}", "top_p is 1.01, expected a number above 0 and up to 1."},
    {"{\"prompt\":\"\",\"seed\":true}", "seed is true, " SEED},
    {"{\"prompt\":\"\",\"seed\":1.0}", "seed is 1, " SEED},
    {"{\"prompt\":\"\",\"seed\":9223372036854775808}", "seed is 9.223372036854776e+18, " SEED},
    {"{\"prompt\":\"\",\"stop\":\"\"}", "stop is a string, " STOP},
    {"{\"prompt\":\"\",\"stop\":[1]}", "stop is a list, " STOP},
    {"{\"prompt\":\"\",\"stop\":[\"a\\u0000\"]}", "stop is a list, " STOP},
    {"{\"prompt\":\"\",\"stop\":[\"1\",\"2\",\"3\",\"4\",\"5\",\"6\",\"7\",\"8\",\"9\",\"a\",\"b\",\"c\",\"d\",\"e\","
     "\"f\",\"g\",\"h\"]}",
     "stop is a list, " STOP},
    {"{\"prompt\":\"\",\"min_p\":-0.1}", "min_p is -0.1, expected a number from 0 to 1."},
    {"{\"prompt\":\"\",\"min_p\":1.1}", "min_p is 1.1, expected a number from 0 to 1."},
    {"{\"prompt\":\"\",\"typical_p\":0}", "typical_p is 0, expected a number above 0 and up to 1."},
    {"{\"prompt\":\"\",\"repetition_penalty\":0}", "repetition_penalty is 0, expected a number above 0 and up to 100."},
    {"{\"prompt\":\"\",\"repetition_penalty\":101}",
     "repetition_penalty is 101, expected a number above 0 and up to 100."},
    {"{\"prompt\":\"\",\"frequency_penalty\":2.1}", "frequency_penalty is 2.1, expected a number from -2 to 2."},
    {"{\"prompt\":\"\",\"presence_penalty\":\"1\"}", "presence_penalty is a string, expected a number from -2 to 2."},
    {"{\"prompt\":\"\",\"logit_bias\":[]}", "logit_bias is a list, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"a\":1}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"\":1}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"-1\":1}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"2147483648\":1}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"99999999999999999999999\":1}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"1\":100.5}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"logit_bias\":{\"1\":true}}", "logit_bias is an object, " BIAS},
    {"{\"prompt\":\"\",\"bad_words\":[\"\"]}", "bad_words is a list, expected a string or a list of up to 256 strings, "
                                               "each of 1 to 256 bytes and without U+0000."},
    {"{\"prompt\":\"\",\"allowed_token_ids\":3}", "allowed_token_ids is 3, expected a list of up to 16384 token ids."},
    {"{\"prompt\":\"\",\"allowed_token_ids\":[-1]}",
     "allowed_token_ids is a list, expected a list of up to 16384 token ids."},
    {"{\"prompt\":\"\",\"stop_token_ids\":[1.5]}", "stop_token_ids is a list, expected a list of up to 64 token ids."},
    {"{\"prompt\":\"\",\"stop_token_ids\":[2147483648]}",
     "stop_token_ids is a list, expected a list of up to 64 token ids."},
    {"{\"prompt\":\"\",\"min_tokens\":-1}", "min_tokens is -1, expected a whole number from 0 to 2147483647."},
    {"{\"prompt\":\"\",\"ignore_eos\":0}", "ignore_eos is 0, expected true or false."},
    {"{\"prompt\":\"\",\"logprobs\":5}", "logprobs is 5, expected true or false."},
    {"{\"prompt\":\"\",\"logprobs\":true,\"top_logprobs\":21}",
     "top_logprobs is 21, expected a whole number from 0 to 20."},
    {"{\"prompt\":\"\",\"top_logprobs\":3}", "top_logprobs is 3 and logprobs is not true: set both."},
    {"{\"prompt\":\"\",\"tensor_parallel_size\":2}", "tensor_parallel_size is 2, expected 1: more does not exist yet."},
    {"{\"prompt\":\"\",\"tensor_parallel_size\":0}", "tensor_parallel_size is 0, expected 1: more does not exist yet."},
    {"{\"prompt\":\"\",\"tensor_parallel_size\":true}",
     "tensor_parallel_size is true, expected 1: more does not exist yet."},
    {"{\"prompt\":\"\",\"lora_request\":{}}", "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"\"}}", "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\\u0000\"}}", "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\",\"lora_scale\":\"1\"}}",
     "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\",\"lora_scale\":-1e39}}",
     "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":{\"lora_name\":\"a\",\"scale\":1}}", "lora_request is an object, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":[\"a\"]}", "lora_request is a list, " ADAPTERS},
    {"{\"prompt\":\"\",\"lora_request\":[{\"lora_name\":\"a\"},{\"lora_name\":\"a\"},{\"lora_name\":\"a\"},{\"lora_"
     "name\":\"a\"},{\"lora_name\":\"a\"}]}",
     "lora_request is a list, " ADAPTERS},
    {"{\"prompt\":\"\",\"image_data\":7}",
     "image_data is 7, expected an image in base64, as a data: URL or by its address, or a list of up to 64."},
    {"{\"prompt\":\"\",\"image_data\":[\"a\",null]}",
     "image_data is a list, expected an image in base64, as a data: URL or by its address, or a list of up to 64."},
    {"{\"prompt\":\"\",\"Temperature\":1}", "There is no field \"Temperature\"; did you mean \"temperature\"?"},
    {"{\"prompt\":\"\",\"max_new_tokens\":1}", "There is no field \"max_new_tokens\"; did you mean \"max_tokens\"?"},
    {"{\"prompt\":\"\",\"promt\":\"\"}", "There is no field \"promt\"; did you mean \"prompt\"?"},
    {"{\"prompt\":\"\",\"\":1}", "There is no field \"\": /openapi.json lists those that exist."},
    {"{\"prompt\":\"\",\"penalty\":1}", "There is no field \"penalty\": /openapi.json lists those that exist."},
    {"{\"prompt\":\"\",\"stream\":true,\"streaming\":true}",
     "streaming is there twice: as \"streaming\" and as \"stream\"; send one."},
    {"{\"prompt\":\"\",\"prompt\":\"\"}",
     "Not valid JSON at line 1, column 21: duplicate object key near '\"prompt\"'."},
    {"{\"prompt\":\"\"} {}", "Not valid JSON at line 1, column 15: end of file expected near '{'."},
};

static const struct {
  const char *query, *sentence;
} bad_queries[] = {
    {"", "prompt is missing: send it as a string."},
    {"prompt", NULL},
    {"prompt=a&prompt=a", "The query has prompt twice; send it once."},
    {"prompt=a&stream=true&streaming=true", "The query has streaming twice; send it once."},
    {"prompt=a&max_tokens=", "max_tokens is a string, " WHOLE},
    {"prompt=a&max_tokens=0", "max_tokens is 0, " WHOLE},
    {"prompt=a&seed=9223372036854775807", NULL},
    {"prompt=a&seed=9223372036854775808", "seed is a string, " SEED},
    {"prompt=a&streaming=True", "streaming is a string, expected true or false."},
    {"prompt=a&top_k=%5B1%5D", "top_k is a list, expected a whole number from -1 to 2147483647."},
    {"prompt=a&tensor_parallel_size=1", NULL},
    {"prompt=a&tensor_parallel_size=2", "tensor_parallel_size is 2, expected 1: more does not exist yet."},
    {"prompt=%4", "The query has a bad percent-encoding."},
    {"prompt=%C3", "prompt is not valid UTF-8 in the query."},
    {"prompt=a&_=1", "There is no field \"_\": /openapi.json lists those that exist."},
};

static void test_bad_bodies(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad_bodies / sizeof *bad_bodies; i++) {
    struct generate_request request;
    struct error error;
    assert_false(read_body(&request, bad_bodies[i].body, &error));
    assert_string_equal(error.text, bad_bodies[i].sentence);
    generate_request_release(&request);
  }
}

static void test_bad_queries(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof bad_queries / sizeof *bad_queries; i++) {
    struct generate_request request;
    struct error error;
    bool read = read_query(&request, bad_queries[i].query, &error);
    assert_int_equal(read, bad_queries[i].sentence == NULL);
    if (!read) assert_string_equal(error.text, bad_queries[i].sentence);
    generate_request_release(&request);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_all_fields),  cmocka_unit_test(test_rules),      cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_forms),       cmocka_unit_test(test_null_scale), cmocka_unit_test(test_bad_bodies),
      cmocka_unit_test(test_bad_queries),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
