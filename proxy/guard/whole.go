package guard

import (
	"bytes"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
)

// maxDepth is how deep texts are looked for: as deep as a request may be.
const maxDepth = 64

// The members that texts stand in, or below. All others (ids, names, schemas and
// arguments of tools, signatures) are left alone.
var (
	requestTop = set("messages", "system", "instructions", "input", "prompt", "contents", "systemInstruction", "system_instruction", "query", "documents", "suffix", "prediction", "content", "requests")
	inRequest  = set("content", "text", "parts", "output", "refusal", "context", "messages", "prompt", "documents")
	inAnswer   = set("choices", "message", "content", "text", "parts", "candidates", "output", "refusal", "reasoning_content", "reasoning", "thinking", "content_block", "item", "part", "response", "summary", "transcript", "segments", "words", "word", "data", "revised_prompt", "results", "document")
)

func set(names ...string) map[string]bool {
	m := make(map[string]bool, len(names))
	for _, n := range names {
		m[n] = true
	}
	return m
}

// whole rewrites the texts of one JSON value.
type whole struct {
	filter filter
	report Report
	patch  walk.Patch
	plain  []byte
	shown  []byte
	answer bool
	bad    bool
	gather *gathered // texts are taken as they stand, and nothing is looked for
}

// gathered are the texts of a request as a JSON array of strings.
type gathered struct {
	dst []byte
	n   int
}

// AppendTexts appends the texts of a request as a JSON array of strings, in order, and
// says how many there are. They are the texts that a policy looks at.
func AppendTexts(dst, body []byte) (out []byte, n int) {
	g := gathered{dst: append(dst, '[')}
	w := whole{patch: walk.Patch{Src: body}, gather: &g}
	if at := walk.Space(body, 0); at < len(body) && body[at] == '{' {
		it := walk.Object(body, at)
		for it.Next() {
			if requestTop[name(it.Key)] {
				w.value(it.Val, 1)
			}
		}
	}
	return append(g.dst, ']'), g.n
}

// Request appends the body of a request with the texts of its messages as the policy
// wants them. body must have been scanned: it is readable JSON.
func (p *Policy) Request(dst, body []byte) ([]byte, Report) {
	w := whole{patch: walk.Patch{Dst: dst, Src: body}}
	at := walk.Space(body, 0)
	if p.requests == nil || at >= len(body) || body[at] != '{' {
		return append(dst, body...), Report{}
	}
	w.filter.look = p.requests
	it := walk.Object(body, at)
	for it.Next() {
		if requestTop[name(it.Key)] {
			w.value(it.Val, 1)
		}
	}
	return w.patch.Finish(), w.report
}

// Answer appends a whole answer with its texts as the policy wants them. ok is false if
// it cannot be read: then nothing was appended, and it must not be shown.
func (p *Policy) Answer(dst, body []byte) (out []byte, r Report, ok bool) {
	if p.responses == nil {
		return append(dst, body...), Report{}, true
	}
	w := whole{patch: walk.Patch{Dst: dst, Src: body}, answer: true}
	at := walk.Space(body, 0)
	if at >= len(body) || body[at] != '{' {
		return dst, r, false
	}
	w.filter.look = p.responses
	w.object(at, 1)
	if w.bad {
		return dst, r, false
	}
	return w.patch.Finish(), w.report, true
}

// name is a member's name, unescaped.
func name(key []byte) string {
	if bytes.IndexByte(key, '\\') >= 0 {
		key = chat.Unescape(nil, key)
	}
	return string(key)
}

// value rewrites the texts of the value at place at: a string itself, or what an object
// or array holds.
func (w *whole) value(at, depth int) {
	b := w.patch.Src
	switch b[at] {
	case '"':
		w.text(at)
	case '[':
		it := walk.Array(b, at)
		for depth < maxDepth && it.Next() {
			w.value(it.Val, depth+1)
		}
		w.bad = w.bad || it.Bad || depth >= maxDepth
	case '{':
		w.object(at, depth)
	}
}

func (w *whole) object(at, depth int) {
	if depth >= maxDepth {
		w.bad = true
		return
	}
	b := w.patch.Src
	if w.answer {
		w.members(at, depth, inAnswer)
		return
	}
	if v := walk.Get(b[at:], "thought"); string(v) == "true" {
		return // a thought of Gemini, which its proof belongs to
	}
	w.members(at, depth, inRequest)
}

func (w *whole) members(at, depth int, in map[string]bool) {
	it := walk.Object(w.patch.Src, at)
	for it.Next() {
		switch key := name(it.Key); {
		case in[key]:
			w.value(it.Val, depth+1)
		case key == "logprobs" && w.answer && walk.Truthy(it.Value()) && it.Byte() != 't':
			// They spell the text once more.
			w.patch.Replace(it.Val, it.ValueEnd(), nothing(it.Byte()))
		case key == "source" && !w.answer && it.Byte() == '{':
			w.source(it.Val)
		case (key == "functionResponse" || key == "function_response") && !w.answer && it.Byte() == '{':
			w.result(it.Val, depth+1)
		}
	}
	w.bad = w.bad || it.Bad
}

// source rewrites a document of Messages that is plain text.
func (w *whole) source(at int) {
	b := w.patch.Src
	if string(walk.TextOf(b[at:], "type")) != "text" {
		return
	}
	it := walk.Object(b, at)
	for it.Next() {
		if name(it.Key) == "data" && it.Byte() == '"' {
			w.text(it.Val)
		}
	}
}

// result rewrites all strings of a tool's result in Gemini's form, which is an object.
func (w *whole) result(at, depth int) {
	it := walk.Object(w.patch.Src, at)
	for it.Next() {
		if key := name(it.Key); key == "response" {
			w.strings(it.Val, depth+1)
		}
	}
}

func (w *whole) strings(at, depth int) {
	if depth >= maxDepth {
		return
	}
	b := w.patch.Src
	var it walk.Iter
	switch b[at] {
	case '"':
		w.text(at)
		return
	case '{':
		it = walk.Object(b, at)
	case '[':
		it = walk.Array(b, at)
	default:
		return
	}
	for it.Next() {
		w.strings(it.Val, depth+1)
	}
}

// text rewrites one string.
func (w *whole) text(at int) {
	b := w.patch.Src
	end := walk.String(b, at)
	if end < 0 {
		w.bad = true
		return
	}
	raw := b[at+1 : end-1]
	if len(raw) == 0 {
		return
	}
	if g := w.gather; g != nil {
		if g.n++; g.n > 1 {
			g.dst = append(g.dst, ',')
		}
		g.dst = append(g.dst, b[at:end]...)
		return
	}
	plain := raw
	if bytes.IndexByte(raw, '\\') >= 0 {
		w.plain = chat.Unescape(w.plain[:0], raw)
		plain = w.plain
	}
	w.filter.begin(w.filter.look)
	w.shown = w.filter.append(w.shown[:0], plain, true)
	w.report.Add(w.filter.report())
	if bytes.Equal(w.shown, plain) {
		return
	}
	w.patch.Keep(at)
	w.patch.Dst = chat.AppendPlain(w.patch.Dst, w.shown)
	w.patch.Cut(at, end)
}
