/* How a running server does, from what it answers: untrusted bytes, read by metric_page.h. */
#ifndef SPATE_DOCTOR_SERVER_FACTS_H
#define SPATE_DOCTOR_SERVER_FACTS_H

#include "doctor/fact.h"
#include "doctor/metric_page.h"
#include "http/http_probe.h"

/* Of the server that `page` is from; of one that is known to sleep it has no engine's metrics. before: what the same
 * server had counted earlier, and only what came since counts; NULL: all since it started. False with a sentence when
 * the page is no server's of this kind. */
bool server_facts_find(struct facts *facts, const struct metric_page *page, const struct metric_page *before,
                       struct error *error);

/* Asks the server for /health, /ready and /metrics, these twice with so many seconds between when that is not 0.
 * prefix: what stands before the paths. */
bool server_facts_ask(struct facts *facts, const struct http_probe *probe, const char *prefix, int seconds,
                      struct error *error);

/* The bytes that its process holds; 0 when it does not say. */
double server_memory_ask(const struct http_probe *probe, const char *prefix);

#endif
