// A policy as small as one gets: it allows the peer whose alias is in the configuration.
#include "ogp_v1.h"

static char alias[256], want[256];

static int attribute(const char *key, int klen, char *dst) {
  int n = ogp_get(key, klen);
  if (n < 0 || n >= 256) return -1;
  ogp_read(dst);
  return n;
}

HOOK(ogp_policy) {
  int n = attribute("peer.alias", 10, alias), m = attribute("config.friend", 13, want);
  int same = n >= 0 && n == m;
  for (int i = 0; i < n && same; i++) same = alias[i] == want[i];
  if (same) ogp_write("{\"decision\":\"allow\"}", 20);
  else ogp_write("{\"decision\":\"abstain\"}", 22);
  return 0;
}
