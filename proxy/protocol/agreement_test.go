package protocol_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
	"unicode/utf8"

	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/peek"
)

// Hashes as testdata/agree.mjs makes them.
const (
	hashPrime = 16777619
	hashStart = uint32(0x811c9dc5)
)

func mix(h, x uint32) uint32 { return (h ^ x) * hashPrime }

func mixText(h uint32, s string) uint32 {
	for _, r := range s {
		if r > 0xffff {
			a, b := utf16.EncodeRune(r)
			h = mix(mix(h, uint32(a)), uint32(b))
			continue
		}
		h = mix(h, uint32(r))
	}
	return h
}

func mixNumber(h uint32, s string) uint32 {
	f, _ := strconv.ParseFloat(s, 64) // beyond the range it is infinite, as in JavaScript
	b := math.Float64bits(f)
	return mix(mix(h, uint32(b)), uint32(b>>32))
}

// walked is the hash of a value as our walk reads it; twice says that an object has a key
// twice, whose fate is each parser's own.
func walked(v []byte, twice *bool) uint32 {
	switch {
	case len(v) == 0:
		return 0
	case v[0] == '"':
		s, _ := walk.Text(v)
		return mixText(mix(hashStart, 1), string(chat.Unescape(nil, s)))
	case v[0] == 't':
		return mix(hashStart, 3)
	case v[0] == 'f':
		return mix(hashStart, 4)
	case v[0] == 'n':
		return mix(hashStart, 5)
	case v[0] == '[':
		h := mix(hashStart, 6)
		it := walk.Array(v, 0)
		for it.Next() {
			h = mix(h, walked(it.Value(), twice))
		}
		return h
	case v[0] == '{':
		h := mix(hashStart, 7)
		keys := map[string]bool{}
		it := walk.Object(v, 0)
		for it.Next() {
			k := string(chat.Unescape(nil, it.Key))
			*twice = *twice || keys[k]
			keys[k] = true
			h += mixText(hashStart, k)*31 + mix(walked(it.Value(), twice), 9)
		}
		return h
	}
	return mixNumber(mix(hashStart, 2), string(v))
}

// decoded is the same of encoding/json's tokens.
func decoded(d *json.Decoder) uint32 {
	t, err := d.Token()
	if err != nil {
		return 0
	}
	switch x := t.(type) {
	case string:
		return mixText(mix(hashStart, 1), x)
	case json.Number:
		return mixNumber(mix(hashStart, 2), x.String())
	case bool:
		if x {
			return mix(hashStart, 3)
		}
		return mix(hashStart, 4)
	case nil:
		return mix(hashStart, 5)
	case json.Delim:
		h := mix(hashStart, 6)
		if x == '{' {
			h = mix(hashStart, 7)
		}
		for d.More() {
			if x == '{' {
				k, _ := d.Token()
				s, _ := k.(string)
				h += mixText(hashStart, s)*31 + mix(decoded(d), 9)
				continue
			}
			h = mix(h, decoded(d))
		}
		_, _ = d.Token()
		return h
	}
	return 0
}

// wanted is the hash of what a request asks, as peek has read it.
func wanted(r *peek.Request) uint32 {
	flag := func(h uint32, b bool) uint32 {
		if b {
			return mix(h, 1)
		}
		return mix(h, 0)
	}
	h := flag(mixText(hashStart, string(r.Model)), r.Stream)
	for _, n := range []int64{r.MaxTokens, r.MaxCompletion, r.N, r.BestOf} {
		h = mixNumber(h, strconv.FormatInt(n, 10))
	}
	return flag(h, r.IncludeUsage)
}

// documents makes what parsers are known to read differently.
type documents struct{ *rand.Rand }

func pick[T any](r documents, list ...T) T { return list[r.IntN(len(list))] }

