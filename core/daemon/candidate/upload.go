package candidate

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/hooks"
	"github.com/opengatewayprotocol/ogp/core/trial"
)

// maxTrialTime bounds how long an uploaded plugin is tried: it is compiled, loaded and
// asked its cases.
const maxTrialTime = time.Minute

// Upload is the method "plugin.upload".
func (s *Service) Upload(ctx context.Context, p api.UploadParams) (none api.UploadView, err error) {
	u := trial.Upload{Module: p.Module, Cases: map[string][]byte{}}
	if p.Manifest != "" {
		u.Manifest = []byte(p.Manifest)
	}
	for name, text := range p.Cases {
		u.Cases[name] = []byte(text)
	}
	done, err := s.one()
	if err != nil {
		return none, err
	}
	defer done()
	id, err := s.uploads.Put(u)
	if err != nil {
		return none, err
	}
	v, err := s.try(ctx, id)
	if err != nil {
		s.uploads.Drop(id)
	}
	return v, err
}

func (s *Service) try(ctx context.Context, id string) (none api.UploadView, err error) {
	f, _, err := s.kept(id)
	if err != nil {
		return none, err
	}
	h, err := trial.Open(trial.Options{CacheDir: s.o.CacheDir})
	if err != nil {
		return none, err
	}
	defer h.Close()
	limited, stop := context.WithTimeout(ctx, maxTrialTime)
	defer stop()
	r, err := h.Try(limited, f)
	switch {
	case ctx.Err() == nil && limited.Err() != nil:
		r.Failed = core.Refusef(core.TooLarge, "it took more than %s to load it and to run its cases", core.FormatDuration(maxTrialTime))
	case err != nil:
		return none, err
	}
	s.uploads.Note(id, r)
	return s.view(ctx, id, f, r)
}

// Uploaded is the method "plugin.uploaded".
func (s *Service) Uploaded(ctx context.Context, p api.UploadRef) (none api.UploadView, err error) {
	f, r, err := s.kept(p.ID)
	if err != nil {
		return none, err
	}
	return s.view(ctx, p.ID, f, r)
}

// kept is an upload as its files are now, and what its trial has found.
func (s *Service) kept(id string) (f *trial.Plugin, r trial.Result, err error) {
	dir, r, err := s.uploads.Get(id)
	if err != nil {
		return nil, r, err
	}
	files, err := hooks.ReadFiles(dir)
	if err == nil {
		f, err = trial.Of(files)
	}
	return f, r, unfit(err, dir)
}

// unfit makes an error of a call of what is wrong with an upload. Where it is kept says nothing
// to whoever has sent it.
func unfit(err error, dir string) error {
	var known *core.Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	return core.Refuse(core.Malformed, strings.ReplaceAll(err.Error(), dir+string(filepath.Separator), "")).
		WithHint("a plugin is a .wasm module, and the plugin.toml that belongs to it where it has none inside")
}

func (s *Service) view(ctx context.Context, id string, f *trial.Plugin, r trial.Result) (none api.UploadView, err error) {
	installed, err := s.o.Installed(ctx)
	if err != nil {
		return none, err
	}
	m := f.Module.Manifest
	v := api.UploadView{ID: id, Name: m.Name, Version: m.Version, Description: m.Description, Author: m.Author, Kind: f.Module.Kind, Hooks: m.Hooks, Intents: m.Intents,
		Size: f.Module.Size, SHA256: f.Module.SHA256, Asks: api.AsksOf(m), Needless: m.Pure() && len(m.HTTP) > 0, SelfTests: len(m.SelfTests), Cases: r.Cases}
	for _, in := range installed {
		if in.Name == v.Name {
			v.Now = &in
		}
	}
	v.Difference = hooks.Differ(f.Module, v.Now)
	if err := s.o.MayInstall(v.Name); err != nil {
		v.Taken = new(api.ErrorOf(err))
	}
	if r.Failed != nil {
		v.Error = new(api.ErrorOf(r.Failed))
	}
	return v, nil
}

// Discard is the method "plugin.discard".
func (s *Service) Discard(_ context.Context, p api.UploadRef) (api.None, error) {
	s.uploads.Drop(p.ID)
	return api.None{}, nil
}

// Installed removes what was uploaded, as it is installed now.
func (s *Service) Installed(p api.InstallParams) {
	if p.Upload != "" {
		s.uploads.Drop(p.Upload)
	}
}

// Install makes an installation of an upload one of its files.
func (s *Service) Install(p api.InstallParams) (api.InstallParams, error) {
	if p.Upload == "" {
		return p, nil
	}
	if s == nil {
		return p, core.Refuse(core.NotFound, "uploads are kept by a running gateway")
	}
	dir, r, err := s.uploads.Get(p.Upload)
	if err != nil {
		return p, err
	}
	if err := r.Cases.Failing(); err != nil && !p.NoCases {
		return p, err
	}
	p.Source, p.Digest = dir, p.Upload
	return p, nil
}
