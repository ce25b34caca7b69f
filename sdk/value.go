package sdk

// given is a value whose text the host wrote, which writes JSON.
func given(text string) Value {
	end := len(text)
	for end > 0 && text[end-1] <= ' ' {
		end--
	}
	return Value{text[space(text[:end], 0):end]}
}

// Kind says what the value is.
func (v Value) Kind() Kind {
	if v.text == "" {
		return Missing
	}
	switch v.text[0] {
	case '"':
		return Text
	case '{':
		return Map
	case '[':
		return Array
	case 't', 'f':
		return Bool
	case 'n':
		return Null
	}
	return Number
}

// Exists says that the value is there. A null is there.
func (v Value) Exists() bool { return v.text != "" }

// JSON gives the value's own text, or "" when it is missing.
func (v Value) JSON() string { return v.text }

// Text gives a string's text, or "" for anything else.
func (v Value) Text() string {
	if v.Kind() != Text {
		return ""
	}
	return inside(v.text)
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
		for e := (elements{v.text, 1}); e.next(); {
			end := skip(v.text, e.at)
			if !f("", Value{v.text[e.at:end]}) {
				return
			}
			e.at = end
		}
		return
	}
	m := v.members()
	for m.next() && f(m.name(), m.value()) {
	}
}

// elements walks over what stands between commas.
type elements struct {
	text string
	at   int // behind the element before; after next: where one begins
}

func (e *elements) next() bool {
	i := space(e.text, e.at)
	if i < len(e.text) && e.text[i] == ',' {
		i = space(e.text, i+1)
	}
	e.at = i
	return i < len(e.text) && e.text[i] != ']' && e.text[i] != '}'
}

// members walks over an object's members; over nothing when the value is no object.
type members struct {
	elements
	quoted string // the name at hand
	from   int    // where its value begins
}

func (v Value) members() members {
	if v.Kind() != Map {
		return members{}
	}
	return members{elements: elements{v.text, 1}}
}

func (m *members) next() bool {
	if !m.elements.next() {
		return false
	}
	end := skip(m.text, m.at)
	m.quoted = m.text[m.at:end]
	i := space(m.text, end)
	if i >= len(m.text) || m.text[i] != ':' {
		return false
	}
	m.from = space(m.text, i+1)
	m.at = skip(m.text, m.from)
	return true
}

func (m *members) name() string { return inside(m.quoted) }

func (m *members) value() Value { return Value{m.text[m.from:m.at]} }

// inside is the text of a string.
func inside(quoted string) string {
	if len(quoted) < 2 {
		return ""
	}
	quoted = quoted[1 : len(quoted)-1]
	for i := 0; i < len(quoted); i++ {
		if quoted[i] == '\\' {
			return unescape(quoted)
		}
	}
	return quoted
}

func space(text string, i int) int {
	for i < len(text) && text[i] <= ' ' {
		i++
	}
	return i
}

// skip gives the end of the value that begins at i.
func skip(text string, i int) int {
	depth := 0
	for i < len(text) {
		switch c := text[i]; {
		case c == '"':
			for i++; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
		case c == '{', c == '[':
			depth++
		case c == '}', c == ']':
			depth--
		case depth == 0: // a number or a word
			for i < len(text) && text[i] > ' ' && text[i] != ',' && text[i] != '}' && text[i] != ']' {
				i++
			}
			return i
		}
		if i++; depth <= 0 {
			return min(i, len(text))
		}
	}
	return len(text)
}

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
