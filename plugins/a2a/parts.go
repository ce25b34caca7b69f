package main

import (
	"strings"

	"github.com/opengatewayprotocol/ogp/sdk"
)

// maxReply bounds the answer in bytes. The gateway takes 48 KiB.
const maxReply = 40 << 10

// list gives the elements of an array.
func list(v sdk.Value) (out []sdk.Value) {
	if v.Kind() == sdk.Array {
		v.Each(func(_ string, e sdk.Value) bool {
			out = append(out, e)
			return true
		})
	}
	return out
}

// artifacts are the parts of what a task has brought forth, in order.
func artifacts(task sdk.Value) (parts []sdk.Value) {
	for _, a := range list(task.Get("artifacts")) {
		parts = append(parts, list(a.Get("parts"))...)
	}
	return parts
}

// said is what parts hold: texts, data, and how many files.
type said struct {
	texts []string
	data  []sdk.Value
	files int
}

func read(parts []sdk.Value) (s said) {
	for _, p := range parts {
		switch {
		case p.Get("text").Kind() == sdk.Text:
			if text := p.Get("text").Text(); strings.TrimSpace(text) != "" {
				s.texts = append(s.texts, text)
			}
		case p.Get("data").Exists():
			s.data = append(s.data, p.Get("data"))
		case p.Get("raw").Exists() || p.Get("url").Exists() || p.Get("file").Exists():
			s.files++
		}
	}
	return s
}

func textOf(parts sdk.Value) string { return strings.Join(read(list(parts)).texts, "\n") }

const (
	noFiles = "a file, which cannot be sent this way yet"
	nothing = "The agent is done, and said nothing."
)

// replyOf makes the answer of what the agent has brought forth, or else of what it said at
// its end.
func replyOf(parts, otherwise []sdk.Value) *sdk.Object {
	s := read(parts)
	if len(s.texts)+len(s.data) == 0 && s.files == 0 {
		s = read(otherwise)
	}
	if len(s.texts) == 0 && len(s.data) == 1 && s.files == 0 && len(s.data[0].JSON()) <= maxReply {
		return new(sdk.Object).Value("data", s.data[0])
	}
	for _, d := range s.data {
		s.texts = append(s.texts, d.JSON())
	}
	if len(s.texts) == 0 {
		if s.files > 0 {
			return no("The agent answered with " + noFiles + ".")
		}
		return no(nothing)
	}
	text := strings.Join(s.texts, "\n")
	if s.files > 0 {
		text += "\n[The answer also held " + noFiles + ".]"
	}
	if kept, cut := sdk.Clean(text, maxReply); cut > 0 {
		text = kept + "\n[" + number(int64(cut)) + " bytes more were cut off.]"
	}
	return new(sdk.Object).Text("text", text)
}

func no(why string) *sdk.Object { return new(sdk.Object).Text("error", sdk.Line(why, 1200)) }

// tokensOf is what a model has used, where its server says so: as the field's agent kits
// put it into the metadata.
func tokensOf(v sdk.Value) int64 {
	m := v.Get("metadata")
	for _, usage := range [...]sdk.Value{m.Get("usage"), m.Get("adk_usage_metadata")} {
		for _, name := range [...]string{"total_tokens", "totalTokens", "totalTokenCount", "total_token_count"} {
			if n, ok := usage.Get(name).IsInt(); ok && n > 0 {
				return n
			}
		}
	}
	return 0
}
