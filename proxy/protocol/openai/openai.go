// Package openai is the lane of OpenAI's Chat Completions, the same protocol in
// and out: bytes pass, and only what D8 lists is changed.
package openai

import "errors"

// ErrUnreadable means that a whole answer is no JSON object.
var ErrUnreadable = errors.New("the answer is not a JSON object")

// Heartbeat is written to a silent stream at an event boundary.
func Heartbeat() []byte { return heartbeat }

var heartbeat = []byte(": keep-alive\n\n")
