/* Bands of a picture of the Mandelbrot set, as a registered function. */
#ifndef MANDELBROT_RENDER_H
#define MANDELBROT_RENDER_H

#include <executors/registry.h>

/* What it is known as. */
#define MANDELBROT_RENDER "mandelbrot.render"

/* Its input, as it is in memory: a worker process is the same program. */
struct mandelbrot_band {
	uint32_t width, height; /* of the whole picture */
	uint32_t row, rows;	/* of the band; from 0 at the top */
	uint32_t iterations;
	double re, im; /* of the picture's centre */
	double step;   /* from one pixel to the next */
};

enum { MANDELBROT_PIXEL = 3 }; /* bytes: red, green, blue */

/* Answers the band's pixels, row by row; stops between two of them when it is asked to. */
exs_result mandelbrot_render(const exs_bytes *input, exs_context *ctx);

#endif
