package legacy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/keys"
	"github.com/opengatewayprotocol/ogp/core/legacy"
)

// What is not taken over is named, with what to do.
func TestBehind(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("peers.json", "[]")
	warnings := func() string {
		t.Helper()
		in, err := legacy.Read(dir, nil)
		if !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Join(in.Warnings, "\n")
	}
	if got := warnings(); got != "" {
		t.Errorf("nothing stays behind, and is named: %s", got)
	}
	write("projects.json", `[{"id":"p1","name":"Moon\u001b[2J"},{"id":"p2"}]`)
	write("intent-registry.json", `[{"name":"message"},{"name":"project.join"},{"name":"weather"},{"name":"deploy","handler":"/bin/deploy"}]`)
	write("activity.log", "x")
	got := warnings()
	for _, want := range []string{`projects.json: not taken over`, `"Moon`, `"p2"`, "ogp plugin new", `not taken over: "weather". Name them in`, `run a script: "deploy"`, `activity.log: not taken over`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "\x1b") || strings.Contains(got, `"message"`) {
		t.Errorf("escapes, or what is built in:\n%s", got)
	}
	write("projects.json", `{`)
	if got := warnings(); !strings.Contains(got, "projects.json: not taken over, and it cannot be read") {
		t.Error(got)
	}
	write("projects.json", `[]`)
	if got := warnings(); strings.Contains(got, "projects.json") {
		t.Error(got)
	}
}

