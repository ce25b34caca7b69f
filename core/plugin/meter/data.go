package meter

// maxGap is how many zeros are written between two data segments to make one of them. A segment's head has some 8 bytes:
// a section grows to four times its size at the most.
const maxGap = 32

// dataSection copies the data segments. Go's linker leaves out every run of zeros, and makes 24,000 segments for a module of
// 2 MB, each of which an engine reads, checks and copies at every start. What is fresh is zero: where a module has a
// memory of its own and no instruction names a segment, those that follow each other closely become one.
func (m *module) dataSection(b []byte, fresh bool) []byte {
	r := &reader{b: b}
	w := segments{out: make([]byte, 0, len(b)*3/2+16)}
	for n := r.count(); n > 0; n-- {
		s := r.i
		flags := r.leb32()
		if flags == 0 && fresh && r.peek() == 0x41 { // i32.const
			r.skip(1)
			at := r.sleb(5)
			if at == int64(int32(at)) && r.u8() == 0x0b { // end
				w.add(uint64(uint32(at)), r.take(r.count()))
				continue
			}
			r.i = s
			r.leb32()
		}
		w.flush()
		w.out, w.count = leb(w.out, flags), w.count+1
		switch flags {
		case 1:
		case 2:
			w.out = leb(w.out, r.leb32())
			fallthrough
		case 0:
			w.out = m.constExpr(w.out, r)
		default:
			fail("data segment of kind %d", flags)
		}
		w.unknown = w.unknown || flags != 1
		data := r.take(r.count())
		w.out = append(leb(w.out, uint64(len(data))), data...)
	}
	r.end("data section")
	w.flush()
	return append(leb(make([]byte, 0, len(w.out)+5), w.count), w.out...)
}

// segments are data segments that are written, and one that may still grow.
type segments struct {
	out   []byte
	count uint64
	open  bool
	at    uint64 // where the open one begins
	data  []byte
	runs  [][2]uint64 // where those that are written begin and end, at most maxRuns
	most  uint64      // where the highest byte of these ends
	// unknown says that one was written whose place is known only at its start.
	unknown bool
}

const maxRuns = 256

// add writes a segment, or makes the open one longer.
func (w *segments) add(at uint64, data []byte) {
	end := w.at + uint64(len(w.data))
	if !w.open || at < end || at-end > maxGap || !w.fresh(end, at) {
		w.flush()
		w.open, w.at, w.data = true, at, append(w.data[:0], data...)
		return
	}
	w.data = append(append(w.data, make([]byte, at-end)...), data...)
}

// fresh reports whether nothing was written from one place to another, as zeros would cover it.
func (w *segments) fresh(from, to uint64) bool {
	switch {
	case from == to:
		return true
	case w.unknown:
		return false
	case from >= w.most:
		return true
	}
	for _, run := range w.runs {
		if run[0] < to && from < run[1] {
			return false
		}
	}
	return len(w.runs) < maxRuns // else they are not all
}

func (w *segments) flush() {
	if !w.open {
		return
	}
	w.out = append(append(append(w.out, 0, 0x41), sleb(int64(int32(w.at)))...), 0x0b)
	w.out = append(leb(w.out, uint64(len(w.data))), w.data...)
	w.open, w.count = false, w.count+1
	end := w.at + uint64(len(w.data))
	if w.most = max(w.most, end); len(w.runs) < maxRuns {
		w.runs = append(w.runs, [2]uint64{w.at, end})
	}
}
