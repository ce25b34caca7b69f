// Plugins for an OGP gateway in AssemblyScript, without dependencies.
//
// A policy about messages:
//
//     import { Decision, int, onMessage } from "./ogp";
//     export { ogp_message } from "./ogp";
//
//     onMessage((): Decision => {
//       if (int("message.textBytes", i64.MAX_VALUE) > 4096) return Decision.deny("too_big", "at most 4096 bytes, please");
//       return Decision.allow();
//     });
//
// The input is not parsed: text("peer.alias") asks the host for one member by its dotted path.
// Build with
//
//     asc assembly/index.ts --outFile plugin.wasm -O3s --noAssert --use abort=
//
// ABI.md describes the boundary.

// @ts-ignore: decorator
@external("ogp_v1", "read")
declare function hostRead(dst: usize): void;
// @ts-ignore: decorator
@external("ogp_v1", "write")
declare function hostWrite(src: usize, len: i32): void;
// @ts-ignore: decorator
@external("ogp_v1", "get")
declare function hostGet(key: usize, len: i32): i32;
// @ts-ignore: decorator
@external("ogp_v1", "call")
declare function hostCall(op: usize, oplen: i32, req: usize, reqlen: i32): i32;
// @ts-ignore: decorator
@external("ogp_v1", "log")
declare function hostLog(level: i32, msg: usize, len: i32): void;

/** What a hook gives back. */
export const DONE: i32 = 0;
export const FAILED: i32 = 1;
export const NOT_MINE: i32 = -1;

function pending(n: i32): string {
  const b = new ArrayBuffer(n);
  if (n > 0) hostRead(changetype<usize>(b));
  return String.UTF8.decode(b);
}

/** The member at a dotted path, such as peer.alias or config.max: a string as its text, a
 * number as written, a list of strings joined by newlines, else its JSON. "" when it is not there. */
export function text(path: string): string {
  const n = get(path);
  return n > 0 ? pending(n) : "";
}

/** text as its bytes in UTF-8: for a long text that is only looked through, as making a string of it costs more. */
export function bytes(path: string): StaticArray<u8> {
  const n = get(path);
  const b = new StaticArray<u8>(max(n, 0));
  if (n > 0) hostRead(changetype<usize>(b));
  return b;
}

function get(path: string): i32 {
  const key = String.UTF8.encode(path);
  return hostGet(changetype<usize>(key), key.byteLength);
}

/** A whole number, or what stands for one that is not there. For a limit's measure that is
 * i64.MAX_VALUE, so that what cannot be read does not pass. */
export function int(path: string, otherwise: i64): i64 {
  const s = text(path);
  const from = s.startsWith("-") ? 1 : 0;
  if (s.length == from || s.length > 19) return otherwise;
  for (let i = from; i < s.length; i++) {
    if (s.charCodeAt(i) < 0x30 || s.charCodeAt(i) > 0x39) return otherwise;
  }
  return I64.parseInt(s);
}

/** Whether a text member holds another text. */
export function contains(path: string, part: string): bool {
  return text(path).includes(part);
}

/** A list of strings. */
export function list(path: string): string[] {
  const s = text(path);
  return s.length ? s.split("\n") : [];
}

/** A line in the gateway's log: 0 debug, 1 info, 2 warn, 3 error. */
export function log(level: i32, line: string): void {
  const b = String.UTF8.encode(line);
  hostLog(level, changetype<usize>(b), b.byteLength);
}

/** An operation of the host, with and for JSON. null when it failed: text("error") says why. */
export function call(op: string, request: Obj): string | null {
  const o = String.UTF8.encode(op);
  const r = String.UTF8.encode(request.json());
  const n = hostCall(changetype<usize>(o), o.byteLength, changetype<usize>(r), r.byteLength);
  return n < 0 ? null : pending(n);
}

function output(s: string): void {
  const b = String.UTF8.encode(s);
  hostWrite(changetype<usize>(b), b.byteLength);
}

/** Ends a hook in good order, with a text that says why. From ogp_init it refuses to load. */
export function fail(why: string): i32 {
  output(why);
  return FAILED;
}

/** Writes a text as a JSON string. */
export function quote(s: string): string {
  let plain = 0; // most texts need nothing escaped
  while (plain < s.length && !escapes(s.charCodeAt(plain))) plain++;
  if (plain == s.length) return '"' + s + '"';
  let q = '"' + s.substring(0, plain);
  for (let i = plain; i < s.length; i++) {
    const c = s.charCodeAt(i);
    if (c == 0x22 || c == 0x5c) q += "\\" + s.charAt(i);
    else if (c < 0x20 || c == 0x7f) q += "\\u" + c.toString(16).padStart(4, "0");
    else q += s.charAt(i);
  }
  return q + '"';
}

