package meter

// Shape is what a module shows on its outside.
type Shape struct {
	// Imports are what it imports, as module.name, each once.
	Imports []string
	// Exports are the names of its exports, and their kinds: 0 function, 1 table, 2 memory, 3 global.
	Exports map[string]byte
	// Custom are its custom sections by name, the first of each name. The bytes are the module's own.
	Custom map[string][]byte
}

// Read gives the shape of a core module without compiling it. Its errors are those of [Rewrite].
func Read(wasm []byte) (_ *Shape, err error) {
	defer caught(&err)
	s := &Shape{Exports: map[string]byte{}, Custom: map[string][]byte{}}
	secs, customs := sections(wasm)
	for _, c := range customs {
		if _, ok := s.Custom[c.name]; !ok {
			s.Custom[c.name] = c.body
		}
	}
	m := &module{cfg: Config{}.withDefaults()}
	m.typeSection(secs[secType])
	seen := map[string]bool{}
	m.eachImport(secs[secImport], func(module, name string) {
		name = module + "." + name
		if !seen[name] {
			seen[name] = true
			s.Imports = append(s.Imports, name)
		}
	})
	if secs[secExport] != nil {
		r := &reader{b: secs[secExport]}
		for n := r.count(); n > 0; n-- {
			name := r.text()
			s.Exports[name] = r.u8()
			r.leb32()
		}
		r.end("export section")
	}
	return s, nil
}
