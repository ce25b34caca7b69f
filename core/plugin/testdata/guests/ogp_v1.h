// The boundary, as far as these guests use it. sdk/ABI.md is the reference.
#define IMPORT(name) __attribute__((import_module("ogp_v1"), import_name(#name)))
#define HOOK(name) __attribute__((export_name(#name))) int name(int len)
IMPORT(read) void ogp_read(void *dst);
IMPORT(write) void ogp_write(const void *src, int len);
IMPORT(get) int ogp_get(const char *key, int len);
IMPORT(call) int ogp_call(const char *op, int oplen, const char *req, int reqlen);
IMPORT(log) void ogp_log(int level, const char *msg, int len);
