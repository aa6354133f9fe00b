package mockllm

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest/fixtures"
)

// Every case comes back byte for byte, however it is cut up on the way.
func TestReplay(t *testing.T) {
	own, err := fixtures.Own()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("own", func(t *testing.T) { replayAll(t, "", own) })
	dir, ok := fixtures.Recordings()
	if !ok {
		fmt.Println("replay: no folder of recordings here (RECORDINGS names one): only the project's own cases were replayed")
		return
	}
	recorded, err := fixtures.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("recorded", func(t *testing.T) { replayAll(t, dir, recorded) })
}

func replayAll(t *testing.T, dir string, cases []*fixtures.Case) {
	s, addr := start(t, Options{Recordings: dir})
	for _, c := range cases {
		for _, how := range []string{"", "write=1", "write=7", "write=13;te=close"} {
			if how == "write=1" && len(c.Body) > 8<<10 || len(c.Body) > 256<<10 && how != "" {
				continue // a system call for each byte of the long ones is time for nothing
			}
			id := fmt.Sprintf("%s/%s", c.ID, how)
			w := talk(t, addr, post(chatPath, chatBody("case:"+c.ID, "", ""), "x-mock: id="+strings.ReplaceAll(id, ";", ",")+";"+how), 5*time.Second)
			if w.status(t) != c.Status {
				t.Fatalf("%s: status %d, want %d", id, w.status(t), c.Status)
			}
			if !bytes.Equal(w.body, c.Body) {
				t.Fatalf("%s: %d bytes, want %d", id, len(w.body), len(c.Body))
			}
			for _, h := range c.Headers {
				if strings.EqualFold(h.Name, "content-type") && !strings.Contains(w.head, "Content-Type: "+h.Value+"\r\n") {
					t.Fatalf("%s: %q", id, w.head)
				}
			}
			r := lastRecord(t, s, strings.ReplaceAll(id, ";", ","))
			if r.CaseServed != c.ID || (r.Usage != nil) != c.HasUsage || c.HasUsage && (r.Usage.Output != c.Expected.OutputTotal || r.Usage.Input != c.Expected.InputUncached) || r.BytesOut != int64(len(c.Body)) {
				t.Fatalf("%s: %+v, want %+v", id, r, c.Expected)
			}
		}
	}
	t.Logf("%d cases", len(cases))
}

func TestReplayOfAnUnknownCase(t *testing.T) {
	_, addr := start(t, Options{})
	w := talk(t, addr, post(chatPath, chatBody("case:nobody", "", "")), 3*time.Second)
	if w.status(t) != 404 || !bytes.Contains(w.body, []byte("mock_case")) {
		t.Errorf("%s", w.raw)
	}
}
