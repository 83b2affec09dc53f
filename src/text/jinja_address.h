/* What the filter urlize takes for an address. */
#ifndef SPATE_TEXT_JINJA_ADDRESS_H
#define SPATE_TEXT_JINJA_ADDRESS_H

#include "text/jinja_datum.h"

bool address_is_web(struct marked text);   /* "www.example.org/a", "https://10.0.0.1:80", "example.com" */
bool address_is_mail(struct marked text);  /* "me@example.org" */
bool address_is_scheme(struct datum text); /* "tel:", "ftp://" */

#endif
