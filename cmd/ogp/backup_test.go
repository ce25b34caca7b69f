package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opengatewayprotocol/ogp/cmd/ogp/internal/cli"
	"github.com/opengatewayprotocol/ogp/core/daemon"
)

// age <identity file>: makes an age identity. It sets $RECIPIENT.
func ageCmd(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: age file")
	}
	id, err := age.GenerateX25519Identity()
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte("# made by a test\n"+id.String()+"\n"), 0o600))
	ts.Setenv("RECIPIENT", id.Recipient().String())
}

// runHere runs a command line in this process.
func runHere(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	a := &cli.App{In: strings.NewReader(""), Out: &out, Err: &errs, Env: []string{"HOME=" + t.TempDir()}}
	status = run(context.Background(), a, args)
	return status, out.String(), errs.String()
}

type entry struct {
	header tar.Header
	text   string
}

func file(name, text string) entry {
	return entry{tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o600}, text}
}

func archive(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for _, e := range entries {
		e.header.Size = int64(len(e.text))
		if err := w.WriteHeader(&e.header); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// unzipped is an archive's tar, to be changed.
func unzipped(t *testing.T, b []byte) []byte {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func zipped(t *testing.T, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if _, err := z.Write(b); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// gatewayIn makes a gateway without running it, and returns a backup of it.
func gatewayIn(t *testing.T) []byte {
	t.Helper()
	dir := t.TempDir()
	home, file := filepath.Join(dir, "home"), filepath.Join(dir, "backup")
	var out, errs bytes.Buffer
	a := &cli.App{Out: &out, Err: &errs, Env: []string{"HOME=" + dir}, Home: home}
	o, err := a.DaemonOptions(nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
	if status, _, text := runHere(t, "--home", home, "backup", file); status != 0 {
		t.Fatalf("backup: %s", text)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// everything lists what is below a directory.
func everything(t *testing.T, dir string) string {
	t.Helper()
	var names []string
	if err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		names = append(names, fmt.Sprint(e))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(names, "\n")
}

// TestRestoreTakesNoHostileArchive starts from one that restores, changes one
// thing, and finds nothing of it on the disk afterwards.
func TestRestoreTakesNoHostileArchive(t *testing.T) {
	good := gatewayIn(t)
	plain := unzipped(t, good)
	key := file(daemon.KeyFile, "{}")
	db := file(daemon.StoreFile, "SQLite format 3\x00")
	link := func(kind byte, name, to string) entry {
		return entry{header: tar.Header{Name: name, Linkname: to, Typeflag: kind, Mode: 0o777}}
	}
	for name, b := range map[string][]byte{
		"nothing":                  {},
		"no archive":               []byte("hello"),
		"empty archive":            archive(t),
		"no key":                   archive(t, db),
		"no store":                 archive(t, key),
		"a store that is none":     archive(t, key, file(daemon.StoreFile, strings.Repeat("x", 8192))),
		"a file beside":            archive(t, key, db, file("../outside", "x")),
		"a file far above":         archive(t, key, db, file("../../../../../../tmp/outside", "x")),
		"an absolute path":         archive(t, key, db, file("/tmp/ogp-outside", "x")),
		"out through a folder":     archive(t, key, db, file("plugins/../../outside", "x")),
		"a file of no backup":      archive(t, key, db, file(".ssh/authorized_keys", "x")),
		"a name with a prefix":     archive(t, key, db, file("plugins-outside", "x")),
		"a socket's name":          archive(t, key, db, file("control.sock", "x")),
		"a symbolic link":          archive(t, key, db, link(tar.TypeSymlink, "plugins", "../..")),
		"through a symbolic link":  archive(t, key, db, link(tar.TypeSymlink, "plugins/x", "/tmp"), file("plugins/x/outside", "x")),
		"a hard link":              archive(t, key, db, link(tar.TypeLink, "plugins/x", "/etc/passwd")),
		"a folder":                 archive(t, key, db, link(tar.TypeDir, "plugins", "")),
		"a device":                 archive(t, key, db, link(tar.TypeChar, "plugins/null", "")),
		"a pipe":                   archive(t, key, db, link(tar.TypeFifo, "plugins/pipe", "")),
		"a name of 5000 bytes":     archive(t, key, db, file("plugins/"+strings.Repeat("a", 5000), "x")),
		"5000 folders":             archive(t, key, db, file("plugins/"+strings.Repeat("a/", 5000)+"x", "x")),
		"a name of 512 KiB":        archive(t, key, db, file("plugins/"+strings.Repeat("a", 1<<19), "x")),
		"a NUL in a name":          zipped(t, bytes.Replace(unzipped(t, archive(t, key, db, file("plugins/aXb", "x"))), []byte("aXb"), []byte("a\x00b"), 1)),
		"a bomb":                   archive(t, key, db, file("plugins/x", strings.Repeat("\x00", 128<<20))),
		"the key twice":            archive(t, key, db, key),
		"a folder as the key":      archive(t, db, file(daemon.KeyFile+"/x", "{}")),
		"no end of gzip":           good[:len(good)-8],
		"half":                     good[:len(good)/2],
		"half of the tar":          zipped(t, plain[:len(plain)/2]),
		"all but the last byte":    good[:len(good)-1],
		"a byte more":              append(bytes.Clone(good), 'x'),
		"another checksum":         append(bytes.Clone(good[:len(good)-8]), 0, 0, 0, 0, good[len(good)-4], good[len(good)-3], good[len(good)-2], good[len(good)-1]),
		"a bent header":            zipped(t, bytes.Replace(plain, []byte("ustar"), []byte("ustbr"), 1)),
		"an age file of nobody's":  []byte("age-encryption.org/v1\n-> X25519 abc\n"),
		"an age file without head": []byte("age-encryption.org/"),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			from := filepath.Join(dir, "backup")
			if err := os.WriteFile(from, b, 0o600); err != nil {
				t.Fatal(err)
			}
			before := everything(t, dir)
			status, out, errs := runHere(t, "--home", filepath.Join(dir, "deep", "home"), "restore", from)
			if err := os.Remove(filepath.Join(dir, "deep")); err != nil && !os.IsNotExist(err) {
				t.Error(err)
			}
			if status != cli.Failed || out != "" || errs == "" {
				t.Errorf("status %d, stdout %q, stderr %q; want 1, none, and why", status, out, errs)
			}
			if after := everything(t, dir); after != before {
				t.Errorf("left behind:\n%s\nwas:\n%s", after, before)
			}
		})
	}
}

// TestRestoreFindsABentSealedBackup cuts a sealed backup and bends it: age finds
// each, and nothing is left.
func TestRestoreFindsABentSealedBackup(t *testing.T) {
	dir := t.TempDir()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(dir, "key.txt")
	if err := os.WriteFile(key, []byte(id.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	w, err := age.Encrypt(&sealed, id.Recipient())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(gatewayIn(t)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	good := sealed.Bytes()
	restore := func(b []byte) (int, string) {
		from, home := filepath.Join(dir, "backup"), filepath.Join(dir, "home")
		if err := os.WriteFile(from, b, 0o600); err != nil {
			t.Fatal(err)
		}
		status, _, errs := runHere(t, "--home", home, "restore", from, "--identity", key)
		_, err := os.Stat(home)
		if (err == nil) != (status == 0) {
			t.Fatalf("status %d, and the state directory: %v", status, err)
		}
		if err := os.RemoveAll(home); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, ".ogp-restore-*")); len(left) > 0 {
			t.Fatalf("left behind: %q", left)
		}
		return status, errs
	}
	if status, errs := restore(good); status != 0 {
		t.Fatalf("the whole one: %d %s", status, errs)
	}
	for at := 0; at < len(good); at += max(1, len(good)/97) {
		if status, _ := restore(good[:at]); status != cli.Failed {
			t.Errorf("cut at %d of %d: status %d, want 1", at, len(good), status)
		}
		bent := bytes.Clone(good)
		bent[at] ^= 1
		if status, _ := restore(bent); status != cli.Failed {
			t.Errorf("bent at %d of %d: status %d, want 1", at, len(good), status)
		}
	}
	for _, b := range [][]byte{good[:len(good)-1], append(bytes.Clone(good), 0)} {
		if status, _ := restore(b); status != cli.Failed {
			t.Errorf("%d bytes of %d: status %d, want 1", len(b), len(good), status)
		}
	}
}

// TestRestorePutsNothingInThePlaceOfAFile: a state directory that is a file stays
// what it is.
func TestRestorePutsNothingInThePlaceOfAFile(t *testing.T) {
	dir := t.TempDir()
	from, home := filepath.Join(dir, "backup"), filepath.Join(dir, "home")
	for path, b := range map[string][]byte{from: gatewayIn(t), home: []byte("mine")} {
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if status, _, errs := runHere(t, "--home", home, "restore", from); status != cli.Failed || !strings.Contains(errs, home) {
		t.Errorf("status %d, stderr %q; want 1 and what is in the way", status, errs)
	}
	if text, err := os.ReadFile(home); err != nil || string(text) != "mine" {
		t.Errorf("the file is %q, %v", text, err)
	}
}
