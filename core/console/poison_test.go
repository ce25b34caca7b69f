package console

import (
	"context"
	"net/http"
	"net/url"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// poisoner answers what the gateway does, with every text in it hostile and nothing empty.
type poisoner struct{ control.Caller }

func (p poisoner) Call(ctx context.Context, method string, params, result any) error {
	if err := p.Caller.Call(ctx, method, params, result); err != nil {
		return &core.Error{Kind: core.NotFound, Public: hostile, Hint: hostile, Candidates: []string{hostile}}
	}
	poison(reflect.ValueOf(result), 0)
	return nil
}

// sound are fields that are ours whoever writes: parts of paths, and words of tables.
var sound = map[string]bool{"Fingerprint": true, "ID": true, "State": true, "Standing": true}

func poison(v reflect.Value, depth int) {
	if depth > 9 {
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		poison(v.Elem(), depth+1)
	case reflect.Struct:
		if t, ok := v.Addr().Interface().(*time.Time); ok {
			if t.IsZero() {
				*t = time.Now()
			}
			return
		}
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() && !sound[f.Name] {
				poison(v.Field(i), depth+1)
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(raw(hostile))
			return
		}
		if v.Len() == 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		}
		for i := range v.Len() {
			poison(v.Index(i), depth+1)
		}
	case reflect.Map:
		if v.Type().Key().Kind() == reflect.String && v.Type().Elem().Kind() == reflect.Int {
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(reflect.ValueOf(hostile).Convert(v.Type().Key()), reflect.ValueOf(3).Convert(v.Type().Elem()))
		}
	case reflect.String:
		if v.Type() == reflect.TypeFor[string]() {
			v.SetString(hostile)
		}
	}
}

// TestW2EveryPlace: whatever is hostile, wherever it stands, a page shows it and does not do it.
// docs/threat-model.md#w2
func TestW2EveryPlace(t *testing.T) {
	s, f, b := open(t)
	s.o.Caller = poisoner{append(f.handlers(), f.policies(&uploads{})...)}
	b.enter(s)
	s.doctor.found = looked{time.Now(), []api.Check{{State: api.CheckFail, Name: hostile, Text: hostile, Fix: hostile}}}
	pages := map[string]string{}
	for _, path := range append(routesOf(t, s, "GET"), everyPage...) {
		if path == "/stream" || path == "/static/" {
			continue
		}
		_, pages[path] = b.get(path)
	}
	for path, form := range map[string]url.Values{
		"/peers/ben/grants":   {"intent": {hostile}, "topics": {hostile}, "personas": {hostile}},
		"/peers/ben/pause":    {"value": {hostile}},
		"/peers/ben/nothing":  {},
		"/requests/X/approve": {"compared": {hostile}},
		"/invites/make":       {"uses": {"1"}},
		"/held/release":       {"id": {hostile}},
		"/settings/set":       {"key": {hostile}, "value": {hostile}},
		"/message/01M/reply":  {"text": {hostile}},
		"/policies/plugins/x/" + url.PathEscape(hostile): {},
	} {
		form.Set("token", b.token())
		r, text := b.post(path, form)
		if r.StatusCode == http.StatusSeeOther {
			_, text = b.get("/peers/ben") // the notice
		}
		pages["POST "+path] = text
	}
	r, _ := b.send("/policies/machine", b.token(), "with", "rules", "rules", hostile, "window", "7d")
	_, pages["a replay"] = b.get(r.Header.Get("Location"))
	_, pages["rules with a mistake"] = b.send("/policies/machine", b.token(), "with", "module", "upload", "none", "window", hostile)
	for path, page := range pages {
		shown := editable.ReplaceAllString(page, "")
		for at, r := range shown {
			if r != '\n' && r != '\t' && text.Acts(r) {
				t.Errorf("%s has U+%04X in it: %q", path, r, shown[max(at-120, 0):at])
				break
			}
		}
		for _, bad := range []string{"<script>alert", "<img src=x", "ZgotmplZ", "<no value>", " style=", "<style"} {
			if strings.Contains(page, bad) {
				t.Errorf("%s has %q in it", path, bad)
			}
		}
	}
}

// TestShown: what hides, leaves its line or is nothing is seen to.
func TestShown(t *testing.T) {
	for in, want := range map[string]string{
		"a\u202eb":                        "U+202E",
		"a\u3164b":                        "U+3164", // a letter that looks like nothing
		"a\u2800b":                        "U+2800",
		"a\U000e0141b":                    "U+E0141", // a mark that hides a letter in it
		"x\ufe0e\ufe0f":                   "U+FE0F",
		"a" + strings.Repeat("\u0301", 9): "U+0301",
		" ":                               "nothing",
		"":                                "nothing",
	} {
		if got := string(theirs(100, in)); !strings.Contains(got, ">"+want+"<") {
			t.Errorf("%q: %s", in, got)
		}
	}
	for _, in := range []string{"❤️ and ☎︎", "שָׁלוֹם", "ไม่ได้", "e\u0301\u0302"} {
		if got := string(theirs(100, in)); strings.Contains(got, "<span") {
			t.Errorf("%q: %s", in, got)
		}
	}
	if got := string(theirs(100, core.Raw(`{"a":1}`))); !strings.Contains(got, "{&#34;a&#34;:1}") {
		t.Errorf("bytes: %s", got)
	}
}
