/* mandelbrot: draws the Mandelbrot set on worker processes, or, by one changed line, on threads. Bands of rows are a stream of calls of a
   registered function: some are under way, and each is written to a PNG when its turn has come. */
#define _GNU_SOURCE
#include "mandelbrot_options.h"
#include "mandelbrot_png.h"
#include "mandelbrot_render.h"

#include <errno.h>
#include <executors/executors.h>
#include <executors/process_pool.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { BAND_PIXELS = 32 << 10 };

struct drawing {
	const struct mandelbrot_options *o;
	struct mandelbrot_band next; /* to be begun */
	uint32_t rows;		     /* of each band, but for the last one */
	uint32_t done;		     /* rows that are written */
	uint64_t checksum;	     /* of their pixels: FNV-1a */
	struct mandelbrot_png png;
	int signals; /* a signalfd */
	int signal;  /* that has ended it; 0: none */
};

static bool fail(const char *what, const char *why)
{
	fprintf(stderr, "mandelbrot: %s%s%s\n", what, *what ? ": " : "", why);
	return false;
}

/* --- what is begun --- */

/* The next band's call: asked for when there is room in the stream. */
static bool next_band(void *drawing, exs_result *input)
{
	struct drawing *d = drawing;
	struct mandelbrot_band *band = &d->next;

	if (band->row == band->height)
		return false;
	band->rows = band->height - band->row < d->rows ? band->height - band->row : d->rows;
	exs_invocation *call = exs_invocation_new(MANDELBROT_RENDER, band, sizeof(*band));
	*input = call ? exs_ok(call, exs_invocation_free)
		      : exs_fail(exs_error_new(&exs_domain_exs, EXS_ENOMEM, "out of memory"));
	band->row += band->rows;
	return true;
}

static void begin(struct drawing *d, const struct mandelbrot_options *o)
{
	uint32_t shorter = o->width < o->height ? o->width : o->height;

	*d = (struct drawing){.o = o, .signals = -1, .checksum = 0xcbf29ce484222325u};
	d->rows = o->width < BAND_PIXELS ? BAND_PIXELS / o->width : 1;
	d->next = (struct mandelbrot_band){.width = o->width,
					   .height = o->height,
					   .iterations = o->iterations,
					   .re = o->re,
					   .im = o->im,
					   .step = 2.5 / o->zoom / shorter};
}

/* --- what is done --- */

static void show_progress(const struct drawing *d, uint32_t before)
{
	bool terminal = isatty(STDERR_FILENO);
	unsigned percent = (unsigned)(d->done * 100u / d->o->height), was = (unsigned)(before * 100u / d->o->height);

	if ((!terminal && !d->o->progress) || (percent == was && before))
		return;
	fprintf(stderr, terminal ? "\r%3u %%" : "%u %%\n", percent);
	if (terminal && percent == 100)
		fputs("\r     \r", stderr);
}

static bool write_band(struct drawing *d, const exs_bytes *pixels)
{
	uint32_t left = d->o->height - d->done, rows = left < d->rows ? left : d->rows;
	size_t row_size = (size_t)d->o->width * MANDELBROT_PIXEL;

	if (!pixels || pixels->size != rows * row_size)
		return fail("", "a worker has answered something else than a band");
	if (!mandelbrot_png_write(&d->png, pixels->data, rows, row_size))
		return fail(d->o->output, d->png.error);
	for (size_t i = 0; i < pixels->size; i++)
		d->checksum = (d->checksum ^ pixels->data[i]) * 0x100000001b3u;
	d->done += rows;
	show_progress(d, d->done - rows);
	return true;
}

/* --- Ctrl-C: the first cancels, a second one leaves --- */

static int catch_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &set, NULL); /* also in all threads to come */
	signal(SIGPIPE, SIG_IGN);
	return signalfd(-1, &set, SFD_CLOEXEC);
}

static void take_signal(struct drawing *d, exs_stream *s)
{
	struct signalfd_siginfo info;
	sigset_t set;

	if (read(d->signals, &info, sizeof(info)) != sizeof(info))
		return;
	d->signal = (int)info.ssi_signo;
	exs_stream_cancel(s);
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	fail("", "stopped");
}

/* --- all of it --- */

/* false: it has been said why. */
static bool draw_all(struct drawing *d, exs_stream *s)
{
	struct pollfd fds[] = {{.fd = d->signals, .events = POLLIN}, {.fd = exs_stream_fd(s), .events = POLLIN}};
	exs_set_status status = EXS_TIMEOUT;
	bool written = true;
	exs_item item;

	while (written && !d->signal && (status == EXS_ITEM || status == EXS_TIMEOUT)) {
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return fail("poll", strerror(errno));
		if (fds[0].revents)
			take_signal(d, s);
		status = exs_stream_next(s, &item, 0);
		if (status != EXS_ITEM)
			continue;
		written = write_band(d, exs_future_value(item.future));
		exs_future_unref(item.future);
	}
	if (status == EXS_FAILED && !d->signal)
		return fail("", exs_error_message(exs_last_error()));
	return written && !d->signal;
}

static bool draw(struct drawing *d, exs_executor *ex)
{
	/* A band may take long: none is taken for lost. */
	const exs_stream_options options = {
		.max_results = (size_t)2 * d->o->workers, .stop_on_error = true, .timeout = EXS_UNLIMITED};
	exs_stream *s = exs_stream_new(ex, exs_invoke, next_band, d, &options);
	bool whole = s ? draw_all(d, s) : fail("", exs_error_message(exs_last_error()));

	exs_stream_free(s);
	return whole;
}

static bool report(const struct drawing *d)
{
	FILE *to = strcmp(d->o->output, "-") ? stdout : stderr;

	fprintf(to, "%u x %u pixels, checksum %016" PRIx64 ", by %u workers\n", d->o->width, d->o->height, d->checksum,
		d->o->workers);
	return !fflush(to) || fail("standard output", strerror(errno));
}

static bool run(struct drawing *d, exs_executor *ex)
{
	if (!ex)
		return fail("", exs_error_message(exs_last_error()));
	if (d->signals < 0)
		return fail("signals", strerror(errno));
	if (!mandelbrot_png_open(&d->png, d->o->output, d->o->width, d->o->height))
		return fail(d->o->output, d->png.error);
	if (!draw(d, ex))
		return false;
	return mandelbrot_png_finish(&d->png) ? report(d) : fail(d->o->output, d->png.error);
}

int main(int argc, char **argv)
{
	struct mandelbrot_options o;
	struct drawing d;

	exs_register(MANDELBROT_RENDER, mandelbrot_render);
	exs_process_main(argc, argv);
	int status = mandelbrot_options_read(&o, argc, argv);
	if (status >= 0)
		return status;
	begin(&d, &o);
	d.signals = catch_signals();
	exs_executor *ex = o.threads ? exs_thread_pool(o.workers)
				     : exs_process_pool(&(exs_process_pool_options){.workers = o.workers});
	status = run(&d, ex) ? 0 : 1;
	mandelbrot_png_discard(&d.png, o.output);
	exs_executor_free(ex);
	if (d.signals >= 0)
		close(d.signals);
	return d.signal ? 128 + d.signal : status;
}
