/* The time of day of one process, off by what a file says; loaded with LD_PRELOAD.
 *
 * CHAT_CLOCK_FILE holds nanoseconds as one 64-bit integer, and may be written at any time. The monotonic clock stays
 * true, as it does when a real clock jumps. Deadlines by the time of day that are given to the C library are turned
 * back into true ones: there a real kernel would know the jumped clock itself.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL
/* Deadlines by the monotonic clock count from the start of the machine: none of them lies 30 years ahead. */
#define SURELY_TIME_OF_DAY 1000000000LL

static volatile int64_t *offset;
static int64_t none;
static int (*true_clock)(clockid_t, struct timespec *);

static void __attribute__((constructor)) begin(void) {
    const char *path = getenv("CHAT_CLOCK_FILE");
    true_clock = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    offset = &none;
    if (path == NULL) return;
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    void *map = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, file, 0);
    close(file);
    if (map != MAP_FAILED) offset = map;
}

static struct timespec moved(struct timespec at, int64_t by) {
    int64_t all = at.tv_nsec + by % SECOND;
    at.tv_sec += by / SECOND;
    if (all < 0) { all += SECOND; at.tv_sec--; }
    if (all >= SECOND) { all -= SECOND; at.tv_sec++; }
    at.tv_nsec = all;
    return at;
}

static struct timespec true_deadline(const struct timespec *at) {
    return at->tv_sec < SURELY_TIME_OF_DAY || offset == NULL ? *at : moved(*at, -*offset);
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int result = true_clock ? true_clock(clock, at) : (int)syscall(SYS_clock_gettime, clock, at);
    if (result == 0 && offset != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) *at = moved(*at, *offset);
    return result;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    (void)zone;
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    if (clock_gettime(CLOCK_REALTIME, &now) != 0) return -1;
    if (at != NULL) *at = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict condition, pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
    static int (*next)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    if (next == NULL) next = (int (*)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *))dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    struct timespec deadline = true_deadline(at);
    return next(condition, mutex, &deadline);
}

int pthread_mutex_timedlock(pthread_mutex_t *restrict mutex, const struct timespec *restrict at) {
    static int (*next)(pthread_mutex_t *, const struct timespec *);
    if (next == NULL) next = (int (*)(pthread_mutex_t *, const struct timespec *))dlsym(RTLD_NEXT, "pthread_mutex_timedlock");
    struct timespec deadline = true_deadline(at);
    return next(mutex, &deadline);
}

int sem_timedwait(sem_t *restrict semaphore, const struct timespec *restrict at) {
    static int (*next)(sem_t *, const struct timespec *);
    if (next == NULL) next = (int (*)(sem_t *, const struct timespec *))dlsym(RTLD_NEXT, "sem_timedwait");
    struct timespec deadline = true_deadline(at);
    return next(semaphore, &deadline);
}
