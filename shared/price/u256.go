package price

import (
	"math"
	"math/bits"
)

// u256 is an unsigned integer of 256 bits, lowest word first. Sums of products of
// units and rates stay below 2^63 × 2^63 × 2^40 × 15 < 2^171, so additions cannot
// overflow; multiplications check.
type u256 [4]uint64

// addProduct adds a × b.
func (z *u256) addProduct(a, b uint64) {
	hi, lo := bits.Mul64(a, b)
	var carry uint64
	z[0], carry = bits.Add64(z[0], lo, 0)
	z[1], carry = bits.Add64(z[1], hi, carry)
	z[2], carry = bits.Add64(z[2], 0, carry)
	z[3] += carry
}

// addProduct3 adds a × b × c.
func (z *u256) addProduct3(a, b, c uint64) {
	var p u256
	p.addProduct(a, b)
	p.mul(c)
	var carry uint64
	for i := range z {
		z[i], carry = bits.Add64(z[i], p[i], carry)
	}
}

// mul multiplies by m and says whether the result fits.
func (z *u256) mul(m uint64) bool {
	var carry uint64
	for i := range z {
		hi, lo := bits.Mul64(z[i], m)
		var c uint64
		z[i], c = bits.Add64(lo, carry, 0)
		carry = hi + c
	}
	return carry == 0
}

// div divides by d > 0 and returns the remainder.
func (z *u256) div(d uint64) (rest uint64) {
	if d == 1 {
		return 0
	}
	for i := len(z) - 1; i >= 0; i-- {
		if z[i] == 0 && rest == 0 {
			continue
		}
		z[i], rest = bits.Div64(rest, z[i], d)
	}
	return rest
}

// sub subtracts x and says whether the result is not negative.
func (z *u256) sub(x *u256) bool {
	var borrow uint64
	for i := range z {
		z[i], borrow = bits.Sub64(z[i], x[i], borrow)
	}
	return borrow == 0
}

// inc adds one.
func (z *u256) inc() {
	for i := range z {
		if z[i]++; z[i] != 0 {
			return
		}
	}
}

func (z *u256) fitsInt64() bool {
	return z[0] <= math.MaxInt64 && z[1]|z[2]|z[3] == 0
}
