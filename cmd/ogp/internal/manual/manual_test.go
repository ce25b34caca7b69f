package manual

import "testing"

func TestRoff(t *testing.T) {
	for in, want := range map[string]string{
		"plain": "plain", ".TH x": `\&.TH x`, "a\n'b": "a\n\\&'b", `\fB--x`: `\efB\-\-x`,
	} {
		if got := roff(in); got != want {
			t.Errorf("roff(%q) = %q, want %q", in, got, want)
		}
	}
}
