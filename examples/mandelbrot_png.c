/* PNG files, by libpng: its errors are jumps, each of which ends in a function of few lines here. */
#define _GNU_SOURCE
#include "mandelbrot_png.h"

#include <errno.h>
#include <setjmp.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void on_error(png_structp png, png_const_charp message)
{
	struct mandelbrot_png *p = png_get_error_ptr(png);

	snprintf(p->error, sizeof(p->error), "%s", message);
	longjmp(png_jmpbuf(png), 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
	(void)png;
	fprintf(stderr, "mandelbrot: libpng: %s\n", message);
}

static void write_data(png_structp png, png_bytep data, size_t size)
{
	struct mandelbrot_png *p = png_get_io_ptr(png);

	if (fwrite(data, 1, size, p->file) != size)
		png_error(png, strerror(errno));
}

static void flush_data(png_structp png)
{
	struct mandelbrot_png *p = png_get_io_ptr(png);

	if (fflush(p->file))
		png_error(png, strerror(errno));
}

static bool write_header(struct mandelbrot_png *p, unsigned width, unsigned height)
{
	if (setjmp(png_jmpbuf(p->png)))
		return false;
	png_set_write_fn(p->png, p, write_data, flush_data);
	png_set_IHDR(p->png, p->info, width, height, 8, PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE,
		     PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
	png_write_info(p->png, p->info);
	return true;
}

static bool fail(struct mandelbrot_png *p, const char *why)
{
	snprintf(p->error, sizeof(p->error), "%s", why);
	return false;
}

bool mandelbrot_png_open(struct mandelbrot_png *p, const char *path, unsigned width, unsigned height)
{
	*p = (struct mandelbrot_png){.file = strcmp(path, "-") ? fopen(path, "wbe") : stdout};
	if (!p->file)
		return fail(p, strerror(errno));
	p->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, p, on_error, on_warning);
	p->info = p->png ? png_create_info_struct(p->png) : NULL;
	if (!p->info)
		return fail(p, *p->error ? p->error : strerror(ENOMEM));
	return write_header(p, width, height);
}

bool mandelbrot_png_write(struct mandelbrot_png *p, const unsigned char *pixels, unsigned rows, size_t row_size)
{
	if (setjmp(png_jmpbuf(p->png)))
		return false;
	for (unsigned i = 0; i < rows; i++)
		png_write_row(p->png, pixels + i * row_size);
	return true;
}

static bool write_end(struct mandelbrot_png *p)
{
	if (setjmp(png_jmpbuf(p->png)))
		return false;
	png_write_end(p->png, NULL);
	return true;
}

static bool close_file(struct mandelbrot_png *p)
{
	bool closed = p->file == stdout ? !fflush(stdout) : !fclose(p->file);

	png_destroy_write_struct(&p->png, &p->info);
	p->file = NULL;
	return closed;
}

bool mandelbrot_png_finish(struct mandelbrot_png *p)
{
	return write_end(p) && (close_file(p) || fail(p, strerror(errno)));
}

/* A device stays where it is. */
void mandelbrot_png_discard(struct mandelbrot_png *p, const char *path)
{
	struct stat status;

	if (!p->file)
		return;
	if (p->file != stdout && !fstat(fileno(p->file), &status) && S_ISREG(status.st_mode))
		unlink(path);
	close_file(p);
}
