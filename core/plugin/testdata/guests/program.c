// A program without an SDK. By the first letter of its input's "do": answer, exit, crash, quiet, hang, sleep,
// flood; run once for each call or, when its manifest says lines, kept alive.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
  static char line[1 << 16];
  int calls = 0;
  while (fgets(line, sizeof line, stdin)) {
    calls++;
    char *what = strstr(line, "\"do\":\"");
    what = what ? what + 6 : "answer";
    if (!strncmp(what, "exit", 4)) { fprintf(stderr, "no such file\n"); exit(7); }
    if (!strncmp(what, "last", 4)) { printf("{\"calls\":%d}\n", calls); return 0; }
    if (!strncmp(what, "crash", 5)) { fprintf(stderr, "about to crash\n"); __builtin_trap(); }
    if (!strncmp(what, "quiet", 5)) { printf("\n"); fflush(stdout); continue; }
    if (!strncmp(what, "silent", 6)) continue;
    if (!strncmp(what, "hang", 4)) for (volatile int i = 0;; i++);
    if (!strncmp(what, "sleep", 5)) sleep(3600);
    if (!strncmp(what, "flood", 5)) for (;;) printf("%01000d", 1);
    if (!strncmp(what, "open", 4)) {
      FILE *f = fopen("/etc/passwd", "r");
      printf("{\"opened\":%s,\"home\":%s}\n", f ? "true" : "false", getenv("HOME") ? "true" : "false");
    } else printf("{\"calls\":%d,\"args\":\"%s %s\",\"bytes\":%d}\n", calls, argv[0], argc > 1 ? argv[1] : "", (int)strlen(line));
    fflush(stdout);
  }
  return 0;
}
