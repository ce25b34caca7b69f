package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
)

var (
	quantity = `(\d+)(?: |-)?(ms|seconds?|s|minutes?|min|m|hours?|h|days?|d|bytes|KiB|MiB)?\b`
	// `key` (24 hours ...
	afterKey = regexp.MustCompile("`([a-z_]+(?:\\.[a-z_]+)*)` \\((?:at least |at most |default )?" + quantity)
	// 64 KiB of body (`key`
	beforeKey = regexp.MustCompile(quantity + "(?: [a-z]+){0,3} \\(`([a-z_]+(?:\\.[a-z_]+)+)`")
	// | what | 24 hours ... | `key` |
	keyInRow = regexp.MustCompile(`(?m)^\|[^|]*\|([^|]*)\| ` + "`([a-z_]+(?:\\.[a-z_]+)+)`" + ` \|$`)
	inRow    = regexp.MustCompile(quantity)
)

// TestDocsTellTheDefaults: where a page gives a number beside a setting, it is the
// setting's default.
func TestDocsTellTheDefaults(t *testing.T) {
	checked := map[string]bool{}
	check := func(page, key, number, unit, text string) {
		s := schema().byKey[key]
		if s == nil {
			return
		}
		want, ok := amount(s.Default)
		if !ok {
			return
		}
		checked[key] = true
		if got, _ := amount(number + unitWord(unit)); got != want {
			t.Errorf("%s: %q, and %s is %s by default", filepath.Base(page), text, key, s.Default)
		}
	}
	for page, b := range pages(t) {
		prose := strings.ReplaceAll(b, "\n", " ") // sentences go on in the next line
		for _, m := range afterKey.FindAllStringSubmatch(prose, -1) {
			check(page, m[1], m[2], m[3], m[0])
		}
		for _, m := range beforeKey.FindAllStringSubmatch(prose, -1) {
			check(page, m[3], m[1], m[2], m[0])
		}
		for _, row := range keyInRow.FindAllStringSubmatch(b, -1) {
			if m := inRow.FindStringSubmatch(row[1]); m != nil {
				check(page, row[2], m[1], m[2], row[0])
			}
		}
	}
	if len(checked) < 10 {
		t.Errorf("numbers of %d settings are checked, want at least 10: %v", len(checked), sortedKeys(checked))
	}
	t.Logf("checked: %v", sortedKeys(checked))
}

// unitWord is a unit as config.toml writes it.
func unitWord(unit string) string {
	switch {
	case unit == "ms", unit == "KiB", unit == "MiB":
		return unit
	case unit == "" || unit == "bytes":
		return ""
	}
	return unit[:1]
}

// amount is what a number with a unit says, in ns or bytes or pieces.
func amount(text string) (int64, bool) {
	text = strings.Trim(text, `"`)
	if kib, ok := strings.CutSuffix(text, "KiB"); ok {
		n, err := strconv.ParseInt(kib, 10, 64)
		return n << 10, err == nil
	}
	if mib, ok := strings.CutSuffix(text, "MiB"); ok {
		n, err := strconv.ParseInt(mib, 10, 64)
		return n << 20, err == nil
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return n, true
	}
	d, err := core.ParseDuration(text)
	return int64(d / time.Nanosecond), err == nil
}

var variable = regexp.MustCompile(`\bOGP_[A-Z][A-Z0-9_]*\b`)

// pages are the documents and the files beside them that set a gateway up.
func pages(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/deploying/*.md", "compose.yaml", "Dockerfile"} {
		names, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v, %v", pattern, names, err)
		}
		for _, name := range names {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			out[strings.TrimPrefix(filepath.ToSlash(name), "../../")] = string(b)
		}
	}
	return out
}

// TestDocsVariables: a variable of the environment that a page names is one that
// somebody reads.
func TestDocsVariables(t *testing.T) {
	others := map[string]bool{"OGP_HOME": true, "OGP_KEY_PASSPHRASE": true, "OGP_PUBLIC_URL": true, "OGP_BACKUP_PASSPHRASE": true,
		"OGP_PORT": true, "OGP_SERVICE_HOST": true, // Kubernetes sets these
		"OGP_WEBHOOK_SECRET": true, "OGP_CORPORA": true, "OGP_KEYPAIR_SECRET": true}
	// What steers a script of .ci is said in the script's head.
	scripts, err := filepath.Glob("../../.ci/*")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in .ci: %v", err)
	}
	for _, script := range scripts {
		if b, err := os.ReadFile(script); err == nil { // a folder has none
			for _, name := range variable.FindAllString(string(b), -1) {
				others[name] = true
			}
		}
	}
	for page, text := range pages(t) {
		for _, name := range variable.FindAllString(text, -1) {
			if _, ok := schema().byEnv[name]; !ok && !others[name] {
				t.Errorf("%s names %s, which is no setting", page, name)
			}
		}
	}
}
