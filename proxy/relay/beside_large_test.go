package relay_test

import (
	"bytes"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/usage"
)

// A file of 25 MB goes through, whatever stands before and behind it in its form.
func TestLargeForm(t *testing.T) {
	k, m := beside(t)
	file := tone(780)
	for i, pairs := range [][]string{
		{"model", "whisper-a", "file", "@a.wav"},
		{"file", "@a.wav", "model", "whisper-a"},
	} {
		body, kind := form(t, file, pairs...)
		r := post(t, k, "/v1/audio/transcriptions", body, "Content-Type", kind)
		if r.status != 200 {
			t.Fatalf("%d: %d %s", i, r.status, r.body)
		}
		check(t, "large", last(t, k, i+1), units(usage.Seconds, 780), usage.SourceReported, due(780, 100_000_000))
		if up := ended(m, mockllm.Filter{}); up[i].BytesIn != int64(len(body)+len(up[i].Model)-len("whisper-a")) {
			t.Errorf("%d: %d bytes came, %d were sent", i, up[i].BytesIn, len(body))
		}
	}
	k.AtRest(t)
}

// Who leaves amid the sound ends it at the provider too, and pays (D12); nothing but sound
// is ever written into it.
func TestSpeechLeft(t *testing.T) {
	k, m := beside(t)
	req, err := http.NewRequest("POST", k.URL+"/v1/audio/speech", strings.NewReader(speech("tts-c", strings.Repeat("long ", 3000)+"mock:gap=20ms", "")))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+k.Token)
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	some := make([]byte, 9000)
	if _, err := io.ReadFull(resp.Body, some); err != nil || !bytes.HasPrefix(some, []byte("ID3")) {
		t.Fatalf("%v %q", err, some[:3])
	}
	_ = resp.Body.Close()
	rec := last(t, k, 1)
	if rec.Status != usage.Cancelled || rec.Charge == 0 || rec.Charge > rec.Hold || rec.Units[usage.Characters] == 0 {
		t.Errorf("%s: %v, charged %s of %s", rec.Status, rec.Units, rec.Charge, rec.Hold)
	}
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if up := m.Requests(mockllm.Filter{})[0]; up.End == mockllm.EndGone && up.BytesOut < 3000*1000 {
			break
		} else if time.Now().After(end) {
			t.Fatalf("the provider went on: %+v", up)
		}
	}
	k.AtRest(t)
}
