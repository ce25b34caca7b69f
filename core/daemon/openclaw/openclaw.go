// Package openclaw finds OpenClaw on this machine: its configuration, the token for
// its webhooks, and whether it takes a call. The configuration is only read.
package openclaw

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/titanous/json5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/nesting"
)

// File is where OpenClaw keeps its configuration.
func File(env []string) string {
	if path := config.Getenv(env, "OPENCLAW_CONFIG_PATH"); path != "" {
		return path
	}
	dir := config.Getenv(env, "OPENCLAW_STATE_DIR")
	if dir == "" {
		home := config.Getenv(env, "HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".openclaw")
	}
	return filepath.Join(dir, "openclaw.json")
}

// Config is what we read of OpenClaw's own configuration.
type Config struct {
	Gateway struct {
		Port int `json:"port"`
	} `json:"gateway"`
	Hooks struct {
		Enabled bool   `json:"enabled"`
		Token   string `json:"token"`
		Path    string `json:"path"`
	} `json:"hooks"`
	Channels struct {
		A2A struct {
			Enabled bool               `json:"enabled"`
			Peers   map[string]A2APeer `json:"peers"`
		} `json:"a2a"`
	} `json:"channels"`
}

// A2APeer is one that OpenClaw's A2A channel takes messages of.
type A2APeer struct {
	Token string `json:"token"`
}

// A2AName is what we are called among the peers of OpenClaw's A2A channel.
const A2AName = "ogp"

const maxFile = 4 << 20

// Read reads OpenClaw's configuration, which is JSON5. A file that is not
// there gives an error of kind NotFound.
func Read(env []string) (Config, error) {
	var c Config
	path := File(env)
	info, err := os.Stat(path)
	if err != nil {
		return c, &core.Error{Kind: core.NotFound, Public: "no OpenClaw configuration", Err: err}
	}
	if info.Size() > maxFile {
		return c, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	text, err := files.ReadText(path, maxFile)
	if err != nil {
		return c, err
	}
	if c, err = parse(text); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// parse reads JSON5 that is no deeper than the parser can bear.
func parse(text []byte) (c Config, err error) {
	if err = nesting.JSON5(text, maxFile); err == nil {
		err = json5.Unmarshal(text, &c)
	}
	return c, err
}

var envReference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// Expand fills in the ${VARIABLES} of OpenClaw's configuration, from the environment and
// then from the .env beside OpenClaw's state, as OpenClaw does. A variable that is set
// nowhere is an error that names it, as half a token is none.
func Expand(env []string, text string) (string, error) {
	var missing []string
	var files map[string]string
	text = envReference.ReplaceAllStringFunc(text, func(ref string) string {
		name := ref[2 : len(ref)-1]
		v := config.Getenv(env, name)
		if v == "" {
			if files == nil {
				files = dotenv(env)
			}
			v = files[name]
		}
		if v == "" {
			missing = append(missing, name)
		}
		return v
	})
	if len(missing) > 0 {
		return "", &core.Error{Kind: core.NotFound, Public: fmt.Sprintf("%s names ${%s}, which is set neither in our environment nor in %s",
			File(env), strings.Join(missing, "}, ${"), strings.Join(dotenvFiles(env), " or ")),
			Hint: "set it there, or openclaw_hooks_token in config.toml"}
	}
	return text, nil
}

// dotenvFiles are where OpenClaw looks for variables beside its environment.
func dotenvFiles(env []string) []string {
	var out []string
	if dir := config.Getenv(env, "OPENCLAW_STATE_DIR"); dir != "" {
		out = append(out, filepath.Join(dir, ".env"))
	}
	if home := config.Getenv(env, "HOME"); home != "" {
		out = append(out, filepath.Join(home, ".openclaw", ".env"))
	}
	return out
}

// dotenv reads those files: NAME=value a line, perhaps with "export" and quotes. The
// first that sets a variable counts.
func dotenv(env []string) map[string]string {
	vars := map[string]string{}
	for _, path := range dotenvFiles(env) {
		text, err := files.ReadText(path, maxFile)
		if err != nil {
			continue // most have none
		}
		for line := range strings.Lines(string(text)) {
			name, value, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "export "), "=")
			if name = strings.TrimSpace(name); !ok || name == "" || strings.HasPrefix(name, "#") || vars[name] != "" {
				continue
			}
			value = strings.TrimSpace(value)
			if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
				value = value[1 : n-1]
			}
			vars[name] = value
		}
	}
	return vars
}

// Token is the token for OpenClaw's webhooks, and where it is from: ours
// by configuration, else OpenClaw's own configuration, else the gateway token.
// It is read at every use, so that a changed one counts at once. An error names what
// cannot be read, or the variable that is missing.
func Token(env []string, c *config.Config) (token, from string, err error) {
	return tokenOf(env, c, func() (Config, error) { return Read(env) })
}

// tokenOf is Token, by OpenClaw's configuration as read gives it.
func tokenOf(env []string, c *config.Config, read func() (Config, error)) (token, from string, err error) {
	if token, err = c.OpenClawHooksToken.Reveal(); err != nil || token != "" {
		return token, "openclaw_hooks_token", err
	}
	own, err := read()
	if err != nil && !errors.Is(err, core.NotFound) {
		return "", File(env), err
	}
	if err == nil && own.Hooks.Token != "" {
		token, err := Expand(env, own.Hooks.Token)
		return strings.TrimSpace(token), File(env), err
	}
	token, err = c.OpenClawToken.Reveal()
	return token, "openclaw_token", err
}

// A2AToken is the token for OpenClaw's A2A channel, of OpenClaw's own configuration; empty:
// there is none. It is read at every use.
func A2AToken(env []string) (string, error) {
	return a2aTokenOf(env, func() (Config, error) { return Read(env) })
}

func a2aTokenOf(env []string, read func() (Config, error)) (string, error) {
	own, err := read()
	if errors.Is(err, core.NotFound) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	token, err := Expand(env, own.Channels.A2A.Peers[A2AName].Token)
	return strings.TrimSpace(token), err
}

// Seen is all of OpenClaw's set-up that we go by, to tell a change of it by. It holds no
// token.
type Seen struct {
	Enabled bool
	Path    string
	Port    int
	Token   [32]byte // of the token
	A2A     [32]byte // of that for its A2A channel
	Err     string
}

// Look reads OpenClaw's set-up once, with the token that counts for us.
func Look(env []string, c *config.Config) Seen {
	var s Seen
	read := sync.OnceValues(func() (Config, error) { return Read(env) })
	if own, err := read(); err == nil {
		s.Enabled, s.Path, s.Port = own.Hooks.Enabled, own.Hooks.Path, own.Gateway.Port
	}
	token, _, err := tokenOf(env, c, read)
	if err != nil {
		s.Err = err.Error()
	}
	s.Token = sha256.Sum256([]byte(token))
	a2a, err := a2aTokenOf(env, read)
	if err != nil {
		s.Err += err.Error()
	}
	s.A2A = sha256.Sum256([]byte(a2a))
	return s
}
