// What the load generator needs of Linux and Swift's Glibc module does not offer: epoll with nanoseconds, a few
// constants, memmem, what malloc knows. The header includes nothing of the system's, so that no type of Glibc gets a second home.

#ifndef MARTLET_CLOADSHIMS_H
#define MARTLET_CLOADSHIMS_H

#include <stddef.h>
#include <stdint.h>

// Checked against the system's own in CLoadShims.c.
#define LOAD_READABLE 0x001
#define LOAD_WRITABLE 0x004
#define LOAD_SOCK_STREAM 1
#define LOAD_SOCK_NONBLOCK 0x800
#define LOAD_SOCK_CLOEXEC 0x80000
#define LOAD_MSG_NOSIGNAL 0x4000
#define LOAD_IPPROTO_IP 0
#define LOAD_IPPROTO_TCP 6
#define LOAD_TCP_NODELAY 1
/// The port is chosen at connect, so that one source address can have 28,000 connections to each listener.
#define LOAD_IP_BIND_ADDRESS_NO_PORT 24

/// One ready descriptor: what it is ready for, and the key it was added with.
struct load_event {
    uint64_t key;
    uint32_t flags;
};

int load_epoll_create(void);
int load_epoll_add(int epoll, int descriptor, uint32_t flags, uint64_t key);
int load_epoll_change(int epoll, int descriptor, uint32_t flags, uint64_t key);

/// Waits at most so many nanoseconds (negative: without end) for at most 512 events.
int load_epoll_wait(int epoll, struct load_event *events, int maximum, int64_t nanoseconds);

/// Wake-ups of this thread come at most so much later than asked (the default is 50 µs).
int load_set_timer_slack(unsigned long nanoseconds);

/// Where `needle` begins in `haystack`; -1: nowhere.
ptrdiff_t load_find(const uint8_t *haystack, size_t length, const uint8_t *needle, size_t needle_length);

/// Lets the process have as many descriptors as it may, and returns how many those are.
uint64_t load_raise_descriptor_limit(void);

/// Bytes that malloc has given out and not got back, its own words included; over all arenas.
uint64_t load_heap_bytes(void);

/// What one allocation takes of those.
size_t load_allocation_bytes(const void *allocation);

/// Gives free pages back to the system.
void load_trim_heap(void);

#endif
