/* The table of rules: each fires at its bounds and nowhere else, names facts that there are, and the pages that real
 * servers answered under known loads (tests/fixtures/doctor, by tools/record_metrics.sh) lead to the rules that they
 * should. */
#include "base/file.h"
#include "base/json.h"
#include "doctor/doctor_report.h"
#include "doctor/server_facts.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct facts *facts_new(void) {
  struct facts *facts = calloc(1, sizeof *facts);
  assert_non_null(facts);
  return facts;
}

static void test_facts_are_named(void **state) {
  (void)state;
  for (int id = 0; id < FACT_COUNT; id++) {
    const struct fact_definition *fact = &fact_definitions[id];
    assert_non_null(fact->name);
    assert_non_null(fact->source);
    assert_int_equal(fact_named(fact->name, (int)strlen(fact->name)), id); /* no two of one name */
  }
  assert_int_equal(fact_named("cpu_", 4), FACT_COUNT);
  assert_int_equal(fact_named("", 0), FACT_COUNT);
}

static void test_sentences(void **state) {
  (void)state;
  struct facts *facts = facts_new();
  char text[RULE_TEXT_MAX];
  for (int i = 0; i < doctor_rule_count; i++) {
    if (!rule_sentence(doctor_rules[i].symptom, facts, text)) fail_msg("%s", doctor_rules[i].symptom);
    assert_true(strlen(text) > 10 && strlen(text) < RULE_TEXT_MAX - 200);
    if (!rule_sentence(doctor_rules[i].change, facts, text)) fail_msg("%s", doctor_rules[i].change);
    assert_true(strlen(text) > 10 && strlen(text) < RULE_TEXT_MAX - 200);
    assert_true(doctor_rules[i].condition[0].when != WHEN_NONE);
  }
  free(facts);
}

static void condition_meet(struct facts *facts, const struct rule_condition *condition, bool meet) {
  double step = (condition->when == WHEN_ABOVE) == meet ? 1e-6 : -1e-6;
  if (condition->when != WHEN_NONE)
    fact_set(facts, condition->fact, condition->bound + step * fmax(1, condition->bound));
}

/* Is there a condition on the same fact before this one? (A fact between two bounds.) */
static bool is_second(const struct rule *rule, int c) {
  for (int i = 0; i < c; i++)
    if (rule->condition[i].when != WHEN_NONE && rule->condition[i].fact == rule->condition[c].fact) return true;
  return false;
}

static void test_bounds(void **state) {
  (void)state;
  struct facts *facts = facts_new();
  for (int i = 0; i < doctor_rule_count; i++) {
    const struct rule *rule = &doctor_rules[i];
    memset(facts, 0, sizeof *facts);
    assert_false(rule_holds(rule, facts)); /* nothing is known */
    for (int c = 0; c < RULE_CONDITIONS; c++) condition_meet(facts, &rule->condition[c], true);
    if (!rule_holds(rule, facts)) fail_msg("%s", rule->symptom);
    for (int c = 0; c < RULE_CONDITIONS; c++) {
      if (rule->condition[c].when == WHEN_NONE || is_second(rule, c)) continue;
      struct facts *other = facts_new();
      *other = *facts;
      condition_meet(other, &rule->condition[c], false);
      if (rule_holds(rule, other)) fail_msg("%s", rule->symptom);
      other->known[rule->condition[c].fact] = false;
      assert_false(rule_holds(rule, other));
      free(other);
    }
  }
  free(facts);
}