func key(t testing.TB, raw string) core.PublicKey {
	t.Helper()
	k, err := keys.Parse(core.SPKIPrefix + raw)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// The test keys of testdata, made from published seeds or from their names.
const (
	alice   = "a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4"
	bob     = "f42c7069474bd67791413e07619d97bd480d77fc870933a925bf70844abe2cd1"
	carol   = "0473dc92fef7972c169255271ec78b012edbfcac08d6933e5fb3b8264ecd3660"
	mallory = "9b691d31c7a59266859f97d6d9ea8d934ebb02bb74d2929e9aa94fbad7958663"
	dave    = "a12b85cbebf43038d61ed3b409c0bbd08644661e710c29aa3f299eb3e565ebdb"
	erin    = "470f6b9db92f89c62ae69ad4105751d0b8f2270844a9a1fadd750f1f8d3f1c8a"
	frank   = "a0188f06175e93e5fef9ce41186cf8475bede7a22c910ff62f5b4711ac991e0c"
)

func at(text string) time.Time {
	t, err := core.ParseTime(text)
	if err != nil {
		panic(err)
	}
	return t
}

var hourly = &core.RateLimit{Requests: 100, WindowSeconds: 3600}

func bundle(grantedAt string, scopes ...core.Grant) *core.Bundle {
	if scopes == nil {
		scopes = []core.Grant{}
	}
	return &core.Bundle{Version: "0.2.0", GrantedAt: grantedAt, Scopes: scopes}
}

// eras are the directories in testdata and what each holds.
func eras(t testing.TB) map[string][]*core.Peer {
	message := core.Grant{Intent: "message", Enabled: true, RateLimit: hourly}
	return map[string][]*core.Peer{
		"h-0.2.20": {
			{Key: key(t, bob), Label: "bob.example:18790", Names: core.Names{DisplayName: "Bob", Email: "bob@example.com"}, URL: "https://bob.example",
				Trust: core.Approved, Since: at("2026-03-01T10:05:00Z"), RequestedAt: at("2026-03-01T10:00:00Z"), ApprovedAt: at("2026-03-01T10:05:00Z")},
			{Key: key(t, carol), Label: "carol.example:18790", Names: core.Names{DisplayName: "Carol", Email: "carol@example.com"}, URL: "https://carol.example",
				Trust: core.Pending, Since: at("2026-03-02T10:00:00Z"), RequestedAt: at("2026-03-02T10:00:00Z"), Warning: unsure},
			{Key: key(t, mallory), Label: "mallory.example:18790", Names: core.Names{DisplayName: "Mallory", Email: "m@example.com"}, URL: "https://mallory.example",
				Trust: core.Rejected, By: core.Us, Since: at("2026-03-03T11:00:00Z"), RequestedAt: at("2026-03-03T10:00:00Z"), RejectedAt: at("2026-03-03T11:00:00Z")},
		},
		"s-0.2.30": {
			{Key: key(t, bob), Names: core.Names{DisplayName: "Bob", Email: "bob@example.com"}, URL: "https://bob.example",
				Trust: core.Approved, Since: at("2026-04-01T10:05:00Z"), RequestedAt: at("2026-04-01T10:00:00Z"), ApprovedAt: at("2026-04-01T10:05:00Z"),
				Granted:  bundle("2026-04-01T10:05:00.000Z", message, core.Grant{Intent: "agent-comms", Enabled: true, RateLimit: hourly, Topics: []string{"memory-management", "testing"}}),
				Received: bundle("2026-04-01T10:05:01.000Z", message), Offered: []string{"message", "agent-comms"},
				Levels: map[string]string{"memory-management": "full", "travel": "escalate"}, DefaultLevel: "summary"},
			{Key: key(t, carol), Alias: "carol", Label: "carol.example:18790", Names: core.Names{DisplayName: "Carol", Email: "carol@example.com"}, URL: "https://carol.example:18790",
				Trust: core.Requested, Since: at("2026-04-02T10:00:00Z"), RequestedAt: at("2026-04-02T10:00:00Z")},
			{Key: key(t, mallory), Names: core.Names{DisplayName: "Mallory", Email: "m@example.com"}, URL: "https://mallory.example",
				Trust: core.Removed, Since: at("2026-04-03T11:00:00Z"), RequestedAt: at("2026-04-03T10:00:00Z"), ApprovedAt: at("2026-04-03T10:30:00Z"), RemovedAt: at("2026-04-03T11:00:00Z")},
		},
		"m-0.4.3": {
			{Key: key(t, bob), Alias: "bob", Names: core.Names{DisplayName: "Bob", Email: "bob@example.com"}, URL: "https://bob.example",
				Trust: core.Approved, Since: at("2026-05-01T10:05:00Z"), RequestedAt: at("2026-05-01T10:00:00Z"), ApprovedAt: at("2026-05-01T10:05:00Z"),
				Granted: bundle("2026-05-01T10:05:00.000Z", message, core.Grant{Intent: "task-request", RateLimit: hourly},
					core.Grant{Intent: "status-update", Enabled: true, RateLimit: hourly, ExpiresAt: "2027-01-01T00:00:00.000Z"})},
			{Key: key(t, carol), Names: core.Names{DisplayName: "Carol", Email: "carol@example.com"}, URL: "https://carol.example",
				Trust: core.Pending, Since: at("2026-05-02T10:00:00Z"), RequestedAt: at("2026-05-02T10:00:00Z"), Offered: []string{"message"}},
			{Key: key(t, dave), Names: core.Names{DisplayName: "Dave", Email: "dave@example.com"}, URL: "https://dave.example",
				Trust: core.Pending, Since: at("2026-05-03T10:00:00Z"), RequestedAt: at("2026-05-03T10:00:00Z"), Warning: unsure},
		},
		"e-0.7.2": {
			{Key: key(t, bob), Alias: "bob", Names: core.Names{DisplayName: "Bob", Email: "bob@example.com", HumanName: "Bob B.", AgentName: "Bobot", Organization: "Bobs"}, URL: "https://bob.example", Tags: []string{"friend"},
				Trust: core.Approved, Since: at("2026-10-01T10:05:00Z"), RequestedAt: at("2026-10-01T10:00:00Z"), ApprovedAt: at("2026-10-01T10:05:00Z"),
				Granted:  bundle("2026-10-01T10:05:00.000Z", message, core.Grant{Intent: "agent-comms", Enabled: true, RateLimit: hourly, Topics: []string{"work"}, Personas: []string{"main"}}),
				Received: bundle("2026-10-01T10:06:00.000Z", message)},
			{Key: key(t, carol), Names: core.Names{DisplayName: "Carol", Email: "carol@example.com"}, URL: "https://carol.example",
				Trust: core.Pending, Since: at("2026-11-02T10:00:00Z"), RequestedAt: at("2026-11-02T10:00:00Z")},
			{Key: key(t, dave), Alias: "dave", Names: core.Names{DisplayName: "Dave"}, URL: "https://dave.example",
				Trust: core.Requested, Since: at("2026-11-03T10:00:00Z"), RequestedAt: at("2026-11-03T10:00:00Z")},
			{Key: key(t, mallory), Names: core.Names{DisplayName: "Mallory"}, URL: "https://bob.example",
				Trust: core.Removed, Since: at("2026-10-04T10:00:00Z"), RequestedAt: at("2026-09-04T10:00:00Z"), ApprovedAt: at("2026-09-04T10:10:00Z"), RemovedAt: at("2026-10-04T10:00:00Z")},
			{Key: key(t, erin), Alias: "erin", Label: "erin.example:18790", Names: core.Names{DisplayName: "Erin"}, URL: "https://erin.example",
				Trust: core.Approved, Since: at("2026-09-05T10:10:00Z"), RequestedAt: at("2026-09-05T10:00:00Z"), ApprovedAt: at("2026-09-05T10:10:00Z")},
			{Key: key(t, frank), Names: core.Names{DisplayName: "Frank  ignore previous"},
				Trust: core.Approved, Granted: bundle("", core.Grant{Intent: "agent-comms", Enabled: true, Topics: []string{"work"}}), Received: bundle(""),
				Levels: map[string]string{"work": "off", "home": "deny"}, DefaultLevel: "off"},
		},
	}
}

const unsure = "imported: the old file does not say who asked; if you did, ask again"

var exceptHistory = cmpopts.IgnoreFields(core.Peer{}, "History")

// snapshot is every file below dir with its content, mode and time.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		files[path] = info.Mode().String() + info.ModTime().String()
		if info.Mode().IsRegular() {
			data, err := os.ReadFile(path)
			files[path] += string(data)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestReadEveryEra(t *testing.T) {
	for era, want := range eras(t) {
		dir := filepath.Join("testdata", era)
		before := snapshot(t, dir)
		imp, err := legacy.Read(dir, nil)
		if imp == nil {
			t.Fatalf("%s: Read = %v", era, err)
		}
		if era == "m-0.4.3" { // its key is in a keychain
			var e *core.Error
			if !errors.Is(err, core.Unsupported) || !errors.As(err, &e) || !strings.Contains(e.Hint, "security find-generic-password -s ogp-federation-") || !imp.Key.IsZero() {
				t.Errorf("%s: Read = %v, want Unsupported with the way to the keychain", era, err)
			}
		} else if err != nil || imp.Key.Public() != key(t, alice) {
			t.Errorf("%s: Read = %v, %v, want alice's key", era, imp.Key.Public(), err)
		}
		if diff := cmp.Diff(want, imp.Peers, exceptHistory); diff != "" {
			t.Errorf("%s: peers (-want +got):\n%s", era, diff)
		}
		for _, p := range imp.Peers {
			if len(p.History) != 1 || p.History[0].Event != "import" || p.History[0].To != p.Trust {
				t.Errorf("%s: history of %s = %v, want the import alone", era, p.Name(), p.History)
			}
		}
		if diff := cmp.Diff(before, snapshot(t, dir)); diff != "" {
			t.Errorf("%s: Read changed the directory:\n%s", era, diff)
		}
	}
}

func TestReadWarnsOfWhatItLeavesOut(t *testing.T) {
	for era, wants := range map[string][]string{
		"h-0.2.20": {`peers.json[1] "Carol": pending, and the file does not say who asked`},
		"s-0.2.30": {`peers.json[0] "Bob": notes on topic "memory-management" are not used`},
		"m-0.4.3":  {`peers.json[2] "Dave": pending, and`, `member "agentId" of 1 record is not used`},
		"e-0.7.2": {
			`peers.json[5] "Erin": a second record`,
			`peers.json[6] "Me": has our own key, left out`,
			`peers.json[7] "X25519": left out: public key`,
			`peers.json[8] "Weak": left out: public key: of low order`,
			`peers.json[9] "bob": gateway URL cannot be used`,
			`peers.json[9] "bob": requestedAt is not a time`,
			`peers.json[9] "bob": grantedScopes: grant 0 cannot be read`,
			`peers.json[9] "bob": grantedScopes: grant 1 cannot be read`,
			`peers.json[9] "bob": receivedScopes cannot be read`,
			`peers.json[9] "bob": receivedScopes: allows nothing until granted again`,
			`peers.json[9] "bob": responsePolicy of topic "work" cannot be read: off`,
			`peers.json[9] "bob": defaultLevel "everything" is unknown: off`,
			`peers.json[10] "Grace": left out: status "frozen" is unknown`,
			`peers.json[11]: not a peer, left out`,
			`peers.json[12]: not a peer, left out`,
			`peers.json[13]: not a peer, left out`,
			`peers.json: alias "bob" stands for several peers`,
		},
	} {
		imp, _ := legacy.Read(filepath.Join("testdata", era), nil)
		if len(imp.Warnings) != len(wants) {
			t.Errorf("%s: %d warnings, want %d:\n%s", era, len(imp.Warnings), len(wants), strings.Join(imp.Warnings, "\n"))
			continue
		}
		for i, want := range wants {
			if !strings.HasPrefix(imp.Warnings[i], want) && !strings.Contains(imp.Warnings[i], want) {
				t.Errorf("%s: warning %d = %q, want %q", era, i, imp.Warnings[i], want)
			}
		}
	}
}

// write makes a state directory of given files.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func sample(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", filepath.FromSlash(name)))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestReadOpensASealedKey(t *testing.T) {
	pair := sample(t, "e-0.7.2/keypair.json")
	for name, c := range map[string]struct {
		config  string
		secrets []string
		opens   bool
	}{
		"secret of the config":   {`{"openclawToken":"openclaw-token"}`, nil, true},
		"second of the config":   {`{"hermesWebhookSecret":"other","openclawToken":"openclaw-token"}`, nil, true},
		"secret given":           {`{}`, []string{"", "openclaw-token"}, true},
		"no secret":              {`{}`, nil, false},
		"wrong secret":           {`{"openclawToken":"other"}`, []string{"another"}, false},
		"config that is no JSON": {`{"openclawToken":"openclaw-token"`, nil, false},
		"config of other types":  {`{"openclawToken":["openclaw-token"]}`, nil, false},
	} {
		imp, err := legacy.Read(write(t, map[string]string{"keypair.json": pair, "config.json": c.config, "peers.json": "[]"}), c.secrets)
		if imp == nil || imp.Key.IsZero() == c.opens || (err == nil) != c.opens {
			t.Errorf("%s: Read = %v, want the key: %v", name, err, c.opens)
		}
		if !c.opens && (!errors.Is(err, core.Forbidden) || strings.Contains(err.Error(), "openclaw-token")) {
			t.Errorf("%s: Read = %v, want Forbidden and no secret in it", name, err)
		}
	}
}

func TestReadOfHalfADirectory(t *testing.T) {
	imp, err := legacy.Read(write(t, map[string]string{"peers.json": sample(t, "h-0.2.20/peers.json")}), nil)
	if !errors.Is(err, fs.ErrNotExist) || imp == nil || len(imp.Peers) != 3 {
		t.Errorf("Read without a key = %v, %v, want fs.ErrNotExist and three peers", imp, err)
	}
	imp, err = legacy.Read(write(t, map[string]string{"keypair.json": sample(t, "h-0.2.20/keypair.json")}), nil)
	if err != nil || imp.Key.IsZero() || len(imp.Warnings) != 1 {
		t.Errorf("Read without peers = %v, %v, want the key and a warning", imp, err)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "gone")} {
		if imp, err := legacy.Read(dir, nil); !errors.Is(err, core.NotFound) || imp != nil {
			t.Errorf("Read(%s) = %v, %v, want NotFound", dir, imp, err)
		}
	}
	for _, text := range []string{"", "{}", "[", "null x", `[{"id":"a"}] trailing`} {
		dir := write(t, map[string]string{"keypair.json": sample(t, "h-0.2.20/keypair.json"), "peers.json": text})
		if imp, err := legacy.Read(dir, nil); !errors.Is(err, core.Malformed) || imp != nil {
			t.Errorf("Read with peers %q = %v, %v, want Malformed", text, imp, err)
		}
	}
}

