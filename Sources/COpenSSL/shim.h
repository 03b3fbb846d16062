// OpenSSL 3 for Swift: the headers, and a function for each macro that Swift cannot import.
// Everything whose name starts with `martlet_` stands for the macro of the rest of its name.

#ifndef MARTLET_COPENSSL_SHIM_H
#define MARTLET_COPENSSL_SHIM_H

#include <openssl/bio.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/params.h>
#include <openssl/kdf.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

// Contexts

static inline int martlet_SSL_CTX_set_min_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}

static inline int martlet_SSL_CTX_set_max_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_max_proto_version(context, version);
}

static inline long martlet_SSL_CTX_set_mode(SSL_CTX *context, long mode) {
    return SSL_CTX_set_mode(context, mode);
}

static inline long martlet_SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode) {
    return SSL_CTX_set_session_cache_mode(context, mode);
}

static inline void martlet_SSL_CTX_set_read_ahead(SSL_CTX *context, long on) {
    SSL_CTX_set_read_ahead(context, on);
}

static inline void martlet_SSL_CTX_set_default_read_buffer_len(SSL_CTX *context, size_t length) {
    SSL_CTX_set_default_read_buffer_len(context, length);
}

static inline int martlet_SSL_CTX_set_max_send_fragment(SSL_CTX *context, long size) {
    return (int)SSL_CTX_set_max_send_fragment(context, size);
}

static inline long martlet_SSL_CTX_set_max_cert_list(SSL_CTX *context, long bytes) {
    return SSL_CTX_set_max_cert_list(context, bytes);
}

static inline int martlet_SSL_CTX_set1_groups_list(SSL_CTX *context, const char *list) {
    return (int)SSL_CTX_set1_groups_list(context, (char *)list);
}

static inline int martlet_SSL_CTX_set_dh_auto(SSL_CTX *context, int on) {
    return (int)SSL_CTX_set_dh_auto(context, on);
}

static inline int martlet_SSL_CTX_add0_chain_cert(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add0_chain_cert(context, (char *)certificate);
}

static inline int martlet_SSL_CTX_clear_chain_certs(SSL_CTX *context) {
    return (int)SSL_CTX_clear_chain_certs(context);
}

typedef int (*martlet_servername_callback)(SSL *ssl, int *alert, void *argument);

static inline void martlet_SSL_CTX_set_tlsext_servername_callback(
    SSL_CTX *context, martlet_servername_callback callback, void *argument) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
    SSL_CTX_set_tlsext_servername_arg(context, argument);
}

static inline int martlet_SSL_CTX_set_tlsext_ticket_keys(SSL_CTX *context, void *keys, int length) {
    return (int)SSL_CTX_set_tlsext_ticket_keys(context, keys, length);
}

static inline int martlet_SSL_CTX_get_tlsext_ticket_keys_length(SSL_CTX *context) {
    return (int)SSL_CTX_get_tlsext_ticket_keys(context, NULL, 0);
}

// Options: in OpenSSL 3 they are expressions over a macro, which Swift does not import.

static const uint64_t martlet_SSL_OP_ALL = SSL_OP_ALL;
static const uint64_t martlet_SSL_OP_NO_COMPRESSION = SSL_OP_NO_COMPRESSION;
static const uint64_t martlet_SSL_OP_NO_RENEGOTIATION = SSL_OP_NO_RENEGOTIATION;
static const uint64_t martlet_SSL_OP_NO_TICKET = SSL_OP_NO_TICKET;
static const uint64_t martlet_SSL_OP_NO_ANTI_REPLAY = SSL_OP_NO_ANTI_REPLAY;
static const uint64_t martlet_SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION =
    SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION;
static const uint64_t martlet_SSL_OP_CIPHER_SERVER_PREFERENCE = SSL_OP_CIPHER_SERVER_PREFERENCE;
static const uint64_t martlet_SSL_OP_PRIORITIZE_CHACHA = SSL_OP_PRIORITIZE_CHACHA;
static const uint64_t martlet_SSL_OP_SINGLE_ECDH_USE = SSL_OP_SINGLE_ECDH_USE;
static const uint64_t martlet_SSL_OP_NO_TLSv1_2 = SSL_OP_NO_TLSv1_2;
static const uint64_t martlet_SSL_OP_NO_TLSv1_3 = SSL_OP_NO_TLSv1_3;
static const uint64_t martlet_SSL_OP_ENABLE_KTLS = SSL_OP_ENABLE_KTLS;
static const uint64_t martlet_SSL_OP_IGNORE_UNEXPECTED_EOF = SSL_OP_IGNORE_UNEXPECTED_EOF;

