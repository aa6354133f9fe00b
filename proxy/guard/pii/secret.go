package pii

// shape is a kind of key that is known by its prefix.
type shape struct {
	prefix string
	least  int  // letters behind it
	exact  bool // exactly so many capital letters and digits
}

// shapes lists them. A key has a digit somewhere, so that words with hyphens are none.
var shapes = []shape{
	{"sk-", 20, false},
	{"sk_live_", 16, false},
	{"sk_test_", 16, false},
	{"rk_live_", 16, false},
	{"rk_test_", 16, false},
	{"tsk_", 20, false},
	{"AKIA", 16, true},
	{"ASIA", 16, true},
	{"AIza", 30, false},
	{"ya29.", 20, false},
	{"ghp_", 20, false},
	{"gho_", 20, false},
	{"ghu_", 20, false},
	{"ghs_", 20, false},
	{"ghr_", 20, false},
	{"github_pat_", 20, false},
	{"glpat-", 20, false},
	{"xoxb-", 10, false},
	{"xoxp-", 10, false},
	{"xoxa-", 10, false},
	{"xoxr-", 10, false},
	{"xoxs-", 10, false},
	{"xapp-", 10, false},
	{"hf_", 20, false},
	{"gsk_", 20, false},
	{"xai-", 20, false},
	{"npm_", 20, false},
	{"pypi-", 20, false},
	{"SG.", 20, false},
	{"whsec_", 16, false},
	{"shpat_", 20, false},
	{"dop_v1_", 20, false},
	{"AGE-SECRET-KEY-", 20, false},
	{"Bearer ", 20, false},
}

// byFirst finds the shapes that begin with a byte.
var byFirst [256][]shape

func init() {
	for _, s := range shapes {
		byFirst[s.prefix[0]] = append(byFirst[s.prefix[0]], s)
	}
}

const (
	maxToken  = 200 // from so many letters on a key is one, and what follows belongs to it
	maxHeader = 512 // the same for the head of a web token
)

// secretAt looks for a key, a web token or a private key.
func secretAt(b []byte, i int, prev byte, last bool) (int, tail, verdict) {
	if b[i] == '-' {
		return pemAt(b, i, last)
	}
	if !is(b[i], letter) || is(prev, letter|digit) {
		return 0, noTail, no
	}
	wait := false
	for _, s := range byFirst[b[i]] {
		switch n, t, v := s.at(b, i, last); v {
		case yes:
			return n, t, yes
		case more:
			wait = true
		}
	}
	if n, t, v := webTokenAt(b, i, last); v == yes {
		return n, t, yes
	} else if v == more {
		wait = true
	}
	if n, v := awsSecretAt(b, i, last); v == yes {
		return n, noTail, yes
	} else if v == more {
		wait = true
	}
	if wait {
		return 0, noTail, more
	}
	return 0, noTail, no
}

// literal compares b[i:] with s.
func literal(b []byte, i int, s string, last bool) verdict {
	for j := range len(s) {
		switch {
		case i+j == len(b) && last:
			return no
		case i+j == len(b):
			return more
		case b[i+j] != s[j]:
			return no
		}
	}
	return yes
}

func (s *shape) at(b []byte, i int, last bool) (int, tail, verdict) {
	if v := literal(b, i, s.prefix, last); v != yes {
		return 0, noTail, v
	}
	at := i + len(s.prefix)
	e, digits := at, false
	for e < len(b) && e-at < maxToken && (is(b[e], token) || b[e] == '.' && s.prefix == "SG.") {
		digits = digits || is(b[e], digit)
		e++
	}
	if e == len(b) && !last && e-at < maxToken {
		return 0, noTail, more
	}
	if s.exact {
		for _, c := range b[at:e] {
			if !is(c, digit) && (c < 'A' || c > 'Z') {
				return 0, noTail, no
			}
		}
		if e-at != s.least {
			return 0, noTail, no
		}
		return e - i, noTail, yes
	}
	if e-at < s.least || !digits {
		return 0, noTail, no
	}
	return e - i, tailToken, yes
}

