package sdk

func (v Value) node() node {
	if v.doc == nil {
		return node{}
	}
	return v.doc.nodes[v.at]
}

func (v Value) text(at int32) string {
	n := v.doc.nodes[at]
	inside := v.doc.text[n.start+1 : n.end-1]
	if n.escaped {
		return unescape(inside)
	}
	return inside
}

// Kind says what the value is.
func (v Value) Kind() Kind { return v.node().kind }

// Exists says that the value is there. A null is there.
func (v Value) Exists() bool { return v.doc != nil }

// JSON gives the value's own text, or "" when it is missing.
func (v Value) JSON() string {
	if v.doc == nil {
		return ""
	}
	n := v.node()
	return v.doc.text[n.start:n.end]
}

// Text gives a string's text, or "" for anything else.
func (v Value) Text() string {
	if v.Kind() != Text {
		return ""
	}
	return v.text(v.at)
}

// Bool gives true for the literal true alone.
func (v Value) Bool() bool { return v.Kind() == Bool && v.JSON() == "true" }

// Int gives a whole number, or 0 for anything else, fractions and overflows included.
func (v Value) Int() int64 {
	n, ok := v.IsInt()
	if !ok {
		return 0
	}
	return n
}

// IsInt gives a whole number and whether the value was one that fits.
func (v Value) IsInt() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	return ParseInt(v.JSON())
}

// ParseInt reads a whole decimal number. It is here because strconv's brings 32 KB of
// error texts into a module.
func ParseInt(s string) (int64, bool) {
	digits, negative := s, false
	if s != "" && s[0] == '-' {
		digits, negative = s[1:], true
	}
	if digits == "" {
		return 0, false
	}
	var n uint64
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' || n > (1<<63)/10 {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	switch {
	case negative && n <= 1<<63:
		return -int64(n), true
	case !negative && n < 1<<63:
		return int64(n), true
	}
	return 0, false
}

// Get finds an object's member by name, as written (case counts). It is missing when the
// value is no object or has no such member.
func (v Value) Get(name string) Value {
	m := v.members()
	for m.next() {
		if m.name() == name {
			return m.value()
		}
	}
	return Value{}
}

// Each calls f with every element of an array (name "") or member of an object, in
// order, until f says false.
func (v Value) Each(f func(name string, v Value) bool) {
	if v.Kind() == Array {
		for at, end := v.at+1, v.node().next; at < end; at = v.doc.nodes[at].next {
			if !f("", Value{v.doc, at}) {
				return
			}
		}
		return
	}
	m := v.members()
	for m.next() && f(m.name(), m.value()) {
	}
}

// members walks over an object's members; over nothing when the value is no object.
type members struct {
	doc   *document
	at    int32 // of the name at hand
	after int32 // of the name after it
	end   int32 // of the object
}

func (v Value) members() members {
	if v.doc == nil || v.doc.nodes[v.at].kind != Map {
		return members{}
	}
	return members{doc: v.doc, after: v.at + 1, end: v.doc.nodes[v.at].next}
}

func (m *members) next() bool {
	if m.after >= m.end {
		return false
	}
	m.at = m.after
	m.after = m.doc.nodes[m.at+1].next
	return true
}

func (m *members) name() string {
	n := &m.doc.nodes[m.at]
	if n.escaped {
		return unescape(m.doc.text[n.start+1 : n.end-1])
	}
	return m.doc.text[n.start+1 : n.end-1]
}

func (m *members) value() Value { return Value{m.doc, m.at + 1} }

// Len counts the elements of an array or the members of an object.
func (v Value) Len() int {
	n := 0
	v.Each(func(string, Value) bool { n++; return true })
	return n
}

// Texts gives the strings of an array, other elements left out.
func (v Value) Texts() []string {
	var all []string
	if v.Kind() != Array {
		return nil
	}
	v.Each(func(_ string, e Value) bool {
		if e.Kind() == Text {
			all = append(all, e.Text())
		}
		return true
	})
	return all
}
