/* Reading options that a program compiled against another spate.h may have filled: its struct may be shorter. */
#ifndef SPATE_LIB_PUBLIC_OPTIONS_H
#define SPATE_LIB_PUBLIC_OPTIONS_H

#include "base/error.h"
#include "spate.h"

/* Each copies what the caller's struct has over the defaults of the rest. False when its size cannot be one. */
bool build_options_read(const spate_build_options *from, spate_build_options *to, struct error *error);
bool open_options_read(const spate_open_options *from, spate_open_options *to, struct error *error);
bool request_read(const spate_engine *engine, const spate_request *from, spate_request *to, struct error *error);
bool tokenize_options_read(const spate_tokenize_options *from, spate_tokenize_options *to, struct error *error);
bool random_options_read(const spate_random_options *from, spate_random_options *to, struct error *error);
bool bench_options_read(const spate_bench_options *from, spate_bench_options *to, struct error *error);
bool table_options_read(const spate_table_options *from, spate_table_options *to, struct error *error);
bool eval_options_read(const spate_eval_options *from, spate_eval_options *to, struct error *error);

/* Is a number so named one from 0 to most? */
bool count_check(const char *name, int given, int most, struct error *error);

/* kv_cache_dtype as engine_options.kv. */
bool kv_choice_parse(const char *name, int *choice, struct error *error);

#endif
