package chat

import "tokenrelay/proxy/protocol/walk"

// ChoiceOf is the number of a choice of an answer that stands at a place of the list:
// what it says of itself, or the place. -1 is nothing that can be read.
func ChoiceOf(c []byte, at int64) int64 {
	if len(c) == 0 || c[0] != '{' {
		return -1
	}
	if n, ok, _ := walk.Count(walk.Get(c, "index")); ok {
		return n
	}
	return at
}
