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
	Gateway struct {
		Port int `json:"port"`
	} `json:"gateway"`
	Hooks struct {
		Enabled bool   `json:"enabled"`
		Token   string `json:"token"`
		Path    string `json:"path"`
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
	if err := json5.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

var envReference = regexp.MustCompile(`^\$\{([A-Za-z_][A-Za-z0-9_]*)\}$`)

// openclawToken is the token for OpenClaw's webhooks, and where it is from: ours
// by configuration, else OpenClaw's own configuration, else the gateway token.
// It is read at every use, so that a changed one counts at once.
func (a *app) openclawToken(c *config.Config) (token, from string, err error) {
	if token, err = c.OpenClawHooksToken.Reveal(); err != nil || token != "" {
		return token, "openclaw_hooks_token", err
	}
	if own, err := a.readOpenclaw(); err == nil && own.Hooks.Token != "" {
		token := strings.TrimSpace(own.Hooks.Token)
		if m := envReference.FindStringSubmatch(token); m != nil {
			token = a.getenv(m[1])
		}
		if token != "" {
			return token, a.openclawFile(), nil
		}
	}
	token, err = c.OpenClawToken.Reveal()
	return token, "openclaw_token", err
}
