package anthropic

import (
	"bytes"

	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/usage"
)

// counts is what usage objects have said so far; the later one overlays the
// earlier, member by member, and nothing is added up (protocols 5). Absent
// figures are -1.
type counts struct {
	input, cached, write, w5m, w1h, output, thinking, searches int64
	bad                                                        bool

	extra usage.Units // iterations beside the served ones
	more  int         // how many
}

func (c *counts) reset() { *c = counts{-1, -1, -1, -1, -1, -1, -1, -1, false, usage.Units{}, 0} }

// read overlays the usage object at b[i] == '{' and cuts what names the supplier's
// price. It returns the end of the object, -1 if it is broken.
func (c *counts) read(p *walk.Patch, b []byte, i int) int {
	end, list := c.overlay(p, b, i)
	if end >= 0 && list >= 0 && c.iterations(b, list) < 0 {
		return -1
	}
	return end
}

// overlay is read without the iterations: it tells where their array starts, -1 if
// there is none. Without p nothing is cut.
func (c *counts) overlay(p *walk.Patch, b []byte, i int) (end, list int) {
	list = -1
	it := walk.Object(b, i)
	var cut walk.Cutter
	for it.Next() {
		if p != nil {
			if bytes.HasPrefix(it.Key, costPrefix) {
				if !cut.Drop(p, &it) {
					return -1, -1
				}
				continue
			}
			cut.Stay(p, &it)
		}
		switch string(it.Key) {
		case "input_tokens":
			c.count(it.Value(), &c.input)
		case "cache_read_input_tokens":
			c.count(it.Value(), &c.cached)
		case "cache_creation_input_tokens":
			c.count(it.Value(), &c.write)
		case "output_tokens":
			c.count(it.Value(), &c.output)
		case "cache_creation", "output_tokens_details", "server_tool_use":
			if it.Byte() != '{' {
				continue
			}
			in := walk.Object(b, it.Val)
			for in.Next() {
				switch string(in.Key) {
				case "ephemeral_5m_input_tokens":
					c.count(in.Value(), &c.w5m)
				case "ephemeral_1h_input_tokens":
					c.count(in.Value(), &c.w1h)
				case "thinking_tokens":
					c.count(in.Value(), &c.thinking)
				case "web_search_requests":
					c.count(in.Value(), &c.searches)
				}
			}
			if in.Bad {
				return -1, -1
			}
			it.Resume(in.End())
		case "iterations":
			if it.Byte() == '[' {
				list = it.Val
			}
		}
	}
	if it.Bad {
		return -1, -1
	}
	if p != nil {
		cut.Done(p, it.End())
	}
	return it.End(), list
}

var costPrefix = []byte("cost")

func (c *counts) count(v []byte, n *int64) {
	x, ok, bad := walk.Count(v)
	if ok {
		*n = x
	}
	c.bad = c.bad || bad
}

// iterations sums the iterations that the top-level counts leave out. Those are
// all but the served ones: the fallback_message where there is one, else the
// message ones.
func (c *counts) iterations(b []byte, i int) int {
	c.extra, c.more = usage.Units{}, 0
	var message usage.Units
	messages, fallback := 0, false
	list := walk.Array(b, i)
	for list.Next() {
		if list.Byte() != '{' {
			continue
		}
		var one counts
		one.reset()
		v := list.Value()
		if v == nil {
			return -1
		}
		if end, _ := one.overlay(nil, v, 0); end < 0 {
			return -1
		}
		c.bad = c.bad || one.bad
		u := one.units()
		switch kind := member(v, "type"); string(kind) {
		case "message":
			messages++
			add(&message, &u)
		case "fallback_message":
			fallback = true
		default:
			c.more++
			add(&c.extra, &u)
		}
	}
	if list.Bad {
		return -1
	}
	if fallback {
		c.more += messages
		add(&c.extra, &message)
	}
	return list.End()
}

// member returns the text of one member of the object v.
func member(v []byte, name string) []byte {
	it := walk.Object(v, 0)
	for it.Next() {
		if string(it.Key) == name {
			text, _ := walk.Text(it.Value())
			return text
		}
	}
	return nil
}

func add(to, u *usage.Units) {
	for i := range to {
		to[i] += u[i]
	}
}

// units brings the counts into disjoint classes, iterations left out.
func (c *counts) units() (u usage.Units) {
	w1h := max(0, c.w1h)
	write := c.write
	if write < 0 {
		write = max(0, c.w5m) + w1h
	}
	w1h = min(w1h, write)
	u[usage.Input] = max(0, c.input)
	u[usage.CacheRead] = max(0, c.cached)
	u[usage.CacheWrite] = write - w1h
	u[usage.CacheWrite1h] = w1h
	u[usage.Output] = max(0, c.output)
	u[usage.Searches] = max(0, c.searches)
	return u
}
