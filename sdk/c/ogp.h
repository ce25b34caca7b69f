/* ogp.h - plugins for an OGP gateway in C, without a C library.
 *
 * A policy about messages:
 *
 *     #include "ogp.h"
 *
 *     static ogp_decision decide(void) {
 *         long long bytes;
 *         if (!ogp_get_int("message.textBytes", &bytes) || bytes > 4096)
 *             return ogp_deny("too_big", "at most 4096 bytes, please");
 *         return ogp_allow();
 *     }
 *
 *     OGP_ON_MESSAGE(decide)
 *
 * Build it with
 *
 *     clang --target=wasm32-unknown-unknown -Os -ffreestanding -nostdlib -fvisibility=hidden \
 *           -Wl,--no-entry -Wl,--strip-all -o plugin.wasm plugin.c
 *
 * The declarations below are the whole boundary; what follows them are conveniences.
 * ABI.md describes it. Reading the input as JSON is seldom needed: ogp_get asks the host for
 * one member by its dotted path.
 */
#ifndef OGP_H
#define OGP_H

#define OGP_IMPORT(name) __attribute__((import_module("ogp_v1"), import_name(name)))
#define OGP_EXPORT(name) __attribute__((export_name(#name), visibility("default")))

OGP_IMPORT("read") void ogp_read(void *dst);
OGP_IMPORT("read_at") unsigned ogp_read_at(void *dst, unsigned from, unsigned most);
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

/* ogp_text reads the member at a dotted path into buf as a C string and gives the whole
 * length of the text, or -1 when it is not there. A length of size or more says that buf has
 * only the beginning. A zero byte within the text becomes 1, so that nothing ends early. Lists
 * of strings come joined by newlines, other values as JSON; config.<name> is the plugin's
 * configuration. */
static inline int ogp_text(const char *path, char *buf, unsigned size) {
	int n = ogp_get(path, ogp_len(path));
	unsigned got = 0;
	if (size == 0) return n;
	if (n > 0) got = ogp_read_at(buf, 0, size - 1);
	buf[got] = 0;
	while (got-- > 0)
		if (!buf[got]) buf[got] = 1;
	return n;
}

/* ogp_has says whether a member is there and not empty. */
static inline int ogp_has(const char *path) { return ogp_get(path, ogp_len(path)) > 0; }

/* ogp_get_int reads a whole number into n. It gives 0, and leaves n alone, when there is none:
 * refuse then, for what cannot be read is no proof that it is small. */
static inline int ogp_get_int(const char *path, long long *n) {
	char buf[24];
	int len = ogp_text(path, buf, sizeof buf), i = 0;
	long long v = 0;
	if (len <= 0 || len >= (int)sizeof buf) return 0;
	if (buf[0] == '-') i = 1;
	if (!buf[i]) return 0;
	for (; buf[i]; i++) {
		if (buf[i] < '0' || buf[i] > '9' || v > 922337203685477579LL) return 0;
		v = v * 10 + (buf[i] - '0');
	}
	*n = buf[0] == '-' ? -v : v;
	return 1;
}

/* ogp_same compares a member, of any length, with a text. */
static inline int ogp_same(const char *path, const char *text) {
	char buf[64];
	unsigned n = ogp_len(text), at, got, i;
	if (ogp_get(path, ogp_len(path)) != (int)n) return 0;
	for (at = 0; at < n; at += got) {
		got = ogp_read_at(buf, at, sizeof buf);
		if (!got) return 0;
		for (i = 0; i < got; i++)
			if (buf[i] != text[at + i]) return 0;
	}
	return 1;
}

/* ogp_contains says whether a member, of any length, holds a text of at most 256 bytes; a
 * longer one it says that it holds, so that nothing passes by mistake. */
