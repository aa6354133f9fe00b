package pii

// A span is a row of groups of digits, with what separates them.
type span struct {
	digits [maxDigits + 1]byte
	groups [maxDigits + 1]group
	n      int // groups
	total  int // digits
}

type group struct {
	from, to int  // digits of the span
	end      int  // place behind it in the text
	sep      byte // what separates it from the group before, 'x' = several
}

// maxDigits is the most digits that anything looked for has.
const maxDigits = 20

// read reads the span that starts at b[i], a digit. more: the text ends amid it. A group
// that makes it too long is not part of it.
func (s *span) read(b []byte, i int, last bool) verdict {
	s.n, s.total = 0, 0
	sep := byte(0)
	for {
		from := s.total
		for i < len(b) && is(b[i], digit) {
			if s.total == maxDigits {
				return yes
			}
			s.digits[s.total] = b[i]
			s.total++
			i++
		}
		s.groups[s.n] = group{from: from, to: s.total, end: i, sep: sep}
		s.n++
		at := i
		for at < len(b) && at-i < 2 && separates(b[at]) {
			at++
		}
		if at == len(b) {
			if last {
				return yes
			}
			return more
		}
		if at == i || !is(b[at], digit) || s.n == len(s.groups) {
			return yes
		}
		if sep = b[i]; at-i > 1 {
			sep = 'x'
		}
		i = at
	}
}

func separates(c byte) bool {
	switch c {
	case ' ', '-', '.', '/', '(', ')':
		return true
	}
	return false
}

func (g *group) size() int { return g.to - g.from }

// text is the digits of the first n groups.
func (s *span) text(n int) []byte { return s.digits[:s.groups[n-1].to] }

// sizes reports whether groups from the k-th on have these sizes.
func (s *span) sizes(k int, want ...int) bool {
	if s.n < k+len(want) {
		return false
	}
	for i, n := range want {
		if s.groups[k+i].size() != n {
			return false
		}
	}
	return true
}

// numberAt looks for ids, cards and phone numbers.
func numberAt(b []byte, i int, prev byte, last bool, kinds Set) (int, Kind, verdict) {
	at := i
	lead := b[i]
	if lead == '+' || lead == '(' {
		if !kinds.Has(Phone) || is(prev, letter|digit) {
			return 0, 0, no
		}
		if at++; lead == '+' && at < len(b) && b[at] == '(' {
			at++
		}
		if at == len(b) && !last {
			return 0, 0, more
		}
		if at == len(b) || !is(b[at], digit) {
			return 0, 0, no
		}
	} else if is(prev, digit) {
		return 0, 0, no
	}
	var s span
	if s.read(b, at, last) == more {
		return 0, 0, more
	}
	if s.n == 0 {
		return 0, 0, no
	}
	if lead != '+' && lead != '(' {
		if kinds.Has(ID) {
			if end, v := residentAt(b, &s, last); v != no {
				return end - i, ID, v
			}
			if s.socialSecurity() && !joins(prev) {
				return s.groups[2].end - i, ID, yes
			}
		}
		if kinds.Has(Card) {
			if n := s.card(); n > 0 {
				return s.groups[n-1].end - i, Card, yes
			}
		}
	}
	if kinds.Has(Phone) && !joins(prev) {
		if n := s.phone(lead); n > 0 {
			return s.groups[n-1].end - i, Phone, yes
		}
	}
	return 0, 0, no
}

// joins reports whether a number behind c is a part of something longer.
func joins(c byte) bool {
	switch c {
	case '-', '.', '/', '_', '+':
		return true
	}
	return is(c, letter|digit)
}

// card is how many groups are the digits of a payment card.
func (s *span) card() int {
	for n := s.n; n > 0; n-- {
		d := s.text(n)
		if len(d) < 13 || len(d) > 19 || d[0] < '2' || d[0] > '6' || !luhn(d) {
			continue
		}
		same, plain, single := true, true, true
		for _, c := range d {
			same = same && c == d[0]
		}
		for i := range s.groups[:n] {
			g := &s.groups[i]
			plain = plain && (i == 0 || g.sep == ' ' || g.sep == '-') && (g.size() >= 4 || i == n-1 && g.size() == 3)
			single = single && g.size() == 1 && (i == 0 || g.sep == ' ' || g.sep == '-')
		}
		plain = plain || single
		if !same && plain {
			return n
		}
	}
	return 0
}

func luhn(d []byte) bool {
	sum := 0
	for i := range d {
		v := int(d[len(d)-1-i] - '0')
		if i&1 == 1 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}

// residentAt looks for a Chinese resident id: 17 digits and a checksum, which may be X.
func residentAt(b []byte, s *span, last bool) (end int, v verdict) {
	g := &s.groups[0]
	d := s.digits[:g.to]
	check := byte(0)
	end = g.end
	switch {
	case len(d) == 18:
		check = d[17]
	case len(d) == 17 && end < len(b) && b[end]|0x20 == 'x':
		check = 'X'
		end++
		if end == len(b) && !last {
			return 0, more
		}
	default:
		return 0, no
	}
	if end < len(b) && is(b[end], letter|digit) {
		return 0, no
	}
	year, month, day := number(d[6:10]), number(d[10:12]), number(d[12:14])
	if year < 1900 || year > 2100 || month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, no
	}
	sum, weight := 0, 1
	for i := 16; i >= 0; i-- {
		weight = weight * 2 % 11
		sum += int(d[i]-'0') * weight
	}
	if "10X98765432"[sum%11] != check {
		return 0, no
	}
	return end, yes
}

