package settings

import (
	"bytes"
	"cmp"
	"errors"
	"reflect"
	"regexp"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/opengatewayprotocol/ogp/core/nesting"
)

// TOML sets a value in a TOML text and leaves every other byte as it is. The key
// is found wherever it stands; otherwise its commented line is uncommented, or a
// line is added to its table, or the table at the end. What came of it is read
// again and compared before it is returned.
func TOML(text []byte, s Setting) ([]byte, error) {
	var before map[string]any
	if err := nesting.TOML(text, 1<<20); err != nil {
		return nil, err
	}
	if err := toml.Unmarshal(text, &before); err != nil {
		return nil, err
	}
	place := placeTOML
	if s.Value == nil {
		place = unplaceTOML
	}
	after, err := place(text, s)
	if err != nil {
		return nil, err
	}
	var got map[string]any
	if err := toml.Unmarshal(after, &got); err != nil {
		return nil, errors.Join(errCannotEdit, err)
	}
	if before == nil {
		before = map[string]any{}
	}
	if !putValue(before, strings.Split(s.Key, "."), s.Value) || !reflect.DeepEqual(before, got) {
		return nil, errCannotEdit
	}
	return after, nil
}

// putValue sets a value in nested tables.
func putValue(table map[string]any, path []string, value any) bool {
	for ; len(path) > 1; path = path[1:] {
		if table[path[0]] == nil {
			if value == nil { // what is not there is taken away already
				return true
			}
			table[path[0]] = map[string]any{}
		}
		next, ok := table[path[0]].(map[string]any)
		if !ok {
			return false
		}
		table = next
	}
	if value == nil {
		delete(table, path[0])
	} else {
		table[path[0]] = value
	}
	return true
}

// unplaceTOML makes comments of the lines of a setting.
func unplaceTOML(text []byte, s Setting) ([]byte, error) {
	table, name := "", s.Key
	if i := strings.LastIndexByte(s.Key, '.'); i >= 0 {
		table, name = s.Key[:i], s.Key[i+1:]
	}
	at, err := findTOML(text, s.Key, table, name)
	if err != nil || at.value.to == 0 {
		return text, err
	}
	if at.inline > 0 {
		return nil, errCannotEdit
	}
	from := bytes.LastIndexByte(text[:at.value.from], '\n') + 1
	lines := bytes.ReplaceAll(text[from:at.value.to], []byte("\n"), []byte("\n#"))
	return splice(text, span{from, at.value.to}, "#"+string(lines)), nil
}

// tomlPlaces are the offsets that TOML needs of a text.
type tomlPlaces struct {
	value    span // of the key's value, if it has one
	comment  span // the key's commented line, without its end
	head     span // before it, the commented header of its table; none: it has one, or needs none
	header   int  // where a line can go in after the table's header; 0: none
	dotted   int  // likewise after the last dotted key of the table
	lastRoot int  // likewise after the last key of no table
	inline   int  // after the "{" of the table written inline
	empty    bool // nothing is in it
}

type span struct{ from, to int }

func placeTOML(text []byte, s Setting) ([]byte, error) {
	table, name := "", s.Key
	if i := strings.LastIndexByte(s.Key, '.'); i >= 0 {
		table, name = s.Key[:i], s.Key[i+1:]
	}
	at, err := findTOML(text, s.Key, table, name)
	if err != nil {
		return nil, err
	}
	end := "\n"
	if bytes.Contains(text, []byte("\r\n")) {
		end = "\r\n"
	}
	line := name + " = " + s.Literal()
	insert := func(offset int, what string) []byte {
		if offset > 0 && text[offset-1] != '\n' { // the last line has no end
			what = end + what
		}
		return splice(text, span{offset, offset}, what+end)
	}
	switch {
	case at.value.to > 0:
		return splice(text, at.value, s.Literal()), nil
	case at.inline > 0 && at.empty:
		return splice(text, span{at.inline, at.inline}, " "+line), nil
	case at.inline > 0:
		return splice(text, span{at.inline, at.inline}, " "+line+","), nil
	case at.comment.to > 0 && at.head.to > 0 && at.header == 0 && at.dotted == 0:
		return splice(splice(text, at.comment, line), at.head, "["+table+"]"), nil
	case at.comment.to > 0 && at.head.to == 0:
		return splice(text, at.comment, line), nil
	case at.header > 0:
		return insert(at.header, line), nil
	case at.dotted > 0:
		return insert(at.dotted, s.Key+" = "+s.Literal()), nil
	case table == "":
		return insert(at.lastRoot, line), nil
	}
	if len(text) > 0 {
		table = end + "[" + table
	} else {
		table = "[" + table
	}
	return insert(len(text), table+"]"+end+line), nil
}

func splice(text []byte, at span, what string) []byte {
	out := make([]byte, 0, len(text)+len(what))
	out = append(out, text[:at.from]...)
	out = append(out, what...)
	return append(out, text[at.to:]...)
}

// commentedHead is the header of a table in a comment, as the example has them.
var commentedHead = regexp.MustCompile(`^#[ \t]?\[([a-z0-9_.-]+)\]$`)

