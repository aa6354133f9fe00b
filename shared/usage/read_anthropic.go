package usage

// messagesTop takes the members of a Messages answer or event.
func messagesTop(r *Reader, key, v []byte) {
	switch string(key) {
	case "usage":
		if len(v) == 0 || v[0] != '{' {
			r.work.impossible = r.work.impossible || string(v) != "null"
			return
		}
		// Of an event that ends an answer, or of a whole one. Without a figure for the
		// output it is none: the opening event's is a running one.
		s := &r.work
		running := s.out
		s.out = -1
		r.each(v, messagesUsage)
		if s.out < 0 {
			s.out = running
			return
		}
		s.impossible = s.impossible || s.seen && s.out < s.last
		s.seen, s.last = true, s.out
	case "message":
		r.each(v, message)
	}
}

// message takes the members of the opening event's message.
func message(r *Reader, key, v []byte) {
	if string(key) == "usage" {
		r.each(v, messagesUsage)
		r.work.started = r.work.in >= 0
	}
}

// messagesUsage overlays what was said before, member by member; nothing is added up
// (protocols 5).
func messagesUsage(r *Reader, key, v []byte) {
	if string(key) == "iterations" {
		r.iterations(v)
		return
	}
	messagesCount(r, key, v)
}

func messagesCount(r *Reader, key, v []byte) {
	f := &r.work
	switch string(key) {
	case "input_tokens":
		r.count(v, &f.in)
	case "output_tokens":
		r.count(v, &f.out)
	case "cache_read_input_tokens":
		r.count(v, &f.read)
	case "cache_creation_input_tokens":
		r.count(v, &f.write)
	case "cache_creation":
		r.each(v, cacheCreation)
	case "output_tokens_details":
		r.each(v, thinking)
	case "server_tool_use":
		r.each(v, serverTools)
	}
}

func cacheCreation(r *Reader, key, v []byte) {
	switch string(key) {
	case "ephemeral_5m_input_tokens":
		r.count(v, &r.work.write5m)
	case "ephemeral_1h_input_tokens":
		r.count(v, &r.work.write1h)
	}
}

func thinking(r *Reader, key, v []byte) {
	if string(key) == "thinking_tokens" {
		r.count(v, &r.work.reasoning)
	}
}

// messages: input leaves both caches out, output holds thinking.
func (f *figures) messages(u *Units) bool {
	f.apart(u)
	u[Searches] = max(0, f.searches)
	return f.in >= 0 || f.out >= 0
}

// apart brings figures whose input leaves the caches out into classes.
func (f *figures) apart(u *Units) {
	w1h := max(0, f.write1h)
	write := f.write
	if write < 0 {
		write = max(0, f.write5m) + w1h
	}
	w1h = min(w1h, write)
	u[Input], u[CacheRead], u[CacheWrite], u[CacheWrite1h] = max(0, f.in), max(0, f.read), write-w1h, w1h
	u[Output] = max(0, f.out)
}

// iterations adds up the iterations that the counts beside them leave out. Those are
// all but the served ones: the fallback_message where there is one, else the message
// ones. Later lists stand for earlier ones.
func (r *Reader) iterations(v []byte) {
	s := &r.work
	if len(v) == 0 || v[0] != '[' {
		return
	}
	fallback := false
	m := inside(v, 0)
	for m.next() {
		if t := m.value(); len(t) > 0 && t[0] == '{' {
			fallback = fallback || string(word(member(t, "type"))) == "fallback_message"
		}
	}
	if m.bad {
		r.broken = true
		return
	}
	s.extra, s.numOthers = Units{}, 0
	served := "message"
	if fallback {
		served = "fallback_message"
	}
	before := s.figures
	m = inside(v, 0)
	for m.next() {
		t := m.value()
		if len(t) == 0 || t[0] != '{' {
			continue
		}
		s.figures = noFigures
		r.each(t, messagesCount)
		if string(word(member(t, "type"))) == served {
			continue
		}
		var u Units
		s.messages(&u)
		s.extra.Add(&u)
		s.elsewhere(word(member(t, "model")), &u)
	}
	s.figures = before
}

// elsewhere books units that ran on another model; without a name, or with more names
// than are kept, they are the answer's own model's.
func (s *state) elsewhere(model []byte, u *Units) {
	if len(model) == 0 || len(model) > len(s.others[0].model) {
		return
	}
	for i := range s.numOthers {
		if o := &s.others[i]; string(o.model[:o.modelLen]) == string(model) {
			o.units.Add(u)
			return
		}
	}
	if s.numOthers == maxOthers {
		return
	}
	o := &s.others[s.numOthers]
	o.modelLen = copy(o.model[:], model)
	o.units = *u
	s.numOthers++
}

// member returns one member's value of the object v, nil if there is none.
func member(v []byte, name string) []byte {
	m := inside(v, 0)
	for m.next() {
		if string(m.key) == name {
			return m.value()
		}
	}
	return nil
}
