package meter

// nameSection writes the module's and the functions' names with their new indices, or nil where there are none.
// A malformed name section can be dropped: it is for people.
func (m *module) nameSection(b []byte) (_ []byte, err error) {
	if b == nil {
		return nil, nil
	}
	defer caught(&err)
	out := appendName(nil, "name")
	r := &reader{b: b}
	for r.i < len(b) {
		id := r.u8()
		sub := r.take(r.count())
		s := &reader{b: sub}
		switch id {
		case 0:
			s.text()
			s.end("module name")
			out = appendSection(out, 0, sub)
		case 1:
			n := s.count()
			w := leb(nil, uint64(n))
			for ; n > 0; n-- {
				w = leb(w, m.shift(s.leb32()))
				w = appendName(w, s.text())
			}
			s.end("function names")
			out = appendSection(out, 1, w)
		}
	}
	return out, nil
}
