/* mandelbrot as a program: the same picture from threads and from processes, what it refuses, how it stops. */
#define _GNU_SOURCE
#include "harness.h"
#include "program.h"

#include <inttypes.h>
#include <png.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct picture {
	unsigned width, height;
	size_t size;
	unsigned char *pixels;
};

/* A directory of its own, and a file in it that is not there. */
static char directory[64], file[96];

static void begin_directory(void)
{
	snprintf(directory, sizeof(directory), "/tmp/mandelbrot_XXXXXX");
	CHECK(mkdtemp(directory));
	snprintf(file, sizeof(file), "%s/picture.png", directory);
}

static void end_directory(void)
{
	unlink(file);
	CHECK(!rmdir(directory)); /* there is nothing else in it */
}

static struct picture decoded(const char *path)
{
	png_image image = {.version = PNG_IMAGE_VERSION};
	struct picture p;

	CHECK(png_image_begin_read_from_file(&image, path));
	image.format = PNG_FORMAT_RGB;
	p = (struct picture){.width = image.width, .height = image.height, .size = PNG_IMAGE_SIZE(image)};
	p.pixels = malloc(p.size);
	CHECK(p.pixels && png_image_finish_read(&image, NULL, p.pixels, 0, NULL));
	return p;
}

static uint64_t checksum_of(const struct picture *p)
{
	uint64_t sum = 0xcbf29ce484222325u;

	for (size_t i = 0; i < p->size; i++)
		sum = (sum ^ p->pixels[i]) * 0x100000001b3u;
	return sum;
}

static void run(struct program *p, const char *const *args, int status)
{
	program_start(p, "mandelbrot", args, program_file(""));
	program_check(p, status);
}

/* By n workers, threads if that says so. */
static struct picture drawn(const char *width, const char *height, const char *workers, bool threads)
{
	const char *args[] = {"--width",
			      width,
			      "--height",
			      height,
			      "--workers",
			      workers,
			      "--iterations",
			      "200",
			      "--centre=-0.74,0.15",
			      "--zoom",
			      "20",
			      "--output",
			      file,
			      threads ? "--threads" : NULL,
			      NULL};
	struct program p;
	char text[128];

	run(&p, args, 0);
	struct picture picture = decoded(file);
	snprintf(text, sizeof(text), "%s x %s pixels, checksum %016" PRIx64 ", by %s workers\n", width, height,
		 checksum_of(&picture), workers);
	CHECK_STR(p.texts[0], text);
	CHECK_STR(p.texts[1], "");
	program_free(&p);
	return picture;
}

TEST(mandelbrot, threads_and_processes_draw_the_same)
{
	static const char *const sizes[][2] = {{"1", "1"}, {"1", "500"}, {"700", "1"}, {"40000", "2"}, {"301", "257"}};

	begin_directory();
	for (size_t i = 0; i < sizeof(sizes) / sizeof(*sizes); i++) {
		struct picture first = drawn(sizes[i][0], sizes[i][1], "1", true);
		CHECK_INT(first.width, atoi(sizes[i][0]));
		CHECK_INT(first.height, atoi(sizes[i][1]));
		for (int n = 0; n < 3; n++) {
			struct picture again = drawn(sizes[i][0], sizes[i][1], n == 1 ? "1" : "3", n == 0);
			CHECK(again.size == first.size && !memcmp(again.pixels, first.pixels, first.size));
			free(again.pixels);
		}
		free(first.pixels);
	}
	end_directory();
}

static const unsigned char *pixel(const struct picture *p, unsigned x, unsigned y)
{
	return p->pixels + 3 * ((size_t)y * p->width + x);
}

/* The whole set: its middle is black, its corners are not, and it is the same above and below. */
TEST(mandelbrot, is_the_set)
{
	static const unsigned char black[3] = {0};
	struct program program;

	begin_directory();
	run(&program, (const char *[]){"--width=150", "--height=100", "--threads", "--output", file, NULL}, 0);
	struct picture p = decoded(file);
	CHECK(!memcmp(pixel(&p, 90, 50), black, 3) && !memcmp(pixel(&p, 60, 50), black, 3)); /* 0 - and near -1 */
	for (unsigned x = 0; x < 150; x += 149)
		for (unsigned y = 0; y < 100; y += 99)
			CHECK(memcmp(pixel(&p, x, y), black, 3) != 0);
	for (unsigned y = 0; y < 50; y++)
		CHECK(!memcmp(pixel(&p, 0, y), pixel(&p, 0, 99 - y), 3 * p.width));
	free(p.pixels);
	program_free(&program);
	end_directory();
}

