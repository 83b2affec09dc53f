/* The forms of /v1/embeddings, /v1/rerank, /v1/score and /v1/classify, and Cohere's of /v2/rerank. A choice's text
 * holds its numbers. */
#include "base/base64.h"
#include "base/json.h"
#include "base/limits.h"
#include "server/openai_text.h"
#include "server/reply.h"

#include <math.h>
#include <stdlib.h>

struct numbers {
  const float *at;
  int count;
};

static struct numbers numbers_of(const struct choice *choice) {
  return (struct numbers){(const float *)(const void *)choice->text.data, (int)(choice->text.size / sizeof(float))};
}

static void usage_write(struct buffer *out, const struct answer *answer) {
  struct answer_usage usage = answer_usage_of(answer);
  buffer_print(out, "\"usage\":{\"prompt_tokens\":%d,\"total_tokens\":%d}", usage.prompt_tokens, usage.prompt_tokens);
}

static void model_write(struct buffer *out, const struct answer *answer) {
  buffer_text(out, "\"model\":");
  json_write_string(out, slice_text(answer->facts.model));
}

/* {"id":…,"object":"list","created":…,"model":…,"data":[ */
static void list_begin(struct buffer *out, const struct answer *answer) {
  buffer_print(out, "{\"id\":\"%s\",\"object\":\"list\",\"created\":%lld,", answer->facts.id,
               (long long)answer->facts.created);
  model_write(out, answer);
  buffer_text(out, ",\"data\":[");
}

static void list_end(struct buffer *out, const struct answer *answer) {
  buffer_text(out, "],");
  usage_write(out, answer);
  buffer_text(out, "}");
}

static void floats_write(struct buffer *out, struct numbers numbers) {
  buffer_text(out, "[");
  for (int i = 0; i < numbers.count; i++) buffer_print(out, i ? ",%.9g" : "%.9g", (double)numbers.at[i]);
  buffer_text(out, "]");
}

/* --- vectors ------------------------------------------------------------------------------------------------------ */

static void vectors_write(struct buffer *out, const struct answer *answer, bool base64) {
  buffer_text(out, "{\"object\":\"list\",\"data\":[");
  for (int i = 0; i < answer->n_choice; i++) {
    const struct choice *choice = &answer->choice[i];
    buffer_print(out, "%s{\"object\":\"embedding\",\"index\":%d,\"embedding\":", i ? "," : "", i);
    if (base64) {
      buffer_text(out, "\"");
      base64_encode(buffer_slice(&choice->text), out);
      buffer_text(out, "\"}");
      continue;
    }
    floats_write(out, numbers_of(choice));
    buffer_text(out, "}");
  }
  buffer_text(out, "],");
  model_write(out, answer);
  buffer_text(out, ",");
  usage_write(out, answer);
  buffer_text(out, "}");
}

static void float_write(struct buffer *out, const struct answer *answer) { vectors_write(out, answer, false); }
static void base64_write(struct buffer *out, const struct answer *answer) { vectors_write(out, answer, true); }

/* --- scores ------------------------------------------------------------------------------------------------------- */

static int scores_count(const struct answer *answer) {
  return answer->facts.n_query ? answer->n_choice - answer->facts.n_query : answer->n_choice;
}

/* As the model's files say; of the distances the negative. */
static double likeness(int similarity, struct numbers a, struct numbers b) {
  double product = 0, left = 0, right = 0, squares = 0, sum = 0;
  for (int i = 0; i < a.count && i < b.count; i++) {
    double x = (double)a.at[i], y = (double)b.at[i];
    product += x * y;
    left += x * x;
    right += y * y;
    squares += (x - y) * (x - y);
    sum += fabs(x - y);
  }
  if (similarity == SPATE_DOT) return product;
  if (similarity == SPATE_EUCLIDEAN) return -sqrt(squares);
  if (similarity == SPATE_MANHATTAN) return -sum;
  return left > 0 && right > 0 ? product / sqrt(left * right) : 0;
}

static double score_of(const struct answer *answer, int index) {
  int n_query = answer->facts.n_query;
  if (n_query == 0)
    return numbers_of(&answer->choice[index]).count ? (double)numbers_of(&answer->choice[index]).at[0] : 0;
  return likeness(answer->facts.similarity, numbers_of(&answer->choice[n_query == 1 ? 0 : index]),
                  numbers_of(&answer->choice[n_query + index]));
}

