package soak

import (
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// module is a WebAssembly module with a notifier's hook of this body, further functions,
// and a manifest.
type module struct {
	manifest string
	hook     []byte
	locals   int // of each further function
	others   [][]byte
}

func number(v int) []byte { return binary.AppendUvarint(nil, uint64(v)) }

func section(id byte, content []byte) []byte {
	return append(append([]byte{id}, number(len(content))...), content...)
}

func named(s string) []byte { return append(number(len(s)), s...) }

func function(locals int, body []byte) []byte {
	b := number(0)
	if locals > 0 {
		b = append(append(number(1), number(locals)...), 0x7f)
	}
	b = append(append(b, body...), 0x0b)
	return append(number(len(b)), b...)
}

func (m module) bytes() []byte {
	n := len(m.others) + 1
	codes := append(number(n), function(0, m.hook)...)
	for _, body := range m.others {
		codes = append(codes, function(m.locals, body)...)
	}
	exports := slices.Concat(number(2), named("memory"), []byte{2, 0}, named("ogp_notify"), []byte{0, 0})
	return slices.Concat([]byte("\x00asm\x01\x00\x00\x00"),
		section(1, []byte{1, 0x60, 1, 0x7f, 1, 0x7f}), // one type, i32 to i32
		section(3, append(number(n), make([]byte, n)...)),
		section(5, []byte{1, 0, 1}),
		section(7, exports), section(10, codes),
		section(0, append(named("ogp.plugin"), m.manifest...)))
}

const honestManifest = "name = \"hostile\"\nversion = \"1.0.0\"\nabi = \"ogp_v1\"\nhooks = [\"notify\"]\n"

// constant is i32.const v.
func constant(v int) []byte {
	b := []byte{0x41}
	for ; v >= 0x40; v >>= 7 {
		b = append(b, byte(v&0x7f)|0x80)
	}
	return append(b, byte(v))
}

// ifs are n blocks, each of which may set one of so many locals.
func ifs(n, locals int) (b []byte) {
	for i := range n {
		b = slices.Concat(b, []byte{0x20, 0, 0x04, 0x40}, constant(i), []byte{0x21}, number(1+i%locals), []byte{0x0b})
	}
	for i := range locals {
		b = slices.Concat(b, []byte{0x20}, number(1+i))
		if i > 0 {
			b = append(b, 0x6a)
		}
	}
	return b
}

// spin never ends: loop, br 0, end.
var spin = []byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x41, 0}

// manifests has the gateway read manifests that nest deep, are large, or are no text.
func (s *soak) manifests(ctx context.Context) {
	texts := []string{"a=" + strings.Repeat("[", 1_000_000), "a=" + strings.Repeat("[", 30_000), strings.Repeat("a=1\n", 500_000),
		"a=" + strings.Repeat("{b=", 20_000), strings.Repeat("[a.", 20_000), "\xff\xfe\x00" + strings.Repeat("\x80", 60_000)}
	for i := 0; ctx.Err() == nil; i++ {
		s.install(ctx, module{manifest: texts[i%len(texts)], hook: constant(0)}.bytes(), false)
	}
}

// compiles has it compile what takes long or much: modules that the estimate refuses, and
// the heaviest that it lets through, each of other bytes so that no cache has it.
func (s *soak) compiles(ctx context.Context) {
	refused := []module{
		{manifest: honestManifest, hook: constant(0), locals: 49_000, others: slices.Repeat([][]byte{constant(0)}, 20_000)},
		{manifest: honestManifest, hook: constant(0), locals: 1500, others: [][]byte{ifs(15_000, 1500)}},
	}
	for i := 0; ctx.Err() == nil; i++ {
		s.install(ctx, refused[i%len(refused)].bytes(), false)
		heavy := slices.Concat(constant(i), []byte{0x1a}, ifs(heavyIfs, 200))
		s.install(ctx, module{manifest: honestManifest, hook: constant(0), locals: 200, others: [][]byte{heavy}}.bytes(), true)
	}
}

// heavyIfs is near the most that is let through with 200 locals.
const heavyIfs = 4000

// guests has a notifier run that never ends by itself, for every event.
func (s *soak) guests(ctx context.Context) {
	s.install(ctx, module{manifest: honestManifest, hook: spin}.bytes(), true)
	<-ctx.Done()
	out, err := s.try(context.WithoutCancel(ctx), "plugin", "list")
	if err != nil || !strings.Contains(out, "hostile") {
		s.t.Errorf("the hostile guest is not loaded: %v\n%s", err, out)
	}
	s.remove()
}

func (s *soak) remove() {
	if out, err := s.try(context.Background(), "plugin", "remove", "hostile"); err != nil {
		s.t.Errorf("ogp plugin remove: %v\n%s", err, out)
	}
}

// install gives the gateway a plugin as its operator might who was sent it. It must take it
// or refuse it, as wanted.
func (s *soak) install(ctx context.Context, wasm []byte, wanted bool) {
	path := filepath.Join(s.t.TempDir(), "hostile.wasm")
	if err := os.WriteFile(path, wasm, 0o600); err != nil {
		s.t.Error(err)
		return
	}
	out, err := s.try(ctx, "plugin", "install", path, "--name", "hostile", "--yes")
	os.Remove(path)
	switch {
	case ctx.Err() != nil:
		return // cut short by ourselves
	case (err == nil) != wanted:
		s.t.Errorf("a module of %d bytes: taken is %v, want %v: %.500s", len(wasm), err == nil, wanted, out)
	}
	s.attempts.Add(1)
}

// try runs a command on the gateway's state, as its operator.
func (s *soak) try(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--home", s.home)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(one string) bool { return strings.HasPrefix(one, "OGP_") })
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("ogp %s: %w", args[0], err)
	}
	return string(out), err
}
