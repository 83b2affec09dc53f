/* What the stages of a calibration share while it runs. */
#ifndef SPATE_BUILD_CALIBRATING_H
#define SPATE_BUILD_CALIBRATING_H

#include "build/calibrate.h"
#include "build/channel_scale.h"
#include "build/site_fit.h"

struct calibrating {
  const struct calibration_job *job;
  struct calibration *result;
  struct float_device device; /* its progress counts the bytes of the layers' packed matrices */
  struct network_walk walk;
};

/* A site's matrices as floats. */
struct site_matrices {
  int n;                        /* of the same input */
  int n_all;                    /* and those that are there for the site to run */
  int index[WALK_SITE_LINEARS]; /* in the plan's weights */
  const struct weight *weight[WALK_SITE_LINEARS];
  float *matrix[WALK_SITE_LINEARS]; /* owned */
};

/* Reads those of a site, no mixture: as the file has them, or, once they are written, what their codes stand for.
 * Release them in any case. */
bool site_matrices_read(const struct calibrating *c, const struct walk_site *site, struct site_matrices *m,
                        struct error *error);
void site_matrices_release(struct site_matrices *m);
bool site_matrices_round(const struct site_matrices *m);

/* GPTQ: rounds and writes those of the site's matrices that it takes. */
bool site_round(struct calibrating *c, const struct walk_site *site, struct site_matrices *m, struct error *error);

/* heads_site.c: rounds heads' matrices of latent attention and writes them, by GPTQ, or to nearest by AWQ's metric,
 * each by what its head reads: nothing is folded into them. */
bool heads_round(struct calibrating *c, const struct walk_site *site, struct site_matrices *m, struct error *error);

/* `count` floats that live as long as the calibration; NULL when out of memory. */
float *calibrating_floats(struct calibrating *c, size_t count);
/* The metric of the inputs as the factors on the columns (NULL: none) leave them, into out[site_metric_count]. */
void metric_scale(const struct input_record *record, const float *column, float *out);
/* That of the method. */
scale_rule calibrating_rule(const struct calibrating *c);

/* mixture_site.c: calibrates a mixture's site and runs it. */
bool mixture_run(struct calibrating *c, const struct walk_site *site, struct error *error);
/* Numbers that it holds at most. */
uint64_t mixture_numbers(const struct calibration_job *job, const struct walk_site *site);

#endif
