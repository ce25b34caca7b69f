// A policy on Extism's PDK for Go: it holds messages with more links than max_links, and
// refuses those with a link to a blocked host. Nothing in it knows of the gateway but the
// names of its questions and answers.
//
// It looks through the question's text and does not parse it: encoding/json alone takes ten
// times what all of this does (docs/performance.md).
package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	pdk "github.com/extism/go-pdk"
)

type answer struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
	Code     string `json:"code,omitempty"`
}

// What is configured, which stays the same while an instance lives.
var (
	configured bool
	most       int
	blocked    []string
)

//go:wasmexport on_message
func onMessage() int32 {
	if !configured {
		most, blocked, configured = maxLinks(), blockedHosts(), true
	}
	a := decide(hosts(plain(pdk.Input())))
	if a == (answer{Decision: "abstain"}) {
		pdk.OutputString(`{"decision":"abstain"}`)
		return 0
	}
	if err := pdk.OutputJSON(a); err != nil {
		pdk.SetError(err)
		return 1
	}
	return 0
}

func main() {}

func decide(hosts []string) answer {
	for _, h := range hosts {
		for _, b := range blocked {
			if h == b || strings.HasSuffix(h, "."+b) {
				return answer{"deny", "a link to " + b, "blocked_link"}
			}
		}
	}
	if len(hosts) > most {
		return answer{Decision: "hold", Reason: fmt.Sprintf("%d links, at most %d", len(hosts), most)}
	}
	return answer{Decision: "abstain"}
}

// plain undoes JSON's escapes, so that "http:\/\/" hides no link. A quotation mark stays one that
// ends a link.
func plain(json []byte) string {
	if !strings.Contains(string(json), "\\") {
		return string(json)
	}
	out := make([]byte, 0, len(json))
	for i := 0; i < len(json); i++ {
		if json[i] != '\\' || i+1 == len(json) {
			out = append(out, json[i])
			continue
		}
		i++
		switch c := json[i]; c {
		case 'b', 'f', 'n', 'r', 't':
			out = append(out, ' ')
		case 'u':
			code, _ := strconv.ParseUint(string(json[i+1:min(i+5, len(json))]), 16, 16)
			out = utf8.AppendRune(out, rune(code))
			i += 4
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// hosts are those of the links in a text.
func hosts(text string) (out []string) {
	for {
		_, rest, ok := strings.Cut(text, "://")
		if !ok {
			return out
		}
		end := 0
		for end < len(rest) && rest[end] > ' ' && strings.IndexByte("/?#\"'<>()", rest[end]) < 0 {
			end++
		}
		host := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
		host, _, _ = strings.Cut(host, ":")
		out = append(out, strings.ToLower(strings.TrimSuffix(host, ".")))
		text = rest[end:]
	}
}

func maxLinks() int {
	text, _ := pdk.GetConfig("max_links")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 2
	}
	return n
}

func blockedHosts() []string {
	text, _ := pdk.GetConfig("blocked")
	return strings.Fields(strings.ToLower(text))
}
