// SPDX-License-Identifier: GPL-2.0
/*
 * dirty MIB: writes to memory all the time, each page in every round, until /tmp/stop is there, and
 * looks in each round whether the last one's contents are what they should be. Says at the end how
 * many rounds and how many wrong words.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096

static uint64_t word(uint64_t page, uint64_t round, uint64_t n)
{
	return (page * 0x9e3779b97f4a7c15 + round) ^ n << 40;
}

int main(int argc, char **argv)
{
	uint64_t pages = strtoull(argc > 1 ? argv[1] : "16", NULL, 0) << 8, round = 0, wrong = 0;
	uint64_t *p = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);

	if (p == MAP_FAILED)
		return 1;
	do {
		for (uint64_t page = 0; page < pages; page++) {
			uint64_t *w = p + page * (PAGE / 8);

			for (int n = 0; n < PAGE / 8; n += 64) {
				wrong += round && w[n] != word(page, round, n);
				w[n] = word(page, round + 1, n);
			}
		}
		round++;
		usleep(20000);
	} while (access("/tmp/stop", F_OK));
	printf("dirty: %llu rounds, %llu wrong\n", (unsigned long long)round,
	       (unsigned long long)wrong);
	return wrong != 0;
}
