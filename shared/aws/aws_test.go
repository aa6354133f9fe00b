package aws

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// The example of Amazon's own documents for version 4 has GET and other services; what
// is held here is that the fields are there, cover what they must, and change with all
// that they cover. That they are right is held against the mock's own arithmetic, where
// the proxy's tests ask it.
func TestSignature(t *testing.T) {
	at := time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)
	sign := func(c Credentials, address, body, region string) string {
		var s Signer
		out, err := s.AppendFields(nil, &c, address, []byte(body), region, "bedrock", at)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	c := Credentials{KeyID: "AKIA", Secret: "s/+"}
	const address = "https://bedrock-runtime.eu-1.amazonaws.com/model/a.b-v1%3A0/converse"
	base := sign(c, address, "{}", "eu-1")
	for _, w := range []string{"Authorization: AWS4-HMAC-SHA256 Credential=AKIA/20260304/eu-1/bedrock/aws4_request, SignedHeaders=content-type;host;x-amz-date, Signature=", "X-Amz-Date: 20260304T050607Z\r\n"} {
		if !strings.Contains(base, w) {
			t.Errorf("no %q in %q", w, base)
		}
	}
	for name, other := range map[string]string{
		"body": sign(c, address, "{ }", "eu-1"), "region": sign(c, address, "{}", "eu-2"), "path": sign(c, strings.Replace(address, "v1", "v2", 1), "{}", "eu-1"),
		"secret": sign(Credentials{KeyID: "AKIA", Secret: "t"}, address, "{}", "eu-1"), "host": sign(c, strings.Replace(address, "eu-1", "eu-3", 1), "{}", "eu-1"),
	} {
		if other == base {
			t.Errorf("the signature does not cover the %s", name)
		}
	}
	c.Session = "token"
	if s := sign(c, address, "{}", "eu-1"); !strings.Contains(s, "X-Amz-Security-Token: token\r\n") || !strings.Contains(s, ";x-amz-security-token,") {
		t.Errorf("%q", s)
	}
	var one Signer // two secrets of one id
	a, _ := one.AppendFields(nil, &Credentials{KeyID: "AKIA", Secret: "old"}, address, nil, "eu-1", "bedrock", at)
	b, _ := one.AppendFields(nil, &Credentials{KeyID: "AKIA", Secret: "new"}, address, nil, "eu-1", "bedrock", at)
	if bytes.Equal(a, b) {
		t.Error("a secret that was put right is not used")
	}
}

func TestSecrets(t *testing.T) {
	for secret, want := range map[string]Credentials{
		"AKIA:s/+k": {"AKIA", "s/+k", ""}, "ASIA:s:tok/en==": {"ASIA", "s", "tok/en=="},
		"bedrock-api-key-YWJj": {}, "ABSKQmVkcm9jaw==": {}, ":x": {}, "x:": {}, "": {},
	} {
		if c, ok := ParseSecret(secret); ok != (want.KeyID != "") || ok && c != want {
			t.Errorf("%s: %+v %v", secret, c, ok)
		}
	}
}

func TestRegion(t *testing.T) {
	for host, want := range map[string]string{
		"bedrock-runtime.us-east-1.amazonaws.com": "us-east-1", "bedrock-runtime-fips.us-gov-west-1.amazonaws.com": "us-gov-west-1",
		"bedrock-runtime.eu-west-3.api.aws": "eu-west-3", "127.0.0.1:80": "", "localhost": "", "vpce-1.bedrock-runtime.x.vpce": "",
	} {
		if got := Region(host); got != want {
			t.Errorf("%s: %q", host, got)
		}
	}
}

