package candidate

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/config"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/files"
	"github.com/opengatewayprotocol/ogp/core/settings"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// Rules is the method "rules".
func (s *Service) Rules(context.Context, api.None) (api.RulesView, error) {
	v := api.RulesView{File: settings.Path(s.o.Config.File, s.o.Dir)}
	written, err := files.ReadText(v.File, settings.MaxFile)
	if err == nil {
		v.Text, err = settings.RulesIn(written)
	}
	v.Rules = s.o.Rules()
	if err == nil || errors.Is(err, os.ErrNotExist) || filepath.Ext(v.File) == ".json" {
		return v, nil
	}
	return v, core.Refusef(core.Malformed, "the rules in %s cannot be shown: %v", v.File, err).
		WithHint("fix the file (\"ogp config check\" says where); until then what was in force stays in force")
}

// readRules reads a text with rules. What is wrong with it is the caller's mistake.
func (s *Service) readRules(text string) (*config.Config, error) {
	c, err := s.o.InForce().WithRules("rules", []byte(text))
	return c, mistakes(err)
}

// mistakes makes an error of a call of the mistakes in a text.
func mistakes(err error) error {
	if wrong, ok := errors.AsType[config.Problems](err); ok {
		return &core.Error{Kind: core.Malformed, Public: strings.ReplaceAll(wrong.Error(), "config: ", ""), Hint: wrong.Hint()}
	}
	return err
}

// SetRules is the method "rules.set": what does not come into force is taken back.
func (s *Service) SetRules(ctx context.Context, p api.RulesParams) (none api.RulesView, err error) {
	c, err := s.readRules(p.Text)
	if err != nil {
		return none, err
	}
	s.editing.Lock()
	defer s.editing.Unlock()
	o := s.o.Config
	o.Home = s.o.Dir
	undo, err := settings.WriteRules(o, settings.Path(o.File, s.o.Dir), p.Text, p.Check)
	if err != nil || p.Check {
		return none, mistakes(err)
	}
	back := func(err error) (api.RulesView, error) {
		if failed := undo(); failed != nil {
			return none, errors.Join(err, failed)
		}
		return none, err
	}
	if err := s.o.Reload(ctx); err != nil {
		e := core.Refuse(core.Malformed, "the gateway cannot use it, nothing has changed: "+api.ErrorOf(err).Message)
		e.Hint = api.ErrorOf(err).Hint
		return back(e)
	}
	v, err := s.Rules(ctx, api.None{})
	if err == nil && v.Rules != len(c.Rules) {
		err = core.Refusef(core.Conflict, "only %s of %d came into force, so the file was put back as it was", text.Count(v.Rules, "rule", "rules"), len(c.Rules))
	}
	if err != nil {
		return back(err)
	}
	return v, nil
}
