package openai

import (
	"bytes"
	"slices"
	"strconv"

	"tokenrelay/proxy/meter"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/template"
	"tokenrelay/proxy/protocol/walk"
)

// What stands in the holes of a template; from holeFigure on it is a figure of counts.
const (
	holeOther uint8 = iota // nothing that is read
	holeModel
	holeText  // what was generated
	holeCheck // a figure that another one comes after: it must be a count all the same
	holeFigure
)

// saysUsage is the tag of a template in which there is a usage object.
const saysUsage uint8 = 1

const (
	learnEvery = 256      // answers unlike the template before another is made, of one Stream
	maxLearned = 64 << 10 // bytes of an answer of which one is made
)

// alike takes a whole answer that is an earlier one of its route but for its texts and
// numbers. ok is false if it is not; then nothing was appended or counted.
func (s *Stream) alike(dst, b []byte) (out []byte, ok bool) {
	if s.cfg.Answers == nil || s.cfg.Pinned {
		return dst, false
	}
	t := s.cfg.Answers.Get()
	if t == nil {
		return dst, false
	}
	return s.as(t, dst, b)
}

// as is alike with a template.
func (s *Stream) as(t *template.Template, dst, b []byte) (out []byte, ok bool) {
	var at template.Places
	if !t.Match(b, &at) {
		return dst, false
	}
	c := noCounts
	figures := c.figures()
	var model, text template.Place
	for i := range t.Holes() {
		switch tag := t.Hole(i); tag {
		case holeOther:
		case holeModel:
			model = at[i]
		case holeText:
			text = at[i]
		default:
			n, ok, _ := walk.Count(b[at[i].At:at[i].End])
			if !ok {
				return dst, false
			}
			if tag >= holeFigure {
				*figures[tag-holeFigure] = n
			}
		}
	}
	if text.At == text.End { // no text adds nothing
		return dst, false
	}
	s.count.AddJSON(b[text.At:text.End])
	if t.Tag() == saysUsage {
		s.take(&c, &found{})
	}
	s.began = true
	if model.At > 0 && s.cfg.ClientModel != "" && string(b[model.At:model.End]) != s.cfg.ClientModel {
		dst = append(dst, b[:model.At-1]...)
		dst = protocol.AppendString(dst, s.cfg.ClientModel)
		b = b[model.End+1:]
	}
	return append(dst, b...), true
}

// learn makes a template of an answer that was walked through, now and then, as an answer
// that is like it must be read like it; f is what was found in it.
func (s *Stream) learn(b []byte, f *found) {
	if s.cfg.Answers == nil || s.cfg.Pinned || len(b) > maxLearned {
		return
	}
	if s.unlike++; s.unlike%learnEvery != 1 {
		return
	}
	cfg := s.cfg
	cfg.Answers, cfg.ClientModel = nil, "x" // whatever the next one's is
	if t := templateOf(&cfg, b, f); t != nil {
		s.cfg.Answers.Set(t)
	}
}

// templateOf is the template of an answer, nil if there can be none.
func templateOf(cfg *protocol.StreamConfig, b []byte, f *found) *template.Template {
	if f.textE <= f.text {
		return nil
	}
	holes := []template.Hole{{At: f.text, End: f.textE, Kind: template.Text, Tag: holeText}}
	tag := uint8(0)
	it := walk.Object(b, walk.Space(b, 0))
	for it.Next() {
		k := string(it.Key)
		switch v := it.Value(); {
		case len(v) == 0:
			return nil
		case (k == "id" || k == "system_fingerprint" || k == "model") && v[0] == '"':
			h := template.Hole{At: it.Val + 1, End: it.ValueEnd() - 1, Kind: template.Text}
			if k == "model" {
				h.Tag = holeModel
			}
			holes = append(holes, h)
		case k == "created" && isNumber(v):
			holes = append(holes, template.Hole{At: it.Val, End: it.ValueEnd(), Kind: template.Number})
		case k == "usage" && v[0] == '{':
			tag = saysUsage
			nums := numbers(nil, b, it.Val)
			if len(nums) > template.MaxHoles {
				return nil // trying all of them would take a hostile upstream's answer's length squared
			}
			tagFigures(b, it.Val, nums)
			holes = append(holes, nums...)
		}
	}
	if it.Bad {
		return nil
	}
	slices.SortFunc(holes, func(a, b template.Hole) int { return a.At - b.At })
	t := template.Of(b, holes, tag)
	if t == nil || !proven(cfg, t, b, holes) {
		return nil
	}
	return t
}

