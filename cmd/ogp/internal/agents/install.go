package agents

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// Command is "ogp agent".
func Command(a *cli.App) *cobra.Command {
	return cli.Group("agent", "Give an agent the tools to talk to peers", installCommand(a))
}

// installView is what became of an installation, for --json.
type installView struct {
	Program string   `json:"program"`
	Files   []string `json:"files"` // that were changed, or would be
	Changed bool     `json:"changed"`
	Note    string   `json:"note,omitempty"`
}

func installCommand(a *cli.App) *cobra.Command {
	var only, remove, yes bool
	names := make([]string, len(programs))
	for i, p := range programs {
		names[i] = p.name
	}
	cmd := &cobra.Command{
		Use: "install <program>", Short: "Write the agent's tools into a program's settings", Args: cobra.ExactArgs(1), ValidArgs: names,
		Long: `Write "ogp mcp" into the settings of the program that your agent runs in:
` + strings.Join(names, ", ") + `.
For OpenClaw it also writes a skill that says what a notice is, and switches its
webhooks on. It shows the changes first; --uninstall removes them again.

  ogp agent install openclaw
  ogp agent install cursor --print`,
		RunE: func(cmd *cobra.Command, args []string) error {
			i := slices.Index(names, args[0])
			if i < 0 {
				return cli.Usagef("no program is named %q; there are %s", args[0], strings.Join(names, ", "))
			}
			return install(a, programs[i], only, remove, yes)
		},
	}
	cmd.Flags().BoolVar(&only, "print", false, "show what would change, and change nothing")
	cmd.Flags().BoolVar(&remove, "uninstall", false, "remove it again")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func install(a *cli.App, p program, only, remove, yes bool) error {
	all, err := readRecords(a)
	if err != nil {
		return err
	}
	e, err := ourEntry(a)
	if err != nil {
		return err
	}
	edits, err := plan(a, p, e, all.of(p.name), remove)
	if err != nil {
		return err
	}
	v := installView{Program: p.name, Files: []string{}}
	edits = slices.DeleteFunc(edits, func(x edit) bool { return bytes.Equal(x.before, x.after) && (x.before == nil) == (x.after == nil) })
	for _, x := range edits {
		v.Files = append(v.Files, x.path)
		if !a.JSON {
			fmt.Fprint(a.Out, difference(x))
		}
	}
	switch {
	case len(edits) == 0:
		v.Note = p.title + " has it as it should be; there is nothing to change."
	case only:
	default:
		if !yes {
			if err := a.Confirm("Change this?"); err != nil {
				return err
			}
		}
		for _, x := range edits {
			if err := x.write(); err != nil {
				return err
			}
		}
		if err := all.write(a); err != nil {
			return err
		}
		v.Changed, v.Note = true, a.Here("Start "+p.title+" again, if it runs. \"ogp agent install "+p.name+" --uninstall\" takes it out.")
		if remove {
			v.Note = "Start " + p.title + " again, if it runs."
		}
	}
	if a.JSON {
		a.WriteJSON(v)
	} else if v.Note != "" {
		fmt.Fprintln(a.Out, v.Note)
	}
	return nil
}

// maxSettings bounds a file of a program's settings, in bytes.
const maxSettings = 16 << 20

// plan is what would become of the program's files.
func plan(a *cli.App, p program, e entry, r record, remove bool) ([]edit, error) {
	path := p.file(a)
	if path == "" {
		return nil, core.Refuse(core.NotFound, "HOME is not set, and the settings of "+p.title+" are below it: set HOME and try again")
	}
	text, err := files.ReadText(path, maxSettings)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	own := edit{path: path, before: text, after: text}
	if remove {
		if text != nil {
			own.after, err = p.drop(text)
		} else {
			err = nil
		}
	} else {
		own.after, err = p.put(text, e)
	}
	edits := []edit{own}
	if err == nil && p.more != nil && (text != nil || !remove) {
		edits, err = p.more(a, r, edits, remove)
	}
	if err != nil {
		return nil, core.Refusef(core.Malformed, "%s cannot be edited: %v", path, err).WithHint("by hand: " + p.byHand(e))
	}
	return edits, nil
}

// ourEntry is how a program starts us.
func ourEntry(a *cli.App) (entry, error) {
	exe, err := os.Executable()
	if err != nil {
		return entry{}, err
	}
	e := entry{Command: exe, Args: []string{"mcp"}}
	if found, err := exec.LookPath("ogp"); err == nil && sameFile(found, exe) { // a name outlives an upgrade
		if e.Command, err = filepath.Abs(found); err != nil {
			return entry{}, err
		}
	}
	if a.Home != "" || a.Getenv("OGP_HOME") != "" {
		dir, err := a.StateDir()
		if err != nil {
			return entry{}, err
		}
		e.Args = append(e.Args, "--home", dir)
	}
	return e, nil
}

func sameFile(a, b string) bool {
	x, err1 := os.Stat(a)
	y, err2 := os.Stat(b)
	return err1 == nil && err2 == nil && os.SameFile(x, y)
}

func (x edit) write() error {
	if x.after == nil {
		if err := os.Remove(x.path); err != nil {
			return err
		}
		_ = os.Remove(filepath.Dir(x.path)) // it was ours if it is empty now
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(x.path), 0o700); err != nil {
		return err
	}
	return atomicfile.Edit(x.path, x.after)
}

// difference shows what becomes of a file: the lines that go and those that come, with
// the line before them.
func difference(x edit) string {
	show := func(text []byte) []string {
		s := string(text)
		if x.secret != "" {
			s = strings.ReplaceAll(s, x.secret, "(a new random token)")
		}
		if s == "" {
			return nil
		}
		return strings.Split(strings.TrimSuffix(s, "\n"), "\n")
	}
	old, now := show(x.before), show(x.after)
	from := 0
	for from < len(old) && from < len(now) && old[from] == now[from] {
		from++
	}
	end := 0
	for end < len(old)-from && end < len(now)-from && old[len(old)-1-end] == now[len(now)-1-end] {
		end++
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", x.path)
	if from > 0 {
		fmt.Fprintf(&b, "  %s\n", old[from-1])
	}
	for _, line := range old[from : len(old)-end] {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, line := range now[from : len(now)-end] {
		fmt.Fprintf(&b, "+ %s\n", line)
	}
	if end > 0 {
		fmt.Fprintf(&b, "  %s\n", old[len(old)-end])
	}
	return b.String()
}

// record is what a program's settings were before we changed them, as JSON by setting;
// empty: not there.
type record map[string]string

// records are those of all programs.
type records map[string]record

// recordsFile is in the state directory.
const recordsFile = "agents.json"

func (all records) of(name string) record {
	if all[name] == nil {
		all[name] = record{}
	}
	return all[name]
}

func readRecords(a *cli.App) (records, error) {
	dir, err := a.StateDir()
	if err != nil {
		return nil, err
	}
	text, err := files.ReadText(filepath.Join(dir, recordsFile), maxSettings)
	if errors.Is(err, os.ErrNotExist) {
		return records{}, nil
	}
	all := records{}
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	return all, err
}

func (all records) write(a *cli.App) error {
	for name, r := range all {
		if len(r) == 0 {
			delete(all, name)
		}
	}
	dir, err := a.StateDir()
	if err != nil {
		return err
	}
	path := filepath.Join(dir, recordsFile)
	if len(all) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return nil
	}
	text, err := json.Marshal(all, json.Deterministic(true))
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, text)
}
