package keys

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"golang.org/x/crypto/chacha20poly1305"
	"golang.org/x/crypto/scrypt"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// FileName is the key's file in the state directory.
const FileName = "key.json"

// A Passphrase gives the passphrase of a sealed key, from a file or the
// environment. It is asked only where one is needed; an empty one is an error.
type Passphrase = func() (string, error)

const (
	fileVersion  = 1
	maxFileBytes = 16 << 10
)

// file is key.json. Exactly one of PrivateKey and Sealed is there.
type file struct {
	Version    int     `json:"version"`
	PublicKey  string  `json:"publicKey"`
	PrivateKey string  `json:"privateKey,omitempty"` // hex of the PKCS#8 form
	Sealed     *sealed `json:"sealed,omitempty"`
}

// sealed is the private key under a passphrase. Its parameters and the public
// key are authenticated with it.
type sealed struct {
	KDF    string `json:"kdf"`
	N      int    `json:"n"`
	R      int    `json:"r"`
	P      int    `json:"p"`
	Cipher string `json:"cipher"`
	Salt   string `json:"salt"`  // base64, as the two below
	Nonce  string `json:"nonce"` // 24 bytes
	Text   string `json:"text"`
}

const (
	kdfName    = "scrypt"
	cipherName = "xchacha20-poly1305"
	saltBytes  = 16
)

// cost is scrypt's work: 128*N*R bytes of memory, P times.
type cost struct{ N, R, P int }

// defaultCost takes 32 MiB once, at start: OWASP's password storage advice for
// scrypt in the row that suits small machines.
var defaultCost = cost{1 << 15, 8, 3}

// maxCostBytes bounds what a file can make us allocate.
const maxCostBytes = 256 << 20

func (c cost) sound() bool {
	return c.N > 1 && c.N&(c.N-1) == 0 && c.N <= 1<<24 &&
		c.R > 0 && c.R <= 64 && c.P > 0 && c.P <= 16 && 128*c.N*c.R <= maxCostBytes
}

// Load reads our key. The passphrase is asked only if the key is sealed, and may
// be nil if it is not.
//
// Nobody but the owner may read or write the file, and nobody else may write its
// folder: otherwise Load refuses, and the error carries the command that fixes
// it, also as the Hint of its *core.Error. A missing file is core.NotFound and
// fs.ErrNotExist. No error contains anything of the key or the passphrase.
//
// docs/threat-model.md#k4
func Load(path string, passphrase Passphrase) (Private, error) {
	f, err := read(path)
	if err != nil {
		return Private{}, err
	}
	return f.open(path, passphrase)
}

// Create makes a new key and keeps it at path: sealed if passphrase is not nil.
// It makes the folder, with mode 0700, where it is missing. A file that is there
// already is never replaced: fs.ErrExist. When Create returns, the key is on disk.
//
// docs/threat-model.md#k4
func Create(path string, passphrase Passphrase) (Private, error) {
	p := Generate()
	if err := Save(path, p, passphrase); err != nil {
		return Private{}, err
	}
	return p, nil
}

// LoadOrCreate loads the key at path or, where there is none, creates it. Of two
// that create at once, one wins and both return its key.
func LoadOrCreate(path string, passphrase Passphrase) (Private, error) {
	p, err := Load(path, passphrase)
	if !errors.Is(err, fs.ErrNotExist) {
		return p, err
	}
	p, err = Create(path, passphrase)
	if errors.Is(err, fs.ErrExist) {
		return Load(path, passphrase)
	}
	return p, err
}

