/* What an engine asks of the machine, from the JSON of `spate inspect`, which repeats what a file says: untrusted. */
#ifndef SPATE_DOCTOR_ENGINE_FACTS_H
#define SPATE_DOCTOR_ENGINE_FACTS_H

#include "base/error.h"
#include "base/slice.h"
#include "doctor/fact.h"

/* As serve would be told; zeros: its defaults. */
struct engine_use {
  int context; /* tokens of a sequence; 0: 2048, or what the engine takes */
  double memory_fraction;
  double kv_bytes;
  int cpu_experts;    /* layers whose experts stay in the host's memory, of an engine for a GPU */
  double freed_bytes; /* that a server on this machine holds, whose engine this is */
};

/* After the machine's facts, which it is compared with. False with a sentence when this is no such JSON. */
bool engine_facts_find(struct facts *facts, struct slice inspection, const struct engine_use *use, struct error *error);

/* From the JSON of `spate bench --machine`: read_rate, and what a step takes at least. */
bool engine_facts_measure(struct facts *facts, struct slice measured, struct error *error);

#endif
