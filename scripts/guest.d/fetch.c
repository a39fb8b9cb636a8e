// SPDX-License-Identifier: GPL-2.0
/*
 * fetch ADDRESS PORT PATH: what an HTTP server has there. busybox's own needs libraries that a
 * static one has not. The address "host" is the machine's that runs this guest, through a vsock.
 */
#include <arpa/inet.h>
#include <linux/vm_sockets.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct sockaddr_in net = { .sin_family = AF_INET };
	struct sockaddr_vm host = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST };
	int vsock = argc == 4 && !strcmp(argv[1], "host");
	int s = socket(vsock ? AF_VSOCK : AF_INET, SOCK_STREAM, 0);
	char line[4096], *body;

	if (argc != 4 || (!vsock && !inet_aton(argv[1], &net.sin_addr)))
		return 2;
	host.svm_port = atoi(argv[2]);
	net.sin_port = htons(atoi(argv[2]));
	if (vsock ? connect(s, (struct sockaddr *)&host, sizeof(host)) :
		    connect(s, (struct sockaddr *)&net, sizeof(net))) {
		perror("connect");
		return 1;
	}
	dprintf(s, "GET %s HTTP/1.0\r\n\r\n", argv[3]);

	FILE *f = fdopen(s, "r");

	while (fgets(line, sizeof(line), f) && strcmp(line, "\r\n"))
		;
	for (size_t n; (n = fread(line, 1, sizeof(line), f)); )
		for (body = line; n; ) {
			ssize_t done = write(1, body, n);

			if (done < 0)
				return 1;
			body += done;
			n -= done;
		}
	return 0;
}
