// Package openclaw finds OpenClaw on this machine: its configuration, the token for
// its webhooks, and whether it takes a call. The configuration is only read.
package openclaw

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/titanous/json5"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
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
}

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
	text, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	if err = nesting.JSON5(text, maxFile); err == nil { // no deeper than the parser can bear
		err = json5.Unmarshal(text, &c)
	}
	if err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

var envReference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// Expand fills in the ${VARIABLES} of OpenClaw's configuration. A variable that is
// not set leaves nothing, as half a token is none.
func Expand(env []string, text string) string {
	missing := false
	text = envReference.ReplaceAllStringFunc(text, func(ref string) string {
		v := config.Getenv(env, ref[2:len(ref)-1])
		missing = missing || v == ""
		return v
	})
	if missing {
		return ""
	}
	return text
}

// Token is the token for OpenClaw's webhooks, and where it is from: ours
// by configuration, else OpenClaw's own configuration, else the gateway token.
// It is read at every use, so that a changed one counts at once.
func Token(env []string, c *config.Config) (token, from string, err error) {
	if token, err = c.OpenClawHooksToken.Reveal(); err != nil || token != "" {
		return token, "openclaw_hooks_token", err
	}
	if own, err := Read(env); err == nil && own.Hooks.Token != "" {
		if token := strings.TrimSpace(Expand(env, own.Hooks.Token)); token != "" {
			return token, File(env), nil
		}
	}
	token, err = c.OpenClawToken.Reveal()
	return token, "openclaw_token", err
}
