/* Plots: what is drawn of results, and results that cannot be. That the SVG is well-formed XML, tests/e2e/test_eval.py
 * asks a parser. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "build/eval_plot.h"

#define TEXT(perplexity) "\"text\":{\"perplexity\":" perplexity ",\"tokens_per_second\":100}"
#define RESULT(model, mode, rest)                                                                                      \
  "{\"model\":\"" model "\",\"quant_mode\":\"" mode "\",\"weight_bytes\":1e8," TEXT("20.5") rest "}"
#define AGAINST(kl) ",\"against\":{\"mean_kl\":" kl "}"

static int count_of(const struct buffer *svg, const char *what) {
  int count = 0;
  for (const char *at = svg->data, *end = svg->data + svg->size;
       (at = memmem(at, (size_t)(end - at), what, strlen(what))); at++)
    count++;
  return count;
}

static void draw(struct buffer *svg, const char *const *texts, size_t count) {
  struct slice results[4];
  struct error error;
  for (size_t i = 0; i < count; i++) results[i] = slice_text(texts[i]);
  buffer_init(svg, 1 << 20);
  if (!eval_plot(results, count, svg, &error)) fail_msg("%s", error.text);
}

static void test_perplexity(void **state) {
  static const char *const texts[] = {RESULT("a", "INT8_WEIGHT", ""), RESULT("b<&>\\u0001\\n\u00e4", "FP32", "")};
  struct buffer svg;
  (void)state;
  draw(&svg, texts, 2);
  assert_int_equal(count_of(&svg, "<circle"), 4);
  assert_int_equal(count_of(&svg, ">perplexity<"), 2);
  assert_int_equal(count_of(&svg, ">b&lt;&amp;&gt;????"), 2);
  assert_int_equal(count_of(&svg, "nan"), 0);
  buffer_release(&svg);
}

/* An FP32 result without a divergence is what the others were compared with; any other one leaves only perplexity. */
static void test_divergence(void **state) {
  static const char *const texts[] = {RESULT("a", "FP32", ""), RESULT("a", "INT8_WEIGHT", AGAINST("0.001")),
                                      RESULT("a", "INT4_WEIGHT", AGAINST("0.2")), RESULT("a", "BF16", "")};
  struct buffer svg;
  (void)state;
  draw(&svg, texts, 3);
  assert_int_equal(count_of(&svg, ">mean KL divergence, nats<"), 2);
  assert_int_equal(count_of(&svg, ">0.1<"), 2); /* a decade */
  buffer_release(&svg);
  draw(&svg, texts, 4);
  assert_int_equal(count_of(&svg, ">perplexity<"), 2);
  buffer_release(&svg);
}

static void test_table(void **state) {
  static const char *const texts[] = {
      "{\"modes\":[{\"name\":\"one\",\"decode\":[{\"batch\":1,\"tokens_per_second\":50}],\"evaluation\":" RESULT(
          "a", "FP32", "") "},{\"name\":\"two\",\"problem\":\"No kernel.\"}]}"};
  struct buffer svg;
  (void)state;
  draw(&svg, texts, 1);
  assert_int_equal(count_of(&svg, "<circle"), 2);
  assert_int_equal(count_of(&svg, ">one<"), 2);
  assert_int_equal(count_of(&svg, ">tokens/s, decoding at batch 1<"), 1);
  buffer_release(&svg);
}

static void refused(const char *text, const char *sentence) {
  struct slice result = slice_text(text);
  struct buffer svg;
  struct error error = {0};
  buffer_init(&svg, 1 << 20);
  assert_false(eval_plot(&result, 1, &svg, &error));
  assert_string_equal(error.text, sentence);
  buffer_release(&svg);
}

static void test_refused(void **state) {
#define NOTHING "Result 1: It has no perplexity, speed and size to plot: evaluate the engine on a text."
  static const char *const texts[] = {"{}",
                                      "[]",
                                      "{\"text\":1}",
                                      "{\"weight_bytes\":1," TEXT("0") "}",
                                      "{\"weight_bytes\":-1," TEXT("2") "}",
                                      "{\"weight_bytes\":1," TEXT("1e300") "}",
                                      "{\"weight_bytes\":1," TEXT("2") AGAINST("1e300") "}",
                                      "{\"modes\":[{\"evaluation\":7}]}"};
  (void)state;
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) refused(texts[i], NOTHING);
  refused("{\"modes\":[]}", "There are no results to plot.");
  struct buffer many;
  buffer_init(&many, 1 << 20);
  for (int i = 0; i <= LIMIT_PLOT_POINTS; i++)
    buffer_print(&many, "%s{\"evaluation\":" RESULT("a", "FP32", "") "}", i ? "," : "{\"modes\":[");
  buffer_print(&many, "]}%c", '\0');
  refused(many.data, "Result 1: More than 64 engines do not fit in one plot.");
  buffer_release(&many);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_perplexity), cmocka_unit_test(test_divergence),
                                     cmocka_unit_test(test_table), cmocka_unit_test(test_refused)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
