package files

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// bom is the byte order mark that some editors and shells begin a text with.
var bom = []byte("\xEF\xBB\xBF")

// ReadText reads a text file that people, or programs of others, have written: without
// the byte order mark that some editors begin one with. What is longer than most bytes is
// an error, as is what os.Open returns.
func ReadText(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return ReadTextOf(f, path, most)
}

// ReadBounded reads a file, and no more than one byte past most, which tells that there is more.
func ReadBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	var b bytes.Buffer
	if err == nil {
		defer f.Close()
		if st, err := f.Stat(); err == nil {
			b.Grow(int(min(st.Size(), most)) + bytes.MinRead)
		}
		_, err = b.ReadFrom(io.LimitReader(f, most+1))
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok { // without the name of the call
		err = fmt.Errorf("%s: %w", path, p.Err)
	}
	return b.Bytes(), err
}

// ReadTextOf is ReadText for a file that is open. name is what an error calls it.
func ReadTextOf(r io.Reader, name string, most int64) ([]byte, error) {
	text, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s: more than %d bytes", name, most)
	}
	return bytes.TrimPrefix(text, bom), nil
}
