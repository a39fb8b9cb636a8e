// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>

#include "report.h"

static const char * const verdicts[] = {
	[V_OK] = "ok", [V_WARN] = "warn", [V_FAIL] = "fail", [V_UNKNOWN] = "unknown",
};

struct finding *report_add(struct report *r, enum verdict v, const char *name, const char *fmt, ...)
{
	struct finding *f = &r->finding[r->nr];
	va_list ap;

	if (r->nr == ARRAY_SIZE(r->finding))
		die(STATUS_HOST, "too many findings");
	r->nr++;
	f->verdict = v;
	f->name = name;
	va_start(ap, fmt);
	vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
	va_end(ap);
	return f;
}

void report_remedy(struct finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->remedy, sizeof(f->remedy), fmt, ap);
	va_end(ap);
}

bool report_usable(const struct report *r)
{
	for (unsigned int i = 0; i < r->nr; i++) {
		if (r->finding[i].verdict == V_FAIL)
			return false;
	}
	return true;
}

void report_print(const struct report *r, const char *device)
{
	for (unsigned int i = 0; i < r->nr; i++) {
		const struct finding *f = &r->finding[i];

		printf("%-8s%-16s%s\n", verdicts[f->verdict], f->name, f->detail);
		if (f->remedy[0])
			printf("%-8s%-16s-> %s\n", "", "", f->remedy);
	}
	printf("\n%s: %s\n", device, report_usable(r) ? "virtual machines can run here" :
	       "virtual machines cannot run here yet");
}

/* Bytes of the character at @s: RFC 3629, table 3-7 of Unicode; 0 if it is none. */
static unsigned int utf8_length(const unsigned char *s)
{
	unsigned int len = *s < 0x80 ? 1 : *s < 0xc2 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 :
			   *s < 0xf5 ? 4 : 0;

	/* neither longer than needed, nor half of a pair, nor beyond the last */
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	for (unsigned int i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	}
	return len;
}

/* File names may hold any bytes, JSON may not: what is no character becomes U+FFFD. */
void json_string(const char *s)
{
	putchar('"');
	while (*s) {
		unsigned int len = utf8_length((const unsigned char *)s);

		if (!len)
			printf("\\ufffd");
		else if (*s == '"' || *s == '\\')
			printf("\\%c", *s);
		else if ((unsigned char)*s < 0x20)
			printf("\\u%04x", *s);
		else
			fwrite(s, 1, len, stdout);
		s += len ? len : 1;
	}
	putchar('"');
}

void report_print_json(const struct report *r, const char *device)
{
	printf("{\"device\": ");
	json_string(device);
	printf(", \"usable\": %s, \"checks\": [", report_usable(r) ? "true" : "false");
	for (unsigned int i = 0; i < r->nr; i++) {
		const struct finding *f = &r->finding[i];

		printf("%s\n  {\"name\": ", i ? "," : "");
		json_string(f->name);
		printf(", \"status\": \"%s\", \"detail\": ", verdicts[f->verdict]);
		json_string(f->detail);
		printf(", \"remedy\": ");
		if (f->remedy[0])
			json_string(f->remedy);
		else
			printf("null");
		printf("}");
	}
	printf("\n]}\n");
}
