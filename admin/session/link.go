package session

import (
	"crypto/rand"
)

// NewLink makes the secret of a link that lets somebody in once, and the digest that is
// stored of it.
func NewLink() (token string, digest [32]byte) {
	token = rand.Text() // 130 random bits
	return token, LinkDigest(token)
}

// LinkDigest is what is stored of a link. Sessions and links cannot stand for each other.
func LinkDigest(token string) [32]byte { return subject("link", token) }
