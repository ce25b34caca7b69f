package opa

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/opengatewayprotocol/ogp/core/plugin/guest"
)

// builtin is a function that the host has for policies. An error makes its call undefined, as in OPA.
type builtin struct {
	args int
	f    func(p *policy, args []jsontext.Value) (any, error)
}

// provided are all. Most of Rego's functions are in the module itself. They tell no more than the input does, and
// take time and memory in proportion to their arguments, which are paid for before they run.
var provided = map[string]builtin{
	"sprintf":     {2, sprintf},
	"trace":       {1, trace},
	"time.now_ns": {0, nowNS},
	"time.parse_rfc3339_ns": {1, of(func(text string) (any, error) {
		t, err := time.Parse(time.RFC3339Nano, text)
		return t.UnixNano(), err
	})},
	"time.parse_duration_ns": {1, of(func(text string) (any, error) {
		d, err := time.ParseDuration(text)
		return d.Nanoseconds(), err
	})},
	"time.clock":    {1, at(func(t time.Time) any { return []int{t.Hour(), t.Minute(), t.Second()} })},
	"time.date":     {1, at(func(t time.Time) any { return []int{t.Year(), int(t.Month()), t.Day()} })},
	"time.weekday":  {1, at(func(t time.Time) any { return t.Weekday().String() })},
	"time.add_date": {4, addDate},
	"crypto.sha256": {1, of(func(text string) (any, error) {
		sum := sha256.Sum256([]byte(text))
		return hex.EncodeToString(sum[:]), nil
	})},
	"crypto.hmac.sha256": {2, hmacSHA256},
}

// why says why a function of OPA's is not among them.
func why(name string) string {
	switch {
	case name == "http.send", name == "opa.runtime", strings.HasPrefix(name, "net."), strings.HasPrefix(name, "providers."):
		return " (a policy decides from its input alone)"
	case strings.HasPrefix(name, "rand."), strings.HasPrefix(name, "uuid."):
		return " (a policy decides the same when it is asked again)"
	}
	return ""
}

// maxZones bounds the time zones that an instance keeps.
const maxZones = 16

// maxBuiltin bounds what one call of a function takes and gives, in bytes.
const maxBuiltin = 256 << 10

// builtin calls one of the host's functions with values of the guest's heap. 0 is undefined.
func (p *policy) builtin(id int32, at []uint64) uint64 {
	p.h.Enter(0)
	if p.inside { // the functions below would run within themselves
		guest.Stop(guest.Trap, "it calls a built-in function while one is being called")
	}
	p.inside = true
	defer func() { p.inside = false }()
	name := p.builtins[id]
	b := provided[name]
	if b.f == nil || b.args != len(at) {
		guest.Stop(guest.Trap, "it calls a built-in function %d that it has not named, or with other arguments", id)
	}
	args, size := make([]jsontext.Value, len(at)), 0
	for i := range at {
		text, err := p.dump(at[i])
		if err != nil {
			panic(err)
		}
		if size += len(text); size > maxBuiltin {
			guest.Stop(guest.Limit, "%s: arguments of more than %d KiB", name, maxBuiltin>>10)
		}
		args[i] = slices.Clone(text)
	}
	p.h.Spend(200 + int64(size))
	v, err := b.f(p, args)
	if err != nil {
		return 0
	}
	text, err := json.Marshal(v, json.Deterministic(true))
	if err != nil {
		return 0
	}
	if len(text) > maxBuiltin {
		guest.Stop(guest.Limit, "%s: a result of more than %d KiB", name, maxBuiltin>>10)
	}
	value, err := p.parse(text)
	if err != nil {
		panic(err)
	}
	return value
}

// of is a function of one text.
func of(f func(text string) (any, error)) func(*policy, []jsontext.Value) (any, error) {
	return func(_ *policy, args []jsontext.Value) (any, error) {
		var text string
		if err := json.Unmarshal(args[0], &text); err != nil {
			return nil, err
		}
		return f(text)
	}
}

// at is a function of a time: nanoseconds, or a list of them and a time zone.
func at(f func(t time.Time) any) func(*policy, []jsontext.Value) (any, error) {
	return func(p *policy, args []jsontext.Value) (any, error) {
		t, err := p.timeOf(args[0])
		if err != nil {
			return nil, err
		}
		return f(t), nil
	}
}

