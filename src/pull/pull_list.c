/* /api/models/ID/revision/REV tells the commit, /api/models/ID/tree/COMMIT its files, in pages. */
#include "pull/pull_state.h"

#include "base/clock.h"
#include "hub/hub_headers.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

/* --- refusals ----------------------------------------------------------------------------------------------------- */

static bool gated_refuse(const struct pull *pull, const char *id, struct error *error) {
  if (*pull->environment.token)
    return error_set(error, ERROR_INVALID,
                     "%s is gated, and the account of the token in use has no access to it: ask for it at %s/%s.", id,
                     pull->environment.endpoint, id);
  return error_set(error, ERROR_INVALID,
                   "%s is gated: ask for access at %s/%s, then set HF_TOKEN to a token of that account.", id,
                   pull->environment.endpoint, id);
}

static bool absent_refuse(const struct pull *pull, const char *id, struct error *error) {
  return error_set(error, ERROR_NOT_FOUND, "%s has no model %s, or it is private%s.", pull->environment.hub.authority,
                   id,
                   *pull->environment.token ? " and the token in use may not see it: look at the spelling"
                                            : ": look at the spelling, or set HF_TOKEN");
}

bool pull_refusal(const struct pull *pull, const struct fetch_head *head, const char *file, struct error *error) {
  const struct hub_id *id = &pull->options->id;
  int status = head->status;
  bool token_bad = status == 401 && strstr(head->problem, "Invalid credentials");
  if (!head->of_hub)
    return error_set(error, ERROR_IO, "%s answered with status %d for %.200s.", head->authority, status, file);
  if (strcmp(head->error_code, "GatedRepo") == 0) return gated_refuse(pull, id->repository, error);
  if (token_bad)
    return error_set(error, ERROR_INVALID, "%s does not take the token in use: make a new one, or unset HF_TOKEN.",
                     head->authority);
  if (strcmp(head->error_code, "RevisionNotFound") == 0)
    return error_set(error, ERROR_NOT_FOUND, "%s has no revision \"%s\".", id->repository, id->revision);
  if (strcmp(head->error_code, "EntryNotFound") == 0)
    return error_set(error, ERROR_NOT_FOUND, "%s lists %.200s, but does not have it.", head->authority, file);
  if (status == 401 || status == 404 || strcmp(head->error_code, "RepoNotFound") == 0)
    return absent_refuse(pull, id->repository, error);
  if (status == 403)
    return error_set(error, ERROR_INVALID, "%s does not let the token in use read %s.", head->authority,
                     id->repository);
  if (status == 429)
    return error_set(error, ERROR_BUSY, "%s answers no more for now (429): try again later.", head->authority);
  return error_set(error, ERROR_IO, "%s answered with status %d for %.200s.", head->authority, status, file);
}

/* --- one answer in JSON ------------------------------------------------------------------------------------------- */

struct page {
  struct pull *pull;
  struct buffer bytes;
  struct fetch_head head;
};

static bool on_head(void *user, const struct fetch_head *head, struct error *error) {
  struct page *page = user;
  page->head = *head;
  buffer_clear(&page->bytes);
  return head->status == 200 || pull_refusal(page->pull, head, "its list of files", error);
}

static bool on_body(void *user, struct slice bytes, struct error *error) {
  struct page *page = user;
  return buffer_append(&page->bytes, bytes.data, bytes.size) ||
         error_set(error, ERROR_LIMIT, "%s sent more than %d MiB for a list of files.", page->head.authority,
                   LIMIT_HUB_PAGE_BYTES >> 20);
}

bool pull_may_retry(int status) { return status == 408 || status == 429 || status / 100 == 5; }

bool pull_wait(const struct pull *pull, int n, int seconds, struct error *error) {
  uint64_t wait_ms = 250u << (n < 8 ? n : 8);
  if (seconds > 0) wait_ms = 1000u * (uint64_t)seconds;
  if (wait_ms > 1000u * LIMIT_HUB_WAIT_SECONDS) wait_ms = 1000u * LIMIT_HUB_WAIT_SECONDS;
  for (uint64_t end_us = clock_us() + 1000 * wait_ms; clock_us() < end_us;) {
    nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    if (pull->fetch.go_on && !pull->fetch.go_on(pull->fetch.user))
      return error_set(error, ERROR_CANCELLED, "Interrupted.");
  }
  return true;
}

