package rendezvous

import (
	"bufio"
	"container/heap"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"runtime"
	"time"

	"github.com/opengatewayprotocol/ogp/core/atomicfile"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/envelope"
)

// A snapshot is a line with its version, then chunks: one for each shard, one
// for the invites, an empty one at the end. A chunk is its length and CRC-32C,
// both uint32, and its bytes; numbers are little-endian. It holds what the
// registry holds and nothing else: keys, where they are reached, when they were
// seen, their signed texts, and the codes.
const snapshotMagic = "ogp rendezvous snapshot 3\n"

// snapshotBefore is the form before records had lives of their own.
const snapshotBefore = "ogp rendezvous snapshot 2\n"

const maxChunkBytes = 1 << 30

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errSnapshot = errors.New("rendezvous: snapshot: damaged")

// save writes the snapshot, if there is to be one. One shard is locked at a time,
// and only for a batch of entries at a time.
func (s *Server) save() (err error) {
	if s.opts.Snapshot == "" || s.memory == nil {
		return nil
	}
	began := time.Now()
	f, err := atomicfile.New(s.opts.Snapshot)
	if err != nil {
		return fmt.Errorf("rendezvous: snapshot: %w", err)
	}
	defer f.Cleanup()
	if err := s.memory.writeSnapshot(f); err != nil {
		return fmt.Errorf("rendezvous: snapshot: %w", err)
	}
	if err := f.Replace(); err != nil {
		return fmt.Errorf("rendezvous: snapshot: %w", err)
	}
	s.metrics.snapshot.Set(time.Since(began).Seconds())
	return nil
}

func (m *memory) writeSnapshot(w io.Writer) error {
	bw := bufio.NewWriterSize(w, 256<<10)
	bw.WriteString(snapshotMagic)
	var chunk []byte
	for i := range m.registry.shards {
		if chunk = m.registry.shards[i].appendTo(chunk[:0]); len(chunk) > 0 {
			writeChunk(bw, 'r', chunk)
		}
	}
	if chunk = m.invites.appendTo(chunk[:0]); len(chunk) > 0 {
		writeChunk(bw, 'i', chunk)
	}
	writeChunk(bw, 'e', nil)
	return bw.Flush()
}

func writeChunk(w *bufio.Writer, kind byte, data []byte) {
	var head [9]byte
	head[0] = kind
	binary.LittleEndian.PutUint32(head[1:], uint32(len(data)))
	binary.LittleEndian.PutUint32(head[5:], crc32.Checksum(data, castagnoli))
	w.Write(head[:])
	w.Write(data)
}

// load reads the snapshot, if there is one. Records of a server that was down
// for a while get a life from now, so that clients have time to renew; those
// that nobody has renewed for longer than a life and a window are left out.
func (s *Server) load() error {
	if s.opts.Snapshot == "" || s.memory == nil {
		return nil
	}
	f, err := os.Open(s.opts.Snapshot)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("rendezvous: snapshot: %w", err)
	}
	defer f.Close()
	now := s.opts.Now()
	s.memory.registry.graceFrom.Store(now.UnixMilli())
	return s.memory.readSnapshot(f, now)
}

func (m *memory) readSnapshot(r io.Reader, now time.Time) error {
	br := bufio.NewReaderSize(r, 256<<10)
	magic := make([]byte, len(snapshotMagic))
	if _, err := io.ReadFull(br, magic); err != nil || string(magic) != snapshotMagic && string(magic) != snapshotBefore {
		return fmt.Errorf("%w: not a snapshot", errSnapshot)
	}
	for {
		var head [9]byte
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return fmt.Errorf("%w: %w", errSnapshot, err)
		}
		size := binary.LittleEndian.Uint32(head[1:])
		if size > maxChunkBytes {
			return fmt.Errorf("%w: chunk of %d bytes", errSnapshot, size)
		}
		data, err := io.ReadAll(io.LimitReader(br, int64(size)))
		if err != nil || len(data) != int(size) || crc32.Checksum(data, castagnoli) != binary.LittleEndian.Uint32(head[5:]) {
			return fmt.Errorf("%w: chunk of %d bytes", errSnapshot, size)
		}
		d := &decoder{data, string(magic) == snapshotMagic}
		switch head[0] {
		case 'r':
			for len(d.rest) > 0 && d.ok() {
				m.registry.restore(d.entry(), now)
			}
		case 'i':
			m.invites.restore(d, now)
		case 'e':
			return nil
		}
		if !d.ok() {
			return errSnapshot
		}
	}
}

// appendTo writes the shard's entries. What comes or goes meanwhile is in it or
// not; each entry is whole.
func (s *shard) appendTo(b []byte) []byte {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for _, e := range s.m {
		b = e.appendTo(b)
		if n++; n%lockBatch == 0 { // a map may change between two steps of a range
			s.mu.RUnlock()
			runtime.Gosched()
			s.mu.RLock()
		}
	}
	return b
}

