package rules

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/cost"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/text"
)

// The bounds of rules.
const (
	MaxRules     = 200
	MaxWhenBytes = 4096
	// maxCost bounds the work of one expression, in CEL's units: about a step of the
	// interpreter, or ten bytes of text looked at. It is some 10 to 300 ms, as measured.
	maxCost = 200_000
	// checkEvery is how many turns of a comprehension go by between two looks at the clock.
	checkEvery = 64
	// maxText is the longest text that an expression can meet, in characters; the cost of
	// an expression follows from it. limits.body_bytes may be more: then the cost is
	// counted as it comes.
	maxText = 1 << 20
	maxNest = 40
)

// compiler holds what the expressions of one set share.
type compiler struct {
	o       Options
	env     *cel.Env
	hours   map[string]*hours
	windows map[string]time.Duration
	longest time.Duration
}

// Compile reads rules. All mistakes come at once; the set is nil then.
func Compile(list []Rule, o Options) (*Set, []Problem) {
	if o.Zone == nil {
		o.Zone = time.Local
	}
	if len(list) > MaxRules {
		return nil, []Problem{{Rule: MaxRules, Member: "name", What: fmt.Sprintf("there are %d rules: want at most %d", len(list), MaxRules)}}
	}
	c := &compiler{o: o, hours: map[string]*hours{}, windows: map[string]time.Duration{}}
	var err error
	if c.env, err = c.newEnv(); err != nil {
		return nil, []Problem{{Member: "when", What: err.Error()}}
	}
	s := &Set{}
	var problems []Problem
	for i, r := range list {
		one, p := c.rule(r)
		for j := range p {
			p[j].Rule = i
		}
		problems = append(problems, p...)
		s.rules = append(s.rules, one)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	s.window = c.longest
	return s, nil
}

func (c *compiler) newEnv() (*cel.Env, error) {
	options := []cel.EnvOption{
		cel.CrossTypeNumericComparisons(true),
		cel.ParserExpressionSizeLimit(MaxWhenBytes), cel.ParserRecursionLimit(maxNest),
		cel.ASTValidators(cel.ValidateRegexLiterals(), cel.ValidateDurationLiterals(), cel.ValidateTimestampLiterals()),
		cel.Variable(self, selfType),
		cel.Macros(cel.GlobalMacro("hours", 1, c.expandHours), cel.GlobalMacro("hours", 2, c.expandHours),
			cel.GlobalMacro("recent", 1, c.expandRecent), cel.GlobalMacro("recent", 2, c.expandRecent)),
		cel.Function("@hours", cel.Overload("@hours_of_question", []*cel.Type{selfType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(in, spec ref.Val) ref.Val {
				return types.Bool(c.hours[string(spec.(types.String))].hold(in.(*vars).in.Now, c.o.Zone))
			}))),
		cel.Function("@recent", cel.Overload("@recent_of_question", []*cel.Type{selfType, cel.StringType, cel.StringType}, cel.IntType,
			cel.FunctionBinding(func(args ...ref.Val) ref.Val {
				return types.Int(args[0].(*vars).recent(c.windows[string(args[1].(types.String))], string(args[2].(types.String))))
			}))),
		cel.Function("isUnder", cel.MemberOverload("string_is_under_string", []*cel.Type{cel.StringType, cel.StringType}, cel.BoolType,
			cel.BinaryBinding(func(host, domain ref.Val) ref.Val {
				return types.Bool(isUnder(string(host.(types.String)), string(domain.(types.String))))
			}))),
		cel.Function("lower", cel.MemberOverload("string_lower", []*cel.Type{cel.StringType}, cel.StringType,
			cel.UnaryBinding(func(s ref.Val) ref.Val { return types.String(strings.ToLower(string(s.(types.String)))) }))),
	}
	for _, n := range names {
		options = append(options, cel.Variable(n.name, n.of))
	}
	return cel.NewEnv(options...)
}

// isUnder reports whether a host is a domain, or below it.
func isUnder(host, domain string) bool {
	host, domain = strings.ToLower(host), strings.ToLower(strings.TrimPrefix(domain, "."))
	return domain != "" && (host == domain || strings.HasSuffix(host, "."+domain))
}

// literal is the text of a macro's argument, which must be written as such, so that
// it is checked before the rule is in force.
func literal(eh cel.MacroExprFactory, e ast.Expr, what string) (string, *common.Error) {
	if e.Kind() == ast.LiteralKind {
		if s, ok := e.AsLiteral().(types.String); ok {
			return string(s), nil
		}
	}
	return "", eh.NewError(e.ID(), "want "+what+` in quotes`)
}

// expandHours makes hours("Mon-Fri 09:00-17:00", "Europe/Paris") of a macro's call.
func (c *compiler) expandHours(eh cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	spec, bad := literal(eh, args[0], "hours")
	if bad != nil {
		return nil, bad
	}
	h, err := parseHours(spec)
	if err != nil {
		return nil, eh.NewError(args[0].ID(), err.Error())
	}
	key := spec
	if len(args) == 2 {
		zone, bad := literal(eh, args[1], "a time zone")
		if bad != nil {
			return nil, bad
		}
		if h.zone, err = time.LoadLocation(zone); err != nil || zone == "" {
			return nil, eh.NewError(args[1].ID(), fmt.Sprintf(`unknown time zone %q: want one such as "Europe/Paris"`, zone))
		}
		key += "\n" + zone
	}
	c.hours[key] = &h
	return eh.NewCall("@hours", eh.NewIdent(self), eh.NewLiteral(types.String(key))), nil
}

// expandRecent makes recent("1h", "agent-comms") of a macro's call.
func (c *compiler) expandRecent(eh cel.MacroExprFactory, _ ast.Expr, args []ast.Expr) (ast.Expr, *common.Error) {
	window, bad := literal(eh, args[0], "a time")
	if bad != nil {
		return nil, bad
	}
	d, err := core.ParseDuration(window)
	if err != nil || d <= 0 || d > core.MaxRateWindow {
		return nil, eh.NewError(args[0].ID(), `want a time such as "10m", "1h" or "7d", at most 31d`)
	}
	intent := ""
	if len(args) == 2 {
		if intent, bad = literal(eh, args[1], "an intent"); bad != nil {
			return nil, bad
		}
	}
	c.windows[window] = d
	c.longest = max(c.longest, d)
	return eh.NewCall("@recent", eh.NewIdent(self), eh.NewLiteral(types.String(window)), eh.NewLiteral(types.String(intent))), nil
}

// rule compiles one rule.
func (c *compiler) rule(r Rule) (rule, []Problem) {
	out := rule{Rule: r}
	if len(r.When) > MaxWhenBytes {
		return out, []Problem{{Member: "when", What: fmt.Sprintf("it has %d bytes: want at most %d", len(r.When), MaxWhenBytes)}}
	}
	parsed, issues := c.env.Compile(r.When)
	if issues.Err() != nil {
		return out, problemsOf(r.When, issues)
	}
	if !parsed.OutputType().IsExactType(cel.BoolType) {
		return out, []Problem{{Member: "when", Line: 1, Column: 1, What: fmt.Sprintf("it gives a value of type %s, neither true nor false", parsed.OutputType()),
			Hint: `compare it with something: message.payload.urgent == true`}}
	}
	if p := patterns(parsed.NativeRep()); p != nil {
		return out, []Problem{*p}
	}
	uses := usesOf(parsed.NativeRep())
	if p := out.concerns(uses, c.o.Approves); p != nil {
		return out, []Problem{*p}
	}
	estimate, err := c.env.EstimateCost(parsed, sizes{})
	options := []cel.ProgramOption{cel.EvalOptions(cel.OptOptimize)}
	if out.bounded = err == nil && estimate.Max <= maxCost; !out.bounded {
		options = append(options, cel.CostLimit(maxCost), cel.CostTracking(sizes{}), cel.InterruptCheckFrequency(checkEvery))
	}
	if out.program, err = c.env.Program(parsed, options...); err != nil {
		return out, []Problem{{Member: "when", What: err.Error()}}
	}
	return out, nil
}

// patterns finds a regular expression that is not written in the rule. Matching takes time in proportion to the pattern, too,
// and nothing can interrupt it: a peer that chose both could hold a core for minutes.
func patterns(a *ast.AST) (p *Problem) {
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		if p != nil || e.Kind() != ast.CallKind || e.AsCall().FunctionName() != "matches" {
			return
		}
		args := e.AsCall().Args()
		if pattern := args[len(args)-1]; pattern.Kind() != ast.LiteralKind {
			at := a.SourceInfo().GetStartLocation(pattern.ID())
			p = &Problem{Member: "when", Line: at.Line(), Column: at.Column() + 1, What: "a regular expression that is not written in the rule",
				Hint: "write it in quotes; contains(...) looks for a text from elsewhere"}
		}
	}))
	return p
}

