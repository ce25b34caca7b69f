package main

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

// openclawFile is where OpenClaw keeps its configuration.
func (a *app) openclawFile() string {
	if path := a.getenv("OPENCLAW_CONFIG_PATH"); path != "" {
		return path
	}
	dir := a.getenv("OPENCLAW_STATE_DIR")
	if dir == "" {
		home := a.getenv("HOME")
		if home == "" {
			return ""
		}
		dir = filepath.Join(home, ".openclaw")
	}
	return filepath.Join(dir, "openclaw.json")
}

// openclawConfig is what we read of OpenClaw's own configuration.
type openclawConfig struct {
	Hooks struct {
		Token string `json:"token"`
	} `json:"hooks"`
}

const maxOpenclawFile = 4 << 20

// readOpenclaw reads OpenClaw's configuration, which is JSON5. A file that is not
// there gives an error of kind NotFound.
func (a *app) readOpenclaw() (openclawConfig, error) {
	var c openclawConfig
	path := a.openclawFile()
	info, err := os.Stat(path)
	if err != nil {
		return c, &core.Error{Kind: core.NotFound, Public: "no OpenClaw configuration", Err: err}
	}
	if info.Size() > maxOpenclawFile {
		return c, fmt.Errorf("%s is larger than %d bytes", path, maxOpenclawFile)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return c, err
	}
	return c, parseOpenclaw(path, text, &c)
}

// parseOpenclaw reads JSON5 that is nested no deeper than the parser can bear.
func parseOpenclaw(path string, text []byte, into any) error {
	err := nesting.JSON5(text, maxOpenclawFile)
	if err == nil {
		err = json5.Unmarshal(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

var envReference = regexp.MustCompile(`\$\{[A-Za-z_][A-Za-z0-9_]*\}`)

// expand fills in the ${VARIABLES} of OpenClaw's configuration. A variable that is
// not set leaves nothing, as half a token is none.
func (a *app) expand(text string) string {
	missing := false
	text = envReference.ReplaceAllStringFunc(text, func(ref string) string {
		v := a.getenv(ref[2 : len(ref)-1])
		missing = missing || v == ""
		return v
	})
	if missing {
		return ""
	}
	return text
}

// openclawToken is the token for OpenClaw's webhooks, and where it is from: ours
// by configuration, else OpenClaw's own configuration, else the gateway token.
// It is read at every use, so that a changed one counts at once.
func (a *app) openclawToken(c *config.Config) (token, from string, err error) {
	if token, err = c.OpenClawHooksToken.Reveal(); err != nil || token != "" {
		return token, "openclaw_hooks_token", err
	}
	if own, err := a.readOpenclaw(); err == nil && own.Hooks.Token != "" {
		if token := strings.TrimSpace(a.expand(own.Hooks.Token)); token != "" {
			return token, a.openclawFile(), nil
		}
	}
	token, err = c.OpenClawToken.Reveal()
	return token, "openclaw_token", err
}
