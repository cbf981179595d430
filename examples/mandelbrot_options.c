/* The command line of mandelbrot. */
#define _GNU_SOURCE
#include "mandelbrot_options.h"
#include "option_values.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { FAILED = 1, WRONG_USAGE = 2 };
enum { WIDTH = 256, HEIGHT, WORKERS, CENTRE, ZOOM, ITERATIONS, OUTPUT, THREADS, PROGRESS };

static const char help[] = "usage: mandelbrot [OPTION]...\n"
			   "Draws the Mandelbrot set, band by band on several worker processes, and writes a PNG.\n\n"
			   "  --width N        pixels (1200)\n"
			   "  --height N       pixels (800)\n"
			   "  --centre RE,IM   of the picture (-0.65,0)\n"
			   "  --zoom X         its shorter side is 2.5 / X (1)\n"
			   "  --iterations N   after which a point is taken for one of the set (1000)\n"
			   "  --workers N      processes (2)\n"
			   "  --threads        threads instead, in this process\n"
			   "  --output FILE    - is standard output (mandelbrot.png)\n"
			   "  --progress       tells how far it is on standard error, also if that is no terminal\n"
			   "  --help\n\n"
			   "Exit status: 0, 1 on failure, 2 on wrong usage, 128 + N when signal N ended it.\n";

static const struct option options[] = {
	{"width", required_argument, NULL, WIDTH},
	{"height", required_argument, NULL, HEIGHT},
	{"centre", required_argument, NULL, CENTRE},
	{"zoom", required_argument, NULL, ZOOM},
	{"iterations", required_argument, NULL, ITERATIONS},
	{"workers", required_argument, NULL, WORKERS},
	{"threads", no_argument, NULL, THREADS},
	{"output", required_argument, NULL, OUTPUT},
	{"progress", no_argument, NULL, PROGRESS},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

static bool read_centre(struct mandelbrot_options *o)
{
	char *comma, *end = NULL;

	o->re = strtod(optarg, &comma);
	if (comma != optarg && *comma == ',')
		o->im = strtod(comma + 1, &end);
	if (end && end != comma + 1 && !*end && fabs(o->re) <= 4 && fabs(o->im) <= 4)
		return true;
	fprintf(stderr, "mandelbrot: --centre %s: not two numbers from -4 to 4, with a comma between them\n", optarg);
	return false;
}

static int read_option(struct mandelbrot_options *o, int code)
{
	bool ok = true;

	switch (code) {
	case WIDTH:
		ok = option_unsigned(options, code, 1, 100000, &o->width);
		break;
	case HEIGHT:
		ok = option_unsigned(options, code, 1, 100000, &o->height);
		break;
	case CENTRE:
		ok = read_centre(o);
		break;
	case ZOOM:
		ok = option_number(options, code, 0.001, 1e13, &o->zoom);
		break;
	case ITERATIONS:
		ok = option_unsigned(options, code, 1, 1000000000, &o->iterations);
		break;
	case WORKERS:
		ok = option_unsigned(options, code, 1, 1000, &o->workers);
		break;
	case THREADS:
		o->threads = true;
		break;
	case OUTPUT:
		o->output = optarg;
		break;
	case PROGRESS:
		o->progress = true;
		break;
	case 'h':
		fputs(help, stdout);
		return fflush(stdout) ? FAILED : 0;
	default: /* getopt has said why */
		ok = false;
	}
	return ok ? -1 : WRONG_USAGE;
}

int mandelbrot_options_read(struct mandelbrot_options *o, int argc, char **argv)
{
	int code, status = -1;

	*o = (struct mandelbrot_options){.width = 1200,
					 .height = 800,
					 .workers = 2,
					 .iterations = 1000,
					 .re = -0.65,
					 .zoom = 1,
					 .output = "mandelbrot.png"};
	while (status < 0 && (code = getopt_long(argc, argv, "", options, NULL)) != -1)
		status = read_option(o, code);
	if (status < 0 && optind < argc) {
		fprintf(stderr, "mandelbrot: %s: not an option\n", argv[optind]);
		status = WRONG_USAGE;
	}
	if (status == WRONG_USAGE)
		fputs("mandelbrot --help tells more\n", stderr);
	return status;
}
