package digest

import (
	"testing"
	"time"
)

var at = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestDigest: the first request in a while is told at once, those after it together, once;
// nothing is told twice, and a restart forgets nothing.
func TestDigest(t *testing.T) {
	const every = 10 * time.Minute
	var d Digest
	if !d.Request(at, every) || d.Request(at.Add(time.Minute), every) || d.Request(at.Add(2*time.Minute), every) {
		t.Fatal("want the first told, and the next two counted")
	}
	d.Restored++
	d.TakenBack(at)
	d.TakenBack(at.Add(time.Hour))
	back, err := Read(d.Text())
	if err != nil || !back.Same(d) {
		t.Fatalf("read %+v, %v, want %+v", back, err, d)
	}
	if d.Due(at.Add(every-1), every) || !d.Due(at.Add(every), every) {
		t.Error("due at another time than ten minutes after the first")
	}
	words, data := d.Words(3)
	if want := "2 more requests for federation came; 3 in all wait. 1 peer that seemed to have removed us has not, and is approved again."; words != want {
		t.Errorf("told %q, want %q", words, want)
	}
	if data["requests"] != 2 || data["pending"] != 3 || data["restored"] != 1 {
		t.Errorf("numbers %v", data)
	}
	d = d.Anew(at.Add(every))
	if d.Due(at.Add(time.Hour), every) || len(d.Withdrawn) != 2 {
		t.Errorf("told again, or a place is free too soon: %+v", d)
	}
	if d.Expire(at.Add(time.Minute)); len(d.Withdrawn) != 1 || len(back.Withdrawn) != 2 {
		t.Errorf("places %v, and %v of the copy", d.Withdrawn, back.Withdrawn)
	}
	if words, _ := (Digest{Count: 1}).Words(1); words != "1 more request for federation came; 1 in all waits." {
		t.Errorf("told %q", words)
	}
}
