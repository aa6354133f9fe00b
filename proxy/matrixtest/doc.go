// Package matrixtest asks the whole proxy every kind of question in every wire format
// of clients, of a model behind every wire format of upstreams, and looks at what the
// upstream got, what the client was told and what was charged. docs/matrix.md is what
// it sees: each pair of formats serves a feature, or refuses it by name.
package matrixtest

// The page is what a run has seen.
//
//go:generate go test -count=1 -run ^TestMatrix$ . -args -write
