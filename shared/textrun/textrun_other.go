//go:build !amd64

package textrun

const fast = false

func plainFast(b []byte) (n int, wide bool) { return plainSlow(b) }
