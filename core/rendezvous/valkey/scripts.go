package valkey

import (
	"embed"
	"strconv"

	"github.com/valkey-io/valkey-go"

	"github.com/opengatewayprotocol/ogp/core"
)

//go:embed lua
var sources embed.FS

// script joins parts of lua/.
func script(names ...string) *valkey.Lua {
	var text string
	for _, name := range names {
		b, err := sources.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(err) // it is embedded
		}
		text += string(b) + "\n"
	}
	return valkey.NewLuaScript(text)
}

// The scripts. Each reads and writes as one step of the engine.
var (
	putScript     = script("prelude", "put")
	dropScript    = script("prelude", "drop")
	expireScript  = script("prelude", "expire")
	countsScript  = script("prelude", "counts")
	holdScript    = script("prelude", "hold")
	addCodeScript = script("prelude", "addcode")
	resolveScript = script("prelude", "code", "resolve")
	codesScript   = script("prelude", "code", "codes")
	revokeScript  = script("prelude", "code", "revoke")
	admitScript   = script("prelude", "admit")
)

// The names in the engine, after the prefix.
func (s *Store) name(parts string) string       { return s.o.At.prefix + parts }
func (s *Store) record(k core.PublicKey) string { return s.name("record:") + string(k[:]) }
func (s *Store) brief() string                  { return s.name("brief") } // by when they expire: records of the ordinary life
func (s *Store) long() string                   { return s.name("long") }  // and those of a longer one
func (s *Store) dead() string                   { return s.name("dead") }  // by when they are forgotten
func (s *Store) holdName() string               { return s.name("hold") }
func (s *Store) counters() string               { return s.name("counters") }
func (s *Store) ofAddress() string              { return s.name("address:") } // + network: its records
func (s *Store) code(text string) string        { return s.name("code:") + text }
func (s *Store) codes() string                  { return s.name("codes") }
func (s *Store) codesOf(k core.PublicKey) string {
	return s.name("inviter:") + string(k[:])
}

func ms(n int64) string { return strconv.FormatInt(n, 10) }
