#define _GNU_SOURCE
#include "CLoadShims.h"

#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

_Static_assert(LOAD_READABLE == EPOLLIN && LOAD_WRITABLE == EPOLLOUT, "epoll");
_Static_assert(LOAD_SOCK_STREAM == SOCK_STREAM && LOAD_SOCK_NONBLOCK == SOCK_NONBLOCK, "socket");
_Static_assert(LOAD_SOCK_CLOEXEC == SOCK_CLOEXEC && LOAD_MSG_NOSIGNAL == MSG_NOSIGNAL, "socket");
_Static_assert(LOAD_IPPROTO_IP == IPPROTO_IP && LOAD_IPPROTO_TCP == IPPROTO_TCP, "protocol");
_Static_assert(LOAD_TCP_NODELAY == TCP_NODELAY, "protocol");

enum { most_events = 512 };

int load_epoll_create(void) {
    return epoll_create1(EPOLL_CLOEXEC);
}

int load_epoll_add(int epoll, int descriptor, uint32_t flags, uint64_t key) {
    struct epoll_event event = {.events = flags, .data = {.u64 = key}};
    return epoll_ctl(epoll, EPOLL_CTL_ADD, descriptor, &event);
}

int load_epoll_change(int epoll, int descriptor, uint32_t flags, uint64_t key) {
    struct epoll_event event = {.events = flags, .data = {.u64 = key}};
    return epoll_ctl(epoll, EPOLL_CTL_MOD, descriptor, &event);
}

int load_epoll_wait(int epoll, struct load_event *events, int maximum, int64_t nanoseconds) {
    struct epoll_event ready[most_events];
    if (maximum > most_events) {
        maximum = most_events;
    }
    struct timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    int count = epoll_pwait2(epoll, ready, maximum, nanoseconds < 0 ? NULL : &limit, NULL);
    for (int index = 0; index < count; index++) {
        events[index].key = ready[index].data.u64;
        events[index].flags = ready[index].events;
    }
    return count;
}

int load_set_timer_slack(unsigned long nanoseconds) {
    return prctl(PR_SET_TIMERSLACK, nanoseconds, 0, 0, 0);
}

ptrdiff_t load_find(const uint8_t *haystack, size_t length, const uint8_t *needle, size_t needle_length) {
    const uint8_t *hit = memmem(haystack, length, needle, needle_length);
    return hit == NULL ? -1 : hit - haystack;
}

uint64_t load_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) {
        return 1024;
    }
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    return limit.rlim_cur;
}

uint64_t load_heap_bytes(void) {
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
}

size_t load_allocation_bytes(const void *allocation) {
    return malloc_usable_size((void *)allocation) + sizeof(size_t);
}

void load_trim_heap(void) {
    malloc_trim(0);
}
