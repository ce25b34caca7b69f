package keys

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"golang.org/x/crypto/scrypt"

	"github.com/opengatewayprotocol/ogp/core"
)

// legacyFile is keypair.json of the TypeScript gateways, plain or sealed.
type legacyFile struct {
	PublicKey            string `json:"publicKey"`
	PrivateKey           string `json:"privateKey"`
	PrivateKeyCiphertext string `json:"privateKeyCiphertext"` // base64, as the three below
	Encryption           *struct {
		Version int    `json:"version"`
		Scheme  string `json:"scheme"`
		Salt    string `json:"salt"`
		IV      string `json:"iv"`
		AuthTag string `json:"authTag"`
	} `json:"encryption"`
}

const legacyScheme = "aes-256-gcm+scrypt"

// ImportLegacy reads the content of a TypeScript gateway's keypair.json, plain or
// sealed. For a sealed one each secret is tried in turn; those gateways used
// OGP_KEYPAIR_SECRET, else their configuration's hermesWebhookSecret, else its
// openclawToken.
//
// Errors: core.Malformed for what is no such file or whose two keys do not
// belong together, core.Forbidden if no secret fits, core.Unsupported for a file
// with the public key alone (its private key lies in the macOS keychain). No
// error contains anything of the key or of a secret.
func ImportLegacy(data []byte, secrets []string) (Private, error) {
	var f legacyFile
	if len(data) > maxFileBytes || json.Unmarshal(data, &f) != nil {
		return Private{}, legacyErr(core.Malformed, "not a key pair")
	}
	k, err := Parse(f.PublicKey)
	if err != nil {
		return Private{}, fmt.Errorf("keys: keypair.json: %w", err)
	}
	var p Private
	switch {
	case f.PrivateKey != "":
		p, err = FromPKCS8Hex(f.PrivateKey)
	case f.PrivateKeyCiphertext != "" && f.Encryption != nil:
		p, err = f.unseal(secrets)
	case f.PrivateKeyCiphertext == "" && f.Encryption == nil:
		return Private{}, &core.Error{Kind: core.Unsupported,
			Hint: "the private key is in the macOS keychain, or it is lost",
			Err:  errors.New("keys: keypair.json: the private key is not in the file")}
	default:
		return Private{}, legacyErr(core.Malformed, "half of a sealed key pair")
	}
	if err != nil {
		return Private{}, err
	}
	if p.Public() != k {
		return Private{}, legacyErr(core.Malformed, "the private key is not the public key's")
	}
	return p, nil
}

func legacyErr(k core.Kind, text string) error {
	return fmt.Errorf("keys: keypair.json: %w", core.Refuse(k, text))
}

func (f *legacyFile) unseal(secrets []string) (Private, error) {
	e := f.Encryption
	if e.Version != 1 || e.Scheme != legacyScheme {
		return Private{}, legacyErr(core.Unsupported, "sealed in a way that this version does not read")
	}
	text, err1 := base64.StdEncoding.DecodeString(f.PrivateKeyCiphertext)
	salt, err2 := base64.StdEncoding.DecodeString(e.Salt)
	iv, err3 := base64.StdEncoding.DecodeString(e.IV)
	tag, err4 := base64.StdEncoding.DecodeString(e.AuthTag)
	if errors.Join(err1, err2, err3, err4) != nil || len(iv) == 0 || len(tag) != 16 {
		return Private{}, legacyErr(core.Malformed, "the sealed key is damaged")
	}
	for _, secret := range secrets {
		if secret == "" {
			continue
		}
		plain, err := openLegacy(secret, salt, iv, append(append([]byte{}, text...), tag...))
		if err == nil {
			return FromPKCS8Hex(string(plain))
		}
	}
	return Private{}, &core.Error{Kind: core.Forbidden,
		Hint: "the secret is OGP_KEYPAIR_SECRET, or hermesWebhookSecret or openclawToken of the old config.json",
		Err:  fmt.Errorf("keys: keypair.json: sealed, and none of %d secrets opens it", len(secrets))}
}

func openLegacy(secret string, salt, iv, text []byte) ([]byte, error) {
	key, err := scrypt.Key([]byte(secret), salt, 16384, 8, 1, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithNonceSize(block, len(iv))
	if err != nil {
		return nil, err
	}
	return aead.Open(nil, iv, text, nil)
}
