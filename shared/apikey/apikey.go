// Package apikey makes customer keys and judges their shape (interface 5): a key
// is <prefix><12 id><37 secret><6 CRC-32 of all that precedes>, base62. Nothing
// but the SHA-256 of the whole key, its id and its last four characters is ever
// stored.
package apikey

import (
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash/crc32"
)

// The parts of a key behind its prefix, in characters.
const (
	IDLen     = 12
	secretLen = 37
	crcLen    = 6
	tailLen   = IDLen + secretLen + crcLen
)

// MaxLen is the longest text that is looked at as a key.
const MaxLen = 256

const base62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// Shape is what the characters of a presented key say before any look-up.
type Shape uint8

// The shapes.
const (
	Malformed Shape = iota // empty, too long, or not printable ASCII: 401, no look-up
	BadCRC                 // shaped like ours with a wrong checksum: a typo or a guess, 401, no look-up
	Foreign                // any other text: looked up
	Ours                   // our shape and its checksum fits: looked up
)

// Generate makes a new key with the given prefix and its public id. The token is
// shown once and forgotten.
func Generate(prefix string) (token, publicID string, err error) {
	if len(prefix) > MaxLen-tailLen {
		return "", "", fmt.Errorf("cannot make a key: prefix longer than %d characters", MaxLen-tailLen)
	}
	for i := range len(prefix) {
		if !printable(prefix[i]) {
			return "", "", fmt.Errorf("cannot make a key: prefix %q is not printable ASCII", prefix)
		}
	}
	buf := make([]byte, 0, len(prefix)+tailLen)
	buf = append(buf, prefix...)
	if buf, err = appendRandom(buf, IDLen+secretLen); err != nil {
		return "", "", fmt.Errorf("cannot make a key: %w", err)
	}
	buf = appendCRC(buf, crc32.ChecksumIEEE(buf))
	return string(buf), string(buf[len(prefix) : len(prefix)+IDLen]), nil
}

// Digest is the SHA-256 of the whole key, what is stored and looked up.
func Digest(token []byte) [32]byte { return sha256.Sum256(token) }

// Check judges the shape of a presented key. A text whose checksum fits is ours
// whatever its prefix; one whose last 55 characters look like ours behind a
// separator, with a wrong checksum, is refused without a look-up; the prefix is
// never compared with the setting, so that keys of any prefix live side by side.
func Check(token []byte) Shape {
	if len(token) == 0 || len(token) > MaxLen {
		return Malformed
	}
	for _, c := range token {
		if !printable(c) {
			return Malformed
		}
	}
	if len(token) < tailLen {
		return Foreign
	}
	tail := token[len(token)-tailLen:]
	for _, c := range tail {
		if !inBase62(c) {
			return Foreign
		}
	}
	var want [crcLen]byte
	appendCRC(want[:0], crc32.ChecksumIEEE(token[:len(token)-crcLen]))
	if string(want[:]) == string(token[len(token)-crcLen:]) {
		return Ours
	}
	if len(token) > tailLen && inBase62(token[len(token)-tailLen-1]) {
		return Foreign // a longer run of letters and digits is somebody else's format
	}
	return BadCRC
}

// Last4 is the last four characters of a key, for display.
func Last4(token string) string { return token[max(0, len(token)-4):] }

func printable(c byte) bool { return c > ' ' && c < 0x7f }

func inBase62(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// appendCRC appends the six base62 digits of a checksum, highest first.
func appendCRC(dst []byte, sum uint32) []byte {
	var digits [crcLen]byte
	for i := crcLen - 1; i >= 0; i-- {
		digits[i] = base62[sum%62]
		sum /= 62
	}
	return append(dst, digits[:]...)
}

// appendRandom appends n random base62 characters without bias: bytes above the
// last multiple of 62 are thrown away.
func appendRandom(dst []byte, n int) ([]byte, error) {
	const limit = 256 / 62 * 62
	var buf [64]byte
	for n > 0 {
		if _, err := rand.Read(buf[:]); err != nil {
			return dst, fmt.Errorf("cannot read random bytes: %w", err)
		}
		for _, b := range buf {
			if b < limit && n > 0 {
				dst = append(dst, base62[b%62])
				n--
			}
		}
	}
	return dst, nil
}
