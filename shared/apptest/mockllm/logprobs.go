package mockllm

import "strconv"

// The mock is as sure of every token as of the last: it says -0.25 for what it said
// and, in each list of others, the token itself first.

// chatLogprobs appends an object of probabilities as OpenAI and DashScope have it.
func (a *ask) chatLogprobs(b []byte, pieces []string, refusal bool) []byte {
	b = append(b, `{"content":`...)
	b = a.logprobsList(b, pieces)
	if refusal {
		b = append(b, `,"refusal":null`...)
	}
	return append(b, '}')
}

// logprobsList appends the list in it, which is also that of Responses.
func (a *ask) logprobsList(b []byte, pieces []string) []byte {
	b = append(b, '[')
	for i, p := range pieces {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"token":`...)
		b = appendQuoted(b, p)
		b = append(b, `,"logprob":-0.25,"bytes":[`...)
		for j := range len(p) {
			if j > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(b, int64(p[j]), 10)
		}
		b = append(b, `],"top_logprobs":[`...)
		for j := range max(0, a.logprobs) {
			if j > 0 {
				b = append(b, ',')
			}
			b = append(b, `{"token":`...)
			b = appendQuoted(b, alternative(p, j))
			b = append(b, `,"logprob":-`...)
			b = strconv.AppendInt(b, j, 10)
			b = append(b, `.25,"bytes":null}`...)
		}
		b = append(b, "]}"...)
	}
	return append(b, ']')
}

// geminiLogprobs appends logprobsResult.
func (a *ask) geminiLogprobs(b []byte, pieces []string) []byte {
	one := func(p string, j int64) {
		b = append(b, `{"token": `...)
		b = appendQuoted(b, alternative(p, j))
		b = append(b, `,"tokenId": 7,"logProbability": -`...)
		b = strconv.AppendInt(b, j, 10)
		b = append(b, ".25}"...)
	}
	b = append(b, `,"logprobsResult": {"topCandidates": [`...)
	for i, p := range pieces {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"candidates": [`...)
		for j := range max(0, a.logprobs) {
			if j > 0 {
				b = append(b, ',')
			}
			one(p, j)
		}
		b = append(b, "]}"...)
	}
	b = append(b, `],"chosenCandidates": [`...)
	for i, p := range pieces {
		if i > 0 {
			b = append(b, ',')
		}
		one(p, 0)
	}
	return append(b, "]}"...)
}

func alternative(p string, j int64) string {
	if j == 0 {
		return p
	}
	return p + strconv.FormatInt(j, 10)
}