// Connections

static inline int martlet_SSL_set_tlsext_host_name(SSL *ssl, const char *name) {
    return (int)SSL_set_tlsext_host_name(ssl, (char *)name);
}

static inline const char *martlet_SSL_get_cipher_name(const SSL *ssl) {
    return SSL_get_cipher_name(ssl);
}

/// The peer's certificate, to be freed by the caller; NULL: none.
static inline X509 *martlet_SSL_get1_peer_certificate(const SSL *ssl) {
    return SSL_get1_peer_certificate(ssl);
}

static inline int martlet_SSL_total_renegotiations(SSL *ssl) {
    return (int)SSL_total_renegotiations(ssl);
}

static inline int martlet_SSL_get_extms_support(SSL *ssl) {
    return (int)SSL_get_extms_support(ssl);
}

static inline int martlet_SSL_in_init(const SSL *ssl) {
    return SSL_in_init(ssl);
}

// BIO

static inline void martlet_BIO_set_retry_read(BIO *bio) {
    BIO_set_retry_read(bio);
}

static inline void martlet_BIO_set_retry_write(BIO *bio) {
    BIO_set_retry_write(bio);
}

static inline void martlet_BIO_clear_retry_flags(BIO *bio) {
    BIO_clear_retry_flags(bio);
}

static inline int martlet_BIO_should_retry(BIO *bio) {
    return BIO_should_retry(bio);
}

static inline int martlet_BIO_pending(BIO *bio) {
    return (int)BIO_pending(bio);
}

static inline int martlet_BIO_eof(BIO *bio) {
    return (int)BIO_eof(bio);
}

static inline int martlet_BIO_flush(BIO *bio) {
    return (int)BIO_flush(bio);
}

/// The bytes of a memory BIO; they belong to it.
static inline long martlet_BIO_get_mem_data(BIO *bio, char **bytes) {
    return BIO_get_mem_data(bio, bytes);
}

static inline long martlet_BIO_set_mem_eof_return(BIO *bio, int value) {
    return BIO_set_mem_eof_return(bio, value);
}

// Keys, certificates, errors, memory

static inline EVP_PKEY *martlet_EVP_EC_gen(const char *curve) {
    return EVP_EC_gen((char *)curve);
}

static inline EVP_PKEY *martlet_EVP_RSA_gen(unsigned int bits) {
    return EVP_RSA_gen((size_t)bits);
}

static inline void martlet_X509V3_set_ctx(X509V3_CTX *context, X509 *issuer, X509 *subject) {
    X509V3_set_ctx_nodb(context);
    X509V3_set_ctx(context, issuer, subject, NULL, NULL, 0);
}

static inline int martlet_sk_GENERAL_NAME_num(const GENERAL_NAMES *names) {
    return sk_GENERAL_NAME_num(names);
}

static inline GENERAL_NAME *martlet_sk_GENERAL_NAME_value(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}

static inline void martlet_GENERAL_NAMES_free(GENERAL_NAMES *names) {
    GENERAL_NAMES_free(names);
}

/// The text of an id-on-xmppAddr (RFC 6120 section 13.7.1.4); it belongs to the name. NULL: it is another kind of name.
static inline const ASN1_STRING *martlet_xmpp_address(const GENERAL_NAME *name) {
    if (name->type != GEN_OTHERNAME || OBJ_obj2nid(name->d.otherName->type_id) != NID_XmppAddr) return NULL;
    const ASN1_TYPE *value = name->d.otherName->value;
    return value != NULL && value->type == V_ASN1_UTF8STRING ? value->value.utf8string : NULL;
}

static inline int martlet_sk_X509_num(const STACK_OF(X509) *certificates) {
    return sk_X509_num(certificates);
}

static inline X509 *martlet_sk_X509_value(const STACK_OF(X509) *certificates, int index) {
    return sk_X509_value(certificates, index);
}

static inline int martlet_ERR_GET_REASON(unsigned long error) {
    return ERR_GET_REASON(error);
}

static inline int martlet_ERR_GET_LIB(unsigned long error) {
    return ERR_GET_LIB(error);
}

static inline void martlet_OPENSSL_free(void *pointer) {
    OPENSSL_free(pointer);
}

#endif
