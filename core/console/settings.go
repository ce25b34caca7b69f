package console

import (
	"net/http"
	"strings"

	"github.com/opengatewayprotocol/ogp/core/control/api"
)

// settingsPage is what is in force, and where each value comes from.
type settingsPage struct {
	File    string
	Wrong   *api.ErrorView // why the file cannot be taken up
	Differs []api.ConfigDifference
	Tables  []settingsTable
	Search  string
}

// settingsTable are the settings of one table of config.toml.
type settingsTable struct {
	Name     string
	Settings []api.SettingView
}

func (s *Server) settings(w http.ResponseWriter, r *http.Request) error {
	v, err := api.Config.Call(r.Context(), s.o.Caller, api.ConfigParams{Settings: true})
	if err != nil {
		return err
	}
	p := settingsPage{File: v.File, Wrong: v.FileError, Differs: v.Differs, Search: strings.TrimSpace(r.URL.Query().Get("q"))}
	for _, x := range v.Settings {
		if search := strings.ToLower(p.Search); search != "" && !strings.Contains(strings.ToLower(x.Key+" "+x.Doc), search) {
			continue
		}
		name, _, within := strings.Cut(x.Key, ".")
		if !within {
			name = ""
		}
		if n := len(p.Tables); n == 0 || p.Tables[n-1].Name != name {
			p.Tables = append(p.Tables, settingsTable{Name: name})
		}
		t := &p.Tables[len(p.Tables)-1]
		t.Settings = append(t.Settings, x)
	}
	return s.render(w, r, "settings", "Settings", p)
}

// setSetting changes one line of the configuration file.
func (s *Server) setSetting(w http.ResponseWriter, r *http.Request) error {
	p := api.SettingParams{Key: r.PostFormValue("key"), Value: r.PostFormValue("value"), Unset: r.PostFormValue("unset") == "yes"}
	v, err := api.ConfigSet.Call(r.Context(), s.o.Caller, p)
	if err != nil {
		return err
	}
	notice := "Set " + p.Key + " in " + v.File + "."
	if p.Unset {
		notice = "Removed " + p.Key + " from " + v.File + ": the default applies."
	}
	switch {
	case v.Override != "":
		notice += " It is still set by " + v.Override + ", which overrides the file."
	case v.Restart != "":
		notice += " It takes effect at the next start: " + s.here(v.Restart) + "."
	}
	return back(w, r, "/settings", notice)
}
