// Package session knows who is calling the operator side: the operator token of
// the settings, and the passwords of accounts.
package session

import (
	"crypto/sha256"
	"crypto/subtle"
)

// Operator checks the operator bearer token (RELAY_OPERATOR_TOKEN).
type Operator struct {
	digest [sha256.Size]byte
	set    bool
}

// MinOperatorToken is the shortest operator token that is accepted, in bytes:
// there is no lock-out behind it, so it must not be guessable.
const MinOperatorToken = 16

// NewOperator keeps only the digest of token. An empty token closes the operator
// API: every check fails.
func NewOperator(token string) *Operator {
	return &Operator{digest: sha256.Sum256([]byte(token)), set: token != ""}
}

// Check tells whether token is the operator's. The time it takes depends neither
// on the token's content nor on its distance from the right one.
func (o *Operator) Check(token string) bool {
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], o.digest[:]) == 1 && o.set
}

// Enabled tells whether an operator token is set at all.
func (o *Operator) Enabled() bool { return o.set }
