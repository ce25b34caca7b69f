package settings

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/nesting"
)

// rulesKey is the list of tables that Rules edits.
const rulesKey = "rules"

// RulesIn gives the [[rules]] of a TOML text as they are written, each with the comments
// that stand right above it.
func RulesIn(text []byte) (string, error) {
	found, err := findRules(text)
	if err != nil {
		return "", err
	}
	out := make([]string, len(found.blocks))
	for i, b := range found.blocks {
		out[i] = strings.ReplaceAll(strings.TrimRight(string(text[b.from:b.to]), "\r\n"), "\r\n", "\n") + "\n"
	}
	return strings.Join(out, "\n"), nil
}

// Rules puts a text of [[rules]] in the place of those of a TOML text, and leaves every other
// byte as it is. Comments of rules that go stay. An empty text takes all rules away. What came
// of it is read again and compared before it is returned.
func Rules(text []byte, rules string) ([]byte, error) {
	rules = strings.TrimSpace(strings.ReplaceAll(rules, "\r\n", "\n"))
	want, err := onlyRules([]byte(rules))
	if err != nil {
		return nil, err
	}
	before, err := tableOf(text)
	if err != nil {
		return nil, err
	}
	found, err := findRules(text)
	if err != nil {
		return nil, err
	}
	if list, _ := before[rulesKey].([]any); len(list) != found.headers {
		return nil, errCannotEdit
	}
	after := placeRules(text, found, rules)
	got, err := tableOf(after)
	if err != nil {
		return nil, errors.Join(errCannotEdit, err)
	}
	if before[rulesKey] = want; want == nil {
		delete(before, rulesKey)
	}
	if !reflect.DeepEqual(before, got) {
		return nil, errCannotEdit
	}
	return after, nil
}

func tableOf(text []byte) (map[string]any, error) {
	if err := nesting.TOML(text, MaxFile); err != nil {
		return nil, err
	}
	table := map[string]any{}
	return table, toml.Unmarshal(text, &table)
}

// onlyRules reads a text that has [[rules]] and nothing else.
func onlyRules(text []byte) (any, error) {
	table, err := tableOf(text)
	if err != nil {
		return nil, err
	}
	for name := range table {
		if name != rulesKey {
			return nil, core.Refusef(core.Malformed, "%q is not a rule; only [[rules]] can be put in force this way", name).WithHint("\"ogp config set\" changes other settings")
		}
	}
	found, err := findRules(text)
	if list, ok := table[rulesKey].([]any); err == nil && (len(list) != found.headers || !ok && table[rulesKey] != nil) {
		err = core.Refuse(core.Malformed, "rules are written as tables: [[rules]] in a line of its own, then name, when and then")
	}
	return table[rulesKey], err
}

// foundRules is where the rules of a text are.
type foundRules struct {
	headers  int
	blocks   []span // whole lines
	comments []span // within blocks
}

func findRules(text []byte) (found foundRules, err error) {
	inRules := false
	var above []span // comments of whole lines, one right below the other
	p := unstable.Parser{KeepComments: true}
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		switch node.Kind {
		case unstable.Comment:
			at := span{int(node.Raw.Offset), int(node.Raw.Offset + node.Raw.Length)}
			from := lineStart(text, at.from)
			if strings.TrimSpace(string(text[from:at.from])) != "" {
				continue // behind something
			}
			if n := len(above); n > 0 && lineEnd(text, above[n-1].to) != from {
				above = nil
			}
			above = append(above, at)
			continue
		case unstable.Table, unstable.ArrayTable:
			path, last := keyOfNode(node)
			switch {
			case path == rulesKey && node.Kind == unstable.ArrayTable:
				found.headers++
				inRules = true
				b := span{lineStart(text, last), lineEnd(text, last)}
				if n := len(above); n > 0 && lineEnd(text, above[n-1].to) == b.from {
					b.from = lineStart(text, above[0].from)
					found.comments = append(found.comments, above...)
				}
				found.blocks = append(found.blocks, b)
				found.behind(text, last+len("]]"))
			case inRules && strings.HasPrefix(path, rulesKey+"."):
				found.blocks[len(found.blocks)-1].to = lineEnd(text, last)
			default:
				inRules = false
			}
		case unstable.KeyValue:
			if inRules {
				_, keyEnd := keyOfNode(node)
				_, to, err := valueSpan(text, keyEnd)
				if err != nil {
					return found, err
				}
				found.comments = append(found.comments, above...)
				found.blocks[len(found.blocks)-1].to = lineEnd(text, to)
				found.behind(text, to)
			}
		}
		above = nil
	}
	return found, p.Error()
}