function escapes(c: i32): bool {
  return c < 0x20 || c == 0x22 || c == 0x5c || c == 0x7f;
}

/** One JSON object. */
export class Obj {
  private s: string = "";
  text(name: string, value: string): Obj {
    return this.raw(name, quote(value));
  }
  int(name: string, n: i64): Obj {
    return this.raw(name, n.toString());
  }
  raw(name: string, json: string): Obj {
    this.s += (this.s.length ? "," : "{") + quote(name) + ":" + json;
    return this;
  }
  json(): string {
    return this.s.length ? this.s + "}" : "{}";
  }
  /** Makes the object the hook's answer. */
  answer(): i32 {
    output(this.json());
    return DONE;
  }
}

function verdict(decision: string, code: string, reason: string): Obj {
  const o = new Obj().text("decision", decision);
  if (code.length) o.text("code", code);
  if (reason.length) o.text("reason", reason);
  return o;
}

/** A policy's answer to a message. The code is for programs, the reason for people. */
export class Decision {
  private constructor(private o: Obj) {}
  static allow(): Decision {
    return new Decision(verdict("allow", "", ""));
  }
  static deny(code: string, reason: string): Decision {
    return new Decision(verdict("deny", code, reason));
  }
  /** Keeps the message for the human; the agent does not hear of it. */
  static hold(code: string, reason: string): Decision {
    return new Decision(verdict("hold", code, reason));
  }
  static abstain(): Decision {
    return new Decision(verdict("abstain", "", ""));
  }
  answer(): i32 {
    return this.o.answer();
  }
}

/** A policy's answer to a stranger's request to federate. */
export class Approval {
  private constructor(private o: Obj) {}
  /** Makes the stranger a peer. It needs approves = true in plugin.toml and the operator's
   * grant, and says nothing without them. grants is a JSON list, which approves nobody when it
   * is empty, or "" for what the operator allows. */
  static approve(grants: string): Approval {
    const o = verdict("allow", "", "");
    if (grants.length) o.raw("grants", grants);
    return new Approval(o);
  }
  static reject(code: string, reason: string): Approval {
    return new Approval(verdict("deny", code, reason));
  }
  /** Leaves the request to the human. */
  static wait(code: string, reason: string): Approval {
    return new Approval(verdict("hold", code, reason));
  }
  static noOpinion(): Approval {
    return new Approval(verdict("abstain", "", ""));
  }
  answer(): i32 {
    return this.o.answer();
  }
}

let message: (() => Decision) | null = null;
let request: (() => Approval) | null = null;

/** Makes f decide about messages. The module must export ogp_message, too. */
export function onMessage(f: () => Decision): void {
  message = f;
}

/** Makes f decide about strangers' requests. The module must export ogp_request, too. */
export function onRequest(f: () => Approval): void {
  request = f;
}

export function ogp_message(len: i32): i32 {
  const f = message;
  return f === null ? NOT_MINE : f().answer();
}

export function ogp_request(len: i32): i32 {
  const f = request;
  return f === null ? NOT_MINE : f().answer();
}

/** A notifier's answers. */
export class Outcome {
  static delivered(): Obj {
    return new Obj().text("status", "delivered");
  }
  /**
   * The event, a message, arrived, and this is its answer: our gateway signs the text and sends it to the peer,
   * once. It needs replies = true in plugin.toml and the operator's grant; without them the event counts as
   * delivered, and nothing is sent.
   */
  static answered(text: string): Obj {
    return Outcome.delivered().raw("reply", new Obj().text("text", text).json());
  }
  /** answered with data. */
  static answeredWith(data: Obj): Obj {
    return Outcome.delivered().raw("reply", new Obj().raw("data", data.json()).json());
  }
  /** answered for what cannot be done. The text reaches the peer. */
  static answeredNo(why: string): Obj {
    return Outcome.delivered().raw("reply", new Obj().text("error", why).json());
  }
  /** The event was taken and is not done with: it comes again. It is no failure, and holds up no other event. */
  static working(afterSeconds: i32, detail: string): Obj {
    return new Obj().text("status", "working").int("retryAfterSeconds", afterSeconds).text("detail", detail);
  }
  static retry(afterSeconds: i32, detail: string): Obj {
    return new Obj().text("status", "retry").int("retryAfterSeconds", afterSeconds).text("detail", detail);
  }
  /** Nothing can be told until the operator has changed something, which the detail names. What is owed waits. */
  static setup(detail: string): Obj {
    return new Obj().text("status", "setup").text("detail", detail);
  }
  /** This event alone cannot be told, however often it is tried. */
  static failed(detail: string): Obj {
    return new Obj().text("status", "failed").text("detail", detail);
  }
}