// webTokenAt looks for a JSON web token: the head is base64 of an object, a dot and more
// base64 follow.
func webTokenAt(b []byte, i int, last bool) (int, tail, verdict) {
	if v := literal(b, i, "eyJ", last); v != yes {
		return 0, noTail, v
	}
	e := i
	for e < len(b) && e-i < maxHeader && is(b[e], base64) {
		e++
	}
	if e-i == maxHeader {
		return e - i, tailToken, yes
	}
	const least = 8
	if e == len(b) || b[e] != '.' || e-i < least {
		if e == len(b) && !last {
			return 0, noTail, more
		}
		return 0, noTail, no
	}
	for n := 1; n <= least; n++ {
		switch {
		case e+n == len(b) && !last:
			return 0, noTail, more
		case e+n == len(b) || !is(b[e+n], base64):
			return 0, noTail, no
		}
	}
	return e + 1 + least - i, tailToken, yes
}

var awsNames = [...]string{"aws_secret_access_key", "secretaccesskey"}

// awsSecretAt looks for a secret key of AWS, which has no shape of its own, behind its
// name.
func awsSecretAt(b []byte, i int, last bool) (int, verdict) {
	wait := false
	for _, name := range awsNames {
		n := 0
		for n < len(name) && i+n < len(b) && (b[i+n]|0x20 == name[n] || b[i+n] == name[n]) {
			n++
		}
		if n < len(name) {
			wait = wait || i+n == len(b) && !last
			continue
		}
		at := i + n
		for at < len(b) && at-i-n < 8 {
			switch b[at] {
			case ' ', '\t', '"', '\'', '=', ':', '>':
				at++
				continue
			}
			break
		}
		e := at
		for e < len(b) && e-at <= 40 && (is(b[e], letter|digit) || b[e] == '/' || b[e] == '+') {
			e++
		}
		switch {
		case e == len(b) && !last && e-at <= 40:
			wait = true
		case e-at == 40 && at > i+n:
			return e - i, yes
		}
	}
	if wait {
		return 0, more
	}
	return 0, no
}

// lineAt looks for a line of PEM: "-----BEGIN", up to 48 capital letters, "-----".
func lineAt(b []byte, i int, begin string, last bool) (label []byte, end int, v verdict) {
	if v := literal(b, i, begin, last); v != yes {
		return nil, 0, v
	}
	at := i + len(begin)
	e := at
	for e < len(b) && e-at < 48 && (b[e] == ' ' || is(b[e], digit) || b[e] >= 'A' && b[e] <= 'Z') {
		e++
	}
	if e == len(b) && !last && e-at < 48 {
		return nil, 0, more
	}
	if v := literal(b, e, "-----", last); v != yes {
		return nil, 0, v
	}
	return b[at:e], e + 5, yes
}

func pemAt(b []byte, i int, last bool) (int, tail, verdict) {
	label, end, v := lineAt(b, i, "-----BEGIN ", last)
	if v != yes {
		return 0, noTail, v
	}
	if !ends(label, "PRIVATE KEY") && !ends(label, "PRIVATE KEY BLOCK") {
		return 0, noTail, no
	}
	return end - i, tailPEM, yes
}

func ends(b []byte, s string) bool { return len(b) >= len(s) && string(b[len(b)-len(s):]) == s }

// follow is how much of b[i:] belongs to the secret before. wait: what follows decides
// about the rest.
func (m *Masker) follow(b []byte, i int, last bool) (n int, wait bool) {
	at := i
	for ; at < len(b); at++ {
		c := b[at]
		if m.tail == tailToken {
			if is(c, token) || c == '=' {
				continue
			}
			if c == '.' { // the sentence's own, or the token's
				if at+1 == len(b) && !last {
					return at - i, true
				}
				if at+1 < len(b) && is(b[at+1], token) {
					continue
				}
			}
			m.tail = noTail
			return at - i, false
		}
		if c == '-' {
			_, end, v := lineAt(b, at, "-----END ", last)
			if v == more {
				return at - i, true
			}
			if v == yes {
				m.tail = noTail
				return end - i, false
			}
		}
		if !is(c, body) {
			m.tail = noTail
			return at - i, false
		}
	}
	return at - i, false
}
