package gemini

import (
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// appendLogprobs appends a logprobsResult as Chat Completions has it: an array of the
// chosen tokens, each with the others that were probable. Gemini does not tell a token's
// bytes.
func appendLogprobs(dst, v []byte) []byte {
	dst = append(dst, '[')
	chosen, tops := walk.Get(v, "chosenCandidates"), walk.Get(v, "topCandidates")
	if len(chosen) == 0 || chosen[0] != '[' {
		return append(dst, ']')
	}
	var others walk.Iter
	more := len(tops) > 0 && tops[0] == '['
	if more {
		others = walk.Array(tops, 0)
	}
	in := walk.Array(chosen, 0)
	for n := 0; in.Next(); n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = appendToken(dst, in.Value())
		dst = append(dst, `,"top_logprobs":[`...)
		if more = more && others.Next(); more {
			if list := walk.Get(others.Value(), "candidates"); len(list) > 0 && list[0] == '[' {
				of := walk.Array(list, 0)
				for i := 0; of.Next(); i++ {
					if i > 0 {
						dst = append(dst, ',')
					}
					dst = append(appendToken(dst, of.Value()), '}')
				}
			}
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, ']')
}

// appendToken appends a token and its probability, without the closing brace.
func appendToken(dst, v []byte) []byte {
	dst = append(dst, `{"token":`...)
	dst = chat.AppendText(dst, walk.TextOf(v, "token"))
	dst = append(dst, `,"logprob":`...)
	dst = appendNumber(dst, walk.Get(v, "logProbability"))
	return append(dst, `,"bytes":null`...)
}

// appendNumber appends a number, 0 for what is none: Google leaves a zero out.
func appendNumber(dst, v []byte) []byte {
	if len(v) == 0 || v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		return append(dst, '0')
	}
	return append(dst, v...)
}

// probabilities are tokens of Chat Completions on their way into a logprobsResult.
type probabilities struct{ chosen, top []byte }

// add takes an array of tokens.
func (p *probabilities) add(v []byte) {
	in := walk.Array(v, 0)
	for in.Next() {
		t := in.Value()
		if len(p.chosen) > 0 {
			p.chosen, p.top = append(p.chosen, ','), append(p.top, ',')
		}
		p.chosen = appendCandidate(p.chosen, t)
		p.top = append(p.top, `{"candidates":[`...)
		if list := walk.Get(t, "top_logprobs"); len(list) > 0 && list[0] == '[' {
			of := walk.Array(list, 0)
			for i := 0; of.Next(); i++ {
				if i > 0 {
					p.top = append(p.top, ',')
				}
				p.top = appendCandidate(p.top, of.Value())
			}
		}
		p.top = append(p.top, "]}"...)
	}
}

func appendCandidate(dst, v []byte) []byte {
	dst = append(dst, `{"token":`...)
	dst = chat.AppendText(dst, walk.TextOf(v, "token"))
	dst = append(dst, `,"logProbability":`...)
	dst = appendNumber(dst, walk.Get(v, "logprob"))
	return append(dst, '}')
}

// take appends the member and forgets what it held, nothing if there was nothing.
func (p *probabilities) take(dst []byte) []byte {
	if len(p.chosen) == 0 {
		return dst
	}
	dst = append(dst, `,"logprobsResult":{"topCandidates":[`...)
	dst = append(dst, p.top...)
	dst = append(dst, `],"chosenCandidates":[`...)
	dst = append(dst, p.chosen...)
	p.chosen, p.top = p.chosen[:0], p.top[:0]
	return append(dst, "]}"...)
}
