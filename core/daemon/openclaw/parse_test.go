package openclaw

import (
	"strings"
	"testing"
)

// FuzzParse has any text answered, however deep it nests.
// docs/threat-model.md#d4
func FuzzParse(f *testing.F) {
	f.Add(`{gateway: {port: 18789}, /* [ */ hooks: {enabled: true, token: '${T}', path: "/hooks"}}`)
	f.Add(strings.Repeat("[", 60) + strings.Repeat("]", 60))
	f.Add(strings.Repeat("{a:", 70))
	f.Add("{hooks:" + strings.Repeat("[", 70))
	f.Fuzz(func(t *testing.T, text string) {
		for _, n := range []int{1, 100} {
			_, err := parse([]byte(strings.Repeat(text, n)))
			if err == nil && text == "" {
				t.Error("nothing was read as a configuration")
			}
		}
	})
}

// TestD4Openclaw has a file of brackets refused before the parser sees it.
func TestD4Openclaw(t *testing.T) {
	for _, text := range []string{strings.Repeat("[", 4<<20), "{hooks:" + strings.Repeat("{a:", 1<<20), strings.Repeat("[", 5<<20)} {
		if _, err := parse([]byte(text)); err == nil || !strings.Contains(err.Error(), "nested deeper") && !strings.Contains(err.Error(), "at most") {
			t.Errorf("parse = %v, want it refused for its depth or size", err)
		}
	}
}
