package config

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core/files"

	"github.com/go-json-experiment/json/jsontext"
)

// Secret is a text that does not show itself: every way of printing it gives
// "[redacted]", or the reference that it was written as. The zero value is empty.
// Two Secrets are the same when Equal says so; == compares where they are kept.
type Secret struct {
	// A pointer, because fmt prints the fields of unexported structs by itself
	// and would show a string.
	text *string
}

const redacted = "[redacted]"

// maxSecretBytes bounds a file that holds a secret.
const maxSecretBytes = 64 << 10

// NewSecret makes a Secret of the text itself, of "${VARIABLE}" or of "file:/path".
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

func (s Secret) raw() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// IsSet reports whether there is anything to reveal.
func (s Secret) IsSet() bool { return s.raw() != "" }

// Equal reports whether both were written alike.
func (s Secret) Equal(other Secret) bool { return s.raw() == other.raw() }

// variable is the environment variable that the secret refers to, or empty.
func (s Secret) variable() string {
	if name, ok := strings.CutPrefix(s.raw(), "${"); ok && strings.HasSuffix(name, "}") {
		return strings.TrimSuffix(name, "}")
	}
	return ""
}

// path is the file that the secret refers to, or empty.
func (s Secret) path() string {
	p, _ := strings.CutPrefix(s.raw(), "file:")
	if p == s.raw() {
		return ""
	}
	return p
}

// check reports a reference that can never be resolved.
func (s Secret) check() error {
	raw := s.raw()
	switch {
	case strings.HasPrefix(raw, "$") && IsVariable(raw[1:]) && raw == strings.ToUpper(raw):
		return fmt.Errorf(`a reference with braces, "${%s}"`, raw[1:])
	case strings.HasPrefix(raw, "${") && !IsVariable(s.variable()):
		return errors.New(`a reference "${VARIABLE}"`)
	case strings.HasPrefix(raw, "file:") && !filepath.IsAbs(s.path()) && !strings.HasPrefix(s.path(), "~/"):
		return errors.New(`a reference "file:/absolute/path" or "file:~/path"`)
	}
	return nil
}

// CheckSecrets names the secrets that cannot be read now: whose variable is not set,
// or whose file is not there. It reads them and gives none away. Where a mistake
// stands is in origins, which may be nil.
func (c *Config) CheckSecrets(origins Origins) Problems {
	var out Problems
	check := func(key string, s Secret) {
		if _, err := s.Reveal(); err != nil {
			out = append(out, Problem{Key: key, Where: origins.Of(key).Where,
				What: key + ": " + strings.TrimPrefix(err.Error(), "config: secret: "), Hint: `set the variable, or write the file, or change ` + key})
		}
	}
	check("store", c.Store)
	check("store_read", c.StoreRead)
	check("openclaw_token", c.OpenClawToken)
	check("openclaw_hooks_token", c.OpenClawHooksToken)
	for _, plugin := range sortedKeys(c.Plugins) {
		p := c.Plugins[plugin]
		for _, name := range sortedKeys(p.Secrets) {
			if p.IsEnabled() {
				check("plugins."+plugin+".secrets."+name, p.Secrets[name])
			}
		}
	}
	return out
}

// SecretMissing says which configured secret of a notifier cannot be read here; empty:
// none.
func (c *Config) SecretMissing(notifier string) string {
	for _, p := range c.CheckSecrets(nil) {
		if strings.HasPrefix(p.Key, "plugins."+notifier+".secrets.") || notifier == "openclaw" && p.Key == "openclaw_hooks_token" {
			return p.What
		}
	}
	return ""
}

// IsVariable reports whether a text is the name of an environment variable: letters, digits
// and underscores, no digit first.
func IsVariable(name string) bool {
	for i, c := range name {
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return name != ""
}

// Reveal returns the secret. A reference is resolved now: the variable must be
// set, the file readable and at most 64 KiB; white space around a file's text is
// cut. An empty Secret reveals the empty text.
func (s Secret) Reveal() (string, error) {
	if err := s.check(); err != nil {
		return "", fmt.Errorf("config: secret: want %w", err)
	}
	if name := s.variable(); name != "" {
		if v := os.Getenv(name); v != "" {
			return v, nil
		}
		return "", fmt.Errorf("config: secret: the environment variable %s is not set", name)
	}
	path := s.path()
	if path == "" {
		return s.raw(), nil
	}
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("config: secret: %w", err)
		}
		path = filepath.Join(home, rest)
	}
	text, err := files.ReadText(path, maxSecretBytes)
	if err != nil {
		return "", fmt.Errorf("config: secret: %w", err)
	}
	v := strings.TrimSpace(string(text))
	if v == "" {
		return "", fmt.Errorf("config: secret: %s is empty", path)
	}
	return v, nil
}

// String is empty, a reference as it was written, or "[redacted]".
func (s Secret) String() string {
	switch {
	case !s.IsSet():
		return ""
	case s.check() == nil && (s.variable() != "" || s.path() != ""):
		return s.raw()
	}
	return redacted
}

// Format is fmt.Formatter's: every verb prints String.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		fmt.Fprintf(f, "%q", s.String())
		return
	}
	io.WriteString(f, s.String())
}

// MarshalText is encoding.TextMarshaler's, for every encoding: String.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON writes String.
func (s Secret) MarshalJSON() ([]byte, error) { return jsontext.AppendQuote(nil, s.String()) }

// LogValue is slog.LogValuer's: String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