static void test_placeholders(void **state) {
  (void)state;
  static const struct {
    const char *sentence, *text; /* NULL: there is no such fact */
  } cases[] = {
      {"plain", "plain"},
      {"{kv_cache}, {kv_cache*2}, {kv_cache/2}, {kv_cache#}", "1.5 GiB, 3.0 GiB, 768 MiB, 1536M"},
      {"{queue_p99} {failed} {steps} {steps*2}", "1.5 s 12.5 % 100 200"},
      {"{gap_p50} {gap_p99} {gap_ratio} {gap_ratio*2} {gap_ratio/2}", "1.5 ms 20 µs 2.5 5 2"},
      {"{model} {target}", "a?b unknown"},
      {"{token_limit*2} {token_limit/2} {sequence_limit*2} {sequence_limit/2}", "800 300 400 150"},
      {"{kv_sequences} {kv_sequences#} {token_limit#}", "0 1 400"},
      {"{nothing}", NULL},
      {"{steps*3}", NULL},
      {"{steps", NULL},
      {"{}", NULL},
      {"{2}", NULL},
  };
  struct facts *facts = facts_new();
  fact_set(facts, FACT_KV_BYTES, 1.5 * (1 << 30));
  fact_set(facts, FACT_QUEUE_P99, 1.5);
  fact_set(facts, FACT_GAP_P50, 1.5e-3);
  fact_set(facts, FACT_GAP_P99, 20e-6);
  fact_set(facts, FACT_GAP_RATIO, 2.5);
  fact_set(facts, FACT_FAILED, 0.125);
  fact_set(facts, FACT_STEPS, 100);
  fact_set(facts, FACT_TOKEN_LIMIT, 400);    /* half would be fewer than the sequences, */
  fact_set(facts, FACT_SEQUENCE_LIMIT, 300); /* of which twice would be more than the tokens */
  fact_set(facts, FACT_KV_SEQUENCES, 0);
  fact_set_text(facts, FACT_MODEL, "a\nb");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[RULE_TEXT_MAX];
    bool known = rule_sentence(cases[i].sentence, facts, text);
    if (known != (cases[i].text != NULL)) fail_msg("%s", cases[i].sentence);
    if (known) assert_string_equal(text, cases[i].text);
  }
  free(facts);
}

/* --- recorded pages ----------------------------------------------------------------------------------------------- */

struct recorded {
  struct file file;
  struct metric_page page;
};

static void recorded_open(struct recorded *recorded, const char *name) {
  char path[512];
  struct error error;
  snprintf(path, sizeof path, FIXTURES "/doctor/%s.txt", name);
  if (!file_open(&recorded->file, path, &error)) fail_msg("%s", error.text);
  if (!metric_page_read(&recorded->page, slice_make(recorded->file.data, recorded->file.size), &error))
    fail_msg("%s", error.text);
}

static void recorded_close(struct recorded *recorded) {
  metric_page_release(&recorded->page);
  file_close(&recorded->file);
}

/* The facts of the rules that hold, with spaces. */
static void held(const struct facts *facts, char out[512]) {
  out[0] = '\0';
  for (int i = 0; i < doctor_rule_count; i++) {
    if (!rule_holds(&doctor_rules[i], facts)) continue;
    size_t size = strlen(out);
    snprintf(out + size, 512 - size, "%s%s", size ? " " : "", fact_definitions[doctor_rules[i].condition[0].fact].name);
  }
}