TEST(mandelbrot, to_standard_output)
{
	struct program p, again;

	run(&p, (const char *[]){"--width=20", "--height=30", "--threads", "--output=-", NULL}, 0);
	run(&again, (const char *[]){"--width=20", "--height=30", "--output=-", NULL}, 0);
	CHECK(p.sizes[0] > 8 && !memcmp(p.texts[0], "\x89PNG\r\n\x1a\n", 8));
	CHECK(again.sizes[0] == p.sizes[0] && !memcmp(again.texts[0], p.texts[0], p.sizes[0]));
	CHECK(strstr(p.texts[1], "20 x 30 pixels, checksum "));
	CHECK_STR(p.texts[1], again.texts[1]);
	program_free(&p);
	program_free(&again);
}

TEST(mandelbrot, tells_how_far_it_is_if_asked)
{
	struct program p;

	run(&p,
	    (const char *[]){"--width=1000", "--height=100", "--iterations=1", "--output=/dev/null", "--progress",
			     NULL},
	    0);
	CHECK_STR(p.texts[1], "32 %\n64 %\n96 %\n100 %\n");
	program_free(&p);
}

/* Nothing is left of the picture. */
static void stop_by(int signal, const char *mode)
{
	const char *args[] = {"--iterations=300000", "--progress", "--output", file, mode, NULL};
	struct program p;

	begin_directory();
	program_start(&p, "mandelbrot", args, program_file(""));
	while (!p.texts[1] || !strchr(p.texts[1], '%'))
		CHECK(program_read(&p));
	CHECK(!access(file, F_OK));
	CHECK(!kill(p.pid, signal));
	program_check(&p, 128 + signal);
	CHECK(strstr(p.texts[1], "mandelbrot: stopped\n"));
	CHECK_STR(p.texts[0], "");
	CHECK(access(file, F_OK));
	program_free(&p);
	end_directory();
}

TEST(mandelbrot, stops_when_it_is_told)
{
	stop_by(SIGINT, "--threads");
	stop_by(SIGTERM, "--threads");
	stop_by(SIGINT, NULL);
	stop_by(SIGTERM, NULL);
}

TEST(mandelbrot, what_can_not_be_written)
{
	static const struct {
		const char *output, *part;
	} cases[] = {
		{"/nowhere/x", "mandelbrot: /nowhere/x: No such file or directory\n"},
		{"/", "mandelbrot: /: Is a directory\n"},
		{"/dev/full", "mandelbrot: /dev/full: No space left on device\n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		for (int small = 0; small < 2; small++) {
			struct program p;
			run(&p,
			    (const char *[]){small ? "--width=10" : "--zoom=100", "--threads", "--output",
					     cases[i].output, NULL},
			    1);
			CHECK_STR(p.texts[1], cases[i].part);
			CHECK_STR(p.texts[0], "");
			program_free(&p);
		}
	CHECK(!access("/dev/full", F_OK));
}

TEST(mandelbrot, wrong_usage)
{
	static const struct {
		const char *args[3], *part;
	} cases[] = {
		{{"x"}, "mandelbrot: x: not an option\n"},
		{{"--nonsense"}, "nonsense"},
		{{"--width", "0"}, "--width 0: not a number from 1 to 100000\n"},
		{{"--height", "100001"}, "--height 100001"},
		{{"--workers", "-1"}, "--workers -1"},
		{{"--iterations", "1K"}, "--iterations 1K"},
		{{"--zoom", "0"}, "--zoom 0: not a number from 0.001 to 1e+13\n"},
		{{"--zoom", "1x"}, "--zoom 1x"},
		{{"--zoom", "nan"}, "--zoom nan"},
		{{"--centre", "1"}, "--centre 1: not two numbers"},
		{{"--centre", "1,"}, "--centre 1,:"},
		{{"--centre", ",1"}, "--centre ,1:"},
		{{"--centre", "1,5"}, "--centre 1,5:"},
		{{"--centre", "nan,0"}, "--centre nan,0:"},
	};
	struct program p;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		run(&p, cases[i].args, 2);
		if (!strstr(p.texts[1], cases[i].part))
			CHECK_STR(p.texts[1], cases[i].part);
		CHECK_STR(p.texts[0], "");
		program_free(&p);
	}
	run(&p, (const char *[]){"--help", NULL}, 0);
	CHECK(strstr(p.texts[0], "--threads"));
	program_free(&p);
}
