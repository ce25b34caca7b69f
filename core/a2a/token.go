package a2a

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/opengatewayprotocol/ogp/core"
	"github.com/opengatewayprotocol/ogp/core/atomicfile"
	"github.com/opengatewayprotocol/ogp/core/files"
)

// maxToken bounds the token's file, in bytes.
const maxToken = 4 << 10

// Token reads the token that clients show from a file. It is made where there is none, or
// where a new one is wanted; the old one then counts no more, also for a gateway that runs.
func Token(path string, renew bool) (string, error) {
	token, err := ReadToken(path)
	if err == nil && !renew || err != nil && !errors.Is(err, fs.ErrNotExist) && !renew {
		return token, err
	}
	dir := filepath.Dir(path)
	if _, err := os.Stat(dir); err != nil {
		return "", core.Refusef(core.NotFound, "there is no gateway in %s", dir).WithHint(`"ogp init" or "ogp start" makes one`)
	}
	token = rand.Text() + rand.Text() // 256 bits
	return token, atomicfile.WriteFile(path, []byte(token+"\n"))
}

// ReadToken reads the token. One that others can read is none.
func ReadToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", core.Refusef(core.Conflict, "%s can be read by others (mode %04o)", path, info.Mode().Perm()).
			WithHint(`"ogp a2a token --new" makes another that only you can read`)
	}
	text, err := files.ReadText(path, maxToken)
	token := strings.TrimSpace(string(text))
	if err == nil && token == "" {
		err = fmt.Errorf("%s is empty: %w", path, fs.ErrNotExist)
	}
	return token, err
}
