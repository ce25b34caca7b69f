package meter

// Version names what [Rewrite], [OwnMemory] and [Outline] make of a module: who keeps that must not take it for what
// another version makes. A test compares it with the sources.
const Version = "2305efb07efe07ba"

// Outline returns a module with all that this one has, but the bodies of its functions: each traps at once. The
// module must be whole, as what Rewrite returns is.
//
// An engine that has a module's machine code already needs no more of it to link it, and is spared to read, check
// and keep the bodies.
func Outline(wasm []byte) []byte {
	out := append(make([]byte, 0, len(wasm)/2), wasm[:8]...)
	r := &reader{b: wasm, i: 8}
	for r.i < len(wasm) {
		id := r.u8()
		body := r.take(r.count())
		if id == secCode {
			bodies := &reader{b: body}
			n := bodies.count()
			body = leb(nil, uint64(n))
			for range n {
				body = append(body, 3, 0, 0x00, 0x0b) // 3 bytes: no locals, unreachable, end
			}
		}
		out = appendSection(out, id, body)
	}
	return out
}
