//go:build !linux

package service

import (
	"errors"
	"runtime"

	"github.com/kardianos/service"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
)

// native is the service manager of macOS, Windows or a BSD.
type native struct {
	app    *cli.App
	system bool
}

var _ manager = native{}

func services(a *cli.App, system bool) manager { return native{a, system} }

// nobody is a program that others run: the manager starts "ogp start".
type nobody struct{}

func (nobody) Start(service.Service) error { return nil }

func (nobody) Stop(service.Service) error { return nil }

func (n native) service(s spec) (service.Service, error) {
	c := &service.Config{Name: UnitName, DisplayName: about, Description: "A federated front door for an agent gateway",
		Executable: s.Program, Arguments: s.args("--" + cli.ToFileFlag), UserName: s.RunAs,
		Option: service.KeyValue{"UserService": !n.system, "OnFailure": "restart", "OnFailureDelayDuration": "2s", "OnFailureResetPeriod": 300}}
	if runtime.GOOS == "darwin" {
		c.Name = launchdLabel
		c.Option["LaunchdConfig"] = launchdPlist(s)
	}
	return service.New(nobody{}, c)
}

func (n native) install(s spec) (string, error) {
	svc, err := n.service(s)
	if err != nil {
		return "", err
	}
	return "the service " + svc.String(), svc.Install()
}

// do acts on the service that is installed.
func (n native) do(act func(service.Service) error) error {
	svc, err := n.service(spec{})
	if err != nil {
		return err
	}
	if _, err := svc.Status(); errors.Is(err, service.ErrNotInstalled) {
		return notInstalled()
	}
	return act(svc)
}

func (n native) uninstall() error {
	return n.do(func(svc service.Service) error {
		_ = svc.Stop() // it may not run
		return svc.Uninstall()
	})
}

func (n native) start() error { return n.do(service.Service.Start) }

func (n native) stop() error { return n.do(service.Service.Stop) }

func (n native) status() (view, error) {
	svc, err := n.service(spec{})
	if err != nil {
		return view{}, err
	}
	s, err := svc.Status()
	switch {
	case errors.Is(err, service.ErrNotInstalled):
		return view{State: "not-installed"}, nil
	case err != nil:
		return view{}, err
	}
	v := view{Installed: true, File: svc.String(), State: "inactive", Enabled: true}
	if s == service.StatusRunning {
		v.State = "active"
	}
	return v, nil
}
