// Package window leaves the oldest turns of a conversation out of a request, whole: what
// the system says stays, the last turn stays, and the calls of tools stay together with
// their results.
package window

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// Turns is the list of messages in a request and where its turns begin.
type Turns struct {
	body     []byte
	at, end  int // the list with its brackets
	messages []message
	count    int
}

type message struct {
	start, end int
	turn       int // -1 = the system's, which stays
}

// Count is how many turns there are.
func (t *Turns) Count() int { return t.count }

// Messages is how many messages the first n turns have.
func (t *Turns) Messages(n int) (count int) {
	for i := range t.messages {
		if m := &t.messages[i]; m.turn >= 0 && m.turn < n {
			count++
		}
	}
	return count
}

// Find finds the turns of a request, none where its form has no list of messages. A turn
// begins with what the user says; results of tools belong to the turn before them. body
// must have been scanned: it is readable JSON. It is not copied.
func Find(form chat.Protocol, body []byte) *Turns {
	t := &Turns{body: body}
	at := walk.Space(body, 0)
	member := "messages"
	switch form {
	case chat.Gemini:
		member = "contents"
	case chat.Responses:
		member = "input"
	case chat.DashScope:
		if at = value(body, at, "input"); at < 0 || body[at] != '{' {
			return t
		}
	}
	if t.at = value(body, at, member); t.at < 0 || body[t.at] != '[' {
		return t
	}
	it := walk.Array(body, t.at)
	turn := -1
	for it.Next() {
		m := message{start: it.Val, end: it.ValueEnd(), turn: -1}
		if it.Byte() == '{' {
			switch kind(body[it.Val:m.end]) {
			case system:
			case own:
				turn++
				m.turn = turn
			default:
				turn = max(turn, 0)
				m.turn = turn
			}
		}
		t.messages = append(t.messages, m)
	}
	t.end, t.count = it.End(), turn+1
	return t
}

// value is the place of a member's value in the object at place at, -1 if there is none.
func value(body []byte, at int, member string) int {
	if at >= len(body) || body[at] != '{' {
		return -1
	}
	it := walk.Object(body, at)
	found := -1
	for it.Next() {
		if string(it.Key) == member {
			found = it.Val
		}
	}
	return found
}

type speaker uint8

const (
	others speaker = iota // the model, its calls, and the results
	own                   // the user
	system
)

// kind says who speaks in a message of any form.
func kind(m []byte) speaker {
	role := string(walk.TextOf(m, "role"))
	switch role {
	case "system", "developer":
		return system
	case "user":
		for _, list := range []string{"content", "parts"} {
			if v := walk.Get(m, list); len(v) > 0 && v[0] == '[' && results(v) {
				return others
			}
		}
		return own
	case "":
		if walk.Get(m, "parts") != nil { // Gemini's default role
			if v := walk.Get(m, "parts"); v[0] == '[' && results(v) {
				return others
			}
			return own
		}
	}
	return others
}

// results reports whether a list of parts has a tool's result in it.
func results(v []byte) bool {
	it := walk.Array(v, 0)
	for it.Next() {
		if it.Byte() != '{' {
			continue
		}
		part := it.Value()
		if string(walk.TextOf(part, "type")) == "tool_result" || walk.Get(part, "functionResponse") != nil || walk.Get(part, "function_response") != nil {
			return true
		}
	}
	return false
}

// Without appends the body without the first n turns.
func (t *Turns) Without(dst []byte, n int) []byte {
	if n <= 0 || t.count == 0 {
		return append(dst, t.body...)
	}
	dst = append(dst, t.body[:t.at+1]...)
	first := true
	for i := range t.messages {
		m := &t.messages[i]
		if m.turn >= 0 && m.turn < n {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, t.body[m.start:m.end]...)
	}
	return append(dst, t.body[t.end-1:]...)
}
