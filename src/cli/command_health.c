/* spate health: asks the server of these settings whether it is well, for supervisors that run a command. */
#include "cli/command.h"
#include "http/http_probe.h"

#include <signal.h>
#include <string.h>

enum { PROBE_SECONDS = 3, STATUS_OK = 200 };

/* Who listens on every address is asked on the loopback. */
static const char *host_of(const struct settings *settings) {
  const char *host = settings->host ? settings->host : "127.0.0.1";
  if (strcmp(host, "0.0.0.0") == 0) return "127.0.0.1";
  return strcmp(host, "::") == 0 ? "::1" : host;
}

int command_health(const struct settings *settings) {
  struct http_probe probe = {.host = host_of(settings),
                             .port = settings->has_port ? settings->port : DEFAULT_PORT,
                             .unix_path = settings->uds,
                             .tls = settings->tls_cert != NULL,
                             .seconds = PROBE_SECONDS};
  struct error error;
  signal(SIGPIPE, SIG_IGN);
  int status = http_probe_status(&probe, "/health", &error);
  if (status == STATUS_OK) {
    puts("The server makes progress.");
    return 0;
  }
  if (status > 0) snprintf(error.text, sizeof error.text, "/health answers %d, expected %d.", status, STATUS_OK);
  return command_fail(error.text);
}
