package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"pgregory.net/rapid"

	"github.com/opengatewayprotocol/ogp/core"
)

// draw gives a setting some value that passes its checks.
func draw(t *rapid.T, s Setting, v reflect.Value) {
	tag := s.field.Tag
	words := wordsOf(tag)
	text := func(check string) string {
		switch check {
		case "url", "prefixurl":
			return rapid.StringMatching(`https?://[a-z]{1,8}\.example(:[1-9][0-9]{0,3})?(/[a-z]{0,5})?`).Draw(t, s.Key)
		case "host":
			return rapid.SampledFrom([]string{"", "127.0.0.1", "::1", "localhost", "host.example"}).Draw(t, s.Key)
		case "loopback?":
			return rapid.SampledFrom([]string{"", "localhost:80", "[::1]:18790", "127.0.0.1:1"}).Draw(t, s.Key)
		case "signer?":
			return rapid.SampledFrom([]string{"", "unix:/run/s", "unix:/a b/\"s\".sock"}).Draw(t, s.Key)
		case "hostport", "hostport?":
			return rapid.SampledFrom([]string{"a.example:80", "[::1]:18790", "127.0.0.1:1"}).Draw(t, s.Key)
		case "id", "intents":
			return rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,10}`).Draw(t, s.Key)
		case "zone":
			return rapid.SampledFrom([]string{"", "UTC", "Europe/Paris"}).Draw(t, s.Key)
		case "rate":
			return rapid.SampledFrom([]string{"", "10/1h", "5/60"}).Draw(t, s.Key)
		case "bytes":
			return rapid.SampledFrom([]string{"", "64KiB/1h"}).Draw(t, s.Key)
		case "topics":
			return rapid.StringMatching(`[a-z0-9./#"\\é🦞-]{1,10}`).Draw(t, s.Key)
		}
		return strings.TrimSpace(rapid.StringMatching(`[a-zA-Z0-9 ="'\\#$é🦞@.,-]{0,20}`).Draw(t, s.Key))
	}
	switch v.Interface().(type) {
	case time.Duration:
		least := time.Duration(0)
		if m, ok := strings.CutSuffix(tag.Get("check"), ".."); ok {
			least, _ = time.ParseDuration(m)
		}
		unit := rapid.SampledFrom([]time.Duration{time.Nanosecond, time.Millisecond, time.Second, time.Minute, time.Hour, 24 * time.Hour}).Draw(t, "unit")
		v.SetInt(int64(least + unit*time.Duration(rapid.IntRange(0, 400).Draw(t, s.Key))))
		return
	case core.RateLimit:
		v.Set(reflect.ValueOf(core.RateLimit{Requests: rapid.IntRange(1, 1e6).Draw(t, s.Key), WindowSeconds: rapid.IntRange(1, int(core.MaxRateWindow/time.Second)).Draw(t, "seconds")}))
		return
	case core.ByteLimit:
		v.Set(reflect.ValueOf(core.ByteLimit{Bytes: int64(rapid.IntRange(1, 1<<30).Draw(t, s.Key)), WindowSeconds: rapid.IntRange(1, int(core.MaxRateWindow/time.Second)).Draw(t, "seconds")}))
		return
	case []netip.Prefix:
		v.Set(reflect.ValueOf(rapid.SliceOfN(rapid.Custom(func(t *rapid.T) netip.Prefix {
			if rapid.Bool().Draw(t, "v4") {
				a := netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "addr")))
				return netip.PrefixFrom(a, rapid.IntRange(0, 32).Draw(t, "bits")).Masked()
			}
			a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "addr")))
			return netip.PrefixFrom(a.Unmap().WithZone(""), a.Unmap().BitLen()).Masked()
		}), 0, 3).Draw(t, s.Key)))
		return
	case Secret:
		v.Set(reflect.ValueOf(NewSecret("s" + text(""))))
		return
	case []string:
		list := rapid.SliceOfN(rapid.Custom(func(*rapid.T) string { return text(tag.Get("check")) }), 0, 3).Draw(t, s.Key)
		v.Set(reflect.ValueOf(list))
		return
	case map[string]string:
		table := map[string]string{}
		for range rapid.IntRange(0, 3).Draw(t, "entries") {
			table[text("topics")] = rapid.SampledFrom(words).Draw(t, "word")
		}
		v.Set(reflect.ValueOf(table))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, s.Key))
	case reflect.Int, reflect.Int64:
		least := 0
		switch tag.Get("check") {
		case "1..":
			least = 1
		case "1024..":
			least = 1024
		}
		v.SetInt(int64(rapid.IntRange(least, 65535).Draw(t, s.Key)))
	case reflect.String:
		if words != nil {
			v.SetString(rapid.SampledFrom(words).Draw(t, s.Key))
			return
		}
		v.SetString(text(tag.Get("check")))
	default:
		t.Fatalf("%s: no generator for %s", s.Key, v.Type())
	}
}

