package service

import (
	"context"

	"github.com/kardianos/service"
)

// program is a daemon that Windows' service manager starts and stops.
type program struct {
	ctx  context.Context
	run  func(context.Context) error
	stop context.CancelFunc
	done chan error
}

// Start begins to run, and returns at once.
func (p *program) Start(service.Service) error {
	ctx, stop := context.WithCancel(p.ctx)
	p.stop = stop
	go func() { p.done <- p.run(ctx) }()
	return nil
}

// Stop ends it and waits for its end.
func (p *program) Stop(service.Service) error {
	p.stop()
	return <-p.done
}

// Restart is what restarts a daemon that the service manager runs, in words; empty: it
// does not.
func Restart([]string) string {
	if service.Interactive() {
		return ""
	}
	return `"ogp service stop", then "ogp service start"`
}

// Managed runs the daemon as the service manager wants it, if that has started
// this process.
func Managed(ctx context.Context, run func(context.Context) error) error {
	if service.Interactive() {
		return run(ctx)
	}
	svc, err := service.New(&program{ctx: ctx, run: run, done: make(chan error, 1)}, &service.Config{Name: UnitName})
	if err != nil {
		return err
	}
	return svc.Run()
}

// giveTo does nothing: a directory's rights come from the one that it is in.
func giveTo(string, string) error { return nil }