static inline int ogp_contains(const char *path, const char *text) {
	char buf[512];
	unsigned n = ogp_len(text), at = 0, got, i, k;
	if (ogp_get(path, ogp_len(path)) < 0) return 0;
	if (n > 256) return 1;
	for (;;) {
		got = ogp_read_at(buf, at, sizeof buf);
		for (i = 0; i + n <= got; i++) {
			for (k = 0; k < n && buf[i + k] == text[k]; k++) {}
			if (k == n) return 1;
		}
		if (got < sizeof buf) return 0;
		at += sizeof buf - 256; /* what crosses the border is looked at again */
	}
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

static inline int ogp_verdict(const char *decision, const char *code, const char *reason, const char *grants) {
	static char buf[2048];
	struct ogp_object o = {buf, sizeof buf, 0, 0};
	ogp_string(&o, "decision", decision);
	ogp_string(&o, "code", code);
	ogp_string(&o, "reason", reason);
	if (grants && *grants) ogp_raw(&o, "grants", grants);
	return ogp_end(&o);
}

/* The answer to a message. The code is for programs, the reason for people; with deny both
 * reach the peer. Either may be 0. */
typedef struct { int status; } ogp_decision;
static inline ogp_decision ogp_allow(void) { return (ogp_decision){ogp_verdict("allow", 0, 0, 0)}; }
static inline ogp_decision ogp_deny(const char *code, const char *reason) { return (ogp_decision){ogp_verdict("deny", code, reason, 0)}; }
static inline ogp_decision ogp_hold(const char *code, const char *reason) { return (ogp_decision){ogp_verdict("hold", code, reason, 0)}; }
static inline ogp_decision ogp_abstain(void) { return (ogp_decision){ogp_verdict("abstain", 0, 0, 0)}; }

/* OGP_ON_MESSAGE makes a function, ogp_decision f(void), decide about messages. */
#define OGP_ON_MESSAGE(f) OGP_EXPORT(ogp_message) int ogp_message(int len) { (void)len; return f().status; }

/* The answer to a stranger's request. ogp_approve needs approves = true in plugin.toml and the
 * operator's grant, and says nothing without them; grants is a JSON list, which approves nobody
 * when it is empty, or 0 for what the operator allows. ogp_wait leaves the request to the human. */
typedef struct { int status; } ogp_approval;
static inline ogp_approval ogp_approve(const char *grants) { return (ogp_approval){ogp_verdict("allow", 0, 0, grants)}; }
static inline ogp_approval ogp_reject(const char *code, const char *reason) { return (ogp_approval){ogp_verdict("deny", code, reason, 0)}; }
static inline ogp_approval ogp_wait(const char *code, const char *reason) { return (ogp_approval){ogp_verdict("hold", code, reason, 0)}; }
static inline ogp_approval ogp_no_opinion(void) { return (ogp_approval){ogp_verdict("abstain", 0, 0, 0)}; }

/* OGP_ON_REQUEST makes a function, ogp_approval f(void), decide about requests. */
#define OGP_ON_REQUEST(f) OGP_EXPORT(ogp_request) int ogp_request(int len) { (void)len; return f().status; }

/* ogp_notified answers a notifier: "delivered", "working" (taken, and not done with: it comes again), "retry", "setup" (nothing can be told until
 * the operator has changed what the detail names) or "failed" (this event cannot be told). */
static inline int ogp_notified(const char *status, const char *detail) {
	static char buf[1024];
	struct ogp_object o = {buf, sizeof buf, 0, 0};
	ogp_string(&o, "status", status);
	ogp_string(&o, "detail", detail);
	return ogp_end(&o);
}

/* ogp_answered says that the event, a message, arrived, and what its answer is: our gateway signs
 * the text and sends it to the peer, once. It needs replies = true in plugin.toml and the
 * operator's grant; without them the event counts as delivered, and nothing is sent. */
static inline int ogp_answered_as(const char *member, const char *text, int quoted) {
	static char buf[64 * 1024], inner[60 * 1024];
	struct ogp_object o = {buf, sizeof buf, 0, 0}, r = {inner, sizeof inner - 2, 0, 0};
	if (quoted) ogp_string(&r, member, text);
	else ogp_raw(&r, member, text);
	inner[r.len++] = '}';
	inner[r.len] = 0;
	ogp_string(&o, "status", "delivered");
	ogp_raw(&o, "reply", inner);
	o.full |= r.full;
	return ogp_end(&o);
}
static inline int ogp_answered(const char *text) { return ogp_answered_as("text", text, 1); }
/* ogp_answered_with is ogp_answered with data, which is JSON. */
static inline int ogp_answered_with(const char *json) { return ogp_answered_as("data", json, 0); }
/* ogp_answered_no is ogp_answered for what cannot be done. The text reaches the peer. */
static inline int ogp_answered_no(const char *why) { return ogp_answered_as("error", why, 1); }

/* ogp_fail ends a hook in good order, with a text that says why. From ogp_init it refuses to
 * load the plugin. */
static inline int ogp_fail(const char *why) {
	ogp_write(why, ogp_len(why));
	return OGP_FAILED;
}

#endif