// reconcile fixes values that contradict one another, and notes whose it changed.
func reconcile(c *Config, changed map[string]bool) {
	raise := func(key string, low time.Duration, high *time.Duration) {
		if *high < low {
			*high = low
			changed[key] = true
		}
	}
	raise("freshness.remember", 2*c.Freshness.Window, &c.Freshness.Remember)
	raise("outbox.max_retry", c.Outbox.First, &c.Outbox.Most)
	raise("delivery.max_retry", c.Delivery.First, &c.Delivery.Most)
	raise("health.interval", c.Health.Timeout, &c.Health.Interval)
	if c.Rendezvous.Enabled && len(c.Rendezvous.Servers()) == 0 {
		c.Rendezvous.URL = "https://rendezvous.example"
		changed["rendezvous.url"] = true
	}
	if c.DisplayName == "" {
		c.DisplayName = "someone"
	}
	for _, pair := range []struct {
		key    string
		v      *string
		beside string
	}{{"tls.key", &c.TLS.Key, c.TLS.Cert}, {"tls.cert", &c.TLS.Cert, c.TLS.Key},
		{"console.key", &c.Console.Key, c.Console.Cert}, {"console.cert", &c.Console.Cert, c.Console.Key}} {
		if (*pair.v == "") != (pair.beside == "") {
			*pair.v = "x.pem"
			changed[pair.key] = true
		}
	}
	if c.Console.Cert == "" && !atLoopback(c.Console.Listen) {
		c.Console.Listen = "[::1]:18790"
		changed["console.listen"] = true
	}
	if c.TLS.Domain != "" && c.TLS.Cert != "" {
		c.TLS.Domain = ""
		changed["tls.domain"] = true
	}
}

// Any subset of settings loads to the same values, whether it is written in
// config.toml, the environment or flags, or spread over them.
func TestEveryLayerReadsTheSameValues(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	rapid.Check(t, func(t *rapid.T) {
		want := Default()
		want.DisplayName = "someone"
		picked := map[string]bool{"display_name": true} // its default is not the same on every machine
		for _, s := range Settings() {
			if s.Env != "" && rapid.Bool().Draw(t, "choose "+s.Key) {
				draw(t, s, reflect.ValueOf(&want).Elem().FieldByIndex(s.index))
				picked[s.Key] = true
			}
		}
		reconcile(&want, picked)
		var chosen []Setting
		for _, key := range sortedKeys(picked) {
			chosen = append(chosen, *schema().byKey[key])
		}

		const toml, env, flags, spread = 0, 1, 2, 3
		for _, form := range []int{toml, env, flags, spread} {
			lines := map[string][]string{} // by table
			environ := []string{}
			var args []string
			for _, s := range chosen {
				v := reflect.ValueOf(want).FieldByIndex(s.index)
				plain := textOf(v)
				if v.Type() == secretType {
					plain = v.Interface().(Secret).raw()
				}
				where := form
				if form == spread {
					where = rapid.IntRange(toml, flags).Draw(t, "layer")
				}
				if where == flags && s.Flag == "" {
					where = env
				}
				if where == env && plain == "" {
					where = toml // an empty variable is an unset one
				}
				switch where {
				case toml:
					table, name := parent(s.Key), strings.TrimPrefix(s.Key[len(parent(s.Key)):], ".")
					value := tomlValue(v)
					if v.Type() == secretType {
						value = TOMLString(plain)
					}
					lines[table] = append(lines[table], name+" = "+value)
				case env:
					environ = append(environ, s.Env+"="+plain)
				case flags:
					args = append(args, "--"+s.Flag+"="+plain)
				}
			}
			var text strings.Builder
			for _, table := range sortedKeys(lines) {
				if table != "" {
					text.WriteString("[" + table + "]\n")
				}
				text.WriteString(strings.Join(lines[table], "\n") + "\n")
			}
			if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
				t.Fatal(err)
			}
			set := pflag.NewFlagSet("start", pflag.ContinueOnError)
			Flags(set)
			if err := set.Parse(args); err != nil {
				t.Fatal(err)
			}
			got, _, _, err := Load(Options{Home: dir, Env: environ, Flags: set})
			if err != nil {
				t.Fatalf("form %d: %v\n%s\n%q\n%q", form, err, text.String(), environ, args)
			}
			if !reflect.DeepEqual(*got, want) {
				t.Fatalf("form %d: got %s\nwant %s\nfrom %s\n%q\n%q", form, got.Show(nil, false), want.Show(nil, false), text.String(), environ, args)
			}
		}
	})
}

