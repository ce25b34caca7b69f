package legacy

import (
	"cmp"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// The files that stay behind.
const (
	projectsFile = "projects.json"
	intentsFile  = "intent-registry.json"
	activityFile = "activity.log"
)

// maxNamed bounds how many things of one file a warning names.
const maxNamed = 10

// behind says what of the directory is not taken over, and what to do about it.
func (i *Import) behind() {
	var projects []struct {
		ID   string `json:"id"`
		Name string `json:"name"`
	}
	if i.readBehind(projectsFile, &projects) && len(projects) > 0 {
		var names []string
		for _, p := range projects {
			names = append(names, cmp.Or(p.Name, p.ID, "?"))
		}
		i.warnf("%s: not taken over, as project.* intents are not built in: %s. Keep the file; a handler plugin can answer them (\"ogp plugin new\")", projectsFile, list(names))
	}
	var intents []struct {
		Name    string `json:"name"`
		Handler string `json:"handler"`
	}
	if i.readBehind(intentsFile, &intents) {
		var plain, scripts []string
		for _, in := range intents {
			switch {
			case slices.Contains(core.BuiltinIntents, in.Name) || strings.HasPrefix(in.Name, "project."):
			case in.Handler != "":
				scripts = append(scripts, in.Name)
			default:
				plain = append(plain, in.Name)
			}
		}
		if len(plain) > 0 {
			i.warnf("%s: not taken over: %s. Name them in `intents` of the configuration", intentsFile, list(plain))
		}
		if len(scripts) > 0 {
			i.warnf("%s: not taken over, as they run a script: %s. A handler plugin answers them (\"ogp plugin new\")", intentsFile, list(scripts))
		}
	}
	if info, err := os.Stat(filepath.Join(i.Dir, activityFile)); err == nil && info.Size() > 0 {
		i.warnf("%s: not taken over: it stays where it is. \"ogp inbox list\" and \"ogp logs\" have what comes from now on", activityFile)
	}
}

// readBehind reads a file that is there; one that cannot be read is named.
func (i *Import) readBehind(name string, into any) bool {
	text, err := readFile(filepath.Join(i.Dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		i.warnf("%s: not taken over, and it cannot be read", name)
	}
	return err == nil
}

func list(names []string) string {
	more := ""
	if len(names) > maxNamed {
		names, more = names[:maxNamed], " and others"
	}
	quoted := make([]string, len(names))
	for i, n := range names {
		quoted[i] = `"` + shown(n) + `"`
	}
	return strings.Join(quoted, ", ") + more
}
