// Package archtest holds the shape of the repository: who may import whom, what
// every package must have, what no test may do. It parses the files itself, because
// the result of a test that asks the go command is cached while the code changes.
package archtest
