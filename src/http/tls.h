/* TLS 1.2 and 1.3 by OpenSSL, without a socket: a session turns bytes of the network into bytes of the peer and back.
 * Sessions belong to their connection's thread; a context is constant once it is open. */
#ifndef SPATE_HTTP_TLS_H
#define SPATE_HTTP_TLS_H

#include "base/error.h"
#include "base/slice.h"

struct tls_context; /* a certificate and its key; of a client, whom it believes */
struct tls_session; /* one connection */

/* Reads PEM files: a certificate with the chain behind it, and its key without a passphrase. */
struct tls_context *tls_context_open(const char *certificate, const char *key, struct error *error);
/* Of clients, which believe the authorities that the system does. */
struct tls_context *tls_client_context_open(struct error *error);
void tls_context_free(struct tls_context *context); /* after its sessions; NULL is allowed */

/* A server's session, and one with a server that must prove to be host, a name or a number. NULL: no memory. */
struct tls_session *tls_session_new(struct tls_context *context);
struct tls_session *tls_client_session_new(struct tls_context *context, const char *host);
void tls_session_free(struct tls_session *session); /* NULL is allowed */

enum { TLS_WAIT = 0, TLS_END = -1, TLS_BROKEN = -2 };

/* Bytes from the network; then read until it does not return a size. False: no memory. */
bool tls_session_feed(struct tls_session *session, struct slice sealed);

/* The size of what was put into bytes, TLS_WAIT (for more to be fed), TLS_END (the peer has said that it is done) or
 * TLS_BROKEN. Each may leave output: a handshake's, or an alert. */
int tls_session_read(struct tls_session *session, void *bytes, size_t room);

/* Why the peer is not believed, as the end of a sentence; NULL: it is, or has not been asked yet. */
const char *tls_session_doubt(const struct tls_session *session);

bool tls_session_ready(const struct tls_session *session); /* the handshake is done */

/* Seals bytes into the output. False before the handshake is done. */
bool tls_session_write(struct tls_session *session, struct slice bytes);
void tls_session_end(struct tls_session *session); /* says in the output that nothing follows */

/* What is to go to the network; valid until the next call. Clear it once it is sent or copied. */
struct slice tls_session_output(const struct tls_session *session);
void tls_session_clear_output(struct tls_session *session);

#endif
