package plugin

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sort"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
)

// The codes that the import call answers with when it fails.
const (
	callUnknown  = -1
	callDenied   = -2
	callBad      = -3
	callFailed   = -4
	callLimit    = -5
	maxRandBytes = 1024
	MaxKeyBytes  = 512 // of a key of a plugin's store
	maxListed    = 1000
)

// operationUnits is what an operation costs in fuel beside its call.
const operationUnits = 500

// KV is a plugin's key-value store. One store belongs to one plugin. Implementations are safe for concurrent
// use, and return an error for which errors.Is(err, Limit) holds when a Set would go past the bound.
type KV interface {
	// Get gives a value, and whether there is one.
	Get(ctx context.Context, key string) (value []byte, ok bool, err error)
	// Set writes a value. max bounds all keys and values of the plugin together, in bytes.
	Set(ctx context.Context, key string, value []byte, max int64) error
	// Delete removes a key if it is there.
	Delete(ctx context.Context, key string) error
	// List gives at most limit keys that begin with prefix, sorted.
	List(ctx context.Context, prefix string, limit int) ([]string, error)
}

// refusal is an operation's failure, which the guest is told.
type refusal struct {
	code int32
	text string
}

func (r *refusal) Error() string { return r.text }

func refuse(code int32, format string, a ...any) error {
	return &refusal{code, fmt.Sprintf(format, a...)}
}

// operations are what the import call does, by name.
var operations = map[string]func(*version, *instance, []byte) (any, error){
	"http.request": (*version).httpRequest,
	"kv.get":       (*version).kvGet,
	"kv.set":       (*version).kvSet,
	"kv.delete":    (*version).kvDelete,
	"kv.list":      (*version).kvList,
	"secret.has":   (*version).secretHas,
	"clock.now":    (*version).clockNow,
	"rand":         (*version).random,
}

// operate does one operation for a guest. code is negative when it failed, and why says why.
func (v *version) operate(in *instance, op string, req []byte) (res []byte, code int32, why string) {
	f, ok := operations[op]
	if !ok {
		return nil, callUnknown, "unknown operation"
	}
	if in.hook.Rule().Pure && !strings.HasPrefix(op, "kv.") {
		v.refused.Add(1)
		return nil, callDenied, "a policy decides from its input alone"
	}
	out, err := f(v, in, req)
	if err == nil {
		if res, err = json.Marshal(out, json.Deterministic(true)); err == nil {
			return res, 0, ""
		}
	}
	var r *refusal
	if !errors.As(err, &r) {
		r = &refusal{callFailed, err.Error()}
	}
	v.refused.Add(1)
	return nil, r.code, r.text
}

// decode reads a request strictly, so that a plugin learns of a field that this host does not know.
func decode(req []byte, into any) error {
	if err := json.Unmarshal(req, into, json.RejectUnknownMembers(true)); err != nil {
		return refuse(callBad, "%s", strings.TrimPrefix(err.Error(), "json: "))
	}
	return nil
}

// waiting gives operations that wait a context that ends with the call. Until it is cancelled, the guest holds no
// turn.
func (in *instance) waiting() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithDeadline(in.caller, in.deadline)
	in.v.turns.leave()
	return ctx, func() {
		cancel()
		in.v.turns.again()
	}
}

type keyRequest struct {
	Key string `json:"key"`
}

func (v *version) kv(op, key string) error {
	switch {
	case !v.grants.kv(op) || v.store == nil:
		return refuse(callDenied, "not granted")
	case len(key) > MaxKeyBytes || !utf8.ValidString(key):
		return refuse(callBad, "a key of %d bytes, at most %d", len(key), MaxKeyBytes)
	}
	return nil
}

// maxKV bounds keys and values together, in bytes.
func (v *version) maxKV() int64 {
	if v.manifest.KV != nil {
		return v.manifest.KV.MaxBytes
	}
	return 1 << 20
}

// kvError tells a full store from a broken one.
func kvError(err error) error {
	if errors.Is(err, Limit) {
		return refuse(callLimit, "%s", err)
	}
	return err
}

func (v *version) kvGet(in *instance, req []byte) (any, error) {
	var r keyRequest
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	if err := v.kv("kv.get", r.Key); err != nil {
		return nil, err
	}
	ctx, cancel := in.waiting()
	defer cancel()
	value, ok, err := v.store.Get(ctx, r.Key)
	if err != nil || !ok {
		return struct{}{}, err
	}
	return struct {
		Value string `json:"value"`
	}{string(value)}, nil
}