func isNumber(v []byte) bool { return v[0]-'0' <= 9 || v[0] == '-' }

// numbers appends the places of all numbers in the object at b[i].
func numbers(holes []template.Hole, b []byte, i int) []template.Hole {
	it := walk.Object(b, i)
	for it.Next() {
		v := it.Value()
		switch {
		case len(v) == 0:
			return nil
		case v[0] == '{':
			holes = numbers(holes, b, it.Val)
		case isNumber(v):
			holes = append(holes, template.Hole{At: it.Val, End: it.ValueEnd(), Kind: template.Number})
		}
	}
	return holes
}

// tagFigures finds out, by putting others in their place, what readUsage takes the numbers
// of the usage object at b[i] for.
func tagFigures(b []byte, i int, nums []template.Hole) {
	var was counts
	readUsage(nil, b, i, &was)
	for n := range nums {
		h := &nums[n]
		with := func(number string) (c counts) {
			readUsage(nil, bytes.Join([][]byte{b[:h.At], []byte(number), b[h.End:]}, nil), i, &c)
			return c
		}
		if c := with("1.5"); c.bad {
			h.Tag, h.Kind = holeCheck, template.Count
		}
		for _, number := range []string{"7654321", "1234567"} {
			c := with(number)
			for k, x := range c.figures() {
				if *x != *was.figures()[k] {
					h.Tag = holeFigure + uint8(k)
				}
			}
		}
	}
}

// proven tries the template on answers that are made of it, and on its own: each must be
// taken for what it is taken for when it is walked through.
func proven(cfg *protocol.StreamConfig, t *template.Template, b []byte, holes []template.Hole) bool {
	for _, text := range []string{"x", `a \"text\" of\\ some length \u00e9 in which é 漢 😀 are`} {
		for _, figure := range []func(int) int64{
			func(int) int64 { return 0 },
			func(i int) int64 { return int64(i) },
			func(i int) int64 { return int64(1000 - i) },
			func(i int) int64 { return walk.MaxCount - int64(i) },
		} {
			if !sameAs(cfg, t, filled(b, holes, text, figure)) {
				return false
			}
		}
	}
	return sameAs(cfg, t, b)
}

// filled is the answer with other things in its holes, which stand in its order.
func filled(b []byte, holes []template.Hole, text string, figure func(i int) int64) []byte {
	var out []byte
	pos := 0
	for i, h := range holes {
		out = append(out, b[pos:h.At]...)
		if pos = h.End; h.Kind == template.Text {
			out = append(out, text...)
		} else {
			out = strconv.AppendInt(out, figure(i), 10)
		}
	}
	return append(out, b[pos:]...)
}

// sameAs reports whether b is taken alike by the template and by walking through it.
func sameAs(cfg *protocol.StreamConfig, t *template.Template, b []byte) bool {
	var walked, taken Stream
	walked.Reset(cfg)
	want, k, err := walked.Buffered(nil, b)
	taken.Reset(cfg)
	got, ok := taken.as(t, nil, b)
	taken.done = ok
	return err == nil && ok && k == protocol.Output && bytes.Equal(want, got) && walked.outcome() == taken.outcome()
}

// outcome is all that a whole answer leaves.
type outcome struct {
	meter.End
	reasoning        int64
	terminated, done bool
}

func (s *Stream) outcome() outcome {
	o := outcome{reasoning: s.reasoning, terminated: s.Terminated(), done: s.done}
	s.Fill(&o.End)
	return o
}