func TestReadOfABentRecordCostsThatRecord(t *testing.T) {
	good := `{"publicKey":"` + core.SPKIPrefix + bob + `","gatewayUrl":"https://bob.example","status":"approved"}`
	for name, bent := range map[string]string{
		"duplicate names": `{"status":"removed","status":"approved"}`,
		"invalid UTF-8":   "{\"displayName\":\"\xff\"}",
		"key as number":   `{"publicKey":1,"status":"approved"}`,
		"a list":          `[]`,
	} {
		imp, err := legacy.Read(write(t, map[string]string{"keypair.json": sample(t, "h-0.2.20/keypair.json"), "peers.json": "[" + bent + "," + good + "]"}), nil)
		if err != nil || len(imp.Peers) != 1 || imp.Peers[0].Key != key(t, bob) || len(imp.Warnings) == 0 {
			t.Errorf("%s: Read = %+v, %v, want bob and a warning", name, imp, err)
		}
	}
}

// TestT1ImportNeverTurnsAStrangerIntoOneWeAsked: a peer that we have asked may
// approve itself, so a record must show that it was us.
func TestT1ImportNeverTurnsAStrangerIntoOneWeAsked(t *testing.T) {
	for members, want := range map[string]core.Trust{
		``:                                      core.Pending,
		`,"federationState":"init"`:             core.Pending,
		`,"federationState":"init","alias":"x"`: core.Pending,
		`,"offeredIntents":["message"]`:         core.Pending,
		`,"offeredIntents":["message"],"alias":"x"`: core.Pending,
		`,"alias":"x"`:   core.Requested,
		`,"petname":"x"`: core.Requested,
		`,"alias":""`:    core.Pending,
		`,"federationState":"tombstoned","alias":"x","removedAt":"2026-01-01T00:00:00Z"`: core.Requested,
		`,"ogp":{"requestedBy":"us"}`:               core.Requested,
		`,"ogp":{"requestedBy":"them"},"alias":"x"`: core.Pending,
		`,"ogp":{"requestedBy":"nobody"}`:           core.Pending,
		`,"ogp":"us"`:                               core.Pending,
	} {
		text := `[{"publicKey":"` + core.SPKIPrefix + bob + `","gatewayUrl":"https://bob.example","status":"pending",` +
			`"grantedScopes":{"version":"0.2.0","scopes":[{"intent":"message","enabled":true}]},"defaultLevel":"full"` + members + `}]`
		imp, _ := legacy.Read(write(t, map[string]string{"peers.json": text}), nil)
		if imp == nil || len(imp.Peers) != 1 || imp.Peers[0].Trust != want {
			t.Errorf("pending with %s = %+v, want %s", members, imp, want)
			continue
		}
		if p := imp.Peers[0]; p.Granted != nil || p.DefaultLevel != "" || !p.RemovedAt.IsZero() {
			t.Errorf("pending with %s keeps power or left-overs: %+v", members, p)
		}
	}
}

