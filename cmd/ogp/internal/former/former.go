// Package former takes the words of the TypeScript gateway's command line, which people
// and their agents' skill files go on typing: each is a name for commands of ours,
// which it runs.
//
// docs/migrating.md#what-you-typed-before
package former

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core"
)

// Run runs one command line of ours.
type Run func(ctx context.Context, args ...string) error

// words makes commands whose names are those of before.
type words struct {
	a   *cli.App
	run Run
}

// Commands are the words of before that are no command of ours by another name. They
// are not in the help.
func Commands(a *cli.App, run Run) []*cobra.Command {
	w := words{a, run}
	list := []*cobra.Command{
		w.as("install", "Run the gateway as a service", cobra.NoArgs, func([]string) []line { return one("service", "install") }),
		w.as("uninstall", "Remove the service", cobra.NoArgs, func([]string) []line { return one("service", "uninstall") }),
		w.agentComms(),
		w.intents(),
	}
	list = append(list, gone("ogp")...)
	for _, cmd := range list {
		hide(cmd)
	}
	return list
}

// hide keeps a command of before out of the help.
func hide(cmd *cobra.Command) { cmd.Hidden, cmd.Annotations = true, map[string]string{mark: ""} }

// mark is the annotation of a command of before.
const mark = "former"

// Is reports whether a command is one of before.
func Is(cmd *cobra.Command) bool {
	_, ok := cmd.Annotations[mark]
	return ok
}

// line is one command line of ours.
type line []string

func one(words ...string) []line { return []line{words} }

// as is a command that runs lines of ours.
func (w words) as(use, short string, args cobra.PositionalArgs, to func(args []string) []line) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		return w.do(cmd, to(args)...)
	}}
}

// do runs lines of ours, and says which, as that is what to type from now on.
func (w words) do(cmd *cobra.Command, lines ...line) error {
	for _, l := range lines {
		if !w.a.JSON {
			fmt.Fprintf(w.a.Err, "note: this is \"ogp %s\"\n", cli.Quoted(l...))
		}
		args := slices.Clone(l)
		for _, flag := range []struct{ name, value string }{{"--home", w.a.Home}, {"--config", w.a.File}} {
			if flag.value != "" {
				args = slices.Insert(args, 0, flag.name, flag.value)
			}
		}
		if w.a.JSON {
			args = slices.Insert(args, 0, "--json")
		}
		if err := w.run(cmd.Context(), args...); err != nil {
			return err
		}
	}
	return nil
}

// level is the line that sets the level of a topic, or of all that have none of their own.
func level(peer, level, topic string) line {
	l := line{"federation", "level", peer, level}
	if topic != "" {
		l = append(l, "--topic", topic)
	}
	return l
}

func (w words) agentComms() *cobra.Command {
	cmd := group("agent-comms", "Levels of topics, in the words of the TypeScript gateway")
	var last string
	var clearAll bool
	add := w.topicLevel("add-topic", "Set the level of a topic for a peer")
	set := w.topicLevel("set-topic", "Set the level of a topic for a peer")
	activity := &cobra.Command{Use: "activity [peer]", Short: "Show the agent-comms messages", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if clearAll {
			return cli.Usagef(`there is no activity log to clear: messages are kept for "inbox.keep"`)
		}
		l := line{"inbox", "list", "--intent", core.IntentAgentComms, "--limit", last}
		if len(args) == 1 {
			l = append(l, "--peer", args[0])
		}
		return w.do(cmd, l)
	}}
	activity.Flags().StringVar(&last, "last", "50", "how many")
	activity.Flags().BoolVar(&clearAll, "clear", false, "not there: messages are kept for inbox.keep")
	cmd.AddCommand(add, set, activity, w.configure(),
		w.as("policies [peer]", "Show the levels", cobra.MaximumNArgs(1), func(a []string) []line { return []line{append(line{"federation", "level"}, a...)} }),
		w.as("remove-topic <peer> <topic>", "Remove the level of a topic", cobra.ExactArgs(2), func(a []string) []line { return []line{level(a[0], "default", a[1])} }),
		w.as("set-default <peer> <level>", "Set a peer's level of the other topics", cobra.ExactArgs(2), func(a []string) []line { return []line{level(a[0], a[1], "")} }),
		w.as("reset <peer>", "Remove all levels of a peer", cobra.ExactArgs(1), func(a []string) []line { return one("federation", "level", a[0], "--reset") }),
		w.as("default <level>", "Set the level of topics that nobody has named", cobra.ExactArgs(1), func(a []string) []line { return one("config", "set", "agent_comms.default_level", a[0]) }))
	cmd.AddCommand(gone("ogp agent-comms")...)
	return cmd
}

// group is a command of before that only holds others.
func group(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
}

// topicLevel is a command that sets the level of one topic: the last argument, or --level.
func (w words) topicLevel(name, short string) *cobra.Command {
	var how string
	cmd := &cobra.Command{Use: name + " <peer> <topic> [level]", Short: short, Args: cobra.RangeArgs(2, 3)}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if given := cmd.Flags().Changed("level"); given && len(args) == 3 && args[2] != how {
			return cli.Usagef("two levels are given, %q and %q: name one", args[2], how)
		}
		return w.do(cmd, level(args[0], append(args[2:], how)[0], args[1]))
	}
	cmd.Flags().StringVarP(&how, "level", "l", "summary", "full, summary, escalate, deny or off")
	w.notes(cmd)
	return cmd
}