func (r documents) text() string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(pick(r, "a", "model", " ", "é", "漢", "😀", `\u0061`, `\ud83d\ude00`, `\ud800`, `\udc00x`, `\uD83D`, `\"`, `\\`, `\/`, `\n`, `\u0000`, "\u2028", "\u212a", "\u017f", "{", "]", ",", ":"))
	}
	return b.String()
}

func (r documents) number() string {
	return pick(r, "0", "-0", "1", "17", "-1", "1e3", "1E+3", "1.0", "1.5e-7", "9007199254740993", "12345678901234567890", "1e400", "-1e400", "4.9e-324", "1e-400", "0.1", "123456789.123456789", "2147483648", "100000000000000000000000", strconv.Itoa(r.IntN(5000)))
}

func (r documents) space() string { return pick(r, "", "", "", " ", "\n", "\t", "\r\n") }

func (r documents) value(depth int) string {
	switch n := r.IntN(9); {
	case n < 2 && depth > 0:
		var b strings.Builder
		b.WriteString("{" + r.space())
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteString("," + r.space())
			}
			b.WriteString(`"` + r.text() + `"` + r.space() + ":" + r.space() + r.value(depth-1))
		}
		return b.String() + r.space() + "}"
	case n < 4 && depth > 0:
		var b strings.Builder
		b.WriteString("[" + r.space())
		for i := range r.IntN(4) {
			if i > 0 {
				b.WriteString("," + r.space())
			}
			b.WriteString(r.value(depth - 1))
		}
		return b.String() + r.space() + "]"
	case n < 6:
		return `"` + r.text() + `"`
	case n < 8:
		return r.number()
	}
	return pick(r, "true", "false", "null")
}

// request is a chat request, or nearly one.
func (r documents) request() string {
	parts := []string{}
	if r.IntN(12) > 0 {
		parts = append(parts, pick(r, `"model":"gpt-5"`, `"model":"m\u0061"`, `"mod\u0065l":"é"`, `"model" : "a\/b"`, `"model":"`+r.text()+`"`))
		parts = append(parts, pick(r, `"messages":[]`, `"messages":[{"role":"user","content":"`+r.text()+`"}]`, `"messages":[`+r.value(3)+`]`))
	}
	for range r.IntN(5) {
		parts = append(parts, pick(r,
			`"stream":`+pick(r, "true", "false", "null"), `"max_tokens":`+pick(r, "1", "5", "null", r.number()), `"max_completion_tokens":`+pick(r, "7", r.number()), `"n":`+pick(r, "2", r.number()),
			`"best_of":`+pick(r, "3", r.number()), `"stream_options":`+pick(r, `{"include_usage":true}`, `{"include_us\u0061ge":true}`, "null", r.value(1)),
			`"`+r.text()+`":`+r.value(3), `"Model":"b"`, `"MAX_TOKENS":3`, `"max_to`+"\u212a"+`ens":4`, `"`+"\u017f"+`tream":true`, `"x":`+strings.Repeat("[", r.IntN(80))+"1"))
	}
	r.Shuffle(len(parts), func(i, j int) { parts[i], parts[j] = parts[j], parts[i] })
	return r.space() + "{" + strings.Join(parts, ","+r.space()) + "}" + pick(r, "", "", "", "", " ", "\n", "x", "{}", "\x00", "//")
}

