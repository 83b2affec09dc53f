/* TLS over memory BIOs. */
#include "http/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <unistd.h>

struct tls_context {
  SSL_CTX *ssl;
};

struct tls_session {
  SSL *ssl;
  BIO *input, *output; /* the SSL's own */
};

/* A key with a passphrase is refused instead of asking the terminal. */
static int no_passphrase(char *text, int size, int writing, void *user) {
  (void)text, (void)size, (void)writing, (void)user;
  return 0;
}

/* A client that offers protocols must offer the one that is spoken here. */
static int choose_protocol(SSL *ssl, const unsigned char **chosen, unsigned char *chosen_size,
                           const unsigned char *offered, unsigned offered_size, void *user) {
  static const unsigned char ours[] = "\x08http/1.1";
  (void)ssl, (void)user;
  int found = SSL_select_next_proto((unsigned char **)(uintptr_t)chosen, chosen_size, ours, sizeof ours - 1, offered,
                                    offered_size);
  return found == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static bool check_readable(const char *what, const char *path, struct error *error) {
  if (access(path, R_OK) == 0) return true;
  return error_set(error, ERROR_IO, "Cannot read the TLS %s \"%s\": %s.", what, path, strerror(errno));
}

static bool load(SSL_CTX *ssl, const char *certificate, const char *key, struct error *error) {
  if (!check_readable("certificate", certificate, error) || !check_readable("key", key, error)) return false;
  if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1)
    return error_set(error, ERROR_FORMAT, "\"%s\" holds no certificate in PEM form.", certificate);
  if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) == 1) return true;
  if (ERR_GET_REASON(ERR_peek_last_error()) == X509_R_KEY_VALUES_MISMATCH)
    return error_set(error, ERROR_INVALID, "The TLS key \"%s\" does not belong to the certificate \"%s\".", key,
                     certificate);
  return error_set(error, ERROR_FORMAT, "\"%s\" holds no private key in PEM form without a passphrase.", key);
}

struct tls_context *tls_context_open(const char *certificate, const char *key, struct error *error) {
  struct tls_context *context = calloc(1, sizeof *context);
  if (context) context->ssl = SSL_CTX_new(TLS_server_method());
  if (!context || !context->ssl) {
    tls_context_free(context);
    error_set(error, ERROR_MEMORY, "No memory for TLS.");
    return NULL;
  }
  SSL_CTX *ssl = context->ssl;
  SSL_CTX_set_min_proto_version(ssl, TLS1_2_VERSION);
  SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS); /* idle connections hold little */
  SSL_CTX_set_session_cache_mode(ssl, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_default_passwd_cb(ssl, no_passphrase);
  SSL_CTX_set_alpn_select_cb(ssl, choose_protocol, NULL);
  ERR_clear_error();
  bool loaded = load(ssl, certificate, key, error);
  ERR_clear_error();
  if (loaded) return context;
  tls_context_free(context);
  return NULL;
}

void tls_context_free(struct tls_context *context) {
  if (context) SSL_CTX_free(context->ssl);
  free(context);
}

struct tls_session *tls_session_new(struct tls_context *context) {
  struct tls_session *session = calloc(1, sizeof *session);
  SSL *ssl = SSL_new(context->ssl);
  BIO *input = BIO_new(BIO_s_mem()), *output = BIO_new(BIO_s_mem());
  if (session && ssl && input && output) {
    SSL_set_bio(ssl, input, output); /* owns them from now on */
    SSL_set_accept_state(ssl);
    *session = (struct tls_session){ssl, input, output};
    return session;
  }
  BIO_free(input);
  BIO_free(output);
  SSL_free(ssl);
  free(session);
  return NULL;
}

void tls_session_free(struct tls_session *session) {
  if (session) SSL_free(session->ssl);
  free(session);
}

bool tls_session_feed(struct tls_session *session, struct slice sealed) {
  return sealed.size <= INT_MAX && BIO_write(session->input, sealed.data, (int)sealed.size) == (int)sealed.size;
}

int tls_session_read(struct tls_session *session, void *bytes, size_t room) {
  ERR_clear_error(); /* the queue is the thread's: other sessions use it too */
  int size = SSL_read(session->ssl, bytes, room > INT_MAX ? INT_MAX : (int)room);
  if (size > 0) return size;
  int fault = SSL_get_error(session->ssl, size);
  if (fault == SSL_ERROR_WANT_READ) return TLS_WAIT;
  return fault == SSL_ERROR_ZERO_RETURN ? TLS_END : TLS_BROKEN;
}

bool tls_session_ready(const struct tls_session *session) { return SSL_is_init_finished(session->ssl); }

bool tls_session_write(struct tls_session *session, struct slice bytes) {
  if (!tls_session_ready(session) || bytes.size > INT_MAX) return false;
  ERR_clear_error();
  return bytes.size == 0 || SSL_write(session->ssl, bytes.data, (int)bytes.size) == (int)bytes.size;
}

void tls_session_end(struct tls_session *session) {
  ERR_clear_error();
  if (tls_session_ready(session)) SSL_shutdown(session->ssl);
}

struct slice tls_session_output(const struct tls_session *session) {
  char *data;
  long size = BIO_get_mem_data(session->output, &data);
  return slice_make(data, size > 0 ? (size_t)size : 0);
}

void tls_session_clear_output(struct tls_session *session) { (void)BIO_reset(session->output); }
