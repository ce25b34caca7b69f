package main

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/control"
	"github.com/opengatewayprotocol/ogp/core/control/api"
	"github.com/opengatewayprotocol/ogp/core/scope"
	"github.com/opengatewayprotocol/ogp/sdk/scaffold"
)

// completeWithin is how long a shell may wait for names of the daemon. Without an
// answer there are none, and nothing is said.
const completeWithin = 500 * time.Millisecond

// completer gives what can stand in a place.
type completer struct {
	words func(a *app, c completing) []string // each with a description after a tab; nil: none
	files bool                                // where no word goes on as typed, files may
}

// completing is what is on the command line so far.
type completing struct {
	cmd   *cobra.Command
	args  []string // before
	typed string
}

func fixed[T ~string](list ...T) completer {
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = string(w)
	}
	return completer{words: func(*app, completing) []string { return words }}
}

// The completers of more than one place.
var (
	nothing    = completer{} // the place is free
	aFile      = completer{files: true}
	anIntent   = completer{words: intentsOf}
	anID       = completer{words: idsOf}
	anInvite   = completer{words: openCodes}
	pluginName = completer{words: pluginsOf}
	aPlugin    = completer{words: pluginsOf, files: true}
	logLevels  = fixed("debug", "info", "warn", "error")
)

// placeholders say what completes an argument, by its name in the usage line. A
// command that names its arguments in the same words needs nothing else.
var placeholders = map[string]completer{
	"peer":                 peersIn(),
	"peer or URL":          peersIn(),
	"intent":               anIntent,
	"level":                fixed(append(slices.Clone(scope.LevelNames), "default")...),
	"topic":                nothing,
	"id":                   anID,
	"code":                 anInvite,
	"code or link":         nothing, // another gateway's
	"message":              nothing,
	"payload":              nothing,
	"text or JSON":         nothing,
	"name":                 nothing, // a new one
	"key":                  nothing,
	"value":                nothing,
	"public key":           nothing,
	"gateway URL":          nothing,
	"file, folder or name": aPlugin,
	"file or folder":       aFile,
	"directory":            aFile,
	"folder":               aFile,
	"folder of cases":      aFile,
	"file":                 aFile,
}

// argumentsOf are the completers of single commands, where the usage line's words
// do not say it.
var argumentsOf = map[string][]completer{
	"ogp federation approve": {peersIn(core.Pending)},
	"ogp federation reject":  {peersIn(core.Pending)},
	"ogp federation grant":   {peersIn(core.Approved)},
	"ogp federation send":    {peersIn(core.Approved), anIntent, nothing},
	"ogp federation agent":   {peersIn(core.Approved), nothing, nothing},
	"ogp plugin remove":      {pluginName},
	"ogp plugin reload":      {pluginName},
	"ogp plugin kv":          {pluginName, nothing, nothing},
}

// flagValues complete the values of flags, by name; those of one command come
// first.
var flagValues = map[string]completer{
	"peer":                         peersIn(),
	"intent":                       anIntent,
	"intents":                      anIntent,
	"level":                        logLevels,
	"log-level":                    logLevels,
	"log-format":                   fixed("text", "json"),
	"type":                         fixed(append(slices.Clone(eventTypes), "federation")...),
	"since":                        fixed("1h", "24h", "7d"),
	"priority":                     fixed("low", "normal", "high"),
	"lang":                         fixed(scaffold.Langs...),
	"hook":                         fixed(scaffold.Hooks...),
	"ogp federation list --status": fixed(core.Requested, core.Pending, core.Approved, core.Rejected, core.Removed),
	"ogp inbox list --status":      fixed(core.InboxNew, core.InboxHeld, core.InboxReplied),
	"ogp outbox --state":           fixed(core.OutWaiting, core.OutSent, core.OutRefused, core.OutExpired),
}

// takesFile reports whether a flag's value is the name of a file or folder.
func takesFile(f *pflag.Flag) bool {
	return slices.ContainsFunc([]string{"home", "config", "file", "cert", "snapshot", "identity", "case", "import"}, func(word string) bool {
		return f.Name == word || strings.HasSuffix(f.Name, "-"+word)
	})
}

// addDefaults adds the commands "help" and "completion" of cobra, which here say
// what was meant by a word that they do not know.
func addDefaults(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" {
			cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	root.SetHelpCommand(&cobra.Command{
		Use: "help [command]", Short: "Show the help of a command",
		ValidArgsFunction: func(_ *cobra.Command, args []string, typed string) (out []string, _ cobra.ShellCompDirective) {
			cmd, _, err := root.Find(args)
			if err == nil {
				for _, sub := range cmd.Commands() {
					if sub.IsAvailableCommand() && strings.HasPrefix(sub.Name(), typed) {
						out = append(out, sub.Name()+"\t"+sub.Short)
					}
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(_ *cobra.Command, args []string) error {
			cmd, rest, err := root.Find(args)
			if err == nil && len(rest) > 0 && cmd.HasSubCommands() {
				err = cmd.ValidateArgs(rest)
			}
			if err != nil {
				return err
			}
			cmd.InitDefaultHelpFlag()
			return cmd.Help()
		},
	})
}

// completions gives every command its completers.
func (a *app) completions(cmd *cobra.Command) {
	for _, sub := range cmd.Commands() {
		a.completions(sub)
	}
	if cmd.ValidArgsFunction == nil {
		arguments := argumentsFor(cmd)
		cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			if len(args) >= len(arguments) {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return a.complete(arguments[len(args)], completing{cmd, args, typed})
		}
	}
	cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
		c, ok := flagValues[cmd.CommandPath()+" --"+f.Name]
		if !ok {
			c, ok = flagValues[f.Name]
		}
		if !ok && takesFile(f) {
			return // the shell completes files by itself
		}
		if !ok {
			c = nothing
		}
		if _, ok := cmd.GetFlagCompletionFunc(f.Name); ok {
			return
		}
		_ = cmd.RegisterFlagCompletionFunc(f.Name, func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
			return a.complete(c, completing{cmd, args, typed})
		}) // the flag is there
	})
}

