// A policy on Extism's PDK for Go: it holds messages with more links than max_links, and
// refuses those with a link to a blocked host. Nothing in it knows of the gateway but the
// names of its questions and answers.
package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	pdk "github.com/extism/go-pdk"
)

type answer struct {
	Decision string `json:"decision"`
	Reason   string `json:"reason,omitempty"`
	Code     string `json:"code,omitempty"`
}

//go:wasmexport on_message
func onMessage() int32 {
	var question map[string]any // a payload may be any JSON
	if err := pdk.InputJSON(&question); err != nil {
		pdk.SetError(err)
		return 1
	}
	message, _ := question["message"].(map[string]any)
	if err := pdk.OutputJSON(decide(hosts(message["payload"]), blocked(), most())); err != nil {
		pdk.SetError(err)
		return 1
	}
	return 0
}

func main() {}

func decide(hosts, blocked []string, most int) answer {
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

// hosts are those of the links in all texts of a payload.
func hosts(v any) (out []string) {
	switch v := v.(type) {
	case string:
		for {
			_, rest, ok := strings.Cut(v, "://")
			if !ok {
				return out
			}
			end := strings.IndexFunc(rest, func(c rune) bool { return c <= ' ' || strings.ContainsRune("/?#\"'<>()", c) })
			if end < 0 {
				end = len(rest)
			}
			host := rest[strings.LastIndexByte(rest[:end], '@')+1 : end]
			host, _, _ = strings.Cut(host, ":")
			out = append(out, strings.ToLower(strings.TrimSuffix(host, ".")))
			v = rest[end:]
		}
	case []any:
		for _, x := range v {
			out = append(out, hosts(x)...)
		}
	case map[string]any:
		for _, x := range v {
			out = append(out, hosts(x)...)
		}
		slices.Sort(out)
	}
	return out
}

func most() int {
	text, _ := pdk.GetConfig("max_links")
	n, err := strconv.Atoi(text)
	if err != nil {
		return 2
	}
	return n
}

func blocked() []string {
	text, _ := pdk.GetConfig("blocked")
	return strings.Fields(strings.ToLower(text))
}
