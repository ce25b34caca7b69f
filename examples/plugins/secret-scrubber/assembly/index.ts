// Refuses messages whose payload holds what looks like a key, a token or a payment card.
// The reason says what kind of thing it was and never repeats it.
import { Decision, onMessage, text } from "../../../../sdk/assemblyscript/assembly/index";
export { ogp_message } from "../../../../sdk/assemblyscript/assembly/index";

onMessage((): Decision => {
  const what = found(plain(text("message.payload")));
  if (!what.length) return Decision.allow();
  return Decision.deny("looks_secret", "it holds what looks like " + what);
});

/** The payload with JSON's escapes undone, so that "\u0034" hides no digit. */
function plain(json: string): string {
  if (json.indexOf("\\") < 0) return json;
  let s = "";
  for (let i = 0; i < json.length; i++) {
    let c = json.charCodeAt(i);
    if (c == 0x5c && i + 1 < json.length) {
      c = json.charCodeAt(++i);
      if (c == 0x75 && i + 4 < json.length) {
        c = <i32>I64.parseInt(json.substr(i + 1, 4), 16);
        i += 4;
      } else if (c == 0x6e || c == 0x72 || c == 0x74 || c == 0x62 || c == 0x66) {
        c = 0x20;
      }
    }
    s += String.fromCharCode(c);
  }
  return s;
}

function found(s: string): string {
  if (s.indexOf("-----BEGIN ") >= 0 && s.indexOf("PRIVATE KEY-----") >= 0) return "a private key";
  for (let i = 0; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (i > 0 && isWord(s.charCodeAt(i - 1))) continue; // within a word
    if (c >= 0x33 && c <= 0x36 && isCard(s, i)) return "a payment card";
    if (token(s, i, "AKIA", 16) || token(s, i, "ASIA", 16)) return "an AWS key";
    if (token(s, i, "ghp_", 30) || token(s, i, "gho_", 30) || token(s, i, "ghs_", 30) || token(s, i, "github_pat_", 30)) return "a GitHub token";
    if (token(s, i, "sk-", 20) || token(s, i, "xoxb-", 20) || token(s, i, "xoxp-", 20) || token(s, i, "AIza", 35)) return "an API key";
  }
  return "";
}

function isWord(c: i32): bool {
  return (c >= 0x30 && c <= 0x39) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c == 0x5f;
}

/** Whether a prefix and at least min characters of a word stand at i. */
function token(s: string, i: i32, prefix: string, min: i32): bool {
  if (s.charCodeAt(i) != prefix.charCodeAt(0)) return false;
  for (let k = 1; k < prefix.length; k++) if (s.charCodeAt(i + k) != prefix.charCodeAt(k)) return false;
  let n = 0;
  for (let k = i + prefix.length; k < s.length && (isWord(s.charCodeAt(k)) || s.charCodeAt(k) == 0x2d); k++) n++;
  return n >= min;
}

/** Whether 13 to 19 digits that satisfy the Luhn check stand at i, spaces and dashes among them allowed. */
function isCard(s: string, i: i32): bool {
  const digits = new StaticArray<i32>(19);
  let n = 0;
  let k = i;
  for (; k < s.length; k++) {
    const c = s.charCodeAt(k);
    if (c >= 0x30 && c <= 0x39) {
      if (n == 19) return false;
      digits[n++] = c - 0x30;
    } else if (!((c == 0x20 || c == 0x2d) && k + 1 < s.length && s.charCodeAt(k + 1) >= 0x30 && s.charCodeAt(k + 1) <= 0x39)) {
      break;
    }
  }
  if (n < 13 || (k < s.length && isWord(s.charCodeAt(k)))) return false;
  let sum = 0;
  for (let d = 0; d < n; d++) {
    let x = digits[n - 1 - d];
    if (d % 2 == 1) {
      x *= 2;
      if (x > 9) x -= 9;
    }
    sum += x;
  }
  return sum % 10 == 0;
}
