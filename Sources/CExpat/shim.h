#ifndef MARTLET_CEXPAT_SHIM_H
#define MARTLET_CEXPAT_SHIM_H

// Without it the header hides the limits on amplification.
#define XML_DTD
#include <expat.h>

// Both came late and were carried back to some distributions: weak, so that an older library still links.
extern XML_Bool XML_SetReparseDeferralEnabled(XML_Parser parser, XML_Bool enabled) __attribute__((weak));
extern XML_Bool XML_SetAllocTrackerActivationThreshold(XML_Parser parser, unsigned long long bytes)
    __attribute__((weak));

/// Has a complete token always give its event at once. 1: done; 0: this library never defers.
static inline int martlet_expat_parse_at_once(XML_Parser parser) {
    return XML_SetReparseDeferralEnabled && XML_SetReparseDeferralEnabled(parser, XML_FALSE);
}

/// Second line of defence behind refusing every document type declaration.
static inline void martlet_expat_limit_amplification(XML_Parser parser, float factor, unsigned long long threshold) {
    (void)XML_SetBillionLaughsAttackProtectionMaximumAmplification(parser, factor);
    (void)XML_SetBillionLaughsAttackProtectionActivationThreshold(parser, threshold);
    if (XML_SetAllocTrackerActivationThreshold) {
        (void)XML_SetAllocTrackerActivationThreshold(parser, threshold);
    }
}

#endif
