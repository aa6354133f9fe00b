// Package seal encrypts secrets at rest with AES-256-GCM, bound to the place
// where they are stored: a value moved to another row, column or version does not
// open (D15).
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// KeySize is the size of a key in bytes.
const KeySize = 32

// ErrOpen says that a sealed value is damaged, was sealed with another key or for
// another place. Nothing more is said on purpose.
var ErrOpen = errors.New("sealed value does not open")

// Box seals and opens values with one key. It is safe for concurrent use and
// prints as *** everywhere.
type Box struct{ aead cipher.AEAD }

// New returns a box for a key of KeySize bytes.
func New(key []byte) (*Box, error) {
	if len(key) != KeySize {
		return nil, fmt.Errorf("cannot use a secret key of %d bytes: want %d", len(key), KeySize)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("cannot use the secret key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("cannot use the secret key: %w", err)
	}
	return &Box{aead: aead}, nil
}

// ParseKey reads RELAY_SECRET_KEY: 32 bytes in base64, standard or URL alphabet,
// padded or not. The text is never part of an error.
func ParseKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("-", "+", "_", "/").Replace(text)
	key, err := base64.RawStdEncoding.DecodeString(text)
	if err != nil || len(key) != KeySize {
		return nil, fmt.Errorf("cannot use the secret key: want %d bytes in base64", KeySize)
	}
	return key, nil
}

// Place names where a value is stored: the associated data of its seal.
type Place struct {
	Table, Column string
	Row           int64
	Version       int32
	Name          string // of a row that a number does not name, "" = it does
}

func (p Place) bytes() []byte {
	// Names come from code and hold no separator.
	b := make([]byte, 0, 64)
	b = append(b, p.Table...)
	b = append(b, 0)
	b = append(b, p.Column...)
	b = append(b, 0)
	b = strconv.AppendInt(b, p.Row, 10)
	b = append(b, 0)
	b = strconv.AppendInt(b, int64(p.Version), 10)
	if p.Name != "" {
		b = append(b, 0)
		b = append(b, p.Name...)
	}
	return b
}

// Derive makes the key of one purpose from the secret key, so that keys of
// different purposes tell nothing about each other and do not share nonces.
func Derive(secret []byte, purpose string) ([]byte, error) {
	key, err := hkdf.Key(sha256.New, secret, nil, "tokenrelay "+purpose, KeySize)
	if err != nil {
		return nil, fmt.Errorf("cannot derive the key of %s: %w", purpose, err)
	}
	return key, nil
}

// Seal encrypts plain for one place: nonce, ciphertext and tag in one slice that
// the caller owns.
func (b *Box) Seal(plain []byte, at Place) []byte {
	out := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(plain)+b.aead.Overhead())
	rand.Read(out) // never fails, see crypto/rand
	return b.aead.Seal(out, out, plain, at.bytes())
}

// Open decrypts what Seal made for the same place, or returns ErrOpen.
func (b *Box) Open(sealed []byte, at Place) ([]byte, error) {
	n := b.aead.NonceSize()
	if len(sealed) < n+b.aead.Overhead() {
		return nil, ErrOpen
	}
	plain, err := b.aead.Open(nil, sealed[:n], sealed[n:], at.bytes())
	if err != nil {
		return nil, ErrOpen
	}
	return plain, nil
}

// String hides the key.
func (*Box) String() string { return "***" }

// GoString hides the key.
func (*Box) GoString() string { return "***" }