// findTOML walks a text once.
func findTOML(text []byte, key, table, name string) (tomlPlaces, error) {
	at := tomlPlaces{}
	commented := regexp.MustCompile(`^#[ \t]?` + regexp.QuoteMeta(name) + `[ \t]*=`)
	section, inTables := "", false // inTables: below [[x]], whose keys are not ours
	var head span                  // of the last commented header, if nothing but comments followed
	named := ""                    // the table that it is of
	p := unstable.Parser{KeepComments: true}
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		switch node.Kind {
		case unstable.Comment:
			from := int(node.Raw.Offset)
			if from > 0 && text[from-1] != '\n' {
				continue // behind something
			}
			line := bytes.TrimRight(node.Data, "\r\n")
			if m := commentedHead.FindSubmatch(line); m != nil {
				head, named = span{from, from + len(line)}, string(m[1])
				continue
			}
			if at.comment.to == 0 && !inTables && cmp.Or(named, section) == table && commented.Match(line) {
				at.comment = span{from, from + len(line)}
				if named != "" {
					at.head = head
				}
			}
		case unstable.Table, unstable.ArrayTable:
			path, last := keyOfNode(node)
			named = ""
			section, inTables = path, node.Kind == unstable.ArrayTable || inTables && strings.HasPrefix(path, section+".")
			if path == table && !inTables && at.header == 0 {
				at.header = lineEnd(text, last)
			}
		case unstable.KeyValue:
			if inTables {
				continue
			}
			if err := at.keyValue(text, node, section, key, table); err != nil {
				return at, err
			}
		}
	}
	return at, p.Error()
}

// keyOfNode is the dotted key of a node, and the offset behind it.
func keyOfNode(node *unstable.Node) (path string, end int) {
	var names []string
	for it := node.Key(); it.Next(); {
		names = append(names, string(it.Node().Data))
		end = int(it.Node().Raw.Offset + it.Node().Raw.Length)
	}
	return strings.Join(names, "."), end
}

func (at *tomlPlaces) keyValue(text []byte, node *unstable.Node, section, key, table string) error {
	path, end := keyOfNode(node)
	if section != "" {
		path = section + "." + path
	}
	from, to, err := valueSpan(text, end)
	if err != nil {
		return err
	}
	switch {
	case path == key:
		at.value = span{from, to}
	case path == table && node.Value().Kind == unstable.InlineTable:
		at.inline, at.empty = from+1, true
		for it := node.Value().Children(); it.Next(); {
			at.empty = false
			if err := at.keyValue(text, it.Node(), path, key, table); err != nil {
				return err
			}
		}
	case table != "" && section == "" && strings.HasPrefix(path, table+"."):
		at.dotted = lineEnd(text, to)
	}
	if section == "" {
		at.lastRoot = lineEnd(text, to)
	}
	return nil
}

// lineEnd is the offset of the next line, or the end.
func lineEnd(text []byte, from int) int {
	if i := bytes.IndexByte(text[from:], '\n'); i >= 0 {
		return from + i + 1
	}
	return len(text)
}

// valueSpan finds the value behind a key that ends at an offset.
func valueSpan(text []byte, keyEnd int) (from, to int, err error) {
	i := bytes.IndexByte(text[keyEnd:], '=')
	if i < 0 {
		return 0, 0, errCannotEdit
	}
	from = keyEnd + i + 1
	for from < len(text) && (text[from] == ' ' || text[from] == '\t') {
		from++
	}
	to, err = valueEnd(text, from)
	return from, to, err
}

// valueEnd is the offset behind a value that begins at an offset. Strings, and what
// is in brackets, are skipped whole.
func valueEnd(text []byte, from int) (int, error) {
	rest := text[from:]
	for _, quote := range []string{`"""`, `'''`, `"`, `'`} {
		if !bytes.HasPrefix(rest, []byte(quote)) {
			continue
		}
		for i := len(quote); i < len(rest); i++ {
			switch {
			case rest[i] == '\\' && quote[0] == '"':
				i++
			case bytes.HasPrefix(rest[i:], []byte(quote)):
				end := i + len(quote)
				for len(quote) == 3 && end < len(rest) && rest[end] == quote[0] { // up to two quotes belong to the text
					end++
				}
				return from + end, nil
			}
		}
		return 0, errCannotEdit
	}
	if len(rest) == 0 || rest[0] != '[' && rest[0] != '{' {
		end := bytes.IndexAny(rest, ",]}#\r\n")
		if end < 0 {
			end = len(rest)
		}
		return from + len(bytes.TrimRight(rest[:end], " \t")), nil
	}
	for i := 1; i < len(rest); {
		switch rest[i] {
		case ']', '}':
			return from + i + 1, nil
		case '"', '\'', '[', '{':
			end, err := valueEnd(text, from+i)
			if err != nil {
				return 0, err
			}
			i = end - from
		case '#':
			i = lineEnd(text, from+i) - from
		default:
			i++
		}
	}
	return 0, errCannotEdit
}