func number(d []byte) (n int) {
	for _, c := range d {
		n = n*10 + int(c-'0')
	}
	return n
}

// socialSecurity reports whether the span begins with a US social security number.
func (s *span) socialSecurity() bool {
	if !s.sizes(0, 3, 2, 4) {
		return false
	}
	sep := s.groups[1].sep
	if sep != '-' && sep != ' ' || s.groups[2].sep != sep || s.n > 3 && s.groups[3].sep == sep {
		return false
	}
	area, part, serial := number(s.digits[:3]), number(s.digits[3:5]), number(s.digits[5:9])
	return area != 0 && area != 666 && area < 900 && part != 0 && serial != 0
}

// phone is how many groups are a phone number; lead is '+' or '(' where that stands
// before it.
func (s *span) phone(lead byte) int {
	d := s.digits[:s.total]
	if lead == '+' {
		for n := s.n; n > 0; n-- {
			if size := s.groups[n-1].to; size >= 8 && size <= 15 && d[0] != '0' {
				return n
			}
		}
		return 0
	}
	k := 0 // North America, with its 1 or without
	if s.groups[0].size() == 1 && d[0] == '1' {
		k = 1
	}
	if s.sizes(k, 3, 3, 4) {
		if g := &s.groups[k]; d[g.from] >= '2' && d[g.to] >= '2' {
			return k + 3
		}
	}
	if lead == '(' {
		// An area in brackets, the rest in any groups.
		for n := s.n; n > 1; n-- {
			if size := s.groups[n-1].to; size >= 8 && size <= 12 && s.groups[1].sep != '.' && s.groups[0].size() <= 5 {
				return n
			}
		}
		return 0
	}
	k = 0 // China's mobiles
	if s.groups[0].size() == 2 && d[0] == '8' && d[1] == '6' {
		k = 1
	}
	for _, want := range [][]int{{11}, {3, 4, 4}} {
		if s.sizes(k, want...) {
			if at := s.groups[k].from; d[at] == '1' && d[at+1] >= '3' {
				return k + len(want)
			}
		}
	}
	if d[0] != '0' || s.n < 2 {
		return 0
	}
	if s.sizes(0, 2, 2, 2, 2, 2) && d[1] != '0' { // France
		return 5
	}
	for n := min(s.n, 4); n > 1; n-- {
		least, most, each := 9, 12, 3
		if d[1] == '0' && len(d) > 2 && d[2] != '0' { // 00 and a country
			least, most, each = 10, 17, 2
		}
		size, good := s.groups[n-1].to, s.groups[0].size() >= 2 && s.groups[0].size() <= 5
		for i := range s.groups[1:n] {
			g := &s.groups[1+i]
			good = good && g.size() >= each && g.sep != '.'
		}
		if good && size >= least && size <= most {
			return n
		}
	}
	return 0
}

// ibanLength is how many letters and digits an IBAN has in a country.
var ibanLength = map[[2]byte]int{}

func init() {
	const table = "AD24AE23AL28AT20AZ28BA20BE16BG22BH22BR29BY28CH21CR22CY28CZ24DE22DK18DO28EE20EG29ES24FI18FO18FR27GB22GE22GI23GL18GR27GT28HR21HU28IE22IL23IQ23IS26IT27JO30KW30KZ20LB28LC32LI21LT20LU20LV21LY25MC27MD24ME22MK19MR27MT31MU30NL18NO15PK24PL28PS29PT25QA29RO24RS22SA24SC31SE24SI19SK24SM27ST25SV28TL23TN24TR26UA29VA22VG24XK20"
	for i := 0; i < len(table); i += 4 {
		ibanLength[[2]byte{table[i], table[i+1]}] = number([]byte(table[i+2 : i+4]))
	}
}

// ibanAt looks for an IBAN, in groups or without.
func ibanAt(b []byte, i int, last bool) (int, verdict) {
	var text [34]byte
	n, want := 0, 4
	for at := i; ; at++ {
		if n == want && n > 4 {
			if at == len(b) && !last {
				return 0, more
			}
			if at < len(b) && is(b[at], letter|digit) || mod97(text[:n]) != 1 {
				return 0, no
			}
			return at - i, yes
		}
		if at == len(b) {
			if last {
				return 0, no
			}
			return 0, more
		}
		c := b[at]
		if (c == ' ' || c == '-') && n >= 4 && is(b[at-1], letter|digit) {
			continue
		}
		if is(c, letter) {
			c &^= 0x20
		}
		if n < 2 && !is(c, letter) || (n == 2 || n == 3) && !is(c, digit) || !is(c, letter|digit) {
			return 0, no
		}
		text[n] = c
		if n++; n == 2 {
			if want = ibanLength[[2]byte{text[0], text[1]}]; want == 0 {
				return 0, no
			}
		}
	}
}

// mod97 is the checksum of an IBAN, 1 where it holds.
func mod97(d []byte) int {
	sum := 0
	for i := range d {
		c := d[(i+4)%len(d)]
		if is(c, digit) {
			sum = (sum*10 + int(c-'0')) % 97
		} else {
			sum = (sum*100 + int(c-'A') + 10) % 97
		}
	}
	return sum
}
