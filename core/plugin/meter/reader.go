package meter

import (
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"
)

// grow appends one entry to a vector.
func grow(vec, entry []byte) []byte {
	r := &reader{b: vec}
	n := r.leb32()
	out := leb(make([]byte, 0, len(vec)+len(entry)+5), n+1)
	out = append(out, vec[r.i:]...)
	return append(out, entry...)
}

func appendName(b []byte, s string) []byte { return append(leb(b, uint64(len(s))), s...) }

func leb(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func sleb(v int64) (b []byte) {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

// bad carries an error out of the parser.
type bad struct{ err error }

func fail(format string, a ...any) { panic(bad{fmt.Errorf(format, a...)}) }

// caught, deferred, makes err of what the parser has failed with.
func caught(err *error) {
	switch x := recover().(type) {
	case nil:
	case bad:
		*err = x.err
	default:
		panic(x)
	}
}

// appendSection appends a section, or what else begins with a byte and a length.
func appendSection(out []byte, id byte, body []byte) []byte {
	return append(leb(append(out, id), uint64(len(body))), body...)
}

// reader reads a module's bytes. It fails (see bad) where they end early or a number is too long.
type reader struct {
	b []byte
	i int
}

func (r *reader) peek() byte {
	if r.i >= len(r.b) {
		fail("the module ends too early: is the file whole?")
	}
	return r.b[r.i]
}

func (r *reader) u8() byte {
	c := r.peek()
	r.i++
	return c
}

// leb32 reads an unsigned number of 32 bits, at most 5 bytes long.
func (r *reader) leb32() uint64 {
	var v uint64
	for s := 0; s < 35; s += 7 {
		c := r.u8()
		v |= uint64(c&0x7f) << s
		if c&0x80 == 0 {
			if v > math.MaxUint32 {
				break
			}
			return v
		}
	}
	fail("a number of more than 32 bits")
	return 0
}

// count reads a length or a count, which cannot exceed the bytes that are left.
func (r *reader) count() int {
	n := r.leb32()
	if n > uint64(len(r.b)-r.i) {
		fail("a length of %d where %d bytes are left", n, len(r.b)-r.i)
	}
	return int(n)
}

// sleb reads a signed number of at most max bytes.
func (r *reader) sleb(max int) int64 {
	var v int64
	for s, n := 0, 0; n < max; n++ {
		c := r.u8()
		v |= int64(c&0x7f) << s
		s += 7
		if c&0x80 == 0 {
			if s < 64 && c&0x40 != 0 {
				v |= -1 << s
			}
			return v
		}
	}
	fail("a number of more than %d bytes", max)
	return 0
}

func (r *reader) skip(n int) {
	if n < 0 || n > len(r.b)-r.i {
		fail("the module ends too early: is the file whole?")
	}
	r.i += n
}

func (r *reader) take(n int) []byte {
	s := r.i
	r.skip(n)
	return r.b[s:r.i]
}

// text reads a name, which must be UTF-8.
func (r *reader) text() string {
	b := r.take(r.count())
	if !utf8.Valid(b) {
		fail("a name that is not UTF-8")
	}
	return string(b)
}

// valType skips a value type, which must not name the added type.
func (m *module) valType(r *reader) {
	if c := r.u8(); c == 0x63 || c == 0x64 { // (ref null? heaptype)
		m.heapType(r)
	}
}

func (m *module) heapType(r *reader) {
	if v := r.sleb(5); v >= int64(len(m.types)) {
		fail("type %d of %d", v, len(m.types))
	}
}

func (r *reader) limits() (min, max uint64, flags byte) {
	flags = r.u8()
	if flags > 3 {
		fail("limits of kind %#x", flags)
	}
	min = r.leb32()
	if flags&1 != 0 {
		max = r.leb32()
	}
	return min, max, flags
}

func (r *reader) end(what string) {
	if r.i != len(r.b) {
		fail("%d bytes left over in the %s", len(r.b)-r.i, what)
	}
}
