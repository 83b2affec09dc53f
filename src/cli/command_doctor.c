/* spate doctor: looks at this machine, at an engine and at a running server, and says what to change. Exit code 0:
 * nothing was found, 1: something was, 2: something could not be looked at. */
#include "cli/command.h"
#include "cli/progress.h"
#include "doctor/doctor_report.h"
#include "doctor/engine_facts.h"
#include "doctor/machine_facts.h"
#include "doctor/server_facts.h"
#include "http/http_address.h"

#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { PROBE_SECONDS = 10, KEY_BYTES = 1024, EXIT_FINE = 0, EXIT_FINDINGS = 1, EXIT_BLIND = 2 };

/* Where serve would keep its engines. */
static const char *cache_folder(const struct settings *settings, char path[PATH_MAX]) {
  const char *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (settings->cache_dir)
    snprintf(path, PATH_MAX, "%s", settings->cache_dir);
  else if (cache && *cache)
    snprintf(path, PATH_MAX, "%s/spate", cache);
  else
    snprintf(path, PATH_MAX, "%s/.cache/spate", home ? home : "");
  return path;
}

static bool on_this_machine(const char *host) {
  return strcmp(host, "127.0.0.1") == 0 || strcmp(host, "::1") == 0 || strcmp(host, "localhost") == 0;
}

/* Of several keys, as a server has them, the first; empty: none. */
static bool key_choose(const struct settings *settings, char key[KEY_BYTES], struct error *error) {
  const char *keys = settings->api_key ? settings->api_key : getenv("SPATE_API_KEY");
  size_t size = keys ? strcspn(keys, ",") : 0;
  if (size >= KEY_BYTES || (keys && strcspn(keys, "\r\n") < size))
    return error_set(error, ERROR_INVALID, "The API key is no line of at most %d bytes.", KEY_BYTES - 1);
  snprintf(key, KEY_BYTES, "%.*s", (int)size, keys ? keys : "");
  return true;
}

/* The server of --url, which is not asked yet. */
struct asked_server {
  struct http_address url;
  struct http_probe probe;
  char key[KEY_BYTES];
  bool found;
  struct error error; /* else */
};

static void server_find(struct asked_server *server, const struct settings *settings) {
  struct http_address *url = &server->url;
  *server = (struct asked_server){0};
  server->found =
      http_address_parse_any(url, settings->url, &server->error) && key_choose(settings, server->key, &server->error);
  server->probe = (struct http_probe){.host = url->host,
                                      .port = (int)strtol(url->port, NULL, 10),
                                      .bearer = *server->key ? server->key : NULL,
                                      .tls = url->tls,
                                      .proof = !on_this_machine(url->host),
                                      .seconds = PROBE_SECONDS};
  signal(SIGPIPE, SIG_IGN);
}

static bool engine_look(const struct settings *settings, const struct asked_server *server, struct facts *facts,
                        struct error *error) {
  bool beside = settings->url && server->found && on_this_machine(server->url.host);
  struct engine_use use = {.context = settings->has_context ? settings->context : 0,
                           .memory_fraction = settings->memory_fraction,
                           .cpu_experts = settings->cpu_experts,
                           .freed_bytes = beside ? server_memory_ask(&server->probe, server->url.prefix) : 0,
                           .kv_bytes = (double)settings->kv_cache_memory};
  struct progress progress = progress_quiet();
  spate_text json;
  spate_error refused;
  if (!spate_inspect(settings->operand, progress_show, &progress, &json, &refused))
    return error_set(error, ERROR_FORMAT, "%s", refused.text);
  bool done = engine_facts_find(facts, slice_make(json.data, json.size), &use, error);
  spate_text_free(&json);
  return done;
}

/* On the device that the engine is for. */
static bool rates_look(struct facts *facts, struct error *error) {
  const char *device = facts->known[FACT_TARGET] ? facts->text[FACT_TARGET] : "auto";
  struct progress progress = progress_quiet();
  spate_text json;
  spate_error refused;
  if (!spate_bench_machine(device, 0, progress_show, &progress, &json, &refused))
    return error_set(error, ERROR_DEVICE, "%s", refused.text);
  bool done = engine_facts_measure(facts, slice_make(json.data, json.size), error);
  spate_text_free(&json);
  return done;
}

static bool server_look(const struct settings *settings, const struct asked_server *server, struct facts *facts,
                        struct error *error) {
  if (!server->found) *error = server->error;
  return server->found && server_facts_ask(facts, &server->probe, server->url.prefix, settings->during, error);
}

static bool report_print(const struct settings *settings, const struct facts *facts, const struct problems *problems) {
  struct buffer out;
  buffer_init(&out, REPORT_BYTES_MAX);
  bool done = (settings->json ? report_write_json : report_write_text)(facts, problems, &out);
  if (done) fwrite(out.data, 1, out.size, stdout);
  buffer_release(&out);
  return done || command_fail("There is no memory for the report.") == 0;
}

int command_doctor(const struct settings *settings) {
  struct facts *facts = calloc(1, sizeof *facts);
  struct problems problems = {.count = 0};
  struct error error;
  struct asked_server server;
  char path[PATH_MAX];
  if (!facts) return command_fail("There is no memory for the facts."), EXIT_BLIND;
  machine_facts_find(facts, "", cache_folder(settings, path));
  if (settings->url) server_find(&server, settings);
  if (settings->operand && !engine_look(settings, &server, facts, &error)) problem_add(&problems, error.text);
  if (settings->measure && !rates_look(facts, &error)) problem_add(&problems, error.text);
  if (settings->url && !server_look(settings, &server, facts, &error)) problem_add(&problems, error.text);
  if (!settings->url && settings->during) problem_add(&problems, "--during is about a server: name one with --url.");
  bool printed = report_print(settings, facts, &problems);
  int findings = findings_count(facts);
  free(facts);
  return problems.count || !printed ? EXIT_BLIND : findings ? EXIT_FINDINGS : EXIT_FINE;
}
