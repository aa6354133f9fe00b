package refusal

import (
	"context"
	"testing"
	"time"
	"unsafe"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/usage"
)

// The model's name is the request's own bytes, which the next request overwrites: no
// count may keep them, neither of a new line nor of one that there is already.
func TestCountsKeepNoBytesOfRequests(t *testing.T) {
	s := &sink{counts: map[string]int64{}, fail: true}
	b := New(1, s, func(*usage.Record) error { return nil }, obs.Discard())
	at := time.Unix(1_800_000_000, 0)
	buf := make([]byte, 5)
	note := func() {
		copy(buf, "gpt-a")
		b.Note(&catalog.Key{ID: 1, ClientID: 7}, unsafe.String(&buf[0], len(buf)), true, protocol.OpenAIChat, errBad, reqid.New(at), at)
		copy(buf, "\x00\xff\x00\xff\x00")
	}
	for range rowsPerMinute {
		note()
	}
	for round := range 3 {
		for range 5 {
			note()
		}
		s.fail = round < 2
		b.Flush(context.Background())
	}
	if n := s.counts["1invalid_requestgpt-a"]; n != 15 || len(s.counts) != 1 {
		t.Errorf("%v", s.counts)
	}
}
