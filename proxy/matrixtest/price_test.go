package matrixtest

import (
	"fmt"
	"strings"
	"testing"

	"tokenrelay/shared/usage"
)

// N16: the same prompt costs the same to the nano-dollar in whatever format it is asked,
// whole or streamed, because the same units are read of the same answer.
func TestSamePrice(t *testing.T) {
	w := newWorld(t)
	n := 0
	for i := range upstreams {
		up := &upstreams[i]
		for _, script := range []string{"out=57", "out=57;cached=11", "out=9;reasoning=5;in=1234;cached=200", "out=9;in=90000;cached=89999", "tools=2;in=100"} {
			if up.protocol == "anthropic" {
				script += ";cache_write=30;cache_write_1h=7"
			}
			if up.protocol == "cohere" { // what it reads again it bills whole, and the hold is for what was sent
				script = strings.Replace(script, "in=90000;cached=89999", "in=90;cached=89", 1)
			}
			var first *usage.Record
			var told string
			for _, p := range ingresses {
				for _, stream := range []bool{false, true} {
					name := fmt.Sprintf("%s of %s for %s, streamed %v", script, up.name, p, stream)
					q := question{system: "be brief", text: "how are you? mock:id=price;" + script, stream: stream, tools: strings.HasPrefix(script, "tools")}
					r := w.post(t, ask(p, up.public(), &q))
					s := read(t, p, r, stream)
					if n++; r.status != 200 || s.problem != "" {
						t.Fatalf("%s: %d %s", name, r.status, r.body)
					}
					rec := w.kit.WaitRecords(t, n)[n-1]
					u := w.last(t, "price").Usage
					if u == nil || rec.Source != usage.SourceReported || rec.Units[usage.Input] != u.Input || rec.Units[usage.CacheRead] != u.CacheRead || rec.Units[usage.CacheWrite] != u.CacheWrite || rec.Units[usage.CacheWrite1h] != u.CacheWrite1h || rec.Units[usage.Output]+rec.Units[usage.Reasoning] != u.Output || rec.Charge <= 0 {
						t.Fatalf("%s: metered %v (%s) for %s; served %+v", name, rec.Units, rec.Source, rec.Charge, u)
					}
					if first == nil {
						first, told = &rec, name
					}
					if rec.Units != first.Units || rec.Charge != first.Charge || rec.Cost != first.Cost {
						t.Errorf("%s: %v for %s\n%s: %v for %s", name, rec.Units, rec.Charge, told, first.Units, first.Charge)
					}
				}
			}
		}
	}
	w.kit.AtRest(t)
	if n != len(upstreams)*len(ingresses)*10 {
		t.Errorf("%d requests", n)
	}
}
