/* ogp.h - plugins for an OGP gateway in C, without a C library.
 *
 * A policy:
 *
 *     #include "ogp.h"
 *
 *     OGP_EXPORT(ogp_policy) int ogp_policy(int len) {
 *         (void)len;
 *         if (ogp_int("message.bytes") > 4096)
 *             return ogp_decide("deny", "too_big", "at most 4096 bytes, please");
 *         return ogp_decide("allow", 0, 0);
 *     }
 *
 *     clang --target=wasm32-unknown-unknown -Os -ffreestanding -nostdlib -fvisibility=hidden \
 *           -Wl,--no-entry -Wl,--strip-all -o plugin.wasm plugin.c
 *
 * The seven declarations below are the whole boundary; what follows them are conveniences.
 * ABI.md describes it. Reading the input as JSON is seldom needed: ogp_get asks the host for
 * one member by its dotted path.
 */
#ifndef OGP_H
#define OGP_H

#define OGP_IMPORT(name) __attribute__((import_module("ogp_v1"), import_name(name)))
#define OGP_EXPORT(name) __attribute__((export_name(#name), visibility("default")))

OGP_IMPORT("read") void ogp_read(void *dst);
OGP_IMPORT("write") void ogp_write(const void *src, unsigned len);
OGP_IMPORT("get") int ogp_get(const char *key, unsigned len);
OGP_IMPORT("call") int ogp_call(const char *op, unsigned oplen, const char *req, unsigned reqlen);
OGP_IMPORT("log") void ogp_log(unsigned level, const char *msg, unsigned len);

/* What a hook gives back. */
enum { OGP_DONE = 0, OGP_FAILED = 1, OGP_NOT_MINE = -1 };

static inline unsigned ogp_len(const char *s) {
	unsigned n = 0;
	while (s[n]) n++;
	return n;
}

/* ogp_text reads the member at a dotted path into buf as a C string and gives its length, or
 * -1 when it is not there, does not fit or holds a zero byte: a text is never cut. Lists of strings come joined
 * by newlines, other values as JSON; config.<name> is the plugin's configuration. */
static inline int ogp_text(const char *path, char *buf, unsigned size) {
	int n = ogp_get(path, ogp_len(path));
	if (n < 0 || (unsigned)n >= size) {
		buf[0] = 0;
		return -1;
	}
	if (n > 0) ogp_read(buf);
	buf[n] = 0;
	if (ogp_len(buf) != (unsigned)n) {
		buf[0] = 0;
		return -1;
	}
	return n;
}

/* ogp_has says whether a member is there and not empty. */
static inline int ogp_has(const char *path) { return ogp_get(path, ogp_len(path)) > 0; }

/* ogp_int reads a whole number, 0 when there is none. */
static inline long long ogp_int(const char *path) {
	char buf[24];
	long long n = 0;
	int i = 0;
	if (ogp_text(path, buf, sizeof buf) <= 0) return 0;
	if (buf[0] == '-') i = 1;
	for (; buf[i]; i++) {
		if (buf[i] < '0' || buf[i] > '9' || n > 922337203685477579LL) return 0;
		n = n * 10 + (buf[i] - '0');
	}
	return buf[0] == '-' ? -n : n;
}

/* ogp_same compares a member with a text. */
static inline int ogp_same(const char *path, const char *text) {
	char buf[256];
	int n = ogp_text(path, buf, sizeof buf), i = 0;
	if (n < 0) return 0;
	while (buf[i] && buf[i] == text[i]) i++;
	return i == n && !text[i];
}

/* A bounded JSON object under construction. Too much sets full, and ogp_end then fails. */
struct ogp_object {
	char *buf;
	unsigned size, len, full;
};

static inline void ogp_byte(struct ogp_object *o, char c) {
	if (o->len < o->size) o->buf[o->len++] = c;
	else o->full = 1;
}

static inline void ogp_quote(struct ogp_object *o, const char *s) {
	static const char hex[] = "0123456789abcdef";
	ogp_byte(o, '"');
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;
		if (c == '"' || c == '\\') {
			ogp_byte(o, '\\');
			ogp_byte(o, *s);
		} else if (c < 0x20 || c == 0x7f) {
			ogp_byte(o, '\\'); ogp_byte(o, 'u'); ogp_byte(o, '0'); ogp_byte(o, '0');
			ogp_byte(o, hex[c >> 4]); ogp_byte(o, hex[c & 15]);
		} else {
			ogp_byte(o, *s);
		}
	}
	ogp_byte(o, '"');
}

static inline void ogp_raw(struct ogp_object *o, const char *name, const char *json) {
	ogp_byte(o, o->len ? ',' : '{');
	ogp_quote(o, name);
	ogp_byte(o, ':');
	while (*json) ogp_byte(o, *json++);
}

/* ogp_string adds a string; a null pointer adds nothing. */
static inline void ogp_string(struct ogp_object *o, const char *name, const char *text) {
	if (!text) return;
	ogp_byte(o, o->len ? ',' : '{');
	ogp_quote(o, name);
	ogp_byte(o, ':');
	ogp_quote(o, text);
}

/* ogp_end closes the object and makes it the answer. */
static inline int ogp_end(struct ogp_object *o) {
	static const char full[] = "the answer is too long for its buffer";
	if (!o->len) ogp_byte(o, '{');
	ogp_byte(o, '}');
	if (o->full) {
		ogp_write(full, sizeof full - 1);
		return OGP_FAILED;
	}
	ogp_write(o->buf, o->len);
	return OGP_DONE;
}

/* ogp_decide answers a policy: allow, deny, hold or abstain. The code is for programs, the
 * reason for people; with deny both reach the peer. Either may be 0. */
static inline int ogp_decide(const char *decision, const char *code, const char *reason) {
	static char buf[1024];
	struct ogp_object o = {buf, sizeof buf, 0, 0};
	ogp_string(&o, "decision", decision);
	ogp_string(&o, "code", code);
	ogp_string(&o, "reason", reason);
	return ogp_end(&o);
}

/* ogp_notified answers a notifier: delivered, retry or failed. */
static inline int ogp_notified(const char *status, const char *detail) {
	static char buf[1024];
	struct ogp_object o = {buf, sizeof buf, 0, 0};
	ogp_string(&o, "status", status);
	ogp_string(&o, "detail", detail);
	return ogp_end(&o);
}

/* ogp_fail ends a hook in good order, with a text that says why. From ogp_init it refuses to
 * load the plugin. */
static inline int ogp_fail(const char *why) {
	ogp_write(why, ogp_len(why));
	return OGP_FAILED;
}

#endif
