// Refuses messages whose payload holds what looks like a key, a token or a payment card.
// The reason says what kind of thing it was and never repeats it.
import { bytes, Decision, onMessage } from "../../../../sdk/assemblyscript/assembly/index";
export { ogp_message } from "../../../../sdk/assemblyscript/assembly/index";

onMessage((): Decision => {
  const payload = bytes("message.payload");
  const what = found(payload, plain(payload));
  if (!what.length) return Decision.allow();
  return Decision.deny("looks_secret", "it holds what looks like " + what);
});

/** Undoes JSON's escapes where they are, so that "\u0034" hides no digit, and gives how many bytes are left. What is
 * not ASCII becomes a byte that is none, too. */
function plain(b: StaticArray<u8>): i32 {
  let n = 0;
  for (let i = 0; i < b.length; i++) {
    let c: i32 = unchecked(b[i]);
    if (c == 0x5c && i + 1 < b.length) {
      c = unchecked(b[++i]);
      if (c == 0x75 && i + 4 < b.length) {
        c = 0;
        for (let k = 1; k <= 4; k++) c = (c << 4) | hex(unchecked(b[i + k]));
        if (c > 0x7f) c = 0xff;
        i += 4;
      } else if (c == 0x6e || c == 0x72 || c == 0x74 || c == 0x62 || c == 0x66) {
        c = 0x20;
      }
    }
    unchecked((b[n++] = <u8>c));
  }
  return n;
}

function hex(c: i32): i32 {
  return c <= 0x39 ? c - 0x30 : (c | 0x20) - 0x57;
}

/** What the first n bytes hold, or "". Everything that is looked for begins where a word begins. */
function found(b: StaticArray<u8>, n: i32): string {
  for (let i = 0; i < n; ) {
    const c = unchecked(b[i]);
    if (!isWord(c)) {
      if (c == 0x2d && at(b, n, i, "-----BEGIN ") && contains(b, n, "PRIVATE KEY-----")) return "a private key";
      i++;
      continue;
    }
    switch (c) {
      case 0x33: case 0x34: case 0x35: case 0x36: // 3 to 6
        if (isCard(b, n, i)) return "a payment card";
        break;
      case 0x41: // A
        if (token(b, n, i, "AKIA", 16) || token(b, n, i, "ASIA", 16)) return "an AWS key";
        if (token(b, n, i, "AIza", 35)) return "an API key";
        break;
      case 0x67: // g
        if (token(b, n, i, "ghp_", 30) || token(b, n, i, "gho_", 30) || token(b, n, i, "ghs_", 30) || token(b, n, i, "github_pat_", 30)) return "a GitHub token";
        break;
      case 0x73: // s
        if (token(b, n, i, "sk-", 20)) return "an API key";
        break;
      case 0x78: // x
        if (token(b, n, i, "xoxb-", 20) || token(b, n, i, "xoxp-", 20)) return "an API key";
    }
    while (++i < n && isWord(unchecked(b[i]))) {}
  }
  return "";
}

function isWord(c: i32): bool {
  return (c >= 0x30 && c <= 0x39) || ((c | 0x20) >= 0x61 && (c | 0x20) <= 0x7a) || c == 0x5f;
}

/** Whether a text stands at i. */
function at(b: StaticArray<u8>, n: i32, i: i32, text: string): bool {
  if (i + text.length > n) return false;
  for (let k = 0; k < text.length; k++) if (unchecked(b[i + k]) != text.charCodeAt(k)) return false;
  return true;
}

function contains(b: StaticArray<u8>, n: i32, text: string): bool {
  for (let i = 0; i < n; i++) if (at(b, n, i, text)) return true;
  return false;
}

/** Whether a prefix and at least min characters of a word stand at i. */
function token(b: StaticArray<u8>, n: i32, i: i32, prefix: string, min: i32): bool {
  if (!at(b, n, i, prefix)) return false;
  let k = i + prefix.length;
  const from = k;
  while (k < n && (isWord(unchecked(b[k])) || unchecked(b[k]) == 0x2d)) k++;
  return k - from >= min;
}

/** Whether 13 to 19 digits that satisfy the Luhn check stand at i, spaces and dashes among them allowed. */
function isCard(b: StaticArray<u8>, n: i32, i: i32): bool {
  const digits = new StaticArray<i32>(19);
  let count = 0;
  let k = i;
  for (; k < n; k++) {
    const c = <i32>unchecked(b[k]);
    if (isDigit(c)) {
      if (count == 19) return false;
      unchecked((digits[count++] = c - 0x30));
    } else if (!((c == 0x20 || c == 0x2d) && k + 1 < n && isDigit(unchecked(b[k + 1])))) {
      break;
    }
  }
  if (count < 13 || (k < n && isWord(unchecked(b[k])))) return false;
  let sum = 0;
  for (let d = 0; d < count; d++) {
    let x = unchecked(digits[count - 1 - d]);
    if (d % 2 == 1) {
      x *= 2;
      if (x > 9) x -= 9;
    }
    sum += x;
  }
  return sum % 10 == 0;
}

function isDigit(c: i32): bool {
  return c >= 0x30 && c <= 0x39;
}
