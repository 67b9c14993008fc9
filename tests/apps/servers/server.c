/* A server in C: a thread a connection, a line for a line, and a number that all of them share.
 * Copyright (c) 2026 The RELOCATE authors. SPDX-License-Identifier: GPL-3.0-or-later
 */
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static atomic_long count;

static void *serve(void *argument)
{
	FILE *in = fdopen((int)(intptr_t)argument, "r"), *out = fdopen((int)(intptr_t)argument, "w");
	char line[64];

	while (in && out && fgets(line, sizeof line, in)) {
		fprintf(out, "%ld %ld\n", strtol(line, NULL, 10), atomic_fetch_add(&count, 1) + 1);
		fflush(out);
	}
	if (in)
		fclose(in);
	return NULL;
}

int main(void)
{
	struct sockaddr_in place = { .sin_family = AF_INET, .sin_port = htons(8000) };
	int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(listener, (struct sockaddr *)&place, sizeof place) || listen(listener, 64))
		return 1;
	for (;;) {
		pthread_t thread;
		int client = accept(listener, NULL, NULL);

		if (client >= 0 && !pthread_create(&thread, NULL, serve, (void *)(intptr_t)client))
			pthread_detach(thread);
	}
}
