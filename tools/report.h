/* SPDX-License-Identifier: GPL-2.0 */
/* Findings of `wafer check`, printed as a table or as JSON. */
#ifndef WAFER_REPORT_H
#define WAFER_REPORT_H

#include "util.h"

enum verdict { V_OK, V_WARN, V_FAIL, V_UNKNOWN };

struct finding {
	enum verdict verdict;
	const char *name;
	char detail[160];
	char remedy[200];		/* empty: nothing is to be done */
};

struct report {
	struct finding finding[24];
	unsigned int nr;
};

/* Adds a finding and returns it, for a remedy to be set. */
struct finding *report_add(struct report *r, enum verdict v, const char *name, const char *fmt, ...)
	__printf(4, 5);
void report_remedy(struct finding *f, const char *fmt, ...) __printf(2, 3);

bool report_usable(const struct report *r);
void report_print(const struct report *r, const char *device);
void report_print_json(const struct report *r, const char *device);

/* A JSON string with its quotes. */
void json_string(const char *s);

#endif
