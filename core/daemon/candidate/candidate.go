// Package candidate tries what is not in force: an uploaded plugin, other rules, both on what
// has come, one at a time beside the gateway. It answers the methods of the local API that
// are about that, and puts rules into the configuration file.
package candidate

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/replay"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// Options are what a service needs of its daemon.
type Options struct {
	Dir      string         // the state directory
	CacheDir string         // of compiled modules
	Config   config.Options // with which the configuration is loaded
	InForce  func() *config.Config
	// Installed are the plugins on record.
	Installed func(ctx context.Context) ([]hooks.Installed, error)
	// MayInstall says why a name is none for an installed plugin.
	MayInstall func(name string) error
	// Panel is replay.Panel of this gateway.
	Panel func(ctx context.Context, installed []hooks.Installed, with replay.Candidate, instances int) (*hooks.Manager, error)
	Past  func(ctx context.Context) (replay.Past, error)
	// Reload puts the configuration file in force.
	Reload func(ctx context.Context) error
	// Rules says how many rules are in force.
	Rules func() int
}

// Service tries candidates. Safe for concurrent use.
type Service struct {
	o       Options
	uploads *trial.Uploads
	trying  sync.Mutex // held while a candidate is tried
	editing sync.Mutex // held over a change of the configuration file
}

// uploadsDir is where uploaded plugins are kept, in the state directory.
const uploadsDir = "uploads"

// New makes a service, and removes the uploads that a crash has left.
func New(o Options) (*Service, error) {
	uploads, err := trial.OpenUploads(filepath.Join(o.Dir, uploadsDir))
	return &Service{o: o, uploads: uploads}, err
}

// Prune removes uploads that are old.
func (s *Service) Prune(now time.Time) { s.uploads.Prune(now) }

// Close removes all uploads.
func (s *Service) Close() error { return s.uploads.Close() }

// The bounds of a replay in the daemon, in bytes of memory and in time.
const (
	maxReplayBytes = 64 << 20
	maxReplayTime  = 2 * time.Minute
)

// one lets one candidate run at a time, beside the gateway.
func (s *Service) one() (done func(), err error) {
	if !s.trying.TryLock() {
		e := core.Refuse(core.Unavailable, "another candidate is being tried; only one runs at a time")
		e.RetryAfter, e.Hint = 10*time.Second, "try again when it is done; it ends by itself"
		return nil, e
	}
	return s.trying.Unlock, nil
}

// Replay is the method "policy.replay". One runs at a time, on half of the cores, and
// it ends with its caller.
func (s *Service) Replay(ctx context.Context, p api.ReplayParams) (api.ReplayView, error) {
	done, err := s.one()
	if err != nil {
		return api.ReplayView{}, err
	}
	defer done()
	ctx, stop := context.WithTimeout(ctx, maxReplayTime)
	defer stop()
	v, err := s.replay(ctx, p)
	if errors.Is(ctx.Err(), context.DeadlineExceeded) && err != nil {
		return v, core.Refusef(core.TooLarge, "the replay took more than %s, and was stopped", core.FormatDuration(maxReplayTime)).
			WithHint("a shorter window takes less; \"ogp policy replay\" has no such bound")
	}
	return v, err
}

// candidate is what a call carries, or has uploaded before.
func (s *Service) candidate(c api.Candidate) (replay.Candidate, error) {
	if c.Upload == "" {
		return replay.Of(c)
	}
	dir, _, err := s.uploads.Get(c.Upload)
	if err != nil {
		return replay.Candidate{}, err
	}
	with, err := replay.ReadCandidate(dir)
	with.Name = "module" // nobody else can do anything with its folder
	return with, err
}

func (s *Service) replay(ctx context.Context, p api.ReplayParams) (api.ReplayView, error) {
	past, err := s.o.Past(ctx)
	if err != nil {
		return api.ReplayView{}, err
	}
	with, err := s.candidate(p.Candidate)
	if err != nil {
		return api.ReplayView{}, err
	}
	if with.Rules != nil {
		if _, err := s.readRules(string(with.Rules)); err != nil {
			return api.ReplayView{}, err
		}
	}
	installed, err := s.o.Installed(ctx)
	if err != nil {
		return api.ReplayView{}, err
	}
	workers := replay.Workers()
	m, err := s.o.Panel(ctx, installed, with, workers)
	if err != nil {
		return api.ReplayView{}, err
	}
	defer m.Close()
	ask := replay.Ask{Since: p.Since, Workers: workers, MaxBytes: maxReplayBytes, Page: func(ctx context.Context, p api.DecisionsParams) (api.DecisionsPage, error) {
		return past.Page(ctx, p.Since, p.Before)
	}}
	v, err := ask.Run(ctx, m)
	v.With = with.Name
	return v, err
}
