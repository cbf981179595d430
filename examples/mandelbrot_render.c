/* Escape times, and their colours. */
#include "mandelbrot_render.h"

#include <executors/context.h>
#include <string.h>

/* How many times z = z * z + c can be done before z leaves the circle of radius 2; at most `iterations`. One operation for each
   statement: so none are contracted, and the picture is the same on every machine. */
static uint32_t escape_time(double re, double im, uint32_t iterations)
{
	double x = 0, y = 0, xx = 0, yy = 0;
	uint32_t n = 0;

	while (n < iterations && xx + yy <= 4) {
		double xy = x * y, difference = xx - yy;
		x = difference + re;
		y = xy + xy;
		y += im;
		xx = x * x;
		yy = y * y;
		n++;
	}
	return n;
}

/* The set is black; around it each time has a colour, over and over again. */
static void colour(unsigned char *pixel, uint32_t time, uint32_t iterations)
{
	enum { PERIOD = 128 };
	unsigned at = time % PERIOD, up = at < PERIOD / 2 ? at : PERIOD - 1 - at; /* 0 ... 63 ... 0 */

	pixel[0] = (unsigned char)(time == iterations ? 0 : up * up / 16);
	pixel[1] = (unsigned char)(time == iterations ? 0 : up * 3);
	pixel[2] = (unsigned char)(time == iterations ? 0 : 64 + up * 3);
}

static void render_row(const struct mandelbrot_band *band, uint32_t row, unsigned char *pixels)
{
	double below = (row + 0.5 - band->height * 0.5) * band->step;

	for (uint32_t i = 0; i < band->width; i++) {
		double right = (i + 0.5 - band->width * 0.5) * band->step;
		uint32_t time = escape_time(band->re + right, band->im - below, band->iterations);
		colour(pixels + (size_t)i * MANDELBROT_PIXEL, time, band->iterations);
	}
}

exs_result mandelbrot_render(const exs_bytes *input, exs_context *ctx)
{
	struct mandelbrot_band band;

	if (!input || input->size != sizeof(band))
		return exs_fail(exs_error_new(&exs_domain_exs, EXS_EINVAL, "%s: no band", MANDELBROT_RENDER));
	memcpy(&band, input->data, sizeof(band));
	size_t row_size = (size_t)band.width * MANDELBROT_PIXEL;
	exs_bytes *pixels = exs_bytes_new(band.rows * row_size);
	for (uint32_t i = 0; pixels && i < band.rows; i++) {
		if (exs_context_stop_requested(ctx)) {
			exs_bytes_free(pixels);
			return exs_cancelled();
		}
		render_row(&band, band.row + i, pixels->data + i * row_size);
	}
	return exs_ok_bytes(pixels);
}