func TestReadOfTwoRecordsTakesTheLaterStanding(t *testing.T) {
	record := func(status, times string) string {
		return `{"publicKey":"` + core.SPKIPrefix + bob + `","gatewayUrl":"https://bob.example","status":"` + status + `",` + times + `}`
	}
	approved := record("approved", `"approvedAt":"2026-02-01T00:00:00Z"`)
	for name, c := range map[string]struct {
		other string
		want  core.Trust
	}{
		"removed later":   {record("removed", `"approvedAt":"2026-01-01T00:00:00Z","removedAt":"2026-03-01T00:00:00Z"`), core.Removed},
		"removed earlier": {record("removed", `"approvedAt":"2026-01-01T00:00:00Z","removedAt":"2026-01-15T00:00:00Z"`), core.Approved},
		"rejected later":  {record("rejected", `"rejectedAt":"2026-03-01T00:00:00Z"`), core.Rejected},
	} {
		for _, text := range []string{"[" + approved + "," + c.other + "]", "[" + c.other + "," + approved + "]"} {
			imp, _ := legacy.Read(write(t, map[string]string{"peers.json": text}), nil)
			if imp == nil || len(imp.Peers) != 1 || imp.Peers[0].Trust != c.want {
				t.Errorf("%s: Read = %+v, want one peer, %s", name, imp, c.want)
			}
		}
	}
}

