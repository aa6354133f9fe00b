package responses

import (
	"bytes"

	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/usage"
)

// counts is one usage object as a provider wrote it. Absent figures are -1.
type counts struct {
	input, output, total, cached, write, reasoning int64
	audioIn, audioOut, imageIn, imageOut           int64
	bad                                            bool // a figure that can be no count
}

var costPrefix = []byte("cost")

// read reads the usage object at b[i] == '{' and cuts what names the supplier's
// price: members whose name starts with cost. It returns the end of the object, -1
// if it is broken.
func (c *counts) read(p *walk.Patch, b []byte, i int) int {
	*c = counts{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, false}
	it := walk.Object(b, i)
	var cut walk.Cutter
	for it.Next() {
		if bytes.HasPrefix(it.Key, costPrefix) {
			if !cut.Drop(p, &it) {
				return -1
			}
			continue
		}
		cut.Stay(p, &it)
		switch string(it.Key) {
		case "input_tokens":
			c.count(it.Value(), &c.input)
		case "output_tokens":
			c.count(it.Value(), &c.output)
		case "total_tokens":
			c.count(it.Value(), &c.total)
		case "input_tokens_details", "output_tokens_details":
			if it.Byte() != '{' {
				continue
			}
			in := walk.Object(b, it.Val)
			input := it.Key[0] == 'i'
			for in.Next() {
				c.detail(&in, input)
			}
			if in.Bad {
				return -1
			}
			it.Resume(in.End())
		}
	}
	if it.Bad {
		return -1
	}
	cut.Done(p, it.End())
	return it.End()
}

func (c *counts) detail(it *walk.Iter, input bool) {
	switch k := string(it.Key); {
	case k == "cached_tokens" && input:
		c.count(it.Value(), &c.cached)
	case k == "cache_write_tokens" && input:
		c.count(it.Value(), &c.write)
	case k == "audio_tokens" && input:
		c.count(it.Value(), &c.audioIn)
	case k == "image_tokens" && input:
		c.count(it.Value(), &c.imageIn)
	case k == "reasoning_tokens":
		c.count(it.Value(), &c.reasoning)
	case k == "audio_tokens":
		c.count(it.Value(), &c.audioOut)
	case k == "image_tokens":
		c.count(it.Value(), &c.imageOut)
	}
}

func (c *counts) count(v []byte, n *int64) {
	x, ok, bad := walk.Count(v)
	if ok {
		*n = x
	}
	c.bad = c.bad || bad
}

// units brings the counts into disjoint classes (protocols 12.8): the input holds
// what the cache gave and took, the output its reasoning.
func (c *counts) units() (u usage.Units, ok bool) {
	if c.input < 0 && c.output < 0 {
		return u, false
	}
	input, output := max(0, c.input), max(0, c.output)
	read := min(max(0, c.cached), input)
	write := min(max(0, c.write), input-read)
	rest := input - read - write
	u[usage.AudioIn] = min(max(0, c.audioIn), rest)
	rest -= u[usage.AudioIn]
	u[usage.ImageIn] = min(max(0, c.imageIn), rest)
	u[usage.Input] = rest - u[usage.ImageIn]
	u[usage.CacheRead], u[usage.CacheWrite] = read, write
	u[usage.AudioOut] = min(max(0, c.audioOut), output)
	u[usage.ImageOut] = min(max(0, c.imageOut), output-u[usage.AudioOut])
	u[usage.Output] = output - u[usage.AudioOut] - u[usage.ImageOut]
	return u, true
}