func (v *version) kvSet(in *instance, req []byte) (any, error) {
	var r struct {
		Key   string `json:"key"`
		Value string `json:"value"`
	}
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	if err := v.kv("kv.set", r.Key); err != nil {
		return nil, err
	}
	if r.Key == "" {
		return nil, refuse(callBad, "an empty key")
	}
	max := v.maxKV()
	if int64(len(r.Key)+len(r.Value)) > max {
		return nil, refuse(callLimit, "%d bytes, at most %d", len(r.Key)+len(r.Value), max)
	}
	ctx, cancel := in.waiting()
	defer cancel()
	return struct{}{}, kvError(v.store.Set(ctx, r.Key, []byte(r.Value), max))
}

func (v *version) kvDelete(in *instance, req []byte) (any, error) {
	var r keyRequest
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	if err := v.kv("kv.delete", r.Key); err != nil {
		return nil, err
	}
	ctx, cancel := in.waiting()
	defer cancel()
	return struct{}{}, v.store.Delete(ctx, r.Key)
}

func (v *version) kvList(in *instance, req []byte) (any, error) {
	var r struct {
		Prefix string `json:"prefix"`
	}
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	if err := v.kv("kv.list", r.Prefix); err != nil {
		return nil, err
	}
	ctx, cancel := in.waiting()
	defer cancel()
	keys, err := v.store.List(ctx, r.Prefix, maxListed)
	if keys == nil {
		keys = []string{}
	}
	return struct {
		Keys []string `json:"keys"`
	}{keys}, err
}

func (v *version) secretHas(_ *instance, req []byte) (any, error) {
	var r struct {
		Name string `json:"name"`
	}
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	_, has := v.secret(r.Name)
	return struct {
		Has bool `json:"has"`
	}{has && v.namesSecret(r.Name)}, nil
}

func (v *version) clockNow(_ *instance, req []byte) (any, error) {
	if err := decode(req, &struct{}{}); err != nil {
		return nil, err
	}
	return struct {
		Now string `json:"now"`
	}{time.Now().UTC().Format("2006-01-02T15:04:05.000Z")}, nil
}

func (v *version) random(_ *instance, req []byte) (any, error) {
	var r struct {
		Bytes int `json:"bytes"`
	}
	if err := decode(req, &r); err != nil {
		return nil, err
	}
	if r.Bytes < 1 || r.Bytes > maxRandBytes {
		return nil, refuse(callBad, "%d bytes: want 1 to %d", r.Bytes, maxRandBytes)
	}
	b := make([]byte, r.Bytes)
	rand.Read(b)
	return struct {
		Hex string `json:"hex"`
	}{hex.EncodeToString(b)}, nil
}

// MemoryKV is a KV in memory, for tests and for trying a plugin out. The zero value is ready; it is safe for
// concurrent use.
type MemoryKV struct {
	mu    sync.Mutex // guards all
	all   map[string][]byte
	bytes int64
}

var _ KV = (*MemoryKV)(nil)

// Get gives a copy of a value.
func (m *MemoryKV) Get(_ context.Context, key string) ([]byte, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.all[key]
	return append([]byte(nil), v...), ok, nil
}

// Set writes a value, or refuses with Limit.
func (m *MemoryKV) Set(_ context.Context, key string, value []byte, max int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	size := m.bytes + int64(len(value))
	if old, ok := m.all[key]; ok {
		size -= int64(len(old))
	} else {
		size += int64(len(key))
	}
	if size > max {
		return &Error{Kind: Limit, Text: fmt.Sprintf("the store would hold %d bytes, at most %d", size, max)}
	}
	if m.all == nil {
		m.all = map[string][]byte{}
	}
	m.all[key], m.bytes = append([]byte(nil), value...), size
	return nil
}

// Delete removes a key if it is there.
func (m *MemoryKV) Delete(_ context.Context, key string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v, ok := m.all[key]; ok {
		m.bytes -= int64(len(key) + len(v))
		delete(m.all, key)
	}
	return nil
}

// List gives the keys with a prefix, sorted.
func (m *MemoryKV) List(_ context.Context, prefix string, limit int) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for k := range m.all {
		if strings.HasPrefix(k, prefix) {
			keys = append(keys, k)
		}
	}
	sort.Strings(keys)
	return keys[:min(len(keys), limit)], nil
}