func (p *policy) timeOf(v jsontext.Value) (time.Time, error) {
	ns, zone := v, "UTC"
	if v.Kind() == '[' {
		var both []jsontext.Value
		if err := json.Unmarshal(v, &both); err != nil {
			return time.Time{}, err
		}
		if len(both) != 2 {
			return time.Time{}, errors.New("want nanoseconds and a time zone")
		}
		if ns = both[0]; json.Unmarshal(both[1], &zone) != nil {
			return time.Time{}, errors.New("a time zone that is no text")
		}
	}
	var n int64
	if err := json.Unmarshal(ns, &n); err != nil {
		return time.Time{}, err
	}
	if zone == "" || zone == "Local" {
		zone = "UTC" // the gateway's own is not the policy's business
	}
	place, err := p.zone(zone)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, n).In(place), nil
}

// zone is a time zone, which is in a file: those that a policy has asked for are kept, up to maxZones.
func (p *policy) zone(name string) (*time.Location, error) {
	if z := p.zones[name]; z != nil {
		return z, nil
	}
	z, err := time.LoadLocation(name)
	if err == nil {
		if len(p.zones) >= maxZones {
			clear(p.zones)
		}
		p.zones[name] = z
	}
	return z, err
}

// nowNS is the time in the question: a policy has no clock, so that it decides the same in a replay.
func nowNS(p *policy, _ []jsontext.Value) (any, error) {
	text, _ := p.h.Get("now")
	t, err := time.Parse(time.RFC3339Nano, string(text))
	return t.UnixNano(), err
}

func addDate(p *policy, args []jsontext.Value) (any, error) {
	t, err := p.timeOf(args[0])
	if err != nil {
		return nil, err
	}
	var n [3]int
	for i := range n {
		if err := json.Unmarshal(args[i+1], &n[i]); err != nil {
			return nil, err
		}
		if n[i] < -100_000 || n[i] > 100_000 {
			return nil, errors.New("that is out of range: times reach from 1678 to 2261")
		}
	}
	t = t.AddDate(n[0], n[1], n[2])
	if y := t.Year(); y < 1678 || y > 2261 { // int64 nanoseconds
		return nil, errors.New("that is out of range: times reach from 1678 to 2261")
	}
	return t.UnixNano(), nil
}

func hmacSHA256(_ *policy, args []jsontext.Value) (any, error) {
	var text, key string
	if err := errors.Join(json.Unmarshal(args[0], &text), json.Unmarshal(args[1], &key)); err != nil {
		return nil, err
	}
	h := hmac.New(sha256.New, []byte(key))
	h.Write([]byte(text))
	return hex.EncodeToString(h.Sum(nil)), nil
}

func trace(p *policy, args []jsontext.Value) (any, error) {
	p.h.Log(0, args[0])
	return true, nil
}

// sprintf is OPA's, with bounds on what a format can blow up.
func sprintf(_ *policy, args []jsontext.Value) (any, error) {
	var format string
	var values []jsontext.Value
	if err := errors.Join(json.Unmarshal(args[0], &format), json.Unmarshal(args[1], &values)); err != nil {
		return nil, err
	}
	if err := checkFormat(format); err != nil {
		return nil, err
	}
	list := make([]any, len(values))
	for i, v := range values {
		switch v.Kind() {
		case '"':
			var text string
			if err := json.Unmarshal(v, &text); err != nil {
				return nil, err
			}
			list[i] = text
		case '0':
			list[i] = number(string(v))
		default:
			if err := v.Format(jsontext.SpaceAfterColon(true), jsontext.SpaceAfterComma(true), jsontext.Multiline(false)); err != nil {
				return nil, err
			}
			list[i] = string(v)
		}
	}
	return fmt.Sprintf(format, list...), nil
}

func number(text string) any {
	var n int
	if json.Unmarshal([]byte(text), &n) == nil {
		return n
	}
	if b, ok := new(big.Int).SetString(text, 10); ok && len(text) < 1000 {
		return b
	}
	var f float64
	if json.Unmarshal([]byte(text), &f) == nil {
		return f
	}
	return text
}

// checkFormat refuses widths of more than three digits, widths from arguments, and arguments that are used twice.
func checkFormat(format string) error {
	if len(format) > 4096 {
		return errors.New("a format of more than 4096 bytes")
	}
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			continue
		}
		digits := 0
		for i++; i < len(format) && strings.IndexByte("+-# 0123456789.[]*", format[i]) >= 0; i++ {
			switch c := format[i]; {
			case c == '*' || c == '[':
				return errors.New("a format with * or [")
			case c >= '0' && c <= '9':
				if digits++; digits > 3 {
					return errors.New("a width of more than three digits")
				}
			default:
				digits = 0
			}
		}
	}
	return nil
}
