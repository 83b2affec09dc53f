/* Lines of samples; comments are passed over, for names tell what the doctor looks for. */
#include "doctor/metric_page.h"

#include "base/limits.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { NUMBER_BYTES = 64, BUCKETS_MAX = 64 };

/* --- reading ------------------------------------------------------------------------------------------------------ */

/* Where reading stands. */
struct cursor {
  const uint8_t *at, *end;
  int line;
  struct error *error;
};

static bool refuse(const struct cursor *cursor, const char *what) {
  return error_set(cursor->error, ERROR_FORMAT, "Line %d of the metrics %s.", cursor->line, what);
}

static bool is_name(uint8_t c, bool first) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == ':' || (!first && c >= '0' && c <= '9');
}

static struct slice name_take(struct cursor *cursor) {
  const uint8_t *first = cursor->at;
  while (cursor->at < cursor->end && is_name(*cursor->at, cursor->at == first)) cursor->at++;
  return slice_make(first, (size_t)(cursor->at - first));
}

static void blanks_pass(struct cursor *cursor) {
  while (cursor->at < cursor->end && (*cursor->at == ' ' || *cursor->at == '\t')) cursor->at++;
}

static bool byte_take(struct cursor *cursor, uint8_t byte) {
  if (cursor->at == cursor->end || *cursor->at != byte) return false;
  cursor->at++;
  return true;
}

/* From one quote to the next that no backslash escapes. */
static bool text_take(struct cursor *cursor, struct slice *text) {
  if (!byte_take(cursor, '"')) return false;
  const uint8_t *first = cursor->at;
  while (cursor->at < cursor->end && *cursor->at != '"')
    cursor->at += *cursor->at == '\\' && cursor->end - cursor->at > 1 ? 2 : 1;
  *text = slice_make(first, (size_t)(cursor->at - first));
  return byte_take(cursor, '"');
}

/* One name="value", and the comma after it if there is one. */
static bool label_take(struct cursor *cursor, struct slice *name, struct slice *value) {
  blanks_pass(cursor);
  *name = name_take(cursor);
  blanks_pass(cursor);
  if (name->size == 0 || !byte_take(cursor, '=')) return false;
  blanks_pass(cursor);
  if (!text_take(cursor, value)) return false;
  blanks_pass(cursor);
  return byte_take(cursor, ',') || (cursor->at < cursor->end && *cursor->at == '}');
}

static bool labels_take(struct cursor *cursor, struct slice *labels) {
  struct slice name, value;
  if (!byte_take(cursor, '{')) return true;
  const uint8_t *first = cursor->at;
  for (blanks_pass(cursor); cursor->at < cursor->end && *cursor->at != '}'; blanks_pass(cursor))
    if (!label_take(cursor, &name, &value)) return refuse(cursor, "has labels that are not name=\"value\" with commas");
  *labels = slice_make(first, (size_t)(cursor->at - first));
  return byte_take(cursor, '}') || refuse(cursor, "has labels without an end");
}

/* As Go writes numbers: no hexadecimal ones, which strtod would take. */
static bool number_take(struct cursor *cursor, double *value) {
  static const char digits[] = "0123456789+-.eE";
  char text[NUMBER_BYTES], *end;
  size_t size = 0;
  for (; cursor->at < cursor->end && *cursor->at != ' ' && *cursor->at != '\t'; cursor->at++)
    if (size < sizeof text) text[size++] = (char)*cursor->at;
  if (size == 0 || size == sizeof text) return false;
  text[size] = '\0';
  bool named = strcmp(text, "NaN") == 0 || strcmp(text, "+Inf") == 0 || strcmp(text, "-Inf") == 0;
  if (!named && strspn(text, digits) != size) return false;
  *value = strtod(text, &end);
  return *end == '\0';
}

static bool sample_take(struct cursor *cursor, struct metric_sample *sample) {
  double stamp;
  *sample = (struct metric_sample){.name = name_take(cursor)};
  if (sample->name.size == 0) return refuse(cursor, "does not begin with a metric's name");
  blanks_pass(cursor);
  if (!labels_take(cursor, &sample->labels)) return false;
  blanks_pass(cursor);
  if (!number_take(cursor, &sample->value)) return refuse(cursor, "has no number where a value is expected");
  blanks_pass(cursor);
  if (cursor->at < cursor->end && !number_take(cursor, &stamp)) return refuse(cursor, "goes on after its value");
  blanks_pass(cursor);
  return cursor->at == cursor->end || refuse(cursor, "goes on after its time");
}

static bool sample_add(struct metric_page *page, const struct metric_sample *sample, const struct cursor *cursor) {
  if (page->count == LIMIT_METRIC_SAMPLES)
    return error_set(cursor->error, ERROR_LIMIT, "The metrics have more than %d samples.", LIMIT_METRIC_SAMPLES);
  if (page->count == page->capacity) {
    size_t capacity = page->capacity ? 2 * page->capacity : 256;
    struct metric_sample *more = realloc(page->sample, capacity * sizeof *more);
    if (!more) return error_set(cursor->error, ERROR_MEMORY, "There is no memory for %zu samples.", capacity);
    page->sample = more;
    page->capacity = capacity;
  }
  page->sample[page->count++] = *sample;
  return true;
}