// next is a document; a part of them is damaged.
func (r documents) next() []byte {
	var s string
	if r.IntN(3) > 0 {
		s = r.request()
	} else {
		s = r.space() + r.value(5) + r.space()
	}
	b := []byte(s)
	for r.IntN(6) == 0 && len(b) > 0 {
		at := r.IntN(len(b))
		switch r.IntN(5) {
		case 0:
			b[at] = byte(r.IntN(256))
		case 1:
			b = append(b[:at], b[at+1:]...)
		case 2:
			b = b[:at]
		case 3:
			b = append(b[:at:at], append([]byte(pick(r, "\xff", "\xc0\xaf", "\xed\xa0\x80", "\xef\xbb\xbf", "\x00", "\x1f", `"`, `\`, ",", "}", "[")), b[at:]...)...)
		case 4:
			b = append(b, b[at:]...)
		}
	}
	return b
}

// E2, G-16: what is admitted, every parser reads alike. Our two readers stand against
// encoding/json and, in batches, against JSON.parse of Node: peek on all that it admits,
// the walk on all that is JSON. AGREE is the number of documents; make fuzz asks for ten
// million.
func TestParserAgreement(t *testing.T) {
	total := 40_000
	if s := os.Getenv("AGREE"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		total = n
	}
	seed := uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	node := startNode(t)
	docs := documents{rand.New(rand.NewPCG(seed, 7))}
	admitted, valid, twiceSeen := 0, 0, 0
	const batch = 10_000
	for done := 0; done < total; done += batch {
		list := make([][]byte, min(batch, total-done))
		for i := range list {
			list[i] = docs.next()
		}
		replies := node.ask(t, list)
		for i, b := range list {
			var r peek.Request
			in := peek.Scan(b, peek.OpenAIChat, &r) == nil
			isJSON := json.Valid(b)
			if in {
				admitted++
				if !isJSON || !utf8.Valid(b) {
					t.Fatalf("admitted, and no JSON: %q", b)
				}
				if node != nil && (replies[i].ok != 1 || replies[i].asked != wanted(&r)) {
					t.Fatalf("JSON.parse reads something else than %+v: %q", r, b)
				}
			}
			if !isJSON {
				continue
			}
			valid++
			twice := false
			ours := walked(bytes.TrimSpace(b), &twice)
			d := json.NewDecoder(bytes.NewReader(b))
			d.UseNumber()
			if utf8.Valid(b) {
				if std := decoded(d); std != ours {
					t.Fatalf("encoding/json reads something else: %q", b)
				}
				if twice {
					twiceSeen++
				} else if node != nil && (replies[i].ok != 1 || replies[i].tree != ours) {
					t.Fatalf("JSON.parse (%d) reads something else: %q", replies[i].ok, b)
				}
			}
		}
	}
	if admitted < total/50 || valid < total/4 || twiceSeen == 0 {
		t.Errorf("of %d documents %d were admitted, %d JSON, %d with a key twice: the test shows little", total, admitted, valid, twiceSeen)
	}
	fmt.Printf("%d documents: %d JSON, %d admitted, %d with a key twice; no parser disagrees (JSON.parse asked: %v)\n", total, valid, admitted, twiceSeen, node != nil)
}

type nodeReply struct {
	ok          byte
	asked, tree uint32
}

// node is a process that parses.
type nodeProcess struct {
	in  *bufio.Writer
	out *bufio.Reader
}

// startNode starts Node, nil where there is none: the line at the end says so.
func startNode(t *testing.T) *nodeProcess {
	path, err := exec.LookPath("node")
	if err != nil {
		return nil
	}
	cmd := exec.Command(path, "testdata/agree.mjs")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	return &nodeProcess{bufio.NewWriterSize(in, 1<<16), bufio.NewReaderSize(out, 1<<16)}
}

func (n *nodeProcess) ask(t *testing.T, list [][]byte) []nodeReply {
	if n == nil {
		return nil
	}
	sent := make(chan error, 1)
	go func() {
		for _, b := range list {
			var size [4]byte
			binary.LittleEndian.PutUint32(size[:], uint32(len(b)))
			_, _ = n.in.Write(size[:])
			_, _ = n.in.Write(b)
		}
		sent <- n.in.Flush()
	}()
	replies := make([]nodeReply, len(list))
	for i := range replies {
		var b [9]byte
		if _, err := io.ReadFull(n.out, b[:]); err != nil {
			t.Fatal(err)
		}
		replies[i] = nodeReply{b[0], binary.LittleEndian.Uint32(b[1:]), binary.LittleEndian.Uint32(b[5:])}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	return replies
}