static bool page_fetch(struct page *page, const struct http_url *url, struct error *error) {
  const struct fetch_sink sink = {on_head, on_body, page};
  for (int n = 1;; n++) {
    page->head = (struct fetch_head){.retry_after_s = -1};
    enum fetch_end end = fetch_run(&page->pull->fetch, url, 0, &sink, error);
    if (end == FETCH_DONE) return true;
    bool again = end == FETCH_BROKEN || (end == FETCH_ENDED && pull_may_retry(page->head.status));
    if (!again || n == LIMIT_HUB_ATTEMPTS || error->code == ERROR_CANCELLED) return false;
    if (!pull_wait(page->pull, n, page->head.retry_after_s, error)) return false;
  }
}

/* --- addresses ---------------------------------------------------------------------------------------------------- */

void pull_escape(struct buffer *out, const char *text, bool keep_slashes) {
  for (const char *c = text; *c; c++) {
    bool plain = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') ||
                 strchr("-._~", *c) || (*c == '/' && keep_slashes);
    if (plain)
      buffer_append(out, c, 1);
    else
      buffer_print(out, "%%%02X", (unsigned char)*c);
  }
}

static bool api_url(const struct pull *pull, const char *kind, const char *revision, const char *query,
                    struct http_url *url, struct error *error) {
  struct buffer text;
  buffer_init(&text, LIMIT_FETCH_URL_BYTES);
  buffer_print(&text, "%s/api/models/%s/%s/", pull->environment.endpoint, pull->options->id.repository, kind);
  pull_escape(&text, revision, false);
  buffer_text(&text, query);
  bool good = text.failed ? error_set(error, ERROR_LIMIT, "The address of the hub is too long.")
                          : http_url_parse(url, buffer_slice(&text), error);
  buffer_release(&text);
  return good;
}

/* A mirror may name the hub that it mirrors: only its own pages are asked for. */
static bool next_url(const struct pull *pull, const struct http_url *from, const char *link, struct http_url *url,
                     struct error *error) {
  if (!http_url_follow(url, from, link, error)) return error_prefix(error, "The next page of the list of files: ");
  return http_url_same_origin(url, &pull->environment.hub) ||
         error_set(error, ERROR_INVALID, "The list of files goes on at %s, which is not the hub that was asked.",
                   url->authority);
}

/* --- both --------------------------------------------------------------------------------------------------------- */

static bool commit_find(struct page *page, struct http_url *url, struct error *error) {
  struct pull *pull = page->pull;
  const char *revision = pull->options->id.revision;
  if (hub_is_commit(revision)) {
    memcpy(pull->commit, revision, sizeof pull->commit);
    return true;
  }
  return api_url(pull, "revision", revision, "", url, error) && page_fetch(page, url, error) &&
         hub_commit_read(buffer_slice(&page->bytes), pull->commit, error);
}

static bool pages_read(struct page *page, struct http_url *url, struct error *error) {
  char link[LIMIT_FETCH_URL_BYTES];
  struct http_url from;
  for (int n = 0; n < LIMIT_HUB_PAGES; n++) {
    if (!page_fetch(page, url, error) || !hub_listing_add(&page->pull->listing, buffer_slice(&page->bytes), error))
      return false;
    if (!hub_link_next(page->head.link, link, sizeof link)) return true;
    from = *url;
    if (!next_url(page->pull, &from, link, url, error)) return false;
  }
  return error_set(error, ERROR_LIMIT, "The list of files has more than %d pages.", LIMIT_HUB_PAGES);
}

bool pull_list(struct pull *pull, struct error *error) {
  struct http_url url;
  struct page *page = calloc(1, sizeof *page);
  if (!page) return error_set(error, ERROR_MEMORY, "There is no memory for a list of files.");
  page->pull = pull;
  buffer_init(&page->bytes, LIMIT_HUB_PAGE_BYTES);
  bool good = commit_find(page, &url, error) && api_url(pull, "tree", pull->commit, "?recursive=true", &url, error) &&
              pages_read(page, &url, error);
  buffer_release(&page->bytes);
  free(page);
  return good;
}
