package auth

import "tokenrelay/proxy/catalog"

const (
	// recentText is the longest key that is kept: longer ones are not of our making.
	recentText = 96
	// recentUses is how often a key is taken from where it is kept until it is looked for in
	// the catalogue's cache again, which forgets what nobody asks for.
	recentUses = 64
)

// Recent is the key that came last on a connection, and the text it came as: nearly always
// the next request's. It spares the digest and the cache, and nothing that is asked of a key.
// The zero value is empty; it is the connection's goroutine's.
type Recent struct {
	text [recentText]byte
	n    uint8
	uses uint8 // that are left
	key  *catalog.Key
}

// of is the key of a text, nil if another one, or none, came last.
func (r *Recent) of(token []byte) *catalog.Key {
	if r == nil || r.uses == 0 || string(r.text[:r.n]) != string(token) {
		return nil
	}
	r.uses--
	return r.key
}

func (r *Recent) keep(token []byte, k *catalog.Key) {
	if r == nil || len(token) > len(r.text) {
		return
	}
	r.n = uint8(copy(r.text[:], token))
	r.uses, r.key = recentUses, k
}
