package service

import (
	"bytes"
	"cmp"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
)

// systemctl manages our unit of systemd. Another supervisor can be given what
// --print shows.
type systemctl struct {
	app    *cli.App
	system bool
}

var _ manager = systemctl{}

func services(a *cli.App, system bool) manager { return systemctl{a, system} }

// file is where the unit is.
func (s systemctl) file() (string, error) {
	if s.system {
		return "/etc/systemd/system/" + UnitName + ".service", nil
	}
	dir := s.app.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := s.app.Getenv("HOME")
		if home == "" {
			return "", errors.New("there is no $HOME to install a service of the user in")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "systemd", "user", UnitName+".service"), nil
}

// control runs systemctl and gives its output.
func (s systemctl) control(args ...string) (string, error) {
	if !s.system {
		args = append([]string{"--user"}, args...)
	}
	cmd := exec.Command("systemctl", args...)
	cmd.Env = s.app.Env
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), core.Refusef(core.Unavailable, "systemctl %s: %s", strings.Join(args, " "), cmp.Or(strings.TrimSpace(said.String()), err.Error())).
			WithHint(`without systemd, "ogp service install --print" shows what to tell another supervisor, and "ogp start --background" needs none`)
	}
	return out.String(), nil
}

func (s systemctl) install(spec spec) (string, error) {
	path, err := s.file()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	err = os.WriteFile(path, []byte(systemdUnit(spec)), 0o644) // as systemd wants it: anyone may read it
	if errors.Is(err, fs.ErrPermission) {
		return "", &core.Error{Kind: core.Forbidden, Public: "cannot write " + path, Err: err, Hint: "a service of the machine is installed as root: put sudo before \"ogp service install --system\""}
	}
	if err != nil {
		return "", err
	}
	if _, err := s.control("daemon-reload"); err != nil {
		return "", err
	}
	_, err = s.control("enable", UnitName+".service")
	return path, err
}

func (s systemctl) installed() (string, error) {
	path, err := s.file()
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return "", notInstalled()
	} else if err != nil {
		return "", err
	}
	return path, nil
}

func (s systemctl) uninstall() error {
	path, err := s.installed()
	if err != nil {
		return err
	}
	if _, err := s.control("disable", "--now", UnitName+".service"); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil {
		return err
	}
	_, err = s.control("daemon-reload")
	return err
}

func (s systemctl) act(verb string) error {
	if _, err := s.installed(); err != nil {
		return err
	}
	_, err := s.control(verb, UnitName+".service")
	return err
}

func (s systemctl) start() error { return s.act("start") }

func (s systemctl) stop() error { return s.act("stop") }

func (s systemctl) status() (view, error) {
	path, err := s.installed()
	if errors.Is(err, core.NotFound) {
		return view{State: "not-installed"}, nil
	}
	if err != nil {
		return view{}, err
	}
	text, err := s.control("show", UnitName+".service", "--property=ActiveState,MainPID,UnitFileState")
	if err != nil {
		return view{}, err
	}
	v := view{Installed: true, File: path}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "ActiveState":
			v.State = value
		case "MainPID":
			v.PID, _ = strconv.Atoi(value) // 0: none
		case "UnitFileState":
			v.Enabled = value == "enabled"
		}
	}
	return v, nil
}
