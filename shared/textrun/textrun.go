// Package textrun finds how far the text of a JSON string runs on without a byte that means
// something to a scanner. Nearly all bytes of requests and answers are such text.
package textrun

import (
	"encoding/binary"
	"math/bits"
)

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// Plain returns how many bytes at the start of b are neither a quote, nor a backslash, nor a
// control character, and whether one of them is beyond ASCII. It looks at whole blocks of 32
// and may stop short of up to 31 bytes at the end of b that are no such byte either.
func Plain(b []byte) (n int, wide bool) {
	if fast {
		return plainFast(b)
	}
	return plainSlow(b)
}

// Stop has the high bit of the lowest byte of x set that is a quote, a backslash or a control
// character, and no bit below it: Plain for eight bytes. None of them has that bit itself, and
// a byte below 0x80 gets it by the subtraction only if it is one, or above one by the borrow.
func Stop(x uint64) uint64 {
	quote, backslash := x^ones*'"', x^ones*'\\'
	return ((quote - ones) | (backslash - ones) | (x - ones*0x20)) &^ x & highs
}

func plainSlow(b []byte) (n int, wide bool) {
	beyond := uint64(0)
	for n+32 <= len(b) {
		for range 4 {
			x := binary.LittleEndian.Uint64(b[n:])
			if stop := Stop(x); stop != 0 {
				at := bits.TrailingZeros64(stop)
				beyond |= x & highs & (1<<at - 1)
				return n + at/8, beyond != 0
			}
			beyond |= x & highs
			n += 8
		}
	}
	return n, beyond != 0
}