static void test_recorded(void **state) {
  (void)state;
  static const struct {
    const char *name, *held;
  } cases[] = {{"quiet", ""},
               {"seats", "queue_p99"},
               {"blocks", "queue_p99 preemptions gap_p99"},
               {"busy", "busy"},
               {"prompts", "queue_p99 reuse_off gap_p99"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct recorded recorded;
    struct facts *facts = facts_new();
    struct error error;
    char names[512];
    recorded_open(&recorded, cases[i].name);
    if (!server_facts_find(facts, &recorded.page, NULL, &error)) fail_msg("%s", error.text);
    held(facts, names);
    if (strcmp(names, cases[i].held) != 0) fail_msg("%s: %s", cases[i].name, names);
    recorded_close(&recorded);
    free(facts);
  }
}

/* Of two looks only what came between counts. */
static void test_between(void **state) {
  (void)state;
  struct recorded recorded;
  struct facts *facts = facts_new();
  struct error error;
  char names[512];
  recorded_open(&recorded, "seats");
  assert_true(server_facts_find(facts, &recorded.page, &recorded.page, &error));
  held(facts, names);
  assert_string_equal(names, "");
  assert_true(facts->known[FACT_STEPS_BETWEEN] && facts->value[FACT_STEPS_BETWEEN] == 0);
  assert_false(facts->known[FACT_QUEUE_P99] || facts->known[FACT_BUSY] || facts->known[FACT_PREFIX_HITS]);
  fact_set(facts, FACT_RUNNING, 2);
  held(facts, names);
  assert_string_equal(names, "steps_between");
  recorded_close(&recorded);
  free(facts);
}

/* Where serve's limits end, so does the advice. */
static void test_limits(void **state) {
  (void)state;
  struct facts *facts = facts_new();
  char text[RULE_TEXT_MAX];
  fact_set(facts, FACT_TOKEN_LIMIT, 60000);
  fact_set(facts, FACT_SEQUENCE_LIMIT, 1000);
  assert_true(rule_sentence("{token_limit*2} {sequence_limit*2} {sequence_limit/2}", facts, text));
  assert_string_equal(text, "65536 1024 500");
  fact_set(facts, FACT_TOKEN_LIMIT, 1);
  fact_set(facts, FACT_SEQUENCE_LIMIT, 1);
  assert_true(rule_sentence("{token_limit/2} {sequence_limit/2}", facts, text));
  assert_string_equal(text, "1 1");
  free(facts);
}

/* Who was told to come back, and why: a 429 by itself, of which there are 40 each time, says nothing of that. */
static void test_told_to_come_back(void **state) {
  static const struct {
    int queue, size, place, timeout, address, tokens, late;
    const char *held;
  } cases[] = {{40, 0, 0, 0, 0, 0, 0, "busy"},
               {0, 0, 40, 0, 0, 0, 0, "outranked"},
               {0, 0, 0, 40, 0, 0, 0, "too_late"},
               {0, 0, 0, 0, 40, 0, 0, "crowded"},
               {0, 0, 0, 0, 0, 40, 0, "texts_refused"},
               {0, 40, 0, 0, 40, 0, 0, "crowded refused_requests"},
               {0, 0, 0, 0, 40, 0, 40, "crowded refused_requests"},
               {0, 40, 0, 0, 0, 40, 0, "texts_refused refused_requests"},
               {20, 0, 10, 10, 0, 0, 0, "busy outranked too_late"},
               {0, 60, 20, 20, 0, 0, 0, "outranked too_late refused_requests"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[1024], names[512];
    struct facts *facts = facts_new();
    struct metric_page page;
    struct error error;
    snprintf(text, sizeof text,
             "llm_steps_total 9\nllm_requests_total %d\nllm_requests_refused_total{reason=\"queue\"} %d\n"
             "llm_requests_refused_total{reason=\"size\"} %d\n"
             "http_requests_refused_total{reason=\"address\"} %d\nhttp_requests_refused_total{reason=\"tokens\"} %d\n"
             "llm_requests_shed_total{priority=\"low\",reason=\"place\"} %d\n"
             "llm_requests_shed_total{priority=\"normal\",reason=\"timeout\"} %d\n"
             "llm_requests_finished_total{reason=\"refused\"} %d\n"
             "http_requests_total{method=\"POST\",handler=\"/generate\",status=\"200\"} 60\n"
             "http_requests_total{method=\"POST\",handler=\"/generate\",status=\"429\"} 40\n",
             100 - cases[i].queue - cases[i].size, cases[i].queue, cases[i].size, cases[i].address, cases[i].tokens,
             cases[i].place, cases[i].timeout, cases[i].late);
    assert_true(metric_page_read(&page, slice_text(text), &error));
    assert_true(server_facts_find(facts, &page, NULL, &error));
    held(facts, names);
    assert_string_equal(names, cases[i].held);
    metric_page_release(&page);
    free(facts);
  }
}

/* Counters of two engines are not subtracted from one another, however many steps the second one has made. */
static void test_another_engine(void **state) {
  static const struct {
    const char *before, *later;
    bool same;
  } cases[] = {{"llm_engine_generation 1\nllm_steps_total 8\n", "llm_engine_generation 1\nllm_steps_total 9\n", true},
               {"llm_engine_generation 1\nllm_steps_total 8\n", "llm_engine_generation 2\nllm_steps_total 9\n", false},
               {"llm_engine_generation 2\nllm_steps_total 8\n", "llm_engine_generation 1\nllm_steps_total 9\n", false},
               {"llm_steps_total 8\nllm_requests_total 3\n", "llm_steps_total 9\nllm_requests_total 2\n", false},
               {"llm_steps_total 8\nhttp_requests_total 3\n", "llm_steps_total 9\nhttp_requests_total 2\n", false},
               {"llm_steps_total 9\n", "llm_steps_total 8\n", false}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct facts *facts = facts_new();
    struct metric_page before, later;
    struct error error;
    assert_true(metric_page_read(&before, slice_text(cases[i].before), &error));
    assert_true(metric_page_read(&later, slice_text(cases[i].later), &error));
    assert_int_equal(server_facts_find(facts, &later, &before, &error), cases[i].same);
    if (!cases[i].same)
      assert_string_equal(error.text,
                          "The server started anew, or exchanged its engine, between the two looks: look again.");
    metric_page_release(&before);
    metric_page_release(&later);
    free(facts);
  }
}

static void test_other_servers(void **state) {
  (void)state;
  struct metric_page page;
  struct facts *facts = facts_new();
  struct error error;
  assert_true(metric_page_read(&page, slice_text("vllm:num_requests_running 1\n"), &error));
  assert_false(server_facts_find(facts, &page, NULL, &error));
  assert_string_equal(error.text, "The metrics have no llm_steps_total: expected those of spate serve.");
  metric_page_release(&page);
  assert_true(metric_page_read(&page, slice_text("llm_steps_total 9\n"), &error));
  assert_true(server_facts_find(facts, &page, NULL, &error)); /* little is known, and nothing found */
  assert_int_equal(findings_count(facts), 0);
  metric_page_release(&page);
  free(facts);
}

/* What terminals take for commands, valid UTF-8 or not; letters of all alphabets stay. */
static void test_tame(void **state) {
  static const char *const cases[][2] = {{"plain", "plain"},
                                         {"\x1b[2J\x7f\r\n\t", "?[2J????"},
                                         {"\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "??????\xc2\xa0"},
                                         {"\x80\x9b"
                                          "2J\x9f",
                                          "??2J?"}, /* bare */
                                         {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 \xd0\x9b",
                                          "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x98\x80 \xd0\x9b"},
                                         {"\xc3\x9b\x9b \xe2\x9b", "\xc3\x9b? ??"}, /* one too many; cut short */
                                         {"\xc0\x9b\xe0\x80\x9b\xed\xa0\x9b\xff", "?????????"}};
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char text[64];
    strcpy(text, cases[i][0]);
    text_tame(text);
    assert_string_equal(text, cases[i][1]);
  }
}

static void test_report(void **state) {
  (void)state;
  struct facts *facts = facts_new();
  struct problems problems = {.count = 0};
  struct buffer out;
  struct error error;
  buffer_init(&out, REPORT_BYTES_MAX);
  fact_set(facts, FACT_QUEUE_P99, 7.5);
  fact_set(facts, FACT_KV_USED, 0.95);
  fact_set(facts, FACT_CACHE_TOKENS, 4096);
  fact_set_text(facts, FACT_CACHE_TYPE, "fp\"16");
  problem_add(&problems, "It is \x1b[2Jd\xc2\x9b"
                         "ark.");
  assert_true(report_write_text(facts, &problems, &out));
  buffer_append(&out, "", 1);
  assert_non_null(strstr(out.data,
                         "1. Requests wait long before they start, and the KV cache is full (95 %).\n"
                         "   queue_p99 (llm_queue_seconds, p99) is 7.5 s; a finding above 5 s.\n"
                         "   -> Raise --kv-cache-memory or --free-gpu-memory-fraction so that it holds 8192 tokens"));
  assert_non_null(strstr(out.data, "Could not look: It is ?[2Jd??ark.\n1 finding\n"));
  buffer_clear(&out);
  assert_true(report_write_json(facts, &problems, &out));
  json_t *root = json_parse(buffer_slice(&out), &error);
  assert_non_null(root);
  json_t *finding = json_array_get(json_object_get(root, "findings"), 0);
  assert_true(json_real_value(json_object_get(finding, "value")) == 7.5);
  assert_string_equal(json_string_value(json_object_get(finding, "when")), "above");
  assert_string_equal(json_string_value(json_object_get(json_object_get(root, "server"), "cache_type")), "fp\"16");
  assert_int_equal(json_array_size(json_object_get(root, "problems")), 1);
  json_decref(root);
  buffer_release(&out);
  free(facts);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_facts_are_named), cmocka_unit_test(test_sentences),
      cmocka_unit_test(test_bounds),          cmocka_unit_test(test_placeholders),
      cmocka_unit_test(test_recorded),        cmocka_unit_test(test_between),
      cmocka_unit_test(test_limits),          cmocka_unit_test(test_told_to_come_back),
      cmocka_unit_test(test_another_engine),  cmocka_unit_test(test_tame),
      cmocka_unit_test(test_other_servers),   cmocka_unit_test(test_report),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
