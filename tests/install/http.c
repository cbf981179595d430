/* A program outside the tree that links executors-http. */
#include <executors/http.h>
#include <stddef.h>

int main(void)
{
	exs_http_client *client = exs_http_client_new(NULL, NULL);

	if (!client)
		return 1;
	exs_http_client_free(client);
	return 0;
}