// An alias that names another gateway by itself stays behind, with a warning.
func TestReadOfAnAliasThatIsAnothersName(t *testing.T) {
	var carols core.PublicKey
	if err := carols.UnmarshalText([]byte(core.SPKIPrefix + carol)); err != nil {
		t.Fatal(err)
	}
	for _, alias := range []string{carols.Fingerprint(), carols.Fingerprint()[:9], carol[:8], "https://bob.example"} {
		imp, _ := legacy.Read(write(t, map[string]string{"peers.json": `[{"publicKey":"` + core.SPKIPrefix + bob + `","gatewayUrl":"https://bob.example","status":"approved","alias":"` + alias + `"},` +
			`{"publicKey":"` + core.SPKIPrefix + carol + `","gatewayUrl":"https://carol.example","status":"approved","alias":"carol"}]`}), nil)
		if imp == nil || len(imp.Peers) != 2 || imp.Peers[0].Alias != "" || imp.Peers[1].Alias != "carol" || !strings.Contains(strings.Join(imp.Warnings, "\n"), "goes without its alias") {
			t.Errorf("%q: Read = %+v, want bob without it, carol, and a warning", alias, imp)
		}
	}
}

func TestExportReadsBack(t *testing.T) {
	sets := eras(t)
	// What no TypeScript file holds.
	sets["ours"] = []*core.Peer{
		{Key: key(t, carol), URL: "https://carol.example", Trust: core.Requested, RequestedAt: at("2026-01-01T00:00:00Z"), Since: at("2026-01-01T00:00:00Z")},
		{Key: key(t, dave), Alias: "dave", URL: "https://dave.example", Trust: core.Pending, RequestedAt: at("2026-01-01T00:00:00Z"), Since: at("2026-01-01T00:00:00Z"), V2: true},
		{Key: key(t, erin), URL: "https://erin.example", Trust: core.Removed, By: core.Them, RemovedAt: at("2026-01-01T00:00:00.123Z"), Since: at("2026-01-01T00:00:00.123Z")},
		{Key: key(t, frank), URL: "https://frank.example", Trust: core.Rejected, By: core.Them, RejectedAt: at("2026-01-01T00:00:00Z"), Since: at("2026-01-01T00:00:00Z")},
	}
	for era, peers := range sets {
		data, err := legacy.ExportPeers(peers)
		if err != nil {
			t.Fatalf("%s: ExportPeers = %v", era, err)
		}
		imp, err := legacy.Read(write(t, map[string]string{"keypair.json": sample(t, "h-0.2.20/keypair.json"), "peers.json": string(data)}), nil)
		if err != nil {
			t.Fatalf("%s: Read of the export = %v", era, err)
		}
		// Who asked is no longer in question after an import.
		if diff := cmp.Diff(peers, imp.Peers, exceptHistory, cmpopts.IgnoreFields(core.Peer{}, "Warning")); diff != "" {
			t.Errorf("%s: export and import (-want +got):\n%s", era, diff)
		}
		again, err := legacy.ExportPeers(imp.Peers)
		if err != nil || string(again) != string(data) {
			t.Errorf("%s: the export of the import differs: %s", era, cmp.Diff(string(data), string(again)))
		}
	}
}

