package textrun

import "golang.org/x/sys/cpu"

// fast says that the processor compares 32 bytes at once.
var fast = cpu.X86.HasAVX2

// plainFast is Plain by AVX2.
//
//go:noescape
func plainFast(b []byte) (n int, wide bool)