// usesOf lists the names that an expression uses.
func usesOf(a *ast.AST) map[string]bool {
	uses := map[string]bool{}
	ast.PreOrderVisit(a.Expr(), ast.NewExprVisitor(func(e ast.Expr) {
		switch e.Kind() {
		case ast.IdentKind:
			uses[e.AsIdent()] = true
		case ast.CallKind:
			uses[e.AsCall().FunctionName()] = true
		}
	}))
	for _, r := range a.ReferenceMap() {
		uses[r.Name] = true
	}
	return uses
}

// concerns finds what a rule is asked about: what its names are of, or else both.
func (r *rule) concerns(uses map[string]bool, approves bool) *Problem {
	ofMessage, ofRequest := uses["@recent"], false
	for n := range uses {
		ofMessage = ofMessage || strings.HasPrefix(n, "message.")
		ofRequest = ofRequest || strings.HasPrefix(n, "request.")
	}
	if ofMessage && ofRequest {
		return &Problem{Member: "when", What: "it is about a message and about a request, and can never hold", Hint: "write two rules"}
	}
	r.messages, r.requests = !ofRequest, !ofMessage
	switch r.Then {
	case Allow:
		if r.messages = true; ofRequest {
			return &Problem{Member: "then", What: `"allow" is about messages`, Hint: `then = "approve" approves a request`}
		}
		r.requests = false
	case Approve:
		switch {
		case ofMessage:
			return &Problem{Member: "then", What: `"approve" is about requests, and its expression is about a message`}
		case !approves:
			return &Problem{Member: "then", What: "no rule may approve strangers", Hint: "approves = true in [policy.rules] allows it"}
		case (uses["request.domain"] || uses["peer.gatewayUrl"]) && !uses["request.urlVerified"]:
			return &Problem{Member: "when", What: "it approves by a URL that anybody can claim", Hint: "begin it with request.urlVerified &&"}
		}
		r.messages = false
	}
	return nil
}

