package console

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// policiesPage is what decides, tells and answers here: plugins, and the rules.
type policiesPage struct {
	Plugins []pluginRow
	Rules   api.RulesView
	Wrong   *api.ErrorView // why the rules cannot be shown
}

// pluginRow is a plugin with what can be done to it.
type pluginRow struct {
	api.PluginView
	Own, Reloads bool // it was installed here; it has a file of its own
	Over         []hourBar
}

// hourBar is what the calls of an hour took.
type hourBar struct {
	From  time.Time
	Tall  float64
	Calls int64
	Says  string
}

// barsOf are a plugin's hours: the work of a call where it is counted, and else its time.
func barsOf(v api.PluginView) (out []hourBar) {
	for _, h := range v.Hours {
		bar := hourBar{h.From, float64(h.Work), h.Calls, strconv.FormatInt(h.Work, 10) + " units of work a call"}
		if v.Pace == nil || v.Pace.MostWork == 0 {
			bar.Tall, bar.Says = h.Micros, micros(h.Micros)+" a call"
		}
		out = append(out, bar)
	}
	return out
}

func (s *Server) policies(w http.ResponseWriter, r *http.Request) error {
	list, err := api.Plugins.Call(r.Context(), s.o.Caller, api.None{})
	if err != nil {
		return err
	}
	page := policiesPage{}
	for _, v := range list {
		page.Plugins = append(page.Plugins, pluginRow{v, v.Source == "installed", v.Path != "", barsOf(v)})
	}
	page.Rules, page.Wrong = s.rules(r)
	return s.render(w, r, "policies", "Policies", page)
}

// rules are those of the configuration file. A file with a mistake is no reason to show nothing.
func (s *Server) rules(r *http.Request) (v api.RulesView, wrong *api.ErrorView) {
	v, err := api.Rules.Call(r.Context(), s.o.Caller, api.None{})
	if err != nil {
		wrong = new(api.ErrorOf(err))
	}
	return v, wrong
}

// pluginAct loads a plugin anew, or removes it once its name was typed.
func (s *Server) pluginAct(w http.ResponseWriter, r *http.Request) error {
	name := r.PathValue("name")
	switch r.PathValue("act") {
	case "reload":
		list, err := api.PluginReload.Call(r.Context(), s.o.Caller, api.PluginRef{Name: name})
		if err != nil {
			return err
		}
		for _, v := range list {
			return back(w, r, "/policies", "Loaded "+v.Name+" anew: "+v.State+".")
		}
		return back(w, r, "/policies", "There is nothing to reload.")
	case "remove":
		if strings.TrimSpace(r.PostFormValue("value")) != name {
			return core.Refusef(core.Forbidden, "to remove the plugin, type %s; nothing was done", name)
		}
		if _, err := api.PluginRemove.Call(r.Context(), s.o.Caller, api.PluginRef{Name: name}); err != nil {
			return err
		}
		return back(w, r, "/policies", "Removed "+name+" with its grants and its store.")
	}
	return core.Refuse(core.NotFound, "there is no such action")
}

// uploaded hands a module of a form to the gateway, which tries it and keeps it for an hour.
func (s *Server) uploaded(r *http.Request, form sent) (api.UploadView, error) {
	p := api.UploadParams{Module: form.file("module"), Manifest: string(form.file("manifest")), Cases: map[string]string{}}
	if len(p.Module) == 0 {
		return api.UploadView{}, core.Refuse(core.Malformed, "no module was chosen; nothing was done").WithHint("choose a .wasm file, and the plugin.toml that belongs to it")
	}
	for _, f := range form.Files["cases"] {
		p.Cases[f.Name] = string(f.Text)
	}
	return api.PluginUpload.Call(r.Context(), s.o.Caller, p)
}

func (s *Server) uploadAct(w http.ResponseWriter, r *http.Request, form sent) error {
	v, err := s.uploaded(r, form)
	if err != nil {
		return err
	}
	return back(w, r, "/policies/uploads/"+v.ID, "")
}

// uploadPage is a plugin that was uploaded, with the form that installs it.
type uploadPage struct {
	api.UploadView
	Asked  []askRow
	Order  int
	Failed []failedCase
}

// askRow is one thing that it asks for.
type askRow struct {
	api.AskLine
	Now    bool // it is granted now
	Ticked bool
}

// failedCase is a case that it does not pass.
type failedCase struct {
	Name string
	Why  []string
}

func (s *Server) uploadPage(w http.ResponseWriter, r *http.Request) error {
	v, err := api.PluginUploaded.Call(r.Context(), s.o.Caller, api.UploadRef{ID: r.PathValue("id")})
	if err != nil {
		return err
	}
	page := uploadPage{UploadView: v}
	if v.Now != nil {
		page.Order = v.Now.Order
	}
	for _, l := range v.Asks.Lines() {
		row := askRow{AskLine: l, Now: v.Now != nil && len(v.Now.Grants.Missing(v.Asks.Pick([]string{l.Key}))) == 0}
		row.Ticked = l.Key != api.AskApproves && l.Key != api.AskReplies // a power over others is given by hand
		page.Asked = append(page.Asked, row)
	}
	for _, c := range v.Cases.Cases {
		if !c.Passed {
			page.Failed = append(page.Failed, failedCase{c.Name, slices.DeleteFunc(append(slices.Clone(c.Differences), c.Error), func(t string) bool { return t == "" })})
		}
	}
	return s.render(w, r, "upload", "A plugin to install", page)
}

// uploadedAct installs an uploaded plugin with what was ticked, or gives it up.
func (s *Server) uploadedAct(w http.ResponseWriter, r *http.Request) error {
	ref := api.UploadRef{ID: r.PathValue("id")}
	switch r.PathValue("act") {
	case "discard":
		if _, err := api.PluginDiscard.Call(r.Context(), s.o.Caller, ref); err != nil {
			return err
		}
		return back(w, r, "/policies", "The upload is gone; nothing was installed.")
	case "install":
	default:
		return core.Refuse(core.NotFound, "there is no such action")
	}
	v, err := api.PluginUploaded.Call(r.Context(), s.o.Caller, ref)
	if err != nil {
		return err
	}
	order, err := strconv.Atoi(strings.TrimSpace(r.PostFormValue("order")))
	if err != nil {
		return core.Refuse(core.Malformed, "the place in the order is a whole number, such as 10; nothing was installed")
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(doesWithin)) // it is compiled and loaded
	p := api.InstallParams{Name: strings.TrimSpace(r.PostFormValue("name")), Upload: v.ID, Order: order, NoCases: r.PostFormValue("nocases") == "yes", Grants: v.Asks.Pick(r.PostForm["grant"])}
	in, err := api.PluginInstall.Call(r.Context(), s.o.Caller, p)
	if err != nil {
		return err
	}
	return back(w, r, "/policies#plugin-"+url.PathEscape(in.Name), "Installed "+in.Name+": "+in.State+".")
}
