/* By OpenSSL. git hashes "blob SIZE", a NUL and the bytes. */
#include "pull/blob_digest.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

struct blob_digest {
  EVP_MD_CTX *context;
  bool good;
};

struct blob_digest *blob_digest_new(const struct hub_file *file) {
  bool large = strlen(file->digest) == 64;
  char head[32];
  struct blob_digest *digest = calloc(1, sizeof *digest);
  if (digest) digest->context = EVP_MD_CTX_new();
  if (!digest || !digest->context) {
    free(digest);
    return NULL;
  }
  digest->good = EVP_DigestInit_ex(digest->context, large ? EVP_sha256() : EVP_sha1(), NULL) == 1;
  int size = snprintf(head, sizeof head, "blob %" PRIu64, file->size);
  if (!large) blob_digest_update(digest, slice_make(head, (size_t)size + 1));
  return digest;
}

void blob_digest_update(struct blob_digest *digest, struct slice bytes) {
  digest->good = digest->good && EVP_DigestUpdate(digest->context, bytes.data, bytes.size) == 1;
}

bool blob_digest_finish(struct blob_digest *digest, char out[HUB_DIGEST_BYTES]) {
  unsigned char bytes[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  bool good = digest->good && EVP_DigestFinal_ex(digest->context, bytes, &size) == 1 && 2 * size < HUB_DIGEST_BYTES;
  for (unsigned i = 0; good && i < size; i++) snprintf(out + 2 * (size_t)i, 3, "%02x", bytes[i]);
  EVP_MD_CTX_free(digest->context);
  free(digest);
  return good;
}
