#include "server/web_pages.h"

#include "server/reply.h"

#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <string.h>

/* The files that src/CMakeLists.txt makes of web/, as they are (WEB_FOLDER is where they lie). */
#define WEB_PAGE(name)                                                                                                 \
  __asm__(".pushsection .rodata\n"                                                                                     \
          "web_" #name "_begin: .incbin \"" WEB_FOLDER "/" #name ".html\"\n"                                           \
          "web_" #name "_end: .byte 0\n"                                                                               \
          ".popsection\n");                                                                                            \
  extern const char web_##name##_begin[], web_##name##_end[];
WEB_PAGE(playground)
WEB_PAGE(status)
WEB_PAGE(docs)

enum { HASH_TEXT_MAX = 4 * ((SHA256_DIGEST_LENGTH + 2) / 3) + 1, HEADERS_MAX = 1024 };

/* The hash of what stands between <tag> and </tag>, which every page has once. */
static void hash_element(const char *page, const char *tag, char text[HASH_TEXT_MAX]) {
  char open[16], close[16];
  unsigned char digest[SHA256_DIGEST_LENGTH];
  snprintf(open, sizeof open, "<%s>", tag);
  snprintf(close, sizeof close, "</%s>", tag);
  const char *from = strstr(page, open) + strlen(open);
  SHA256((const unsigned char *)from, (size_t)(strstr(from, close) - from), digest);
  EVP_EncodeBlock((unsigned char *)text, digest, sizeof digest);
}

/* img-src is for the icon that each page has as data. */
static void page_send(struct http_request *request, const char *begin, const char *end) {
  char style[HASH_TEXT_MAX], script[HASH_TEXT_MAX], headers[HEADERS_MAX];
  hash_element(begin, "style", style);
  hash_element(begin, "script", script);
  snprintf(headers, sizeof headers,
           "Content-Security-Policy: default-src 'none'; style-src 'sha256-%s'; script-src 'sha256-%s'; "
           "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'\r\n"
           "X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-cache\r\n",
           style, script);
  http_respond(request, 200, PAGE_CONTENT_TYPE, headers, slice_make((const uint8_t *)begin, (size_t)(end - begin)));
}

void playground_handle(struct server *server, struct http_request *request) {
  (void)server;
  page_send(request, web_playground_begin, web_playground_end);
}

void status_page_handle(struct server *server, struct http_request *request) {
  (void)server;
  page_send(request, web_status_begin, web_status_end);
}

void docs_handle(struct server *server, struct http_request *request) {
  (void)server;
  page_send(request, web_docs_begin, web_docs_end);
}
