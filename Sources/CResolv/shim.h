// The resolver of the C library for Swift: queries by record type, and the records of an answer.

#ifndef MARTLET_CRESOLV_SHIM_H
#define MARTLET_CRESOLV_SHIM_H

#include <arpa/inet.h>
#include <arpa/nameser.h>
#include <netdb.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdint.h>
#include <string.h>

// A service record (RFC 2782).
struct martlet_srv {
    uint16_t priority;
    uint16_t weight;
    uint16_t port;
    char target[NS_MAXDNAME];
};

enum {
    martlet_dns_failed = -1,
    martlet_dns_none = 0,
};

// Asks for the records of one type. Gives their number, 0 if there are none, or martlet_dns_failed if nobody answers.
// Service records are written to `found`, at most `most` of them. A `server` of 0 stands for the system's resolvers.
static inline int martlet_dns_query(const char *name, int type, uint32_t server, uint16_t port, int seconds,
                                    struct martlet_srv *found, int most) {
    struct __res_state state;
    memset(&state, 0, sizeof state);
    if (res_ninit(&state) != 0) return martlet_dns_failed;
    state.retrans = seconds;
    state.retry = 1;
    state.options &= ~(unsigned long)(RES_DNSRCH | RES_DEFNAMES);
    if (server != 0) {
        state.nscount = 1;
        memset(&state.nsaddr_list[0], 0, sizeof state.nsaddr_list[0]);
        state.nsaddr_list[0].sin_family = AF_INET;
        state.nsaddr_list[0].sin_addr.s_addr = htonl(server);
        state.nsaddr_list[0].sin_port = htons(port);
    }
    unsigned char answer[NS_MAXMSG > 16384 ? 16384 : NS_MAXMSG];
    int length = res_nquery(&state, name, ns_c_in, type, answer, sizeof answer);
    int error = state.res_h_errno;
    res_nclose(&state);
    if (length < 0) return error == HOST_NOT_FOUND || error == NO_DATA ? martlet_dns_none : martlet_dns_failed;
    if (length > (int)sizeof answer) length = sizeof answer;
    ns_msg message;
    if (ns_initparse(answer, length, &message) != 0) return martlet_dns_failed;
    int count = 0;
    for (int index = 0; index < ns_msg_count(message, ns_s_an); index++) {
        ns_rr record;
        if (ns_parserr(&message, ns_s_an, index, &record) != 0) return martlet_dns_failed;
        if (ns_rr_type(record) != type) continue;
        if (type == ns_t_srv) {
            if (ns_rr_rdlen(record) < 7 || count >= most) continue;
            const unsigned char *data = ns_rr_rdata(record);
            struct martlet_srv *entry = &found[count];
            entry->priority = (uint16_t)ns_get16(data);
            entry->weight = (uint16_t)ns_get16(data + 2);
            entry->port = (uint16_t)ns_get16(data + 4);
            if (ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), data + 6, entry->target,
                                   sizeof entry->target) < 0)
                return martlet_dns_failed;
        }
        count++;
    }
    return count;
}

#endif