// Save keeps a key that came from elsewhere, an import say, as Create does.
func Save(path string, p Private, passphrase Passphrase) error {
	if p.IsZero() {
		return errors.New("keys: save: no key")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if err := checkFolder(path); err != nil {
		return err
	}
	if _, err := os.Lstat(path); err == nil {
		return fmt.Errorf("keys: %s: %w", path, fs.ErrExist)
	}
	data, err := encode(p, passphrase, defaultCost)
	if err != nil {
		return err
	}
	return write(path, data, false)
}

// Sealed reports whether the key at path needs a passphrase.
func Sealed(path string) (bool, error) {
	f, err := read(path)
	if err != nil {
		return false, err
	}
	return f.Sealed != nil, nil
}

// Seal puts the key at path under a new passphrase. The old one is asked only if
// the key is sealed. The file is replaced at once or not at all.
func Seal(path string, old, replacement Passphrase) error {
	if replacement == nil {
		return errors.New("keys: seal: no passphrase")
	}
	return rewrite(path, old, replacement)
}

// Unseal takes the passphrase off the key at path.
func Unseal(path string, passphrase Passphrase) error { return rewrite(path, passphrase, nil) }

func rewrite(path string, old, replacement Passphrase) error {
	p, err := Load(path, old)
	if err != nil {
		return err
	}
	data, err := encode(p, replacement, defaultCost)
	if err != nil {
		return err
	}
	return write(path, data, true)
}

// encode is the file's content: sealed if passphrase is not nil.
func encode(p Private, passphrase Passphrase, c cost) ([]byte, error) {
	f := file{Version: fileVersion, PublicKey: p.Public().String()}
	if passphrase == nil {
		f.PrivateKey = p.pkcs8Hex()
	} else {
		text, err := ask(passphrase)
		if err != nil {
			return nil, err
		}
		if f.Sealed, err = seal(p, text, c); err != nil {
			return nil, err
		}
	}
	data, err := json.Marshal(f, jsontext.WithIndent("  "))
	if err != nil {
		return nil, errors.New("keys: could not write the key's file") // err might quote the key
	}
	return append(data, '\n'), nil
}

// fromPassphrase says where a passphrase comes from.
const fromPassphrase = "OGP_KEY_PASSPHRASE or key.passphrase_file gives the passphrase"

func ask(passphrase Passphrase) (string, error) {
	if passphrase == nil {
		return "", &core.Error{Kind: core.Internal, Hint: fromPassphrase,
			Err: errors.New("keys: the key is sealed and there is no passphrase")}
	}
	text, err := passphrase()
	if err != nil {
		return "", fmt.Errorf("keys: passphrase: %w", err)
	}
	if text == "" {
		return "", errors.New("keys: the passphrase is empty")
	}
	return text, nil
}

func seal(p Private, passphrase string, c cost) (*sealed, error) {
	salt, nonce := make([]byte, saltBytes), make([]byte, chacha20poly1305.NonceSizeX)
	rand.Read(salt)
	rand.Read(nonce)
	s := &sealed{
		KDF: kdfName, N: c.N, R: c.R, P: c.P, Cipher: cipherName,
		Salt:  base64.StdEncoding.EncodeToString(salt),
		Nonce: base64.StdEncoding.EncodeToString(nonce),
	}
	key, err := scrypt.Key([]byte(passphrase), salt, c.N, c.R, c.P, chacha20poly1305.KeySize)
	if err != nil {
		return nil, fmt.Errorf("keys: seal: %w", err)
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("keys: seal: %w", err)
	}
	text := aead.Seal(nil, nonce, p.open().key.Seed(), s.bound(p.Public()))
	s.Text = base64.StdEncoding.EncodeToString(text)
	return s, nil
}

// bound is what is authenticated beside the seed: whose key it is and how it is
// sealed.
func (s *sealed) bound(k core.PublicKey) []byte {
	return fmt.Appendf(nil, "ogp/key/v%d %s %s %d %d %d %s %s", fileVersion, k, s.KDF, s.N, s.R, s.P, s.Salt, s.Cipher)
}

func (s *sealed) open(k core.PublicKey, passphrase string) (Private, error) {
	c := cost{s.N, s.R, s.P}
	if s.KDF != kdfName || s.Cipher != cipherName {
		return Private{}, core.Refuse(core.Unsupported, "sealed in a way that this version does not read")
	}
	salt, err1 := base64.StdEncoding.DecodeString(s.Salt)
	nonce, err2 := base64.StdEncoding.DecodeString(s.Nonce)
	text, err3 := base64.StdEncoding.DecodeString(s.Text)
	if errors.Join(err1, err2, err3) != nil || len(nonce) != chacha20poly1305.NonceSizeX || len(salt) == 0 || !c.sound() {
		return Private{}, core.Refuse(core.Malformed, "sealed with parameters out of bounds")
	}
	key, err := scrypt.Key([]byte(passphrase), salt, c.N, c.R, c.P, chacha20poly1305.KeySize)
	if err != nil {
		return Private{}, core.Refuse(core.Malformed, "sealed with parameters out of bounds")
	}
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return Private{}, core.Refuse(core.Internal, "no cipher")
	}
	seed, err := aead.Open(nil, nonce, text, s.bound(k))
	if err != nil {
		return Private{}, core.Refuse(core.Forbidden, "wrong passphrase, or the file was changed").
			WithHint(fromPassphrase)
	}
	return FromSeed(seed)
}

func (f *file) open(path string, passphrase Passphrase) (Private, error) {
	k, err := Parse(f.PublicKey)
	if err != nil {
		return Private{}, broken(path, err)
	}
	var p Private
	if f.Sealed != nil {
		text, err := ask(passphrase)
		if err != nil {
			return Private{}, err
		}
		if p, err = f.Sealed.open(k, text); err != nil {
			return Private{}, broken(path, err)
		}
	} else if p, err = FromPKCS8Hex(f.PrivateKey); err != nil {
		return Private{}, broken(path, err)
	}
	if p.Public() != k {
		return Private{}, broken(path, core.Refuse(core.Malformed, "the private key is not the public key's"))
	}
	return p, nil
}

// broken names the file that err was found in. A damaged one gets the way back; a wrong
// passphrase or an unknown version is no damage.
func broken(path string, err error) error {
	err = fmt.Errorf("keys: %s: %w", path, err)
	if !errors.Is(err, core.Malformed) {
		return err
	}
	return &core.Error{Kind: core.Malformed, Err: err, Hint: "the file is damaged: put it back from a backup: move " +
		shellWord(filepath.Dir(path)) + ` elsewhere and run "ogp restore"`}
}

