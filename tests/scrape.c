#include "scrape.h"
#include "harness.h"

#include <executors/executors.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool scrape_add(void *scrape, const char *text, size_t n)
{
	struct scrape *s = scrape;

	CHECK(n && text[n - 1] == '\n');
	while (s->n + n >= s->room) {
		s->room = s->room ? 2 * s->room : 4096;
		s->text = realloc(s->text, s->room);
		CHECK(s->text);
	}
	memcpy(s->text + s->n, text, n);
	s->n += n;
	s->text[s->n] = '\0';
	s->pieces++;
	return true;
}

void scrape_end(struct scrape *s)
{
	free(s->text);
	*s = (struct scrape){NULL, 0, 0, 0};
}

double scrape_metric(const struct scrape *s, const char *name, const char *executor, const char *type, const char *task)
{
	char begin[512];

	snprintf(begin, sizeof(begin), "\nexecutors_%s{executor=\"%s\",type=\"%s\"%s%s%s} ", name, executor, type,
		 *task ? ",task=\"" : "", task, *task ? "\"" : "");
	const char *at = strstr(s->text, begin);
	CHECK(!at || !strstr(at + 1, begin));
	return at ? strtod(at + strlen(begin), NULL) : NAN;
}

double metric_of_task(const char *name, const char *executor, const char *type, const char *task)
{
	struct scrape s = {NULL, 0, 0, 0};

	CHECK(exs_metrics_write(scrape_add, &s));
	double value = scrape_metric(&s, name, executor, type, task);
	scrape_end(&s);
	return value;
}

double metric(const char *name, const char *executor, const char *type)
{
	return metric_of_task(name, executor, type, "");
}

unsigned alive_lines(const char *part)
{
	struct scrape s = {NULL, 0, 0, 0};
	unsigned n = 0;

	CHECK(exs_dump_alive(scrape_add, &s));
	for (char *line = s.text, *end; (end = strchr(line, '\n')) && end[1]; line = end + 1) {
		*end = '\0';
		n += strstr(line, part) != NULL;
	}
	scrape_end(&s);
	return n;
}