// undeclared is how the checker says that it knows no such name, and which is near.
var undeclared = regexp.MustCompile(`^undeclared reference to '([^']*)'(?: \(did you mean '([^']*)'\?\))?`)

func problemsOf(when string, issues *cel.Issues) []Problem {
	var out []Problem
	for _, e := range issues.Errors() {
		p := Problem{Member: "when", Line: e.Location.Line(), Column: e.Location.Column() + 1, What: e.Message}
		if p.Line < 1 {
			p.Line, p.Column = 0, 0
		}
		switch m := undeclared.FindStringSubmatch(e.Message); {
		case m != nil:
			if back := strings.LastIndex(m[1], "."); back > 0 && strings.HasPrefix(at(when, p.Line, p.Column-back), m[1]) {
				p.Column -= back // to where the name begins
			}
			p.What, p.Hint = unknown(m[1], m[2])
		case e.Message == "invalid matches argument":
			p.What, p.Hint = "not a regular expression", "it is written as RE2 has it; in double quotes, \\ stands for one backslash, and in r\"...\" it stands for itself"
		}
		p.What = strings.TrimPrefix(p.What, "Syntax error: ")
		out = append(out, p)
	}
	return out
}

// at is what stands at a place of an expression.
func at(when string, line, column int) string {
	lines := strings.Split(when, "\n")
	if line < 1 || line > len(lines) {
		return ""
	}
	runes := []rune(lines[line-1])
	if column < 1 || column > len(runes) {
		return ""
	}
	return string(runes[column-1:])
}

var functions = []string{"has", "size", "hours", "recent", "matches", "contains", "startsWith", "endsWith", "isUnder", "lower", "timestamp", "duration"}

// unknown says which name is meant.
func unknown(word, near string) (what, hint string) {
	if near == "" {
		known := slices.Clone(functions)
		for _, n := range names {
			known = append(known, n.name)
		}
		near, _ = text.Nearest(word, known)
	}
	if near == "" {
		return fmt.Sprintf("unknown name %q", word), "docs/rules.md lists the names"
	}
	return fmt.Sprintf("unknown name %q", word), fmt.Sprintf("did you mean %q?", near)
}

// sizes says how large what an expression reads can be.
type sizes struct{}

// EstimateSize bounds texts and lists by what an envelope can hold.
func (sizes) EstimateSize(n cost.AstNode) *cost.SizeEstimate {
	path := strings.Join(n.Path(), ".")
	switch {
	case path == "message.text":
		return &cost.SizeEstimate{Min: 0, Max: maxText}
	case path == "request.offeredIntents":
		return &cost.SizeEstimate{Min: 0, Max: maxOffered}
	case strings.HasPrefix(path, "request.offeredIntents"):
		return &cost.SizeEstimate{Min: 0, Max: maxShort}
	}
	if i, ok := byName[path]; ok && names[i].of == cel.StringType {
		return &cost.SizeEstimate{Min: 0, Max: maxShort}
	}
	return nil
}

// EstimateCallCost is that of our own functions of texts, which look at each byte; the library knows that of its own.
func (sizes) EstimateCallCost(function, _ string, target *cost.AstNode, args []cost.AstNode) *cost.CallEstimate {
	if !walksText(function) || target == nil {
		return nil
	}
	most := uint64(maxText)
	if s := (*target).ComputedSize(); s != nil {
		most = s.Max
	} else if s := (sizes{}).EstimateSize(*target); s != nil {
		most = s.Max
	}
	return &cost.CallEstimate{CostEstimate: cost.Estimate{Min: 1, Max: 1 + most/10}}
}

// CallCost is what a call has cost.
func (sizes) CallCost(function, _ string, args []ref.Val, _ ref.Val) *uint64 {
	text, ok := args[0].(types.String)
	if !walksText(function) || !ok {
		return nil
	}
	n := 1 + uint64(len(text))/10
	return &n
}

func walksText(function string) bool { return function == "lower" || function == "isUnder" }

const (
	maxShort   = 8 << 10
	maxOffered = 1000
)

// Zone finds a time zone by its name; empty is the machine's own.
func Zone(name string) (*time.Location, error) {
	if name == "" {
		return time.Local, nil
	}
	return time.LoadLocation(name)
}
