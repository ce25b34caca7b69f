package backup

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"filippo.io/age"
)

// A file that claims that its passphrase costs gigabytes of memory is refused before any
// is taken; one as costly as ours is opened.
func TestRestoreBoundsWork(t *testing.T) {
	r, err := age.NewScryptRecipient("secret")
	if err != nil {
		t.Fatal(err)
	}
	r.SetWorkFactor(10)
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, "kept")
	w.Close()
	ids, err := identity("secret")
	if err != nil {
		t.Fatal(err)
	}
	plain, err := decrypted(bytes.NewReader(b.Bytes()), ids)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := io.ReadAll(plain); err != nil || string(text) != "kept" {
		t.Errorf("decrypted = %q, %v", text, err)
	}
	costly := strings.Replace(b.String(), " 10\n", " 22\n", 1) // 4 GiB
	if costly == b.String() {
		t.Fatal("the head says no cost: the test shows nothing")
	}
	if _, err := decrypted(strings.NewReader(costly), ids); err == nil || !strings.Contains(err.Error(), "work factor") {
		t.Errorf("a file of a cost of 22: %v, want it refused for its work factor", err)
	}
}
