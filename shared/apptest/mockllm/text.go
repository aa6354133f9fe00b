package mockllm

import (
	"strings"
	"unicode/utf8"
)

// Text is the default answer: it says what it is, and echoes the question. It
// leaves the model's name out: a relay must not show the upstream's name for it.
func Text(_, question string) string {
	question = strings.TrimSpace(question)
	if question == "" {
		return "Hello! This is the demo provider of Token Relay. No real model was asked, but everything else (key, price, balance) was real."
	}
	runes := 0
	for i := range question {
		if runes++; runes > 240 {
			question = question[:i] + "…"
			break
		}
	}
	return "Hello! This is the demo provider of Token Relay, not a real model. You said: “" + question +
		"” Set a provider key such as OPENAI_API_KEY and start again to hear a real model."
}

// split cuts a text into the pieces that the mock counts as tokens: words with
// the blank before them, long ones every 12 bytes at a character's border.
func split(s string) []string {
	var out []string
	for s != "" {
		end := strings.IndexByte(s[1:], ' ') + 1
		if end == 0 {
			end = len(s)
		}
		if end > 12 {
			end = 12
			for end > 1 && !utf8.RuneStart(s[end]) {
				end--
			}
		}
		out = append(out, s[:end])
		s = s[end:]
	}
	return out
}

// words are four bytes each, so that size and tokens are the same by the rule of
// four bytes a token.
var words = [...]string{" one", " two", " red", " sun", " sea", " oak", " ice", " sky", " day", " air", " ash", " elm", " fog", " gem", " hay", " ivy"}

var fill = func() []string {
	out := make([]string, 8192)
	for i := range out {
		out[i] = words[(i*7+i/16)%len(words)]
	}
	return out
}()

// filler gives n tokens of text that mean nothing, the same every time.
func filler(n int64) []string {
	if n <= int64(len(fill)) {
		return fill[:n:n]
	}
	out := make([]string, 0, n)
	for int64(len(out)) < n {
		out = append(out, fill[:min(int64(len(fill)), n-int64(len(out)))]...)
	}
	return out
}

// joined gives pieces as one text.
func joined(pieces []string) string { return strings.Join(pieces, "") }