// notes takes the flag --notes, of which nothing is kept.
func (w words) notes(cmd *cobra.Command) {
	notes := cmd.Flags().StringP("notes", "n", "", "not kept")
	cmd.PreRun = func(*cobra.Command, []string) {
		if *notes != "" {
			fmt.Fprintln(w.a.Err, "note: --notes is not kept")
		}
	}
}

// configure sets the level of several topics, of peers or of all.
func (w words) configure() *cobra.Command {
	var everywhere bool
	var topics []string
	var how string
	cmd := &cobra.Command{Use: "configure [peers]", Short: "Set the level of several topics, for peers or for all", Args: cobra.MaximumNArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		var lines []line
		switch {
		case len(topics) == 0:
			return cli.Usagef("--topics is required")
		case everywhere == (len(args) == 1):
			return cli.Usagef("name peers, with commas between them, or --global")
		case everywhere:
			cfg, _, _, err := w.a.Load(nil)
			if err != nil {
				return err
			}
			all := maps.Clone(cfg.AgentComms.Topics)
			if all == nil {
				all = map[string]string{}
			}
			for _, t := range topics {
				all[t] = how
			}
			var pairs []string
			for _, t := range slices.Sorted(maps.Keys(all)) {
				pairs = append(pairs, t+"="+all[t])
			}
			lines = append(lines, line{"config", "set", "agent_comms.topics", strings.Join(pairs, ",")})
		default:
			for _, p := range strings.Split(args[0], ",") {
				for _, t := range topics {
					lines = append(lines, level(strings.TrimSpace(p), how, t))
				}
			}
		}
		return w.do(cmd, lines...)
	}}
	cmd.Flags().BoolVar(&everywhere, "global", false, "for all peers")
	cmd.Flags().StringSliceVarP(&topics, "topics", "t", nil, "topics, with commas between them")
	cmd.Flags().StringVarP(&how, "level", "l", "summary", "full, summary, escalate, deny or off")
	w.notes(cmd)
	return cmd
}

func (w words) intents() *cobra.Command {
	cmd := group("intent", "Intents of our own, in the words of the TypeScript gateway")
	var script, session, description string
	// change sets the intents of the configuration.
	change := func(cmd *cobra.Command, f func(intents []string) []string) error {
		cfg, _, _, err := w.a.Load(nil)
		if err != nil {
			return err
		}
		intents := f(slices.Clone(cfg.Intents))
		if slices.Equal(intents, cfg.Intents) {
			return nil
		}
		if len(intents) == 0 {
			return w.do(cmd, line{"config", "unset", "intents"})
		}
		return w.do(cmd, line{"config", "set", "intents", strings.Join(intents, ",")})
	}
	register := &cobra.Command{Use: "register <name>", Short: "Name an intent that peers may be granted", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		if script != "" {
			return cli.UsageHint("\"ogp plugin new "+cli.Quoted(args[0])+"\" begins one", "scripts are not run: a handler plugin answers an intent")
		}
		if session != "" {
			fmt.Fprintln(w.a.Err, "note: --session-key is not kept: all that comes goes to one agent, the setting \"agent_id\", or to the persona that it names")
		}
		return change(cmd, func(intents []string) []string {
			if slices.Contains(intents, args[0]) {
				return intents
			}
			return append(intents, args[0])
		})
	}}
	register.Flags().StringVar(&script, "script", "", "not run: a handler plugin answers")
	register.Flags().StringVar(&session, "session-key", "", "not kept")
	register.Flags().StringVar(&description, "description", "", "not kept")
	remove := &cobra.Command{Use: "remove <name>", Short: "Remove an intent from the configuration", Args: cobra.ExactArgs(1), RunE: func(cmd *cobra.Command, args []string) error {
		found := false
		err := change(cmd, func(intents []string) []string {
			found = slices.Contains(intents, args[0])
			return slices.DeleteFunc(intents, func(i string) bool { return i == args[0] })
		})
		if err == nil && !found {
			e := core.Refusef(core.NotFound, "no intent %q is in the configuration", args[0])
			e.Hint = `"ogp intent list" shows them`
			err = e
		}
		return err
	}}
	list := &cobra.Command{Use: "list", Short: "List the intents", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error {
		cfg, _, _, err := w.a.Load(nil)
		if err != nil {
			return err
		}
		return w.a.Print(map[string][]string{"builtIn": core.BuiltinIntents, "configured": cfg.Intents}, func() {
			w.a.Sayf(w.a.Err, "note: these are the built-in intents and the setting \"intents\"; \"ogp plugin list\" shows the plugins that answer some\n")
			for _, i := range slices.Concat(core.BuiltinIntents, cfg.Intents) {
				fmt.Fprintln(w.a.Out, i)
			}
		})
	}}
	cmd.AddCommand(list, register, remove)
	return cmd
}
