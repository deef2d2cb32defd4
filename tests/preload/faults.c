/* Loaded before libc into a process under test (LD_PRELOAD), which then has a wall clock and a folder that do what the test says.
 *
 * BURSAR_TEST_FAULTS names a file of two 64-bit numbers of this machine, which the test changes while the process runs: by how many
 * seconds the wall clock is ahead, and whether the folder BURSAR_TEST_FOLDER is on a file system that may only be read. Such a one
 * refuses (EROFS) what changes a file, through descriptors that are open already as well: so does one that the kernel has remounted
 * read-only after an error. Neither needs a privilege, and neither stops before root. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS_AHEAD, READ_ONLY, NUMBERS };

static const volatile int64_t *numbers;
static const char *folder;

__attribute__((constructor)) static void begin(void) {
  const char *file = getenv("BURSAR_TEST_FAULTS");
  if (file == NULL) return;
  int descriptor = (int)syscall(SYS_openat, AT_FDCWD, file, O_RDONLY | O_CLOEXEC, 0);
  void *mapped = mmap(NULL, NUMBERS * sizeof(int64_t), PROT_READ, MAP_SHARED, descriptor, 0);
  if (mapped == MAP_FAILED) {
    fprintf(stderr, "BURSAR_TEST_FAULTS: cannot read %s\n", file);
    abort();
  }
  close(descriptor);
  numbers = mapped;
  folder = getenv("BURSAR_TEST_FOLDER");
}

/* The monotonic clocks go on as they do when somebody sets the time. */
int clock_gettime(clockid_t clock, struct timespec *at) {
  int done = (int)syscall(SYS_clock_gettime, clock, at);
  if (done == 0 && numbers != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
    at->tv_sec += numbers[SECONDS_AHEAD];
  }
  return done;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
  (void)zone;
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  at->tv_sec = now.tv_sec;
  at->tv_usec = now.tv_nsec / 1000;
  return 0;
}

time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at != NULL) *at = now.tv_sec;
  return now.tv_sec;
}

static int read_only(void) { return numbers != NULL && folder != NULL && numbers[READ_ONLY] != 0; }

static int in_folder(const char *path) {
  size_t length = strlen(folder);
  return strncmp(path, folder, length) == 0 && path[length] == '/';
}

static int refuses(int descriptor) {
  if (!read_only()) return 0;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return in_folder(path);
}

#define REFUSE_IF(refused) \
  if (refused) {           \
    errno = EROFS;         \
    return -1;             \
  }

ssize_t write(int descriptor, const void *bytes, size_t count) {
  REFUSE_IF(refuses(descriptor));
  return syscall(SYS_write, descriptor, bytes, count);
}

ssize_t writev(int descriptor, const struct iovec *parts, int count) {
  REFUSE_IF(refuses(descriptor));
  return syscall(SYS_writev, descriptor, parts, count);
}

ssize_t pwrite(int descriptor, const void *bytes, size_t count, off_t offset) {
  REFUSE_IF(refuses(descriptor));
  return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

ssize_t pwrite64(int descriptor, const void *bytes, size_t count, off64_t offset) {
  REFUSE_IF(refuses(descriptor));
  return syscall(SYS_pwrite64, descriptor, bytes, count, offset);
}

int ftruncate(int descriptor, off_t length) {
  REFUSE_IF(refuses(descriptor));
  return (int)syscall(SYS_ftruncate, descriptor, length);
}

int ftruncate64(int descriptor, off64_t length) {
  REFUSE_IF(refuses(descriptor));
  return (int)syscall(SYS_ftruncate, descriptor, length);
}

int unlink(const char *path) {
  REFUSE_IF(read_only() && in_folder(path));
  return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

static int opens(const char *path, int flags, mode_t mode) {
  REFUSE_IF((flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) != 0 && read_only() && in_folder(path));
  return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

#define OPEN(name)                                         \
  int name(const char *path, int flags, ...) {             \
    mode_t mode = 0;                                       \
    if ((flags & (O_CREAT | O_TMPFILE)) != 0) {            \
      va_list rest;                                        \
      va_start(rest, flags);                               \
      mode = va_arg(rest, mode_t);                         \
      va_end(rest);                                        \
    }                                                      \
    return opens(path, flags, mode);                       \
  }
OPEN(open)
OPEN(open64)
