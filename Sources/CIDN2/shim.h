// libidn2 (IDNA2008) and its companion libunistring (normalization, case, properties) for Swift.

#ifndef MARTLET_CIDN2_SHIM_H
#define MARTLET_CIDN2_SHIM_H

#include <idn2.h>
#include <unicase.h>
#include <unictype.h>
#include <uninorm.h>

// The normal forms are macros over addresses, which Swift does not import.

static inline uninorm_t martlet_UNINORM_NFC(void) {
    return UNINORM_NFC;
}

static inline uninorm_t martlet_UNINORM_NFKC(void) {
    return UNINORM_NFKC;
}

#endif
