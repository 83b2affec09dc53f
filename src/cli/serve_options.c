/* From settings to a server's options. */
#include "cli/serve_options.h"

#include "base/log.h"
#include "cli/command.h"

#include <stdlib.h>
#include <string.h>

enum { DEFAULT_KEEP_ALIVE = 30, DEFAULT_CONNECTIONS = 1000 };

int serve_connections(const struct settings *settings) {
  return settings->limit_concurrency ? settings->limit_concurrency : DEFAULT_CONNECTIONS;
}

static struct cors_options cors_of(const struct settings *settings) {
  return (struct cors_options){.origins = settings->allowed_origins,
                               .methods = settings->allowed_methods,
                               .headers = settings->allowed_headers,
                               .credentials = settings->allow_credentials};
}

/* OpenTelemetry's own variable may be meant for other programs too: what is no use here is no mistake. */
static const char *traces_of(const struct settings *settings) {
  const char *given = getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
  if (settings->otlp_traces_endpoint || !given || !*given) return settings->otlp_traces_endpoint;
  if (strncmp(given, "http://", 7) == 0) return given;
  log_warning("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is \"%.200s\", expected http://HOST[:PORT]/PATH: no traces are sent.",
              given);
  return NULL;
}

static struct media_options media_of(const struct settings *settings) {
  return (struct media_options){.prefixes = settings->media_prefixes.text,
                                .n_prefix = settings->media_prefixes.count,
                                .ranges = settings->media_addresses.text,
                                .n_range = settings->media_addresses.count,
                                .timeout_s = settings->media_timeout};
}

struct server_options serve_options_of(const struct settings *settings) {
  return (struct server_options){.host = settings->host ? settings->host : "127.0.0.1",
                                 .port = settings->has_port ? settings->port : DEFAULT_PORT,
                                 .workers = settings->workers,
                                 .keep_alive = settings->has_keep_alive ? settings->keep_alive : DEFAULT_KEEP_ALIVE,
                                 .limit_concurrency = serve_connections(settings),
                                 .max_per_address = settings->max_connections_per_ip,
                                 .uds = settings->uds,
                                 .tls_cert = settings->tls_cert,
                                 .tls_key = settings->tls_key,
                                 .root_path = settings->root_path,
                                 .cors = cors_of(settings),
                                 .log_prompts = settings->log_prompts,
                                 .otlp_traces_endpoint = traces_of(settings),
                                 .api_keys = settings->api_key,
                                 .min_priorities = settings->min_priority,
                                 .admin_keys = settings->admin_key,
                                 .reload_folder = settings->reload_dir,
                                 .media = media_of(settings)};
}