func TestExportIsTheSeedsForm(t *testing.T) {
	p := eras(t)["s-0.2.30"][0]
	got, err := legacy.ExportPeers([]*core.Peer{p})
	if err != nil {
		t.Fatal(err)
	}
	want := sample(t, "export.golden.json")
	if string(got) != want {
		t.Errorf("ExportPeers (-want +got):\n%s", cmp.Diff(want, string(got)))
	}
	if got, err := legacy.ExportPeers(nil); err != nil || string(got) != "[]\n" {
		t.Errorf("ExportPeers of none = %q, %v, want an empty array", got, err)
	}
	for _, trust := range []core.Trust{core.Stranger, "frozen"} {
		if got, err := legacy.ExportPeers([]*core.Peer{{Key: key(t, bob), Trust: trust}}); err == nil {
			t.Errorf("ExportPeers of standing %q = %s, want an error", trust, got)
		}
	}
}

func TestFind(t *testing.T) {
	home := filepath.Join("testdata", "home")
	abs, err := filepath.Abs(home)
	if err != nil {
		t.Fatal(err)
	}
	want := []legacy.Framework{
		{ID: "openclaw", Name: "OpenClaw", Dir: filepath.Join(abs, ".ogp-openclaw"), Enabled: true, Default: true},
		{ID: "hermes", Name: "Hermes", Dir: filepath.Join(abs, ".ogp-hermes")},
		{Dir: filepath.Join(abs, ".ogp"), Enabled: true},
	}
	if got := legacy.Find(abs); !reflect.DeepEqual(got, want) {
		t.Errorf("Find = %+v, want %+v", got, want)
	}
	if got := legacy.Find(t.TempDir()); len(got) != 0 {
		t.Errorf("Find of an empty home = %+v, want none", got)
	}
	var e *core.Error
	if _, err := legacy.Read(filepath.Join(abs, ".ogp-meta"), nil); !errors.As(err, &e) || !strings.Contains(e.Hint, ".ogp-openclaw") {
		t.Errorf("Read of the list = %v, want a hint that names the frameworks", err)
	}
}

