package matrixtest

import (
	"fmt"
	"strings"
	"testing"
)

// heard is an answer without the ids, which differ from request to request.
func (s *said) heard() string {
	var b strings.Builder
	for i := range len(s.answers) {
		a := s.at(i)
		fmt.Fprintf(&b, "%q %q %s", a.text, a.thoughts, a.finish)
		for _, c := range a.calls {
			fmt.Fprintf(&b, " %s(%s)", c.name, c.args)
		}
	}
	fmt.Fprintf(&b, " %d in, %d out, ended %v", s.in, s.out, s.ended)
	return b.String()
}

// Through the whole proxy: an upstream that writes single bytes, or pieces that end
// anywhere, tells every client what one that writes whole events does.
func TestCutWrites(t *testing.T) {
	w := newWorld(t)
	n := 0
	for i := range upstreams {
		for _, p := range ingresses {
			for _, script := range []string{"out=5;reasoning=3;in=100;cached=7", "tools=2;in=100"} {
				want := ""
				for _, size := range []string{"", ";write=1", ";write=3", ";write=61"} {
					q := question{text: "hello mock:" + script + size, tools: strings.HasPrefix(script, "tools"), thinking: true, stream: true}
					r := w.post(t, ask(p, upstreams[i].public(), &q))
					s := read(t, p, r, true)
					if got := s.heard(); r.status != 200 || !s.ended || want != "" && got != want {
						t.Errorf("%s for %s%s: %d %s\nwant %s", upstreams[i].name, p, size, r.status, got, want)
					} else if want == "" {
						want = got
					}
					n++
				}
			}
		}
	}
	w.kit.AtRest(t)
	if n != len(upstreams)*len(ingresses)*8 {
		t.Errorf("%d streams", n)
	}
}
