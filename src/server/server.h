/* The HTTP API over one engine at a time. A client of spate.h and of src/http/, nothing else. */
#ifndef SPATE_SERVER_SERVER_H
#define SPATE_SERVER_SERVER_H

#include "server/cors.h"
#include "server/media_rules.h"
#include "spate.h"

struct server_options {
  const char *host;               /* NULL: 127.0.0.1 */
  int port;                       /* 0: any free one */
  int workers;                    /* network threads; 0: 1 */
  int keep_alive;                 /* seconds; 0: each response ends its connection */
  int limit_concurrency;          /* connections; 0: 4096 */
  int max_per_address;            /* connections of one client address; 0: any number */
  const char *uds;                /* listen at this path instead; NULL: on host and port */
  const char *tls_cert, *tls_key; /* PEM files; NULL: in the clear */
  const char *root_path; /* what proxies put before our paths, which exist with and without it; NULL: nothing */
  struct cors_options cors;
  const char *api_keys;             /* separated by commas; NULL: everybody may ask */
  const char *min_priorities;       /* that requests may ask for: one number for all, or one for each key; NULL: 0 */
  const char *admin_keys;           /* the same of who may reload and send to sleep; NULL: nobody may */
  const char *reload_folder;        /* whose models a reload may name; NULL: it may name none */
  bool log_prompts;                 /* the beginning of each goes to the log */
  const char *otlp_traces_endpoint; /* a URL that takes spans; NULL: none are sent */
  struct media_options media;       /* images that requests name by their address */
};

struct server;

/* Listens and serves. The engine is the server's from here on, which closes it also when it cannot be opened; `again`
 * is how it was opened, for reloads. The options' texts and again's are borrowed until server_close. */
struct server *server_open(spate_engine *engine, const spate_open_options *again, const struct server_options *options,
                           spate_error *error);

int server_port(const struct server *server);
int server_connections(const struct server *server); /* open now */

/* From now on work is refused and /ready says so; what runs goes on. Any thread. */
void server_refuse(struct server *server);
int server_running(const struct server *server); /* requests whose answers are not complete */

/* As spate_healthy of the engine that serves; a server that sleeps is. Any thread, as the next ones. */
bool server_healthy(struct server *server, spate_error *error);

/* Asks for a reload of the engine file. False: another one is under way. What comes of it goes to the log. */
bool server_reload(struct server *server, spate_error *error);
bool server_reloading(struct server *server); /* or on its way to sleep, or waking */

void server_cancel(struct server *server); /* all requests: their answers say so */

/* Stops accepting; running requests may finish within deadline_ms. Returns at once. Any thread. */
void server_drain(struct server *server, int deadline_ms);
void server_join(struct server *server);
void server_close(struct server *server); /* drains with no delay; NULL is allowed */

#endif
