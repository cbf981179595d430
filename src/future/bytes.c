/* Bytes as the caller makes them, with the reason if there are none, and as results. */
#include "base/bytes.h"

#include "future/error.h"

#include <string.h>

exs_bytes *exs_bytes_new(size_t size)
{
	exs_bytes *bytes = exsi_bytes_new(size);

	return bytes ? bytes : exsi_fail_null(EXS_ENOMEM, "exs_bytes_new: no memory for %zu bytes", size);
}

exs_bytes *exs_bytes_copy(const void *data, size_t size)
{
	if (!data && size > 0)
		return exsi_fail_null(EXS_EINVAL, "exs_bytes_copy: data is NULL, but size is %zu, not 0", size);

	exs_bytes *bytes = exs_bytes_new(size);

	if (bytes && size > 0)
		memcpy(bytes->data, data, size);
	return bytes;
}

exs_result exs_ok_bytes(exs_bytes *bytes)
{
	const exs_error *why = bytes ? NULL : exs_last_error();

	if (bytes)
		return exs_ok(bytes, exs_bytes_free);
	if (!why || exs_error_is(why, &exs_domain_exs, EXS_ENOMEM))
		return exs_fail(exsi_error(EXS_ENOMEM));
	return exs_fail(exs_error_new(exs_error_domain(why), exs_error_code(why), "%s", exs_error_message(why)));
}

exs_result exs_ok_copy(const void *data, size_t size)
{
	return exs_ok_bytes(exs_bytes_copy(data, size));
}
