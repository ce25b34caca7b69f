package meter

// OwnMemory returns a module that defines the memory that it imports, and exports it as "memory". A module without
// an imported memory comes back as it is. Custom sections other than names are left out, as [Rewrite] does. Its
// errors are those of [Rewrite].
func OwnMemory(wasm []byte, maxPages uint32) (_ []byte, err error) {
	defer caught(&err)
	secs, customs := sections(wasm)
	m := &module{cfg: Config{MaxMemoryPages: maxPages}.withDefaults()}
	m.typeSection(secs[secType])
	m.eachImport(secs[secImport], func(string, string) {}) // what is read below is whole
	imports, memory := withoutMemory(secs[secImport])
	if memory == nil {
		return wasm, nil
	}
	if len(secs[secMemory]) > 0 && secs[secMemory][0] != 0 {
		fail("it imports a memory and has one of its own")
	}
	secs[secImport], secs[secMemory] = imports, append([]byte{1}, memory...)
	exports, exported := secs[secExport], false
	if exports == nil {
		exports = []byte{0}
	}
	r := &reader{b: exports}
	for n := r.count(); n > 0; n-- {
		exported = string(r.take(r.count())) == "memory" || exported
		r.skip(1)
		r.leb32()
	}
	if !exported {
		exports = grow(exports, append(appendName(nil, "memory"), 2, 0))
	}
	secs[secExport] = exports
	w := append(make([]byte, 0, len(wasm)+64), wasm[:8]...)
	for _, id := range order {
		if secs[id] != nil {
			w = appendSection(w, id, secs[id])
		}
	}
	for _, c := range customs {
		if c.name == "name" {
			w = appendSection(w, secCustom, append(appendName(nil, c.name), c.body...))
		}
	}
	return w, nil
}

// withoutMemory splits the imports into all but the memory, and the memory's limits; nil where there is none.
func withoutMemory(b []byte) (imports, memory []byte) {
	if b == nil {
		return nil, nil
	}
	r, kept := &reader{b: b}, uint64(0)
	any := &module{}
	for n := r.count(); n > 0; n-- {
		s := r.i
		r.text()
		r.text()
		kind := r.u8()
		limits := r.i
		switch kind {
		case 0:
			r.leb32()
		case 1:
			r.skip(1)
			r.limits()
		case 2:
			r.limits()
			if memory != nil {
				fail("it imports more than one memory")
			}
			memory = append([]byte{}, b[limits:r.i]...)
			continue
		case 3:
			any.valType(r)
			r.skip(1)
		}
		imports = append(imports, b[s:r.i]...)
		kept++
	}
	return append(leb(nil, kept), imports...), memory
}
