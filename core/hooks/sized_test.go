package hooks

import "testing"

// A case that does not say how long its message is gets what the gateway would say, so that
// a limit of bytes is not passed unseen.
func TestSized(t *testing.T) {
	for in, want := range map[string]string{
		`{"message":{"intent":"message","payload":{"text":"hello"}}}`:               `{"message":{"intent":"message","payload":{"text":"hello"},"textBytes":5}}`,
		`{"message":{"intent":"message","textBytes":9,"payload":{"text":"hello"}}}`: `{"message":{"intent":"message","textBytes":9,"payload":{"text":"hello"}}}`,
		`{"peer":{}}`: `{"peer":{}}`,
		`[]`:          `[]`,
	} {
		if got := string(Sized([]byte(in))); got != want {
			t.Errorf("Sized(%s) = %s, want %s", in, got, want)
		}
	}
}
