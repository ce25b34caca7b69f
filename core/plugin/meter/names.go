package meter

// nameSection writes the module's and the functions' names with their new indices, or nil where there are none.
// A malformed name section is dropped: it is for people.
func (m *module) nameSection(b []byte) (out []byte) {
	if b == nil {
		return nil
	}
	defer func() {
		if x := recover(); x != nil {
			if _, ok := x.(bad); !ok {
				panic(x)
			}
			out = nil
		}
	}()
	out = appendName(nil, "name")
	r := &reader{b: b}
	for r.i < len(b) {
		id := r.u8()
		sub := r.take(r.count())
		s := &reader{b: sub}
		switch id {
		case 0:
			s.text()
			s.end("module name")
			out = leb(append(out, 0), uint64(len(sub)))
			out = append(out, sub...)
		case 1:
			n := s.count()
			w := leb(nil, uint64(n))
			for ; n > 0; n-- {
				w = leb(w, m.shift(s.leb32()))
				w = appendName(w, s.text())
			}
			s.end("function names")
			out = leb(append(out, 1), uint64(len(w)))
			out = append(out, w...)
		}
	}
	return out
}