// read opens the file, checks its modes on the open file itself, and decodes it.
func read(path string) (*file, error) {
	in, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &core.Error{Kind: core.NotFound, Err: fmt.Errorf("keys: %w", err)}
	}
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("keys: %s is not a regular file", path)
	}
	if info.Mode().Perm()&^0o600 != 0 && modesCount {
		return nil, wrongMode(path, info.Mode(), "0600", "chmod 600 ")
	}
	if err := checkFolder(path); err != nil {
		return nil, err
	}
	data, err := files.ReadTextOf(in, path, maxFileBytes)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	return parse(path, data)
}

// parse decodes what a key is kept as; path says where that is.
func parse(path string, data []byte) (*file, error) {
	var f file
	if err := json.Unmarshal(data, &f, json.RejectUnknownMembers(true)); err != nil {
		// The decoder's error may quote a value, and a value may be the key.
		return nil, broken(path, core.Refuse(core.Malformed, "not a key file"))
	}
	if f.Version != fileVersion {
		return nil, fmt.Errorf("keys: %s: %w", path, core.Refusef(core.Unsupported, "version %d, this program reads %d", f.Version, fileVersion))
	}
	if (f.PrivateKey == "") == (f.Sealed == nil) {
		return nil, broken(path, core.Refuse(core.Malformed, "want one of privateKey and sealed"))
	}
	return &f, nil
}

// modesCount is false where file modes say nothing about access.
const modesCount = runtime.GOOS != "windows"

// checkFolder refuses a folder in which others could put another file in the
// key's place: because they may write in it, because it is theirs, or because they
// may put another folder in its place.
//
// docs/threat-model.md#k4
func checkFolder(path string) error {
	if !modesCount {
		return nil
	}
	folder, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if info.Mode().Perm()&0o022 != 0 {
		return wrongMode(folder, info.Mode(), "0700", "chmod 700 ")
	}
	if uid, foreign := isForeign(info); foreign {
		fix := "sudo chown -R " + strconv.Itoa(os.Geteuid()) + " " + shellWord(folder)
		return &core.Error{Kind: core.Internal, Hint: fix + ", or run as that user",
			Err: fmt.Errorf("keys: %s belongs to another user, %d", folder, uid)}
	}
	for range maxLinks {
		next, err := checkAbove(folder)
		if err != nil || next == "" {
			return err
		}
		folder = next
	}
	return fmt.Errorf("keys: %s: too many links", folder)
}

// maxLinks is how many symbolic links may lead to a state directory, as on most systems.
const maxLinks = 40

// checkAbove looks at all folders above one. It returns where the first symbolic link of
// the path leads, as who may write in a folder may point a link elsewhere, too; empty:
// there is none.
func checkAbove(folder string) (next string, err error) {
	rest := "."
	for at := folder; ; at = filepath.Dir(at) {
		if to, err := os.Readlink(at); err == nil {
			if !filepath.IsAbs(to) {
				to = filepath.Join(filepath.Dir(at), to)
			}
			next = filepath.Join(to, rest)
		}
		up := filepath.Dir(at)
		if up == at {
			return next, nil
		}
		info, err := os.Stat(up)
		if err != nil {
			return "", fmt.Errorf("keys: %w", err)
		}
		if info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return "", wrongMode(up, info.Mode(), "no write for all, or the sticky bit", "chmod o-w ")
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}

func wrongMode(path string, mode fs.FileMode, want, fix string) error {
	fix += shellWord(path)
	return &core.Error{Kind: core.Internal, Hint: fix,
		Err: fmt.Errorf("keys: %s has mode %04o, want %s: %s", path, mode.Perm(), want, fix)}
}

// shellWord quotes a path where a shell would read more than a word in it.
func shellWord(path string) string {
	plain := func(r rune) bool {
		return r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || strings.ContainsRune("/._-+,@%:", r)
	}
	if strings.IndexFunc(path, func(r rune) bool { return !plain(r) }) < 0 {
		return path
	}
	if strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return strconv.Quote(path)
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// write puts data at path whole or not at all, mode 0600 whatever the umask, and
// on disk when it returns. Without replace, a file that is there stays.
func write(path string, data []byte, replace bool) error {
	out, err := atomicfile.New(path)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	defer out.Cleanup()
	if _, err := out.Write(data); err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	if replace {
		err = out.Replace()
	} else {
		err = place(out, path)
	}
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	return syncFolder(filepath.Dir(path))
}

// place gives the file its name by a link, which unlike a rename fails if the
// name is taken. Where a file system has no links, renaming must do.
func place(out *atomicfile.File, path string) error {
	if err := out.Sync(); err != nil {
		return err
	}
	err := os.Link(out.Name(), path)
	if err == nil || errors.Is(err, fs.ErrExist) {
		return err
	}
	return out.Replace()
}

// syncFolder makes a new name survive power loss. Windows has no such call.
func syncFolder(folder string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(folder)
	if err != nil {
		return fmt.Errorf("keys: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("keys: sync %s: %w", folder, err)
	}
	return nil
}
