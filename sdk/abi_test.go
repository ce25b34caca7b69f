package sdk_test

import (
	"context"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/plugin"
)

// The module of ABI.md's last example, assembled by hand, is one that the host takes and
// that answers what the page says.
func TestTheModuleInABIAnswers(t *testing.T) {
	page, err := os.ReadFile("ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	data := regexp.MustCompile(`\(data \(i32\.const 0\) (".*")\)`).FindSubmatch(page)
	length := regexp.MustCompile(`\(call \$write \(i32\.const 0\) \(i32\.const (\d+)\)\)`).FindSubmatch(page)
	if data == nil || length == nil {
		t.Fatal("ABI.md has no such module")
	}
	text, err := strconv.Unquote(string(data[1]))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := strconv.Atoi(string(length[1])); n != len(text) || n > 63 {
		t.Fatalf("the page writes %s bytes, the text has %d", length[1], len(text))
	}
	section := func(id byte, body string) string { return string([]byte{id, byte(len(body))}) + body }
	name := func(s string) string { return string([]byte{byte(len(s))}) + s }
	wasm := "\x00asm\x01\x00\x00\x00" +
		section(1, "\x02"+"\x60\x02\x7f\x7f\x00"+"\x60\x01\x7f\x01\x7f") + // (i32 i32) -> (), (i32) -> i32
		section(2, "\x01"+name("ogp_v1")+name("write")+"\x00\x00") +
		section(3, "\x01\x01") +
		section(5, "\x01\x00\x01") +
		section(7, "\x02"+name("memory")+"\x02\x00"+name("ogp_message")+"\x00\x01") +
		section(10, "\x01\x0a\x00\x41\x00\x41"+string([]byte{byte(len(text))})+"\x10\x00\x41\x00\x0b") +
		section(11, "\x01\x00\x41\x00\x0b"+name(text))
	h, err := plugin.NewHost(plugin.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	p, err := h.Load(context.Background(), plugin.Spec{Name: "abi", Bytes: []byte(wasm)})
	if err != nil {
		t.Fatal(err)
	}
	r, err := p.Call(context.Background(), plugin.Message, []byte(`{}`))
	if err != nil || string(r.Output) != `{"decision":"abstain"}` {
		t.Errorf("answer = %s %v, want abstain", r.Output, err)
	}
}

// Every operation that ABI.md lists is one that the host knows, and the manifest of the page
// is one that it takes.
func TestTheManifestInABIIsTaken(t *testing.T) {
	page, err := os.ReadFile("ABI.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```toml\n")
	text, _, ok2 := strings.Cut(rest, "```")
	if !ok || !ok2 {
		t.Fatal("ABI.md has no manifest")
	}
	m, err := plugin.ParseManifest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if m.Name != "openclaw" || !m.Batch || len(m.HTTP) != 1 || m.KV == nil || len(m.SelfTests) != 1 {
		t.Errorf("manifest = %+v", m)
	}
}
