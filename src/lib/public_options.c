/* Options of programs older than this library. */
#include "lib/public_options.h"

#include "plan/backend.h"

#include <string.h>

/* `to` holds the defaults and its own size. */
static bool options_read(void *to, const void *from, const char *name, struct error *error) {
  size_t known, size;
  memcpy(&known, to, sizeof known);
  memcpy(&size, from, sizeof size);
  if (size <= sizeof size || size > known)
    return error_set(
        error, ERROR_INVALID,
        "%s.size is %zu, expected at most %zu: let %s_init set it, and use a library that is not older than "
        "its header.",
        name, size, known, name);
  memcpy(to, from, size);
  memcpy(to, &known, sizeof known);
  return true;
}

bool build_options_read(const spate_build_options *from, spate_build_options *to, struct error *error) {
  spate_build_options_init(to);
  return options_read(to, from, "spate_build_options", error);
}

bool open_options_read(const spate_open_options *from, spate_open_options *to, struct error *error) {
  spate_open_options_init(to);
  return options_read(to, from, "spate_open_options", error);
}

bool request_read(const spate_engine *engine, const spate_request *from, spate_request *to, struct error *error) {
  spate_request_init(engine, to);
  return options_read(to, from, "spate_request", error);
}

bool tokenize_options_read(const spate_tokenize_options *from, spate_tokenize_options *to, struct error *error) {
  spate_tokenize_options_init(to);
  return options_read(to, from, "spate_tokenize_options", error);
}

bool bench_options_read(const spate_bench_options *from, spate_bench_options *to, struct error *error) {
  spate_bench_options_init(to);
  return options_read(to, from, "spate_bench_options", error);
}

bool random_options_read(const spate_random_options *from, spate_random_options *to, struct error *error) {
  spate_random_options_init(to);
  return options_read(to, from, "spate_random_options", error);
}

bool eval_options_read(const spate_eval_options *from, spate_eval_options *to, struct error *error) {
  spate_eval_options_init(to);
  return options_read(to, from, "spate_eval_options", error);
}

bool table_options_read(const spate_table_options *from, spate_table_options *to, struct error *error) {
  spate_table_options_init(to);
  return options_read(to, from, "spate_table_options", error);
}

bool count_check(const char *name, int given, int most, struct error *error) {
  return (given >= 0 && given <= most) ||
         error_set(error, ERROR_INVALID, "%s is %d, expected 0 to %d.", name, given, most);
}

bool kv_choice_parse(const char *name, int *choice, struct error *error) {
  *choice = 0;
  if (!name || strcmp(name, "auto") == 0) return true;
  for (int i = 0; kv_dtype_name(i); i++)
    if (strcmp(name, kv_dtype_name(i)) == 0) *choice = i + 1;
  return *choice || error_set(error, ERROR_INVALID,
                              "kv_cache_dtype is \"%s\", expected \"auto\", \"fp16\", \"bf16\", \"fp32\", "
                              "\"fp8\" or \"int8\".",
                              name);
}