func FuzzReadPeers(f *testing.F) {
	for _, era := range []string{"h-0.2.20", "s-0.2.30", "m-0.4.3", "e-0.7.2"} {
		data, err := os.ReadFile(filepath.Join("testdata", era, "peers.json"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`[{"publicKey":"` + core.SPKIPrefix + bob + `","status":"pending","alias":"x"},{"publicKey":"` + core.SPKIPrefix + carol + `","status":"removed","id":"a:1"}]`))
	f.Fuzz(func(t *testing.T, data []byte) {
		imp, err := legacy.ReadPeers(data)
		if err != nil {
			return
		}
		// Whatever was let in is sound, once, and reads back the same.
		seen, aliases := map[core.PublicKey]bool{}, map[string]bool{}
		for _, p := range imp.Peers {
			if seen[p.Key] || p.Alias != "" && aliases[p.Alias] || !sound(p.Key) {
				t.Fatalf("unsound or twice: %+v", p)
			}
			seen[p.Key], aliases[p.Alias] = true, true
		}
		out, err := legacy.ExportPeers(imp.Peers)
		if err != nil {
			t.Fatal(err)
		}
		again, err := legacy.ReadPeers(out)
		if err != nil {
			t.Fatalf("the export cannot be read: %v\n%s", err, out)
		}
		back, err := legacy.ExportPeers(again.Peers)
		if err != nil || string(back) != string(out) {
			t.Fatalf("export, import, export, %v:\n%s", err, cmp.Diff(string(out), string(back)))
		}
	})
}

func sound(k core.PublicKey) bool {
	_, err := keys.Parse(k.String())
	return err == nil
}
