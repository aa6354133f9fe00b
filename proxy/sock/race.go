//go:build race

package sock

// plain has all reads and writes take net's way: the race detector knows from them what
// happened before what in the two programs that talk.
const plain = true
