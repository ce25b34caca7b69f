package answer

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// refusal finds the texts by which our own gateway refuses an envelope for good.
var refusal = regexp.MustCompile(`(?:core\.Refusef?\(core\.|Kind: core\.)(Malformed|BadSignature|Stale|Conflict|UnknownPeer|NotApproved|Forbidden|NotFound|TooLarge|Unsupported),\s*(?:Public: )?"((?:[^"\\]|\\.)+)"`)

// notAnswered are texts of the same form that answer no envelope between gateways: they
// are a rendezvous' or go to our operator. What begins in lower case goes to our operator,
// too, but for what names a member.
var notAnswered = regexp.MustCompile(`^([a-z%].* .*|publicUrl .*|Missing X-OGP.*|Missing v2 signature|Peer %s does not advertise.*)$`)

// TestOurTexts: every refusal of our own gateways is one that the judge knows, so
// that peers of our kind do not try again for a day.
func TestOurTexts(t *testing.T) {
	seen := 0
	for _, room := range []string{"answer", "gateway", "envelope", "freshness", "scope"} {
		files, err := filepath.Glob("../" + room + "/*.go")
		if err != nil || len(files) == 0 {
			t.Fatalf("no files in %s: %v", room, err)
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range refusal.FindAllStringSubmatch(string(text), -1) {
				if notAnswered.MatchString(m[2]) {
					continue
				}
				seen++
				example := strings.ReplaceAll(m[2], "%s", "messageStr")
				if example == "Invalid " {
					example += "request"
				}
				if !listed(Message, example, Try{V2: true}) {
					t.Errorf("%s answers %q, which core/answer/texts.go does not list: add it there, or to notAnswered in this test if no peer hears it", file, m[2])
				}
			}
		}
	}
	if seen < 30 {
		t.Errorf("found %d texts: the pattern does not fit the code any more", seen)
	}
}