static bool line_read(struct metric_page *page, struct cursor *cursor) {
  struct metric_sample sample;
  blanks_pass(cursor);
  if (cursor->at == cursor->end || *cursor->at == '#') return true;
  return sample_take(cursor, &sample) && sample_add(page, &sample, cursor);
}

bool metric_page_read(struct metric_page *page, struct slice text, struct error *error) {
  struct cursor cursor = {.error = error};
  *page = (struct metric_page){0};
  if (text.size > LIMIT_METRIC_PAGE_BYTES)
    return error_set(error, ERROR_LIMIT, "The metrics have %zu bytes, expected at most %d.", text.size,
                     LIMIT_METRIC_PAGE_BYTES);
  bool sound = true;
  for (size_t at = 0; sound && at < text.size;) {
    const uint8_t *first = text.data + at, *feed = memchr(first, '\n', text.size - at);
    cursor.at = first;
    cursor.end = feed ? feed : text.data + text.size;
    cursor.line++;
    at = (size_t)(cursor.end - text.data) + 1;
    sound = feed ? line_read(page, &cursor) : refuse(&cursor, "has no end: the page is cut short");
  }
  if (!sound) metric_page_release(page);
  return sound;
}

void metric_page_release(struct metric_page *page) {
  free(page->sample);
  *page = (struct metric_page){0};
}

/* --- asking ------------------------------------------------------------------------------------------------------- */

bool metric_sample_label(const struct metric_sample *sample, const char *label, struct slice *value) {
  struct cursor cursor = {.at = sample->labels.data};
  struct slice name;
  if (sample->labels.size == 0) return false;
  cursor.end = cursor.at + sample->labels.size;
  while (cursor.at < cursor.end) {
    label_take(&cursor, &name, value); /* false after the last, whose brace is no longer there */
    if (name.size == 0) return false;
    if (slice_is(name, label)) return true;
  }
  return false;
}

double metric_page_sum(const struct metric_page *page, const char *name, const char *label, const char *prefix) {
  double sum = NAN;
  for (size_t i = 0; i < page->count; i++) {
    struct slice value;
    const struct metric_sample *sample = &page->sample[i];
    if (!slice_is(sample->name, name)) continue;
    if (label && !(metric_sample_label(sample, label, &value) && slice_starts(value, prefix))) continue;
    sum = isnan(sum) ? sample->value : sum + sample->value;
  }
  return sum;
}

/* --- histograms --------------------------------------------------------------------------------------------------- */

struct bucket {
  double bound, count; /* of all observations up to the bound */
};

static int bound_order(const void *a, const void *b) {
  double x = ((const struct bucket *)a)->bound, y = ((const struct bucket *)b)->bound;
  return (x > y) - (x < y);
}

static bool bucket_read(const struct metric_sample *sample, struct bucket *bucket) {
  struct slice le;
  struct cursor cursor = {0};
  if (!metric_sample_label(sample, "le", &le)) return false;
  cursor.at = le.data;
  cursor.end = le.data + le.size;
  bucket->count = sample->value;
  return number_take(&cursor, &bucket->bound) && cursor.at == cursor.end && !isnan(bucket->bound) &&
         isfinite(bucket->count);
}

/* The buckets of a histogram by their bounds; 0 when they are none's. */
static int buckets_read(const struct metric_page *page, const char *name, struct bucket bucket[BUCKETS_MAX]) {
  char full[128];
  int n = 0;
  snprintf(full, sizeof full, "%s_bucket", name);
  for (size_t i = 0; i < page->count; i++) {
    if (!slice_is(page->sample[i].name, full)) continue;
    if (n == BUCKETS_MAX || !bucket_read(&page->sample[i], &bucket[n++])) return 0;
  }
  qsort(bucket, (size_t)n, sizeof *bucket, bound_order);
  for (int i = 1; i < n; i++)
    if (bucket[i].bound == bucket[i - 1].bound || bucket[i].count < bucket[i - 1].count) return 0;
  return n >= 2 && isinf(bucket[n - 1].bound) && bucket[0].count >= 0 ? n : 0;
}

double metric_page_quantile(const struct metric_page *page, const struct metric_page *before, const char *name,
                            double quantile, double least) {
  struct bucket bucket[BUCKETS_MAX] = {{0}}, earlier[BUCKETS_MAX] = {{0}};
  int n = buckets_read(page, name, bucket), m = before ? buckets_read(before, name, earlier) : 0;
  if (n == 0 || (before && m != n)) return NAN;
  for (int i = 0; i < m; i++) bucket[i].count -= earlier[i].count;
  double all = bucket[n - 1].count, rank = quantile * all;
  if (!(all >= least) || all <= 0) return NAN;
  int i = 0;
  while (i < n - 1 && bucket[i].count < rank) i++;
  if (i == n - 1) return bucket[n - 2].bound;
  double low = i ? bucket[i - 1].bound : 0, below = i ? bucket[i - 1].count : 0, here = bucket[i].count - below;
  if (i == 0 && bucket[0].bound <= 0) return bucket[0].bound;
  return low + (bucket[i].bound - low) * (here > 0 ? (rank - below) / here : 1);
}
