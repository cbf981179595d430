/* The command line of mandelbrot. */
#ifndef MANDELBROT_OPTIONS_H
#define MANDELBROT_OPTIONS_H

#include <stdbool.h>

struct mandelbrot_options {
	unsigned width, height, workers, iterations;
	double re, im;	    /* of the picture's centre */
	double zoom;	    /* its shorter side is 2.5 / zoom */
	const char *output; /* "-": standard output */
	bool threads, progress;
};

/* Reads the command line. Answers -1 to go on, otherwise the exit status, having said why. */
int mandelbrot_options_read(struct mandelbrot_options *o, int argc, char **argv);

#endif
