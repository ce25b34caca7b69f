package reader

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core"
)

// maxWords bounds what a search looks for.
const maxWords = 16

// wordsOf are the words of a search, in lower case.
func wordsOf(search string) []string {
	words := strings.Fields(strings.ToLower(search))
	return words[:min(len(words), maxWords)]
}

// holds reports whether each word is in one of the texts, in upper or lower case.
func holds(words []string, texts ...string) bool {
	all := strings.ToLower(strings.Join(texts, "\n"))
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(all, w) })
}

// holdsMessage reports whether a message that came has all words: what it says, its intent,
// its conversation, our name for its sender, our answer.
func (r *Reader) holdsMessage(words []string, m *core.InboxMessage) bool {
	texts := []string{Words(m.Message.Payload), m.Message.Intent, m.Message.ConversationID, r.name(m.Peer), m.Alias, m.Reason}
	if m.Reply != nil {
		texts = append(texts, Words(m.Reply.Data), m.Reply.Error)
	}
	return holds(words, texts...)
}

// holdsItem reports whether an envelope of ours has all words, as holdsMessage does.
func (r *Reader) holdsItem(words []string, o *core.OutboxItem) bool {
	texts := []string{r.name(o.Peer), o.Error}
	if o.Message != nil {
		texts = append(texts, Words(o.Message.Payload), o.Message.Intent, o.Message.ConversationID)
	}
	if o.Reply != nil {
		texts = append(texts, Words(o.Reply.Data), o.Reply.Error)
	}
	return holds(words, texts...)
}

// Words are the values in a payload, a line for each, without the names of its members.
func Words(payload core.Raw) string {
	if len(payload) == 0 {
		return ""
	}
	var out strings.Builder
	d := jsontext.NewDecoder(bytes.NewReader(payload), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	for {
		t, err := d.ReadToken()
		if err != nil { // the end, or no JSON
			return out.String()
		}
		kind, n := d.StackIndex(d.StackDepth())
		switch name := kind == '{' && n%2 == 1; t.Kind() {
		case '"', '0', 't', 'f':
			if !name {
				out.WriteString(t.String())
				out.WriteByte('\n')
			}
		}
	}
}
