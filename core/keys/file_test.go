package keys

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/opengatewayprotocol/ogp/core"
)

// lightCost makes sealing quick where its strength is not what is tested.
var lightCost = cost{16, 8, 1}

func phrase(text string) Passphrase { return func() (string, error) { return text, nil } }

func statePath(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), "state", FileName)
}

// silent fails if an error gives away any of the key.
func silent(t *testing.T, p Private, texts ...string) {
	t.Helper()
	for _, text := range texts {
		for _, part := range []string{
			hex.EncodeToString(p.open().key.Seed()), hex.EncodeToString(p.open().key.Seed()[:8]), fmt.Sprint(p.open().key.Seed()[:4])[1:10],
			string(p.open().key.Seed()[:8]),
		} {
			if strings.Contains(strings.ToLower(text), part) {
				t.Errorf("the key shows in %q", text)
			}
		}
	}
}

func TestK4CreateKeepsTheKeyWithMode0600(t *testing.T) {
	for name, pass := range map[string]Passphrase{"plain": nil, "sealed": phrase("open sesame")} {
		path := statePath(t)
		made, err := Create(path, pass)
		if err != nil {
			t.Fatalf("%s: Create = %v", name, err)
		}
		for file, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700} {
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != want {
				t.Errorf("%s: %s has mode %v, %v, want %v", name, file, info.Mode(), err, want)
			}
		}
		got, err := Load(path, pass)
		if err != nil || !got.Equal(made) {
			t.Fatalf("%s: Load = %v, %v, want the key that was made", name, got, err)
		}
		if isSealed, err := Sealed(path); err != nil || isSealed != (pass != nil) {
			t.Errorf("%s: Sealed = %v, %v, want %v", name, isSealed, err, pass != nil)
		}
		if _, err := Create(path, pass); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: second Create = %v, want fs.ErrExist", name, err)
		}
		if again, err := Load(path, pass); err != nil || !again.Equal(made) {
			t.Errorf("%s: Load after a second Create = %v, %v, want the first key", name, again, err)
		}
		left, err := os.ReadDir(filepath.Dir(path))
		if err != nil || len(left) != 1 {
			t.Errorf("%s: the folder holds %v, %v, want the key alone", name, left, err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if shows := bytes.Contains(data, []byte(made.pkcs8Hex())); shows != (pass == nil) {
			t.Errorf("%s: the key is readable in its file: %v", name, shows)
		}
	}
}

func TestK4WrongModesAreRefusedWithTheFix(t *testing.T) {
	for _, mode := range []fs.FileMode{0o644, 0o640, 0o660, 0o604, 0o602, 0o610, 0o700, 0o666} {
		path := statePath(t)
		if _, err := Create(path, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Load(path, nil)
		var e *core.Error
		if !errors.As(err, &e) || e.Hint != "chmod 600 "+path || !strings.Contains(err.Error(), "chmod 600 "+path) {
			t.Errorf("Load with mode %04o = %v, want the fix in the message", mode, err)
		}
		if err := os.Chmod(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, nil); err != nil {
			t.Errorf("Load after the fix = %v, want nil", err)
		}
	}
	for _, mode := range []fs.FileMode{0o400, 0o600} {
		path := statePath(t)
		if _, err := Create(path, nil); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, nil); err != nil {
			t.Errorf("Load with mode %04o = %v, want nil", mode, err)
		}
	}
}

func TestK4FolderThatOthersWriteIsRefusedWithTheFix(t *testing.T) {
	for _, mode := range []fs.FileMode{0o777, 0o770, 0o720, 0o702} {
		path := statePath(t)
		if _, err := Create(path, nil); err != nil {
			t.Fatal(err)
		}
		folder := filepath.Dir(path)
		if err := os.Chmod(folder, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := Load(path, nil); err == nil || !strings.Contains(err.Error(), "chmod 700 "+folder) {
			t.Errorf("Load in a folder of mode %04o = %v, want the fix in the message", mode, err)
		}
		if _, err := Create(filepath.Join(folder, "other.json"), nil); err == nil || !strings.Contains(err.Error(), "chmod 700 "+folder) {
			t.Errorf("Create in a folder of mode %04o = %v, want the fix in the message", mode, err)
		}
	}
}

func TestShellWord(t *testing.T) {
	for path, want := range map[string]string{
		"/var/lib/ogp/key.json": "/var/lib/ogp/key.json",
		"/home/a b/key.json":    "'/home/a b/key.json'",
		"/it's/key.json":        `'/it'\''s/key.json'`,
		"/a$(x)/key.json":       "'/a$(x)/key.json'",
	} {
		if got := shellWord(path); got != want {
			t.Errorf("shellWord(%q) = %s, want %s", path, got, want)
		}
	}
}

func TestK4NothingPrintsTheKey(t *testing.T) {
	p := Generate()
	holder := struct {
		Open   Private
		closed Private
		In     any
		Ptr    *Private
	}{p, p, p, &p}
	for _, v := range []any{p, &p, holder, &holder, []Private{p}, map[string]Private{"k": p}, map[string]any{"k": holder}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T", "%o", "%b", "%U"} {
			silent(t, p, fmt.Sprintf(verb, v))
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Errorf("Marshal = %v, want a placeholder", err)
		}
		silent(t, p, string(data))
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "key", v)
		slog.New(slog.NewTextHandler(&log, nil)).Info("x", "key", v)
		silent(t, p, log.String())
	}
	if text := fmt.Sprint(p); text != redacted {
		t.Errorf("Sprint = %q, want %q", text, redacted)
	}
	if err := fmt.Errorf("with %v", p); err.Error() != "with "+redacted {
		t.Errorf("Errorf = %q, want the placeholder", err)
	}
	var q Private
	if err := json.Unmarshal([]byte(`"`+redacted+`"`), &q); err == nil {
		t.Error("Unmarshal of a placeholder = nil, want an error")
	}
}

