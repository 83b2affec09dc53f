/* What the environment says of the hub: the variables of huggingface_hub, and those of proxies. */
#ifndef SPATE_PULL_PULL_ENVIRONMENT_H
#define SPATE_PULL_PULL_ENVIRONMENT_H

#include "base/limits.h"
#include "http/http_proxy.h"

struct pull_environment {
  char endpoint[512];                    /* HF_ENDPOINT, or https://huggingface.co, without a slash at its end */
  struct http_url hub;                   /* the same */
  char token[LIMIT_HUB_TOKEN_BYTES + 1]; /* HF_TOKEN, or what is in HF_TOKEN_PATH or the home; "": none. A secret */
  bool offline;                          /* HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE */
  int stall_s;                           /* HF_HUB_DOWNLOAD_TIMEOUT: how long a silent server is waited for */
  struct http_proxy_rules proxies;
};

/* False with a sentence, which never repeats a token. */
bool pull_environment_read(struct pull_environment *environment, struct error *error);

#endif