// behind notes the comment that stands behind something in its line.
func (f *foundRules) behind(text []byte, at int) {
	if i := bytes.IndexByte(text[at:lineEnd(text, at)], '#'); i >= 0 {
		f.comments = append(f.comments, span{at + i, lineEnd(text, at)})
	}
}

func lineStart(text []byte, at int) int { return bytes.LastIndexByte(text[:at], '\n') + 1 }

// placeRules writes rules where the first ones were, or else at the end.
func placeRules(text []byte, found foundRules, rules string) []byte {
	end := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		end = "\r\n"
	}
	kept := ""
	lines := strings.Split(rules, "\n")
	for _, c := range found.comments {
		comment := strings.TrimSpace(string(text[c.from:c.to]))
		if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasSuffix(strings.TrimSpace(l), comment) }) {
			kept += comment + "\n"
		}
	}
	if rules != "" {
		kept += rules + "\n"
	}
	if kept = strings.ReplaceAll(kept, "\n", end); len(found.blocks) == 0 {
		if kept == "" {
			return text
		}
		out := bytes.Clone(text)
		if len(out) > 0 && !bytes.HasSuffix(out, []byte("\n")) {
			out = append(out, end...)
		}
		if len(out) > 0 {
			out = append(out, end...)
		}
		return append(out, kept...)
	}
	out := bytes.Clone(text)
	for i := len(found.blocks) - 1; i >= 0; i-- { // from the end, so that the places stay right
		b, with := found.blocks[i], ""
		if i == 0 {
			with = kept
		} else {
			for b.to < len(text) && strings.TrimSpace(string(text[b.to:lineEnd(text, b.to)])) == "" {
				b.to = lineEnd(text, b.to)
			}
		}
		out = splice(out, b, with)
	}
	return out
}

// WriteRules puts a text of [[rules]] into a configuration file, which is made where there is
// none, in place of those that it has. The new text is loaded before it takes the place of the
// old one; a mistake comes as config.Problems. undo writes what was there before, unless the
// file has been changed since. With onlyCheck nothing is written.
func WriteRules(o config.Options, path, rules string, onlyCheck bool) (undo func() error, err error) {
	if strings.EqualFold(filepath.Ext(path), ".json") {
		return nil, core.Refusef(core.Unsupported, "%s is of a TypeScript gateway, and has no rules", path).WithHint("\"ogp config example\" shows a config.toml")
	}
	editing.Lock()
	defer editing.Unlock()
	was, err := files.ReadText(path, MaxFile)
	made := errors.Is(err, os.ErrNotExist)
	text := was
	if made {
		text, err = []byte(config.Example()), nil
	}
	if err != nil {
		return nil, err
	}
	after, err := Rules(text, rules)
	var refused *core.Error
	if err != nil && !errors.As(err, &refused) {
		return nil, core.Refusef(core.Malformed, "%s cannot be edited: %v", path, err).WithHint("write the rules there yourself, as [[rules]]")
	}
	if err != nil {
		return nil, err
	}
	if err := try(o, path, after, nil); err != nil || onlyCheck {
		return func() error { return nil }, err
	}
	if err := atomicfile.Edit(path, after); err != nil {
		return nil, notWritable(path, err)
	}
	return func() error {
		editing.Lock()
		defer editing.Unlock()
		if now, err := files.ReadText(path, MaxFile); err != nil || !bytes.Equal(now, after) {
			return err
		}
		if made {
			return os.Remove(path)
		}
		return atomicfile.Edit(path, was)
	}, nil
}