func TestLoadOfNothingIsNotFound(t *testing.T) {
	_, err := Load(statePath(t), nil)
	if !errors.Is(err, core.NotFound) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Load = %v, want NotFound and fs.ErrNotExist", err)
	}
}

func TestLoadOrCreateAgreesOnOneKey(t *testing.T) {
	path := statePath(t)
	got := make([]Private, 16)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			var err error
			if got[i], err = LoadOrCreate(path, nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	kept, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range got {
		if !p.Equal(kept) {
			t.Errorf("LoadOrCreate %d gave %v, want the kept key %v", i, p.Public(), kept.Public())
		}
	}
}

func TestK4PassphraseIsAskedOnlyWhereNeeded(t *testing.T) {
	path := statePath(t)
	made, err := Create(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	never := func() (string, error) { t.Error("the passphrase of a plain key was asked for"); return "", nil }
	if got, err := Load(path, never); err != nil || !got.Equal(made) {
		t.Errorf("Load = %v, %v, want the key", got, err)
	}
}

func TestK4SealChangesThePassphrase(t *testing.T) {
	was := defaultCost
	defaultCost = lightCost
	t.Cleanup(func() { defaultCost = was })
	path := statePath(t)
	made, err := Create(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	opens := func(pass Passphrase, want bool) {
		t.Helper()
		got, err := Load(path, pass)
		if (err == nil) != want || want && !got.Equal(made) {
			t.Errorf("Load = %v, %v, want the key: %v", got, err, want)
		}
		if err != nil {
			silent(t, made, err.Error())
		}
	}
	if err := Seal(path, nil, phrase("one")); err != nil {
		t.Fatal(err)
	}
	opens(phrase("one"), true)
	opens(phrase("two"), false)
	opens(phrase(""), false)
	opens(nil, false)
	opens(func() (string, error) { return "", errors.New("no such file") }, false)
	if _, err := Load(path, phrase("two")); !errors.Is(err, core.Forbidden) {
		t.Errorf("Load with a wrong passphrase = %v, want Forbidden", err)
	}
	if err := Seal(path, phrase("wrong"), phrase("two")); err == nil {
		t.Error("Seal with a wrong passphrase = nil, want an error")
	}
	opens(phrase("one"), true)
	if err := Seal(path, phrase("one"), phrase("two")); err != nil {
		t.Fatal(err)
	}
	opens(phrase("one"), false)
	opens(phrase("two"), true)
	if err := Seal(path, phrase("two"), nil); err == nil {
		t.Error("Seal without a passphrase = nil, want an error")
	}
	if err := Seal(path, phrase("two"), phrase("")); err == nil {
		t.Error("Seal with an empty passphrase = nil, want an error")
	}
	opens(phrase("two"), true)
	if err := Unseal(path, phrase("two")); err != nil {
		t.Fatal(err)
	}
	opens(nil, true)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode after Unseal = %v, %v, want 0600", info.Mode(), err)
	}
}

// put writes a key file as someone might have bent it.
func put(t *testing.T, data []byte) string {
	t.Helper()
	path := statePath(t)
	if err := os.Mkdir(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A damaged key file, of any kind, comes with the way back; a wrong passphrase does not.
func TestDamagedFileNamesTheBackup(t *testing.T) {
	data, err := encode(Generate(), nil, lightCost)
	if err != nil {
		t.Fatal(err)
	}
	other := Generate().Public().String()
	public := regexp.MustCompile(`[0-9a-f]{88}`)
	for name, text := range map[string][]byte{
		"empty":         {},
		"not JSON":      []byte("{"),
		"cut short":     data[:len(data)/2],
		"no key in it":  []byte(`{"version":1,"publicKey":"` + other + `"}`),
		"no public key": public.ReplaceAll(data, []byte("zz")),
		"another's":     bytes.Replace(data, public.Find(data), []byte(other), 1),
	} {
		_, err := Load(put(t, text), nil)
		var e *core.Error
		if !errors.Is(err, core.Malformed) || !errors.As(err, &e) || !strings.Contains(e.Hint, `"ogp restore"`) {
			t.Errorf("%s: Load = %v, want Malformed with the way back", name, err)
		}
	}
	sealed, err := encode(Generate(), phrase("one"), lightCost)
	if err != nil {
		t.Fatal(err)
	}
	var e *core.Error
	if _, err := Load(put(t, sealed), phrase("two")); !errors.Is(err, core.Forbidden) || errors.As(err, &e) && strings.Contains(e.Hint, "restore") {
		t.Errorf("Load with a wrong passphrase = %v, want Forbidden and no word of a backup", err)
	}
}

func TestK4BentSealedFileIsRefused(t *testing.T) {
	p := Generate()
	data, err := encode(p, phrase("one"), lightCost)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := Load(put(t, data), phrase("one")); err != nil || !got.Equal(p) {
		t.Fatalf("Load = %v, %v, want the key", got, err)
	}
	for i := range data {
		bent := bytes.Clone(data)
		bent[i] ^= 1
		// Bits may bend into another spelling of the same file; the key stays.
		got, err := Load(put(t, bent), phrase("one"))
		if err == nil && !got.Equal(p) {
			t.Errorf("Load with byte %d bent gave another key", i)
		}
		if err != nil {
			silent(t, p, err.Error())
		}
	}
	other := Generate().Public().String()
	for name, change := range map[string][2]string{
		"other public key": {p.Public().String(), other},
		"n":                {`"n": 16`, `"n": 32`},
		"n not a power":    {`"n": 16`, `"n": 17`},
		"n zero":           {`"n": 16`, `"n": 0`},
		"n negative":       {`"n": 16`, `"n": -16`},
		"n huge":           {`"n": 16`, `"n": 1073741824`},
		"r huge":           {`"r": 8`, `"r": 1000000`},
		"p huge":           {`"p": 1`, `"p": 1000000`},
		"kdf":              {"scrypt", "argon2"},
		"cipher":           {cipherName, "rot13"},
		"version":          {`"version": 1`, `"version": 2`},
		"unknown member":   {`"version": 1`, `"version": 1, "x": 1`},
		"duplicate member": {`"version": 1`, `"version": 1, "version": 1`},
	} {
		bent := strings.Replace(string(data), change[0], change[1], 1)
		if bent == string(data) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if got, err := Load(put(t, []byte(bent)), phrase("one")); err == nil || !got.IsZero() {
			t.Errorf("Load with %s changed = %v, %v, want an error", name, got, err)
		}
	}
}

func TestK4BentPlainFileIsRefusedInSilence(t *testing.T) {
	p, q := Generate(), Generate()
	data, err := encode(p, nil, lightCost)
	if err != nil {
		t.Fatal(err)
	}
	secret := p.pkcs8Hex()
	for name, bent := range map[string]string{
		"another's private key": strings.Replace(string(data), secret, q.pkcs8Hex(), 1),
		"another's public key":  strings.Replace(string(data), p.Public().String(), q.Public().String(), 1),
		"cut key":               strings.Replace(string(data), secret, secret[:94], 1),
		"key as number":         strings.Replace(string(data), `"`+secret+`"`, secret, 1),
		"key not hex":           strings.Replace(string(data), secret, "z"+secret[1:], 1),
		"key in another member": strings.Replace(string(data), "privateKey", secret, 1),
		"cut file":              string(data[:len(data)-4]),
		"trailing text":         string(data) + secret,
		"no key":                strings.Replace(string(data), secret, "", 1),
		"not JSON":              secret,
		"both":                  strings.Replace(string(data), `"version"`, `"sealed":{},"version"`, 1),
		"empty":                 "",
		"too long":              string(data) + strings.Repeat(" ", maxFileBytes),
	} {
		got, err := Load(put(t, []byte(bent)), nil)
		if err == nil || !got.IsZero() {
			t.Errorf("Load of %s = %v, %v, want an error", name, got, err)
			continue
		}
		silent(t, p, err.Error())
		silent(t, q, err.Error())
	}
}

func TestSaveKeepsAnImportedKey(t *testing.T) {
	path := statePath(t)
	p := Generate()
	if err := Save(path, p, nil); err != nil {
		t.Fatal(err)
	}
	if got, err := Load(path, nil); err != nil || !got.Equal(p) {
		t.Errorf("Load = %v, %v, want the saved key", got, err)
	}
	if err := Save(path, Generate(), nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("Save over a key = %v, want fs.ErrExist", err)
	}
	if err := Save(statePath(t), Private{}, nil); err == nil {
		t.Error("Save of no key = nil, want an error")
	}
}

func TestImportLegacy(t *testing.T) {
	const alice = "302a300506032b6570032100a7febe3bfff449857fca220157f8115574986746555596592ba800bde8d098d4"
	sample := func(name string) string {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	plain, sealedText, keychain := sample("keypair-plain.json"), sample("keypair-sealed.json"), sample("keypair-keychain.json")
	for name, c := range map[string]struct {
		text    string
		secrets []string
		want    core.Kind // "" is the key
	}{
		"plain":                  {plain, nil, ""},
		"sealed":                 {sealedText, []string{"", "not it", "openclaw-token"}, ""},
		"sealed, wrong secrets":  {sealedText, []string{"not it"}, core.Forbidden},
		"sealed, no secrets":     {sealedText, nil, core.Forbidden},
		"sealed, bent tag":       {strings.Replace(sealedText, `"authTag": "`, `"authTag": "A`, 1), []string{"openclaw-token"}, core.Malformed},
		"sealed, other scheme":   {strings.Replace(sealedText, "aes-256", "aes-128", 1), []string{"openclaw-token"}, core.Unsupported},
		"sealed, other version":  {strings.Replace(sealedText, `"version": 1`, `"version": 2`, 1), []string{"openclaw-token"}, core.Unsupported},
		"sealed, no parameters":  {strings.Replace(sealedText, `"encryption"`, `"other"`, 1), []string{"openclaw-token"}, core.Malformed},
		"keychain":               {keychain, nil, core.Unsupported},
		"another's public key":   {strings.Replace(plain, alice, Generate().Public().String(), 1), nil, core.Malformed},
		"unsound public key":     {strings.Replace(plain, alice[24:], lowOrderPoint, 1), nil, core.Malformed},
		"not JSON":               {"nope", nil, core.Malformed},
		"trailing text":          {plain + "x", nil, core.Malformed},
		"a list":                 {"[]", nil, core.Malformed},
		"duplicate private keys": {strings.Replace(plain, `"privateKey"`, `"privateKey":"x","privateKey"`, 1), nil, core.Malformed},
	} {
		p, err := ImportLegacy([]byte(c.text), c.secrets)
		switch {
		case c.want == "" && (err != nil || p.Public().String() != alice):
			t.Errorf("%s: ImportLegacy = %v, %v, want alice", name, p.Public(), err)
		case c.want != "" && (!errors.Is(err, c.want) || !p.IsZero()):
			t.Errorf("%s: ImportLegacy = %v, %v, want %v", name, p.Public(), err, c.want)
		case err != nil && (strings.Contains(err.Error(), "6f5d2df2") || strings.Contains(err.Error(), "openclaw-token")):
			t.Errorf("%s: the error gives a secret away: %v", name, err)
		}
	}
}

const lowOrderPoint = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"

func TestFromPKCS8Hex(t *testing.T) {
	p := Generate()
	if got, err := FromPKCS8Hex(p.pkcs8Hex()); err != nil || !got.Equal(p) {
		t.Errorf("FromPKCS8Hex = %v, %v, want the key", got, err)
	}
	if got, err := FromSeed(p.open().key.Seed()); err != nil || !got.Equal(p) {
		t.Errorf("FromSeed = %v, %v, want the key", got, err)
	}
	if _, err := FromSeed(p.open().key); err == nil {
		t.Error("FromSeed of 64 bytes = nil, want an error")
	}
	for _, text := range []string{"", p.pkcs8Hex()[:94], p.pkcs8Hex() + "00", p.pkcs8Hex()[32:], "zz" + p.pkcs8Hex()[2:], strings.Replace(p.pkcs8Hex(), "2b6570", "2b656e", 1)} {
		if got, err := FromPKCS8Hex(text); err == nil || !got.IsZero() {
			t.Errorf("FromPKCS8Hex(%d characters) = %v, %v, want an error", len(text), got, err)
		} else {
			silent(t, p, err.Error())
		}
	}
}

func BenchmarkLoadSealed(b *testing.B) {
	path := filepath.Join(b.TempDir(), "state", FileName)
	if _, err := Create(path, phrase("x")); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Load(path, phrase("x")); err != nil {
			b.Fatal(err)
		}
	}
}
