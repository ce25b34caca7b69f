// A guest that does what its input says, so that tests can reach every operation from one module. The input
// is {"op":"...","req":...}: the operation is called and the answer is {"code":n,"result":...,"error":"..."}.
// With {"get":"path"} the answer is {"text":"..."} for an attribute that needs no escaping. With {"say":"x"} the
// answer is an orderly failure, with {"log":"x"} a line is logged, with {"skip":1} the answer is "not mine".
#include "ogp_v1.h"

static char in[1 << 20], out[3 << 20], op[64];
static int at;

static void put(const char *s, int n) { for (int i = 0; i < n; i++) out[at++] = s[i]; }
static void number(int n) {
  char d[12]; int i = 0;
  if (n < 0) { put("-", 1); n = -n; }
  do d[i++] = '0' + n % 10; while (n /= 10);
  while (i) put(&d[--i], 1);
}
static void quoted(const char *s, int n) {
  put("\"", 1);
  for (int i = 0; i < n; i++) { if (s[i] == '"' || s[i] == '\\') put("\\", 1); put(&s[i], 1); }
  put("\"", 1);
}

static int run(int len) {
  at = 0;
  int n = ogp_get("skip", 4);
  if (n >= 0) return -1;
  if ((n = ogp_get("say", 3)) >= 0) { ogp_read(out); ogp_write(out, n); return 3; }
  if ((n = ogp_get("log", 3)) >= 0) { ogp_read(out); ogp_log(2, out, n); ogp_write("{}", 2); return 0; }
  if ((n = ogp_get("get", 3)) >= 0) {
    ogp_read(in);
    int k = ogp_get(in, n);
    if (k < 0) { ogp_write("{\"missing\":true}", 16); return 0; }
    put("{\"text\":", 8);
    ogp_read(in);
    quoted(in, k);
    put("}", 1);
    ogp_write(out, at);
    return 0;
  }
  n = ogp_get("op", 2);
  if (n < 0 || n > 64) return 1;
  ogp_read(op);
  int r = ogp_get("req", 3);
  if (r < 0) r = 0; else ogp_read(in);
  int code = ogp_call(op, n, in, r);
  put("{\"code\":", 8);
  number(code);
  if (code >= 0) { put(",\"result\":", 10); ogp_read(out + at); at += code; }
  else { int e = ogp_get("error", 5); ogp_read(in); put(",\"error\":", 9); quoted(in, e); }
  put("}", 1);
  ogp_write(out, at);
  return 0;
}

HOOK(ogp_policy) { return run(len); }
HOOK(ogp_notify) { return run(len); }
HOOK(ogp_handle) { return run(len); }
