// Package calls counts the system calls of the test's own process.
package calls

import (
	"bytes"
	"os"
	"strconv"
	"testing"
)

// Writes is how many writes this process has made, where /proc tells (Linux).
func Writes(t testing.TB) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := bytes.Cut(b, []byte("syscw: "))
	line, _, _ := bytes.Cut(rest, []byte("\n"))
	n, err := strconv.Atoi(string(line))
	if !ok || err != nil {
		t.Fatalf("no count of writes in %q", b)
	}
	return n
}