// What Show writes, Load reads back to the same values.
func TestShowReadsBack(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "config.toml")
	rapid.Check(t, func(t *rapid.T) {
		want := Default()
		want.DisplayName = "someone"
		for _, s := range Settings() {
			if s.Env != "" && s.field.Type != secretType && s.Key != "display_name" && rapid.Bool().Draw(t, "choose "+s.Key) {
				draw(t, s, reflect.ValueOf(&want).Elem().FieldByIndex(s.index))
			}
		}
		want.OpenClawToken = NewSecret("${TOKEN}") // a reference shows
		want.Rules = []Rule{{Name: "a \"b\"", When: "size(message.text) > 40 && peer.alias == 'x'", Then: "hold"}}
		want.Agents = []Agent{{ID: "a", Role: "primary", Skills: []string{"x, y", `"`}}}
		off := false
		want.Plugins = map[string]PluginConfig{"p-1": {
			Enabled: &off, Hooks: []string{"notify"}, Order: -3, Timeout: 90 * time.Second,
			Config:  map[string]any{"a b": []any{int64(1), 2.0, "x", map[string]any{"c.d": true}}, "": "empty", "t": map[string]any{}},
			Secrets: map[string]Secret{"s": NewSecret("file:/run/s")},
		}}
		reconcile(&want, map[string]bool{})
		text := want.Show(nil, false)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got, _, _, err := Load(Options{Home: dir, Env: []string{}})
		if err != nil {
			t.Fatalf("%v\n%s", err, text)
		}
		if !reflect.DeepEqual(*got, want) {
			t.Fatalf("got %+v\nwant %+v\nfrom %s", *got, want, text)
		}
	})
}

// FuzzLoad holds Load to its promises for any file: it never panics; each mistake
// has a place; and what loads is shown and read back to the same values.
func FuzzLoad(f *testing.F) {
	f.Add(uncomment(Example()), false)
	f.Add("daemon_port = 1\n[[agents]]\nid = 'a'\nrole = 'primary'\n[plugins.\"x\"]\nconfig = {a = [1, {b = 2.5}]}", false)
	f.Add("a.b.c = 1\n[a]\nb = 2\n[[a.b]]", false)
	f.Add("network = {allow_private = ['::1', \"10.0.0.0/8\"]}", false)
	f.Add("openclaw_token = '${A}'\n[plugins.x.secrets]\na = 'file:/x'\n", false)
	f.Add(`{"daemonPort": 1, "agents": [{"id": "a", "role": "primary"}], "agentComms": {"globalPolicy": {"x": {"level": "off"}}}, "healthCheck": {"intervalMs": 60000}}`, true)
	f.Add("plugins.x.config.a = "+strings.Repeat("[", 60)+strings.Repeat("]", 60), false)
	f.Add("a = "+strings.Repeat("[", 70), false)
	f.Add("a = "+strings.Repeat("{a=", 70), false)
	f.Add(strings.Repeat("a.", 70)+"a = 1", false)
	f.Add(`{"a":`+strings.Repeat("[", 70), true)
	f.Add(`{"rendezvous": 5, "agents": {}, "agentComms": null, "healthCheck": {"intervalMs": -1}}`, true)
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		name := "fuzz.toml"
		if isJSON {
			name = "fuzz.json"
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, origins, _, err := Load(Options{File: path, Env: []string{}})
		if err != nil {
			for _, p := range problems(err) {
				if p.Where == "" || p.What == "" {
					t.Errorf("%+v has no place or says nothing", p)
				}
			}
			return
		}
		if _, err := c.JSON(origins, true); err != nil {
			t.Error(err)
		}
		c.redactedSecrets()
		again := filepath.Join(dir, "again.toml")
		if err := os.WriteFile(again, []byte(c.Show(origins, true)), 0o600); err != nil {
			t.Fatal(err)
		}
		back, _, _, err := Load(Options{File: again, Env: []string{}})
		if err != nil {
			t.Fatalf("%v\n%s", err, c.Show(nil, false))
		}
		if !reflect.DeepEqual(back, c) {
			t.Errorf("read back %+v\nwant %+v\n%s", back, c, c.Show(nil, false))
		}
	})
}

func problems(err error) Problems {
	p, _ := err.(Problems)
	return p
}

// redactedSecrets turns each secret into what Show says of it.
func (c *Config) redactedSecrets() {
	c.OpenClawToken = NewSecret(c.OpenClawToken.String())
	c.OpenClawHooksToken = NewSecret(c.OpenClawHooksToken.String())
	for _, p := range c.Plugins {
		for k, s := range p.Secrets {
			p.Secrets[k] = NewSecret(s.String())
		}
	}
}
