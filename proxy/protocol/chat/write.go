package chat

import (
	"bytes"
	"iter"
)

// What several formats write alike.

// AppendFunction appends a tool in the form of Chat Completions, which others have taken
// over, up to the end of its parameters: the caller adds what its provider knows besides
// and "}}".
func AppendFunction(dst []byte, t *Tool) []byte {
	dst = append(dst, `{"type":"function","function":{"name":`...)
	dst = AppendText(dst, t.Name)
	if len(t.Description) > 0 {
		dst = append(dst, `,"description":`...)
		dst = AppendText(dst, t.Description)
	}
	dst = append(dst, `,"parameters":`...)
	if t.Schema == nil {
		return append(dst, `{"type":"object","properties":{}}`...)
	}
	return append(dst, t.Schema...)
}

// AppendResult appends the texts of a tool's result as the inside of one JSON string, for
// providers whose results are texts only, and tells the client what has lost its place.
// Pictures and files are appended to rest, to be shown in a message of the user; takes
// says which files the provider reads, nil = all.
func (r *Request) AppendResult(dst []byte, p *Part, rest []Part, takes func(file *Part) bool) ([]byte, []Part) {
	if p.IsError {
		dst = append(dst, "Error: "...)
	}
	said, shown := false, len(rest)
	for j := range p.Parts {
		switch in := &p.Parts[j]; in.Kind {
		case PartText:
			if said {
				dst = append(dst, `\n`...)
			}
			said = true
			dst = AppendInner(dst, in.Text)
		case PartImage:
			r.Drop(r.Name(MemberResultImage))
			rest = append(rest, *in)
		case PartFile:
			r.Drop(r.Name(MemberResultFile))
			if takes == nil || takes(in) {
				rest = append(rest, *in)
			}
		}
	}
	if !said && len(rest) > shown {
		dst = append(dst, "See the attachment in the next message."...)
	}
	return dst, rest
}

// Neighbours finds the next turns, from index at on, that are one message where users
// and assistants must take turns: those of one role, from index from until before to.
// Turns of the system between them are to be passed over. ok is false behind the last.
func (r *Request) Neighbours(at int) (role Role, from, to int, ok bool) {
	turns := r.Turns
	for at < len(turns) && turns[at].Role == System {
		at++
	}
	if at == len(turns) {
		return System, at, at, false
	}
	role, from, to = turns[at].Role, at, at
	for to < len(turns) && (turns[to].Role == role || turns[to].Role == System) {
		to++
	}
	return role, from, to, true
}

// Blocks are the parts of the turns of one role from index from until before to, as
// Anthropic and those after it want them in a message: results of tools and thoughts
// first. Each comes with the index of its turn.
func (r *Request) Blocks(role Role, from, to int) iter.Seq2[int, *Part] {
	return func(yield func(int, *Part) bool) {
		for pass := range 2 {
			for i := from; i < to; i++ {
				if r.Turns[i].Role != role {
					continue
				}
				for k := range r.Turns[i].Parts {
					p := &r.Turns[i].Parts[k]
					first := p.Kind == PartResult || p.Kind == PartThinking || p.Kind == PartRedacted
					if first == (pass == 0) && !yield(i, p) {
						return
					}
				}
			}
		}
	}
}

// AppendProbabilities appends the tokens of a JSON array, behind those that dst has, on one
// line. What is no JSON is left out: it would break the answer that it stands in.
func AppendProbabilities(dst, v []byte) []byte {
	if len(v) <= 2 || !Valid(v) {
		return dst
	}
	if v = v[1 : len(v)-1]; len(bytes.TrimSpace(v)) == 0 {
		return dst
	}
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	at := len(dst)
	dst = append(dst, v...)
	for i := at; i < len(dst); i++ {
		if dst[i] == '\n' || dst[i] == '\r' { // white space: texts have none
			dst[i] = ' '
		}
	}
	return dst
}
