// Package conformance says which test proves which promise of the documents that the relay
// follows. The list is promises.txt; the tests look whether each named test is there and
// speaks of its promise, and docs/conformance.md shows the list.
package conformance

//go:generate go test -count=1 -run ^TestPage$ . -args -write