static void scores_write(struct buffer *out, const struct answer *answer) {
  list_begin(out, answer);
  for (int i = 0; i < scores_count(answer); i++)
    buffer_print(out, "%s{\"index\":%d,\"object\":\"score\",\"score\":%.9g}", i ? "," : "", i, score_of(answer, i));
  list_end(out, answer);
}

struct ranked {
  double score;
  int index;
};

/* The best first; of equals the first. */
static int ranked_compare(const void *a, const void *b) {
  const struct ranked *left = a, *right = b;
  if (left->score != right->score) return left->score < right->score ? 1 : -1;
  return left->index - right->index;
}

static void document_write(struct buffer *out, const json_t *documents, int index) {
  const json_t *item = json_is_array(documents) ? json_array_get(documents, (size_t)index) : documents;
  const json_t *text = json_is_object(item) ? json_object_get(item, "text") : item;
  buffer_text(out, ",\"document\":{\"text\":");
  json_write_string(out, json_slice(text));
  buffer_text(out, "}");
}

/* "results":[… */
static void results_write(struct buffer *out, const struct answer *answer) {
  int count = scores_count(answer),
      shown = answer->facts.top_n && answer->facts.top_n < count ? answer->facts.top_n : count;
  struct ranked ranked[LIMIT_REQUEST_TEXTS];
  for (int i = 0; i < count; i++) ranked[i] = (struct ranked){score_of(answer, i), i};
  qsort(ranked, (size_t)count, sizeof *ranked, ranked_compare);
  buffer_text(out, "\"results\":[");
  for (int i = 0; i < shown; i++) {
    buffer_print(out, "%s{\"index\":%d,\"relevance_score\":%.9g", i ? "," : "", ranked[i].index, ranked[i].score);
    if (answer->facts.documents) document_write(out, answer->facts.documents, ranked[i].index);
    buffer_text(out, "}");
  }
}

static void ranking_write(struct buffer *out, const struct answer *answer) {
  buffer_print(out, "{\"id\":\"%s\",", answer->facts.id);
  model_write(out, answer);
  buffer_text(out, ",");
  results_write(out, answer);
  list_end(out, answer);
}

static void cohere_write(struct buffer *out, const struct answer *answer) {
  buffer_print(out, "{\"id\":\"%s\",", answer->facts.id);
  results_write(out, answer);
  buffer_print(out, "],\"meta\":{\"api_version\":{\"version\":\"2\"},\"tokens\":{\"input_tokens\":%d}}}",
               answer_usage_of(answer).prompt_tokens);
}

/* --- labels ------------------------------------------------------------------------------------------------------- */

static void classes_write(struct buffer *out, const struct answer *answer) {
  list_begin(out, answer);
  for (int i = 0; i < answer->n_choice; i++) {
    struct numbers numbers = numbers_of(&answer->choice[i]);
    int best = 0;
    for (int k = 1; k < numbers.count; k++)
      if (numbers.at[k] > numbers.at[best]) best = k;
    const char *label = spate_label(answer->facts.engine, best);
    buffer_print(out, "%s{\"index\":%d,\"label\":", i ? "," : "", i);
    json_write_string(out, slice_text(label ? label : ""));
    buffer_text(out, ",\"probs\":");
    floats_write(out, numbers);
    buffer_print(out, ",\"num_classes\":%d}", numbers.count);
  }
  list_end(out, answer);
}

const struct answer_form vectors_float = {.content_type = JSON_CONTENT_TYPE, .whole = float_write};
const struct answer_form vectors_base64 = {.content_type = JSON_CONTENT_TYPE, .whole = base64_write};
const struct answer_form ranking_whole = {.content_type = JSON_CONTENT_TYPE, .whole = ranking_write};
const struct answer_form ranking_cohere = {.content_type = JSON_CONTENT_TYPE, .whole = cohere_write};
const struct answer_form scores_whole = {.content_type = JSON_CONTENT_TYPE, .whole = scores_write};
const struct answer_form classes_whole = {.content_type = JSON_CONTENT_TYPE, .whole = classes_write};
