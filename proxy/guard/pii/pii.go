// Package pii finds personal data and secrets in plain text: e-mail addresses, phone
// numbers, payment cards, ids of persons and accounts, keys of machines. It is pure, it
// knows no JSON and no protocol, and a text may come in pieces: where it is cut changes
// nothing of what is found.
package pii

// Kind is what a finding is.
type Kind uint8

// The kinds.
const (
	Email      Kind = iota
	Phone           // international, or written as North America, China and the 0-prefix countries do
	Card            // 13 to 19 digits that keep Luhn's checksum
	ID              // IBAN, US social security number, Chinese resident id
	Credential      // keys of APIs and clouds, JSON web tokens, private keys in PEM
	NumKinds
)

var names = [NumKinds]string{"email", "phone", "card", "id", "credential"}

// String is the kind's name in settings.
func (k Kind) String() string {
	if k < NumKinds {
		return names[k]
	}
	return "unknown"
}

// Set is a set of kinds.
type Set uint8

// Has reports whether the set has k.
func (s Set) Has(k Kind) bool { return s>>k&1 != 0 }

// With is the set with k.
func (s Set) With(k Kind) Set { return s | 1<<k }

// MaxHeld is the most text, in bytes, that a Masker keeps back because what follows may
// make it a finding: the head of a JSON web token is the longest. Longer secrets are
// known by their beginning, and what follows of them is dropped as it comes.
const MaxHeld = 576

// Masker looks for kinds in a text that comes in pieces. The zero value looks for
// nothing. It keeps at most MaxHeld bytes between two calls.
type Masker struct {
	Kinds Set // what is looked for
	Mask  Set // what of it is replaced by its name in brackets; the rest passes
	Found Set // what was found so far

	held []byte // text that is not decided yet
	prev byte   // the byte before it, 0 at the text's beginning

	tail tail // a secret that goes on
	drop bool // and is masked

	runEnd, dead int // of e-mail addresses, places in the text of one call
}

// tail is what belongs to a secret whose beginning was found.
type tail uint8

const (
	noTail    tail = iota
	tailToken      // letters of tokens
	tailPEM        // up to the END line
)

// Reset makes m ready for another text; settings stay, and what was found.
func (m *Masker) Reset() {
	*m = Masker{Kinds: m.Kinds, Mask: m.Mask, Found: m.Found, held: m.held[:0]}
}

// Held is how many bytes of text are kept back.
func (m *Masker) Held() int { return len(m.held) }

// verdict is what can be said of a place in a text.
type verdict uint8

const (
	no   verdict = iota // nothing begins here, whatever follows
	more                // what follows decides
	yes
)

// Append appends to dst what of the text up to now may be shown: what was kept back and
// text, without what is undecided yet. With last nothing follows, and nothing is kept.
func (m *Masker) Append(dst, text []byte, last bool) []byte {
	b := text
	joined := len(m.held) > 0
	if joined {
		m.held = append(m.held, text...)
		b = m.held
	}
	m.runEnd, m.dead = 0, 0
	i, out := 0, 0
	for i < len(b) {
		if m.tail != noTail {
			n, wait := m.follow(b, i, last)
			if m.drop {
				dst = append(dst, b[out:i]...)
				out = i + n
			}
			if i += n; wait {
				break
			}
			continue
		}
		if starts[b[i]]&m.Kinds == 0 || i > 0 && i < m.dead && is(b[i], letter) && is(b[i-1], letter|digit) {
			i++ // amid a word that is no address
			continue
		}
		n, kind, tail, v := m.at(b, i, last)
		if v == more {
			break
		}
		if v == no {
			i++
			continue
		}
		m.Found = m.Found.With(kind)
		m.tail, m.drop = tail, m.Mask.Has(kind)
		if m.drop {
			dst = append(dst, b[out:i]...)
			dst = append(dst, '[')
			dst = append(dst, names[kind]...)
			dst = append(dst, ']')
			out = i + n
		}
		i += n
	}
	dst = append(dst, b[out:i]...)
	if i > 0 {
		m.prev = b[i-1]
	}
	if joined {
		m.held = m.held[:copy(m.held, b[i:])]
	} else {
		m.held = append(m.held[:0], b[i:]...)
	}
	return dst
}

