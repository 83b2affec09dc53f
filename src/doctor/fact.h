/* What the doctor has seen of a machine, an engine and a server: one table of names, one value for each. To add a fact:
 * an id here, a line in fact.c, and the file of its area that finds it. */
#ifndef SPATE_DOCTOR_FACT_H
#define SPATE_DOCTOR_FACT_H

#include <stdbool.h>

enum fact_area { AREA_MACHINE, AREA_ENGINE, AREA_SERVER, AREA_COUNT };

enum fact_unit {
  UNIT_NUMBER,
  UNIT_BYTES,
  UNIT_SECONDS,
  UNIT_SHARE, /* of 1, shown in percent */
  UNIT_FLAG,
  UNIT_TEXT,
};

enum fact_id {
  /* machine */
  FACT_CPU,
  FACT_VECTORS,
  FACT_VECTORS_LACK,
  FACT_ISA_FORCED,
  FACT_CPUS,
  FACT_CPU_QUOTA,
  FACT_CPU_QUOTA_REST,
  FACT_THROTTLED,
  FACT_LOAD,
  FACT_GOVERNOR,
  FACT_GOVERNOR_SLOW,
  FACT_NUMA_NODES,
  FACT_MEMORY,
  FACT_MEMORY_LIMIT,
  FACT_MEMORY_AVAILABLE,
  FACT_HUGE_PAGES,
  FACT_HUGE_PAGES_OFF,
  FACT_DESCRIPTORS,
  FACT_DISK,
  FACT_GPUS,
  FACT_GPU,
  FACT_DRIVER,
  FACT_DRIVER_VERSION,
  FACT_READ_RATE,

  /* engine */
  FACT_ENGINE_KIND,
  FACT_ENGINE_PROBLEM,
  FACT_ENGINE_REFUSED,
  FACT_MODEL,
  FACT_TARGET,
  FACT_TARGET_AWAY,
  FACT_TARGET_SLOW,
  FACT_QUANT_MODE,
  FACT_AVERAGE_BITS,
  FACT_WEIGHTS,
  FACT_WORKSPACE,
  FACT_MEMORY_OPEN,
  FACT_MEMORY_NEEDED,
  FACT_MEMORY_SHARE,
  FACT_CPU_EXPERTS,
  FACT_HOST_EXPERTS,
  FACT_HOST_SHARE,
  FACT_MAX_BATCH_SIZE,
  FACT_MAX_SEQ_LEN,
  FACT_MAX_NUM_TOKENS,
  FACT_CONTEXT,
  FACT_KV_BYTES,
  FACT_KV_TOKENS,
  FACT_KV_SEQUENCES,
  FACT_KV_WANTED,
  FACT_SEATS_FILLED,
  FACT_PERPLEXITY,
  FACT_KL,
  FACT_SAME_TOP,
  FACT_STEP_FLOOR,

  /* server */
  FACT_HEALTH,
  FACT_READY,
  FACT_ASLEEP,
  FACT_REQUESTS,
  FACT_WAITING,
  FACT_RUNNING,
  FACT_STEPS,
  FACT_STEPS_BETWEEN,
  FACT_BUSY,
  FACT_CROWDED,
  FACT_TEXTS_REFUSED,
  FACT_OUTRANKED,
  FACT_TOO_LATE,
  FACT_REFUSED,
  FACT_FAILED,
  FACT_CANCELLED,
  FACT_SERVER_ERRORS,
  FACT_UNAUTHORIZED,
  FACT_QUEUE_P50,
  FACT_QUEUE_P99,
  FACT_QUEUE_SHARE,
  FACT_PREFILL_P99,
  FACT_FIRST_P50,
  FACT_FIRST_P99,
  FACT_GAP_P50,
  FACT_GAP_P99,
  FACT_GAP_RATIO,
  FACT_GAP_FLOORS,
  FACT_STEP_SEQUENCES,
  FACT_STEP_TOKENS,
  FACT_SEQUENCE_LIMIT,
  FACT_TOKEN_LIMIT,
  FACT_PROMPT_SHARE,
  FACT_KV_USED,
  FACT_CACHE_TOKENS,
  FACT_CACHE_TYPE,
  FACT_PREEMPTIONS,
  FACT_REUSE_OFF,
  FACT_PREFIX_HITS,
  FACT_IGNORED_FIELDS,
  FACT_SPANS_LOST,
  FACT_SERVER_MEMORY,
  FACT_COUNT
};

struct fact_definition {
  const char *name; /* in JSON and in the sentences of rules */
  enum fact_area area;
  enum fact_unit unit;
  const char *source; /* where it is from: a metric's name, a file, an option */
};

extern const struct fact_definition fact_definitions[FACT_COUNT];
extern const char *const fact_areas[AREA_COUNT];

enum { FACT_TEXT_MAX = 160 };

/* Zeroed: nothing is known. */
struct facts {
  bool known[FACT_COUNT];
  double value[FACT_COUNT];
  char text[FACT_COUNT][FACT_TEXT_MAX]; /* of UNIT_TEXT */
};

/* A value that is not finite is none. */
void fact_set(struct facts *facts, enum fact_id id, double value);

/* Bytes that would command a terminal, or are no UTF-8, become '?'. */
void text_tame(char *text);

/* Tamed, and cut to what fits. */
void fact_set_text(struct facts *facts, enum fact_id id, const char *text);

/* The value with its unit; "unknown" when it is not known. */
void fact_print(const struct facts *facts, enum fact_id id, char out[FACT_TEXT_MAX]);

/* Of a number that is a fact's, such as a bound. */
void fact_print_value(enum fact_unit unit, double value, char out[FACT_TEXT_MAX]);

/* FACT_COUNT when there is none. */
enum fact_id fact_named(const char *name, int size);

#endif