func stream(t testing.TB) []byte {
	t.Helper()
	var b []byte
	var err error
	for _, f := range []struct {
		name, payload string
		fails         bool
	}{{"messageStart", `{"role":"assistant"}`, false}, {"contentBlockDelta", "{\n\"delta\": {\"text\":\"漢\"}\r\n}", false}, {"contentBlockStop", "", false}, {"throttlingException", `{"message":"slow"}`, true}, {"odd\"name", `x`, true}} {
		if b, err = AppendFrame(b, f.name, f.fails, []byte(f.payload)); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

const events = `data: {"messageStart":{"role":"assistant"}}

data: {"contentBlockDelta":{ "delta": {"text":"漢"}  }}

data: {"contentBlockStop":{}}

event: error
data: {"type":"throttlingException","message":"slow"}

event: error
data: {"type":"odd?name"}

`

// However the bytes of a stream arrive, its events are the same.
func TestFrames(t *testing.T) {
	b := stream(t)
	for size := 1; size <= len(b); size++ {
		var d Decoder
		var out []byte
		var err error
		for p := b; len(p) > 0; {
			n := min(size, len(p))
			if out, err = d.Append(out, p[:n], 1<<20); err != nil {
				t.Fatal(size, err)
			}
			p = p[n:]
		}
		if string(out) != events || d.Rest() {
			t.Fatalf("in writes of %d bytes: %s", size, out)
		}
	}
}

// What is no frame is found out at once, whatever byte of it is wrong.
func TestBrokenFrames(t *testing.T) {
	frame, err := AppendFrame(nil, "contentBlockDelta", false, []byte(`{"delta":{"text":"abc"}}`))
	if err != nil {
		t.Fatal(err)
	}
	for i := range frame {
		b := bytes.Clone(frame)
		b[i] ^= 0x40
		var d Decoder
		out, err := d.Append(nil, b, 1<<16)
		if err == nil && (len(out) > 0 || !d.Rest()) {
			t.Errorf("byte %d: %q", i, out)
		}
	}
	var d Decoder
	if _, err := d.Append(nil, frame, len(frame)-1); err != ErrFrame {
		t.Errorf("a frame above the limit: %v", err)
	}
	d.Reset()
	if _, err := d.Append(nil, []byte("HTTP/1.1 200 OK\r\n\r\n"), 1<<20); err != ErrFrame {
		t.Errorf("a text: %v", err)
	}
	d.Reset()
	if out, err := d.Append(nil, frame[:20], 1<<20); err != nil || len(out) > 0 || !d.Rest() {
		t.Errorf("%q %v", out, err)
	}
}

func FuzzFrames(f *testing.F) {
	f.Add(stream(f))
	f.Fuzz(func(t *testing.T, b []byte) {
		var d, e Decoder
		out, err := d.Append(nil, b, 1<<16)
		var again []byte
		var err2 error
		for i := 0; i < len(b) && err2 == nil; i++ {
			again, err2 = e.Append(again, b[i:i+1], 1<<16)
		}
		if !bytes.Equal(out, again) || (err == nil) != (err2 == nil) {
			t.Fatalf("%q %v, %q %v", out, err, again, err2)
		}
	})
}

// A frame costs what Amazon's decoder takes for its headers and its reader: the one
// exception among the streams (docs/decisions/0023-hidden-protocols.md).
func BenchmarkFrame(b *testing.B) {
	frame, err := AppendFrame(nil, "contentBlockDelta", false, []byte(`{"contentBlockIndex":0,"delta":{"text":" the words"},"p":"abcdefghijkl"}`))
	if err != nil {
		b.Fatal(err)
	}
	var d Decoder
	out := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		if out, err = d.Append(out[:0], frame, 1<<20); err != nil {
			b.Fatal(err)
		}
	}
	if !json.Valid(out[len("data: ") : len(out)-2]) {
		b.Fatalf("%s", out)
	}
}

func BenchmarkSign(b *testing.B) {
	var s Signer
	c := Credentials{KeyID: "AKIA", Secret: "secret"}
	body := bytes.Repeat([]byte("x"), 4096)
	out := make([]byte, 0, 1024)
	b.ReportAllocs()
	for b.Loop() {
		out, _ = s.AppendFields(out[:0], &c, "https://bedrock-runtime.eu-1.amazonaws.com/model/a/converse", body, "eu-1", "bedrock", time.Now())
	}
}

// A model's id is one segment of the path, whatever it holds.
func TestConversePath(t *testing.T) {
	for model, want := range map[string]string{
		"anthropic.claude-v1:0":            "/model/anthropic.claude-v1%3A0/converse",
		"arn:aws:bedrock:us-1:2:profile/x": "/model/arn%3Aaws%3Abedrock%3Aus-1%3A2%3Aprofile%2Fx/converse",
		"a b/../?#%":                       "/model/a%20b%2F..%2F%3F%23%25/converse",
	} {
		if got := string(AppendConversePath(nil, model, false)); got != want {
			t.Errorf("%s: %s", model, got)
		}
		if got := string(AppendConversePath(nil, model, true)); got != want+"-stream" {
			t.Errorf("%s: %s", model, got)
		}
	}
}
