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
	text, _ := unquote(v.text, 0)
	return text
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
	for w := v.walk(); w.next(); w.pass() {
		if w.name == name {
			return w.value()
		}
	}
	return Value{}
}

// Each calls f with every element of an array (name "") or member of an object, in
// order, until f says false.
func (v Value) Each(f func(name string, v Value) bool) {
	if v.Kind() == Array {
		for w := (walk{text: v.text, at: 1}); w.element() && f("", w.value()); {
		}
		return
	}
	for w := v.walk(); w.next() && f(w.name, w.value()); {
	}
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