// argumentsFor are the completers of a command's arguments, in order.
func argumentsFor(cmd *cobra.Command) []completer {
	if own, ok := argumentsOf[cmd.CommandPath()]; ok {
		return own
	}
	var out []completer
	for _, name := range argumentNames(cmd) {
		out = append(out, placeholders[name]) // an unknown one completes nothing
	}
	return out
}

// argumentNames reads the arguments in a usage line: <needed> and [optional].
func argumentNames(cmd *cobra.Command) []string {
	var names []string
	rest := cmd.Use
	for {
		i := strings.IndexAny(rest, "<[")
		if i < 0 {
			return names
		}
		end := strings.IndexAny(rest[i:], ">]")
		if end < 0 {
			return names
		}
		names = append(names, strings.Trim(rest[i+1:i+end], "<[."))
		rest = rest[i+end+1:]
	}
}

// complete gives what goes on from what is typed. Of a list, only the last is.
func (a *app) complete(c completer, at completing) ([]string, cobra.ShellCompDirective) {
	before := at.typed[:strings.LastIndex(at.typed, ",")+1]
	at.typed = at.typed[len(before):]
	var out []string
	if c.words != nil {
		for _, s := range c.words(a, at) {
			value, description, _ := strings.Cut(s, "\t")
			if strings.HasPrefix(strings.ToLower(value), strings.ToLower(at.typed)) {
				out = append(out, before+value+optional("\t", description))
			}
		}
	}
	if len(out) == 0 && c.files {
		return nil, cobra.ShellCompDirectiveDefault
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// soon asks the daemon, if one runs and answers soon.
func soon[P, R any](a *app, m control.Method[P, R], params P) (R, error) {
	ctx, cancel := context.WithTimeout(context.Background(), completeWithin)
	defer cancel()
	quiet := *a
	quiet.err = io.Discard
	return m.Call(ctx, &quiet, params)
}

// peersIn completes peers in some of the states, or in any: by alias, and by
// fingerprint where there is none or it is what is typed. What a peer calls itself
// is not for a shell.
func peersIn(states ...core.Trust) completer {
	return completer{words: func(a *app, c completing) []string {
		list, _ := soon(a, api.Peers, api.PeersParams{})
		var aliases, prints []string
		for _, p := range list {
			if len(states) > 0 && !slices.Contains(states, p.State) {
				continue
			}
			how := string(p.State) + optional(", ", p.Health.Word)
			if p.Alias != "" {
				aliases = append(aliases, safeLine(p.Alias)+"\t"+how)
			}
			if p.Alias == "" || c.typed != "" {
				prints = append(prints, p.Fingerprint+"\t"+how)
			}
		}
		return append(aliases, prints...)
	}}
}

// intentsOf completes what the peer before it lets us send, if it has said, else
// the intents that every gateway knows.
func intentsOf(a *app, c completing) []string {
	if len(c.args) == 0 {
		return core.BuiltinIntents
	}
	p, _ := soon(a, api.Peer, api.PeerRef{Peer: c.args[0]})
	if len(p.Received) == 0 {
		return core.BuiltinIntents
	}
	var out []string
	for _, g := range p.Received {
		if plainName.MatchString(g.Intent) {
			out = append(out, g.Intent)
		}
	}
	return out
}

// plainName is what we let a shell see of a peer's words.
var plainName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// idsOf completes messages of the outbox or messages of the inbox, the newest
// first.
func idsOf(a *app, c completing) []string {
	out := []string{"last\tthe newest"}
	if c.cmd.Parent().Name() == "outbox" {
		list, _ := soon(a, api.Outbox, api.OutboxParams{Limit: 20})
		for _, m := range list {
			out = append(out, m.ID+"\t"+safeLine(string(m.Kind)+" to "+m.To+", "+string(m.State)))
		}
		return out
	}
	list, _ := soon(a, api.Inbox, api.InboxParams{Limit: 20})
	for _, m := range list {
		out = append(out, m.ID+"\t"+safeLine("from "+m.From+", "+ago(m.At)))
	}
	return out
}

// openCodes completes our invites.
func openCodes(a *app, _ completing) []string {
	list, _ := soon(a, api.Invites, api.None{})
	var out []string
	for _, v := range list {
		out = append(out, v.Code+"\texpires "+until(v.Expires))
	}
	return out
}

// pluginsOf completes the plugins of the running gateway.
func pluginsOf(a *app, _ completing) []string {
	list, _ := soon(a, api.Plugins, api.None{})
	var out []string
	for _, v := range list {
		out = append(out, v.Name+"\t"+v.State)
	}
	return out
}
