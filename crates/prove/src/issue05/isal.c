/* How fast ISA-L codes: a line "K M SHARD_BYTES LOST MIB_PER_S" for each task of the arguments, which come in fours. The time is the thread's own time on a core.
   The matrix is ISA-L's Cauchy matrix, whose inverses exist for every K and M; how long coding takes does not depend on what is in it. */
#include <isa-l.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define RUN_SECONDS 0.1
#define MOST 255

static double thread_seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec + now.tv_nsec * 1e-9;
}

/* Bytes that begin at a multiple of 64, written once: no page is fresh when the clock starts. */
static unsigned char *shard(size_t bytes, int index) {
    unsigned char *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) abort();
    for (size_t i = 0; i < bytes; i++) memory[i] = (unsigned char)(i * 131 + i / 251 + index * 17 + 1);
    return memory;
}

static double mib_per_s(int k, int m, int bytes, int lost) {
    static unsigned char matrix[MOST * MOST], rows[MOST * MOST], inverse[MOST * MOST], tables[32 * MOST * MOST];
    unsigned char *sources[MOST], *outputs[MOST];
    int wanted = lost ? lost : m;
    gf_gen_cauchy1_matrix(matrix, k + m, k);
    if (lost) { /* The first K shards that are left, and the rows that make shards 0 to lost - 1 of them. */
        memcpy(rows, matrix + lost * k, (size_t)k * k);
        if (gf_invert_matrix(rows, inverse, k)) abort();
        ec_init_tables(k, lost, inverse, tables);
    } else {
        ec_init_tables(k, m, matrix + k * k, tables);
    }
    for (int i = 0; i < k; i++) sources[i] = shard(bytes, i);
    for (int i = 0; i < wanted; i++) outputs[i] = shard(bytes, k + i);
    double start = thread_seconds(), seconds, steps = 0;
    do {
        ec_encode_data(bytes, k, wanted, tables, sources, outputs);
        steps++;
    } while ((seconds = thread_seconds() - start) < RUN_SECONDS);
    for (int i = 0; i < k; i++) free(sources[i]);
    for (int i = 0; i < wanted; i++) free(outputs[i]);
    return steps * k * bytes / seconds / (1 << 20);
}

int main(int count, char **words) {
    for (int at = 1; at + 3 < count; at += 4) {
        int k = atoi(words[at]), m = atoi(words[at + 1]), bytes = atoi(words[at + 2]), lost = atoi(words[at + 3]);
        if (k < 1 || m < 1 || k + m > MOST || lost < 0 || lost > m || lost > k || bytes < 1) return 2;
        printf("%d %d %d %d %.1f\n", k, m, bytes, lost, mib_per_s(k, m, bytes, lost));
    }
    return 0;
}