// at asks every detector what begins at b[i]; the first that does not say no decides.
func (m *Masker) at(b []byte, i int, last bool) (n int, k Kind, t tail, v verdict) {
	prev := m.prev
	if i > 0 {
		prev = b[i-1]
	}
	if m.Kinds.Has(Credential) {
		if n, t, v = secretAt(b, i, prev, last); v != no {
			return n, Credential, t, v
		}
	}
	if m.Kinds.Has(Email) && i >= m.dead {
		if n, v = m.emailAt(b, i, prev, last); v != no {
			return n, Email, noTail, v
		}
	}
	if m.Kinds.Has(ID) && is(b[i], letter) && !is(prev, letter|digit) {
		if n, v = ibanAt(b, i, last); v != no {
			return n, ID, noTail, v
		}
	}
	if is(b[i], digit) || b[i] == '+' || b[i] == '(' {
		n, k, v = numberAt(b, i, prev, last, m.Kinds)
		return n, k, noTail, v
	}
	return 0, 0, noTail, no
}

// The classes of bytes.
const (
	letter = 1 << iota
	digit
	local  // of an e-mail address before the @
	domain // and behind it
	token  // of keys and web tokens
	base64 // of web tokens
	body   // of PEM
)

var (
	classes [256]uint8
	starts  [256]Set // what may begin with a byte
)

func is(c byte, class uint8) bool { return classes[c]&class != 0 }

func init() {
	mark := func(class uint8, s string) {
		for i := range len(s) {
			classes[s[i]] |= class
		}
	}
	for c := byte('a'); c <= 'z'; c++ {
		mark(letter|local|domain|token|base64|body, string([]byte{c, c - 32}))
	}
	mark(digit|local|domain|token|base64|body, "0123456789")
	mark(local, "._%+-'")
	mark(domain, ".-")
	mark(token, "_-")
	mark(base64, "_-")
	mark(body, "+/= \t\r\n\\-:,")
	for c := range 256 {
		b := byte(c)
		if is(b, local) {
			starts[c] |= 1 << Email
		}
		if is(b, letter) {
			starts[c] |= 1 << ID
		}
		if is(b, digit) {
			starts[c] |= 1<<ID | 1<<Card | 1<<Phone
		}
		if is(b, letter) || b == '-' {
			starts[c] |= 1 << Credential
		}
	}
	starts['+'] |= 1 << Phone
	starts['('] |= 1 << Phone
}

const (
	maxLocal  = 64
	maxDomain = 253
)

// emailAt looks for an e-mail address. What stands before the @ is cut to its last 64
// letters where it is longer.
func (m *Masker) emailAt(b []byte, i int, prev byte, last bool) (int, verdict) {
	if !is(b[i], local) {
		return 0, no
	}
	e := max(m.runEnd, i)
	for e < len(b) && is(b[e], local) {
		e++
	}
	m.runEnd = e
	switch size := e - i; {
	case e == len(b):
		if last || size > maxLocal {
			return 0, no
		}
		return 0, more
	case b[e] != '@':
		m.dead = e
		return 0, no
	case size > maxLocal || size < maxLocal && is(prev, local):
		return 0, no
	}
	end := e + 1
	for end < len(b) && end-e <= maxDomain && is(b[end], domain) {
		end++
	}
	if end == len(b) && !last && end-e <= maxDomain {
		return 0, more
	}
	for end > e+1 && (b[end-1] == '.' || b[end-1] == '-') {
		end--
	}
	top := end
	for top > e+1 && b[top-1] != '.' {
		top--
	}
	if top == e+1 || end-top < 2 || !is(b[top], letter) {
		return 0, no
	}
	return end - i, yes
}
