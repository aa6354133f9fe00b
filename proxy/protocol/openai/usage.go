package openai

import (
	"bytes"

	"tokenrelay/proxy/protocol/walk"
	"tokenrelay/shared/usage"
)

// counts is one usage object as a provider wrote it. Absent figures are -1.
type counts struct {
	prompt, completion, total            int64
	cached, cacheWrite                   int64
	audioIn, audioOut, imageIn, imageOut int64
	reasoning                            int64
	hit, miss                            int64 // DeepSeek: prompt_cache_hit_tokens, prompt_cache_miss_tokens
	bad                                  bool  // a figure that can be no count
}

// noCounts is a usage object in which no figure stands.
var noCounts = counts{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, false}

// figures are where the figures are.
func (c *counts) figures() [12]*int64 {
	return [12]*int64{
		&c.prompt, &c.completion, &c.total, &c.cached, &c.cacheWrite, &c.audioIn, &c.audioOut, &c.imageIn, &c.imageOut,
		&c.reasoning, &c.hit, &c.miss,
	}
}

// readUsage reads the usage object at b[i] == '{' and, with p, cuts what names the
// supplier's price: members whose name starts with cost. It returns the end of the
// object, -1 if it is broken.
func readUsage(p *walk.Patch, b []byte, i int, c *counts) int {
	*c = noCounts
	it := walk.Object(b, i)
	var cut walk.Cutter
	for it.Next() {
		if p != nil {
			if bytes.HasPrefix(it.Key, costPrefix) {
				if !cut.Drop(p, &it) {
					return -1
				}
				continue
			}
			cut.Stay(p, &it)
		}
		switch string(it.Key) {
		case "prompt_tokens":
			c.read(it.Value(), &c.prompt)
		case "completion_tokens":
			c.read(it.Value(), &c.completion)
		case "total_tokens":
			c.read(it.Value(), &c.total)
		case "cached_tokens", "num_cached_tokens": // Kimi; Mistral, older
			c.read(it.Value(), &c.cached)
		case "prompt_cache_hit_tokens":
			c.read(it.Value(), &c.hit)
		case "prompt_cache_miss_tokens":
			c.read(it.Value(), &c.miss)
		case "reasoning_tokens": // Perplexity
			c.read(it.Value(), &c.reasoning)
		case "prompt_tokens_details", "completion_tokens_details":
			if it.Byte() != '{' {
				continue
			}
			in := walk.Object(b, it.Val)
			input := it.Key[0] == 'p'
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
	if p != nil {
		cut.Done(p, it.End())
	}
	return it.End()
}

var costPrefix = []byte("cost")

func (c *counts) detail(it *walk.Iter, input bool) {
	if input {
		switch string(it.Key) {
		case "cached_tokens":
			c.read(it.Value(), &c.cached)
		case "cache_write_tokens", "cache_creation_input_tokens", "cache_creation_tokens":
			c.read(it.Value(), &c.cacheWrite)
		case "audio_tokens":
			c.read(it.Value(), &c.audioIn)
		case "image_tokens":
			c.read(it.Value(), &c.imageIn)
		}
		return
	}
	switch string(it.Key) {
	case "reasoning_tokens":
		c.read(it.Value(), &c.reasoning)
	case "audio_tokens":
		c.read(it.Value(), &c.audioOut)
	case "image_tokens":
		c.read(it.Value(), &c.imageOut)
	}
}

func (c *counts) read(v []byte, n *int64) {
	x, ok, bad := walk.Count(v)
	if ok {
		*n = x
	}
	c.bad = c.bad || bad
}

// units brings a usage object into disjoint classes (protocols 12.8). What
// differs between providers is told from the figures themselves where they tell
// it (the total), so that a provider behind another one's dialect counts right
// too.
func (c *counts) units(d Dialect) (u usage.Units, ok bool) {
	if c.prompt < 0 && c.completion < 0 {
		return u, false
	}
	prompt, completion := max(0, c.prompt), max(0, c.completion)
	audioIn := max(0, c.audioIn)
	if c.total > 0 {
		switch extra := c.total - prompt - completion; {
		case extra <= 0:
		case d == GeminiCompat:
			completion += extra // thinking is in the total only
		case extra == c.reasoning:
			completion += extra // xAI: reasoning beside completion
		case extra == audioIn:
			prompt += extra // Mistral: audio beside the prompt
		}
	}
	read, write := max(0, c.cached), max(0, c.cacheWrite)
	if c.hit >= 0 && c.miss >= 0 && c.hit+c.miss == prompt {
		read = c.hit
	}
	read = min(read, prompt) // Azure with Grok reports more cached than prompt
	write = min(write, prompt)
	if read+write > prompt {
		// OpenRouter with Gemini: the same tokens are written and read. They are
		// counted once, as read; the fee for storing them is the house's.
		write = max(0, write-read)
	}
	rest := prompt - read - write
	audioIn = min(audioIn, rest)
	rest -= audioIn
	imageIn := min(max(0, c.imageIn), rest)
	rest -= imageIn
	audioOut := min(max(0, c.audioOut), completion)
	imageOut := min(max(0, c.imageOut), completion-audioOut)
	u[usage.Input] = rest
	u[usage.CacheRead] = read
	u[usage.CacheWrite] = write
	u[usage.AudioIn] = audioIn
	u[usage.ImageIn] = imageIn
	u[usage.Output] = completion - audioOut - imageOut
	u[usage.AudioOut] = audioOut
	u[usage.ImageOut] = imageOut
	return u, true
}
