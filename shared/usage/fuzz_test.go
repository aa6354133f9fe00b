package usage_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"hash/crc32"
	"testing"

	"tokenrelay/shared/apptest/fixtures"
	"tokenrelay/shared/usage"
)

// One target for each form: what a provider may send is not ours to choose.

func FuzzChat(f *testing.F)          { fuzz(f, usage.FormChat) }
func FuzzGeminiChat(f *testing.F)    { fuzz(f, usage.FormGeminiChat) }
func FuzzEmbeddings(f *testing.F)    { fuzz(f, usage.FormEmbeddings) }
func FuzzResponses(f *testing.F)     { fuzz(f, usage.FormResponses) }
func FuzzTranscription(f *testing.F) { fuzz(f, usage.FormTranscription) }
func FuzzSpeech(f *testing.F)        { fuzz(f, usage.FormSpeech) }
func FuzzImages(f *testing.F)        { fuzz(f, usage.FormImages) }
func FuzzMessages(f *testing.F)      { fuzz(f, usage.FormMessages) }
func FuzzGemini(f *testing.F)        { fuzz(f, usage.FormGemini) }
func FuzzDashScope(f *testing.F)     { fuzz(f, usage.FormDashScope) }
func FuzzConverse(f *testing.F)      { fuzz(f, usage.FormConverse) }
func FuzzCohere(f *testing.F)        { fuzz(f, usage.FormCohere) }
func FuzzRerank(f *testing.F)        { fuzz(f, usage.FormRerank) }

// reading is all that a reader tells.
type reading struct {
	units  usage.Units
	source usage.Source
	notes  usage.Notes
	others int
	other  usage.Units
}

func all(r *usage.Reader) (x reading) {
	x.units, x.source = r.Units()
	x.notes, x.others = r.Notes(), r.Others()
	for i := range x.others {
		_, u := r.Other(i)
		x.other.Add(&u)
	}
	return x
}

func one(form usage.Form, b []byte) (reading, bool) {
	var r usage.Reader
	r.Reset(form)
	ok := r.Whole(b)
	return all(&r), ok
}

// fuzz: no bytes make a count negative or larger than what was said, or a token of
// another model one that is not in the whole; what cannot be read leaves no trace;
// JSON is read whatever its white space, and never by halves.
func fuzz(f *testing.F, form usage.Form) {
	var known []byte
	for _, dir := range []string{"../apptest/fixtures/cases", "testdata/cases"} {
		list, err := fixtures.Load(dir)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range list {
			if formOf(f, c) != form || c.Status != 200 {
				continue
			}
			parts := [][]byte{c.Body}
			if c.IsStream() {
				parts = events(c.Body)
			}
			for _, b := range parts {
				f.Add(b)
				if x, ok := one(form, b); ok && x.source != usage.SourceNone {
					known = b
				}
			}
		}
	}
	if known == nil {
		f.Fatal("no case of the form says anything")
	}
	for _, s := range []string{`{`, `{}`, `[]`, `[{}]`, `{"usage":{}}`, `{"usage":[]}`, `{"usage":{"prompt_tokens":-1,"total_tokens":1e9}}`, `{"meta":null,"usage":"x"} `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r usage.Reader
		r.Reset(form)
		if !r.Whole(known) {
			t.Fatal("the known answer was not read")
		}
		before := all(&r)
		kept := bytes.Clone(b)
		ok := r.Whole(b)
		after := all(&r)
		if !ok && after != before {
			t.Fatalf("was not read and changed %+v to %+v", before, after)
		}
		if !bytes.Equal(b, kept) {
			t.Fatal("the bytes were changed")
		}
		const most = 1 << 50 // 1 KiB of body holds about 80 figures of 1<<40
		limit := int64(most) * int64(1+len(b)>>10)
		for c := range usage.NumClasses {
			if n := after.units[c]; n < 0 || n > limit {
				t.Fatalf("%d of %s", n, c)
			}
			if after.other[c] < 0 || after.other[c] > after.units[c] && after.source == usage.SourceReported {
				t.Fatalf("%s: %d on other models of %d in all", c, after.other[c], after.units[c])
			}
		}
		if i := bytes.IndexAny(b, "{["); !json.Valid(b) || i < 0 || len(bytes.TrimLeft(b, " \t\r\n")) != len(b)-i {
			return
		}
		if !ok && b[bytes.IndexAny(b, "{[")] == '{' {
			t.Fatal("JSON was not read")
		}
		plain, _ := one(form, b)
		var wide, tight bytes.Buffer
		if json.Indent(&wide, b, "\r", "\t ") != nil || json.Compact(&tight, b) != nil {
			return
		}
		for _, same := range [][]byte{wide.Bytes(), tight.Bytes()} {
			if x, again := one(form, same); again != ok || x != plain {
				t.Fatalf("%+v, with other white space %+v", plain, x)
			}
		}
		whole := bytes.TrimSpace(b)
		for _, n := range []int{len(whole) - 1, len(whole) / 2, len(whole) / 3} {
			if x, ok := one(form, whole[:n]); ok || x.source != usage.SourceNone {
				t.Fatalf("%d of %d bytes were read as %+v", n, len(whole), x)
			}
		}
	})
}

// frame is one frame of an AWS event stream, made from the form's description.
func frame(headers, payload []byte) []byte {
	b := binary.BigEndian.AppendUint32(nil, uint32(16+len(headers)+len(payload)))
	b = binary.BigEndian.AppendUint32(b, uint32(len(headers)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
	b = append(append(b, headers...), payload...)
	return binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

// FuzzFrame: any bytes are a frame, the beginning of one or none; a frame's payload
// comes out as it went in, wherever the stream is cut; one changed byte is seen.
func FuzzFrame(f *testing.F) {
	f.Add([]byte("\x0b:event-type\x07\x00\x08metadata"), []byte(`{"usage":{}}`), uint16(3))
	f.Add([]byte{}, []byte{}, uint16(0))
	f.Add([]byte("\x00\x00\x00\x10\x00\x00\x00\x00\x05\xc2H\xeb}\x98\xc8\xff"), []byte("x"), uint16(15))
	f.Fuzz(func(t *testing.T, headers, payload []byte, at uint16) {
		n, body, ok := usage.Frame(headers) // any bytes
		if n < 0 || n > len(headers) || !ok && (n != 0 || body != nil) {
			t.Fatalf("%d, %v of %d bytes", n, ok, len(headers))
		}
		b := frame(headers, payload)
		rest := append(bytes.Clone(b), payload...)
		if n, body, ok := usage.Frame(rest); !ok || n != len(b) || !bytes.Equal(body, payload) {
			t.Fatalf("%d, %q, %v; want %d, %q", n, body, ok, len(b), payload)
		}
		cut := int(at) % len(b)
		if n, _, ok := usage.Frame(b[:cut]); n != 0 || !ok {
			t.Fatalf("%d of %d bytes: %d, %v", cut, len(b), n, ok)
		}
		b[cut] ^= 0x10
		if n, _, ok := usage.Frame(b); n != 0 || ok {
			t.Fatalf("byte %d changed: %d, %v", cut, n, ok)
		}
	})
}
