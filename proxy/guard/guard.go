// Package guard keeps what a client's policy says about texts: it looks for personal
// data, secrets and words in the texts of requests and answers, replaces them, notes
// them, or says that the call is to be blocked. It reads JSON of every protocol and
// nothing else of a request.
package guard

import (
	"tokenrelay/proxy/guard/pii"
	"tokenrelay/proxy/guard/words"
	"tokenrelay/shared/policy"
)

// Policy is the compiled rules of a client. It is immutable and shared by its keys.
type Policy struct {
	Rules  policy.Rules
	Text   string // as stored
	Secret []byte // of the webhook, opened

	requests, responses *looking // nil: nothing is looked for there
}

// looking is what is looked for in one direction.
type looking struct {
	kinds, mask, block pii.Set
	words              *words.List
	maskWords          bool
	blockWords         bool
}

// Compile makes a policy of rules.
func Compile(r *policy.Rules) *Policy {
	text, _ := r.Text() // they were valid when they were read
	p := &Policy{Rules: *r, Text: string(text)}
	var list *words.List
	if r.Words.Action != policy.Off && len(r.Words.List) > 0 {
		list = words.New(r.Words.List)
	}
	p.requests = look(r, list, policy.Requests)
	p.responses = look(r, list, policy.Responses)
	return p
}

func look(r *policy.Rules, list *words.List, where policy.Where) *looking {
	l := new(looking)
	m := &r.Masking
	if m.ApplyTo == policy.Both || m.ApplyTo == where {
		for k, a := range map[pii.Kind]policy.Action{pii.Email: m.Email, pii.Phone: m.Phone, pii.Card: m.Card, pii.ID: m.ID, pii.Credential: m.Credential} {
			switch a {
			case policy.Block:
				l.block = l.block.With(k)
			case policy.Mask:
				l.mask = l.mask.With(k)
			case policy.Flag:
			default:
				continue
			}
			l.kinds = l.kinds.With(k)
		}
	}
	if list != nil && (r.Words.ApplyTo == policy.Both || r.Words.ApplyTo == where) {
		l.words, l.maskWords, l.blockWords = list, r.Words.Action == policy.Mask, r.Words.Action == policy.Block
	}
	if l.kinds == 0 && l.words == nil {
		return nil
	}
	return l
}

// Minimal reports whether nothing is written down of calls but what explains their charge;
// p may be nil.
func (p *Policy) Minimal() bool { return p != nil && p.Rules.Logging.Level == policy.Minimal }

// Requests reports whether texts of requests are looked at, Responses those of answers.
func (p *Policy) Requests() bool { return p.requests != nil }

// Responses reports whether texts of answers are looked at.
func (p *Policy) Responses() bool { return p.responses != nil }

// Report is what was found in the texts of a call.
type Report struct {
	Kinds   pii.Set
	Words   bool
	Masked  bool
	Blocked bool
}

// Add adds what another report has.
func (r *Report) Add(o Report) {
	r.Kinds |= o.Kinds
	r.Words = r.Words || o.Words
	r.Masked = r.Masked || o.Masked
	r.Blocked = r.Blocked || o.Blocked
}

// Any reports whether anything was found.
func (r *Report) Any() bool { return r.Kinds != 0 || r.Words }

func (l *looking) report(kinds pii.Set, word bool) Report {
	return Report{
		Kinds: kinds, Words: word,
		Masked:  kinds&l.mask != 0 || word && l.maskWords,
		Blocked: kinds&l.block != 0 || word && l.blockWords,
	}
}

// filter is one text on its way through all that is looked for.
type filter struct {
	look  *looking
	pii   pii.Masker
	words words.Filter
	tmp   []byte
}

func (f *filter) begin(l *looking) {
	f.look = l
	f.pii.Kinds, f.pii.Mask = l.kinds, l.mask|l.block
	f.words.List, f.words.Mask = l.words, l.maskWords || l.blockWords
	f.pii.Reset()
	f.words.Reset()
}

// append appends what of the text up to now may be shown.
func (f *filter) append(dst, text []byte, last bool) []byte {
	if f.look.words == nil {
		return f.pii.Append(dst, text, last)
	}
	f.tmp = f.pii.Append(f.tmp[:0], text, last)
	return f.words.Append(dst, f.tmp, last)
}

func (f *filter) held() int { return f.pii.Held() + f.words.Held() }

func (f *filter) report() Report { return f.look.report(f.pii.Found, f.words.Found) }