func (e *entry) appendTo(b []byte) []byte {
	b = append(b, e.key[:]...)
	b = append(b, e.addr[:]...)
	b = append(b, byte(e.form), byte(e.state))
	b = binary.LittleEndian.AppendUint16(b, e.port)
	b = appendInts(b, e.seen, e.newest, e.said)
	b = binary.LittleEndian.AppendUint32(b, e.life)
	if e.v2() {
		b = append(b, e.sig[:]...)
	}
	return appendText(b, e.extra)
}

func (v *invites) appendTo(b []byte) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	for k, from := range v.byKey {
		b = append(b, k[:]...)
		b = appendInts(b, from.newest, int64(len(from.codes)))
		for _, i := range from.codes {
			addr := i.Addr.As16()
			b = append(b, addr[:]...)
			b = appendInts(b, int64(i.Port), i.Created, i.Expires, int64(i.Uses), int64(i.Used), flag(i.Verified)|flag(i.dead)<<1)
			for _, text := range []string{i.Text, i.PublicURL, i.Record.PayloadStr, i.Record.Signature} {
				b = appendText(b, text)
			}
		}
	}
	return b
}

func flag(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

func appendInts(b []byte, ns ...int64) []byte {
	for _, n := range ns {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint16(b, uint16(len(s))), s...)
}

// decoder cuts a chunk up. After the first cut beyond the end it gives zeros, and
// ok is false.
type decoder struct {
	rest  []byte
	lives bool // each entry has a life
}

func (d *decoder) ok() bool { return d.rest != nil }

func (d *decoder) cut(n int) []byte {
	if len(d.rest) < n {
		d.rest = nil
		return make([]byte, n)
	}
	head := d.rest[:n]
	d.rest = d.rest[n:]
	return head
}

func (d *decoder) int() int64 { return int64(binary.LittleEndian.Uint64(d.cut(8))) }

func (d *decoder) text() string { return string(d.cut(int(binary.LittleEndian.Uint16(d.cut(2))))) }

func (d *decoder) entry() *entry {
	e := &entry{key: core.PublicKey(d.cut(32)), addr: [16]byte(d.cut(16))}
	kinds := d.cut(2)
	e.form, e.state = form(kinds[0]), state(kinds[1])
	e.port = binary.LittleEndian.Uint16(d.cut(2))
	e.seen, e.newest, e.said = d.int(), d.int(), d.int()
	if d.lives {
		e.life = binary.LittleEndian.Uint32(d.cut(4))
	}
	if e.v2() {
		e.sig = [64]byte(d.cut(64))
	}
	e.extra = d.text()
	if !d.ok() || e.form > formText || e.state > gone || e.life > uint32(maxMaxAge/time.Second) {
		d.rest = nil
		return nil
	}
	return e
}

// restore takes an entry of a snapshot, if it still matters and fits.
func (r *registry) restore(e *entry, now time.Time) {
	if e == nil || e.seen < now.Add(-r.life(e)-r.window).UnixMilli() && e.newest < now.Add(-r.window).UnixMilli() {
		return
	}
	s := r.shardOf(e.key)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.m[e.key] != nil || r.entries.Load() >= int64(r.max) {
		return
	}
	if e.state == alive {
		if r.countIn(e.addr) != nil {
			return
		}
		r.count(e, 1)
	}
	r.entries.Add(1)
	s.m[e.key] = e
	s.schedule(e, r.due(e))
}

func (v *invites) restore(d *decoder, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(d.rest) > 0 && d.ok() {
		key := core.PublicKey(d.cut(32))
		newest, n := d.int(), d.int()
		for range n {
			i := &invite{Code: Code{Key: key, Addr: netip.AddrFrom16([16]byte(d.cut(16))).Unmap(), Port: int(d.int())}}
			i.Created, i.Expires = d.int(), d.int()
			i.Uses, i.Used = int(d.int()), int(d.int())
			flags := d.int()
			i.Verified, i.dead = flags&1 != 0, flags&2 != 0
			i.Text, i.PublicURL = d.text(), d.text()
			i.Record = envelope.Record{PayloadStr: d.text(), Signature: d.text()}
			if !d.ok() {
				return
			}
			if i.Expires >= now.UnixMilli() && v.byCode[i.Text] == nil && len(v.byCode) < v.max {
				v.keep(i)
			}
		}
		from := v.byKey[key]
		if until := newest + v.window.Milliseconds(); from == nil && until >= now.UnixMilli() {
			from = &inviter{}
			v.byKey[key] = from
			heap.Push(&v.due, dueItem{at: until, key: key})
		}
		if from != nil {
			from.newest = newest
		}
	}
}
