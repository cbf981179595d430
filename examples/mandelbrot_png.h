/* A PNG file of 8-bit RGB, written row by row. */
#ifndef MANDELBROT_PNG_H
#define MANDELBROT_PNG_H

#include <png.h>
#include <stdbool.h>
#include <stdio.h>

struct mandelbrot_png {
	FILE *file;
	png_structp png;
	png_infop info;
	char error[256]; /* why the last call failed */
};

/* path "-": standard output. false: as the others, see error; mandelbrot_png_discard is still to be called. */
bool mandelbrot_png_open(struct mandelbrot_png *p, const char *path, unsigned width, unsigned height);
bool mandelbrot_png_write(struct mandelbrot_png *p, const unsigned char *pixels, unsigned rows, size_t row_size);

/* Writes its end; it is closed then. */
bool mandelbrot_png_finish(struct mandelbrot_png *p);

/* Closes it, if it is still open. A file that is not whole is removed. */
void mandelbrot_png_discard(struct mandelbrot_png *p, const char *path);

#endif
