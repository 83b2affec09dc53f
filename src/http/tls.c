/* TLS over memory BIOs. */
#include "http/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
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

/* Where other systems than the one that OpenSSL was built on keep them; what the environment names wins. */
static void authorities_load(SSL_CTX *ssl) {
  static const char *const files[] = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                      "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem"};
  SSL_CTX_set_default_verify_paths(ssl);
  if (getenv(X509_get_default_cert_file_env()) || access(X509_get_default_cert_file(), R_OK) == 0) return;
  for (size_t i = 0; i < sizeof files / sizeof *files; i++)
    if (access(files[i], R_OK) == 0 && SSL_CTX_load_verify_file(ssl, files[i]) == 1) return;
}

struct tls_context *tls_client_context_open(struct error *error) {
  static const unsigned char protocol[] = "\x08http/1.1";
  struct tls_context *context = calloc(1, sizeof *context);
  if (context) context->ssl = SSL_CTX_new(TLS_client_method());
  if (!context || !context->ssl) {
    tls_context_free(context);
    error_set(error, ERROR_MEMORY, "No memory for TLS.");
    return NULL;
  }
  SSL_CTX_set_min_proto_version(context->ssl, TLS1_2_VERSION);
  SSL_CTX_set_options(context->ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_verify(context->ssl, SSL_VERIFY_PEER, NULL);
  SSL_CTX_set_alpn_protos(context->ssl, protocol, sizeof protocol - 1);
  authorities_load(context->ssl);
  ERR_clear_error();
  return context;
}

void tls_context_free(struct tls_context *context) {
  if (context) SSL_CTX_free(context->ssl);
  free(context);
}

static struct tls_session *session_new(struct tls_context *context) {
  struct tls_session *session = calloc(1, sizeof *session);
  SSL *ssl = SSL_new(context->ssl);
  BIO *input = BIO_new(BIO_s_mem()), *output = BIO_new(BIO_s_mem());
  if (session && ssl && input && output) {
    SSL_set_bio(ssl, input, output); /* owns them from now on */
    *session = (struct tls_session){ssl, input, output};
    return session;
  }
  BIO_free(input);
  BIO_free(output);
  SSL_free(ssl);
  free(session);
  return NULL;
}

struct tls_session *tls_session_new(struct tls_context *context) {
  struct tls_session *session = session_new(context);
  if (session) SSL_set_accept_state(session->ssl);
  return session;
}

/* A number is no name for a host of many (RFC 6066), and is proved as one. */
struct tls_session *tls_client_session_new(struct tls_context *context, const char *host) {
  unsigned char number[sizeof(struct in6_addr)];
  bool numeric = inet_pton(AF_INET, host, number) == 1 || inet_pton(AF_INET6, host, number) == 1;
  struct tls_session *session = session_new(context);
  if (!session) return NULL;
  SSL_set_connect_state(session->ssl);
  SSL_set_hostflags(session->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
  if (SSL_set1_host(session->ssl, host) == 1 && (numeric || SSL_set_tlsext_host_name(session->ssl, host) == 1))
    return session;
  tls_session_free(session);
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

const char *tls_session_doubt(const struct tls_session *session) {
  long doubt = SSL_get_verify_result(session->ssl);
  return doubt == X509_V_OK ? NULL : X509_verify_cert_error_string(doubt);
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
