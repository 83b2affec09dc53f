/* One GET of the hub on the thread that calls, which waits for it: with its redirects, through a proxy where there is
 * one, and with the token as long as it is the hub that is asked. */
#ifndef SPATE_PULL_FETCH_H
#define SPATE_PULL_FETCH_H

#include "base/slice.h"
#include "pull/pull_environment.h"

struct tls_context;

struct fetch_context {
  const struct pull_environment *environment;
  struct tls_context *tls;
  bool (*go_on)(void *user); /* asked some ten times a second; false: stop. May be NULL */
  void *user;
};

/* A response's head, whose redirects have been followed. Texts are cut off where they do not fit. */
struct fetch_head {
  int status;
  bool of_hub;                       /* it is the hub that answers, and not somebody it led to */
  char authority[272];               /* who answers */
  char error_code[64], problem[200]; /* X-Error-Code and X-Error-Message */
  char range[96], encoding[32];      /* Content-Range, Content-Encoding */
  char link[LIMIT_FETCH_URL_BYTES];  /* Link */
  char location[LIMIT_FETCH_URL_BYTES];
  uint64_t length;   /* Content-Length; UINT64_MAX: not told */
  int retry_after_s; /* −1: not told */
};

/* What becomes of it. Each may end the fetch by returning false, with a sentence in *error. */
struct fetch_sink {
  bool (*head)(void *user, const struct fetch_head *head, struct error *error);
  bool (*body)(void *user, struct slice bytes, struct error *error);
  void *user;
};

enum fetch_end {
  FETCH_DONE,
  FETCH_ENDED,   /* by the sink, or by go_on (ERROR_CANCELLED) */
  FETCH_BROKEN,  /* on the way: the connection, or silence; it may be tried again */
  FETCH_REFUSED, /* there is no connection, or what is asked for cannot be */
};

/* from: the first byte that is wanted; 0: all. All ends but the first leave a sentence. */
enum fetch_end fetch_run(const struct fetch_context *context, const struct http_url *url, uint64_t from,
                         const struct fetch_sink *sink, struct error *error);

#endif
