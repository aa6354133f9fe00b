// Package field compares names and trims values of HTTP header fields, in place.
package field

import "encoding/binary"

// Fold reports whether b is lower, an ASCII name in lower case, in any case.
func Fold(b []byte, lower string) bool {
	n := len(lower)
	if len(b) != n {
		return false
	}
	if n < 8 {
		for i := range b {
			if c := lower[i]; (b[i]^c)&^(c&0x40>>1) != 0 {
				return false
			}
		}
		return true
	}
	for i := 0; i < n-8; i += 8 {
		if !fold8(b[i:], lower[i:]) {
			return false
		}
	}
	return fold8(b[n-8:], lower[n-8:])
}

// fold8 is Fold of the first eight bytes. Upper case differs from lower in one bit, 0x20, and
// only letters (0x61 to 0x7a) may: what else a name has, digits and dashes, is below 0x40.
func fold8(b []byte, lower string) bool {
	l := uint64(lower[0]) | uint64(lower[1])<<8 | uint64(lower[2])<<16 | uint64(lower[3])<<24 |
		uint64(lower[4])<<32 | uint64(lower[5])<<40 | uint64(lower[6])<<48 | uint64(lower[7])<<56
	const letter = 0x4040404040404040
	return (binary.LittleEndian.Uint64(b)^l)&^(l&letter>>1) == 0
}

// Trim returns value without the spaces and tabs around it (RFC 9110 5.5), nil if nothing is
// left.
func Trim(value []byte) []byte {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for n := len(value); n > 0 && (value[n-1] == ' ' || value[n-1] == '\t'); n = len(value) {
		value = value[:n-1]
	}
	if len(value) == 0 {
		return nil
	}
	return value
}
