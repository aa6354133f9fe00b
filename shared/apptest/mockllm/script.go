package mockllm

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Script is what a request asked of the mock. The tag of each field is its key.
// Counts are -1 where not asked for. "Event" means one SSE event with data,
// counted from 1; "after K events" with K = 0 means after the headers.
type Script struct {
	ID   string // id: the marker that the meter files the request under
	Case string // case: answer with this fixture or recording

	// What is answered.
	Dialect   string // dialect: a dialect name
	Out       int64  // out: output tokens
	Chunks    int64  // chunks: content events of a stream (default: one per token)
	Size      int64  // size: bytes of text in each content event; its tokens are ceil(size/4)
	In        int64  // in: input tokens claimed, all classes together
	Cached    int64  // cached: input tokens read from the cache
	CacheW    int64  // cache_write: input tokens written to the cache
	CacheW1h  int64  // cache_write_1h: the same, kept for an hour (Anthropic)
	Reasoning int64  // reasoning: reasoning tokens
	Tools     int64  // tools: tool calls to make, 0 for none
	Finish    string // finish: the finish or stop reason
	Ping      string // ping: "0" leaves Anthropic's ping out
	Comments  int64  // comments: comment lines before the first event
	Blank     int64  // blank: empty lines before a buffered JSON body

	// How fast.
	Delay       time.Duration // delay: before the headers
	Gap         time.Duration // gap: between events (with write: between writes)
	SlowHeaders time.Duration // slow_headers: per byte of the head
	Write       int64         // write: bytes per write of the body
	Flush       int64         // flush: events per write (0: all that is ready)

	// Errors in the provider's own shape.
	Status     int    // status
	Error      string // error: account_empty invalid_key context_length model_not_found content_filter rate_limit overloaded permission server timeout bad_request unprocessable too_large tool_use_failed html empty
	RetryAfter string // retry_after
	Location   string // location: for 3xx
	Fail       int64  // fail: only the first N calls of this id fail, later ones succeed
	ErrorAt    int64  // error_at: an error event instead of event K (1: the first)

	// Faults.
	Hang       int64         // hang: stop after K events, keep the connection; "headers": never answer
	HangBytes  int64         // hang_bytes
	Cut        int64         // cut: FIN after K events, the HTTP message unfinished; "headers": before any byte
	CutBytes   int64         // cut_bytes
	End        int64         // end: end the HTTP message cleanly after K events
	Rst        int64         // rst: reset after K events; "headers": before any byte
	RstBytes   int64         // rst_bytes
	Hold       time.Duration // hold: how long a hang lasts at most
	SSE        string        // sse: crlf cr bom nospace comments ids multiline noend junk badjson noname
	Usage      string        // usage: none negative huge string null float exp nan twice shrink grow zero object
	UsageIn    string        // usage_in: the same for the input side (number forms only)
	Gzip       string        // gzip: 1 compressed, lie (header only), bomb
	Huge       int64         // huge: bytes of text in a buffered answer
	Line       int64         // line: bytes of text in one event in the middle of a stream
	TE         string        // te: length chunked close both (CL and TE) short (CL too large) long (CL too small)
	Headers    string        // headers: cookie hop leak inject limits, joined by commas
	HugeHeader int64         // huge_headers: bytes of extra header
	Close      string        // close: 1 (said), silent (not said)
	Early      string        // early: 1xx status before the answer (100 102 103), may repeat: 103x5
	Answer     string        // answer: early = before the body is read (lane, path or key scripts only)
	Head       string        // head: broken = no HTTP status line; http10
	Keep       bool          // keep: keep head and body of the request for /meter/body
}

const unset = -1

func newScript() Script {
	return Script{
		Out: unset, Chunks: unset, Size: unset, In: unset, Cached: unset, CacheW: unset, CacheW1h: unset,
		Reasoning: unset, Tools: unset, Comments: unset, Write: unset, Flush: 1, Fail: unset, ErrorAt: unset,
		Hang: unset, HangBytes: unset, Cut: unset, CutBytes: unset, End: unset, Rst: unset, RstBytes: unset,
		Huge: unset, Line: unset, Hold: 10 * time.Minute,
	}
}

// beforeHeaders is the value of hang, cut and rst for the word "headers".
const beforeHeaders = -2

// Apply reads one script text into s. lane is the lane of the request: keys
// prefixed with another lane are left out.
func (s *Script) Apply(text, lane string) error {
	for text != "" {
		var kv string
		if i := strings.IndexAny(text, ";+"); i >= 0 {
			kv, text = text[:i], text[i+1:]
		} else {
			kv, text = text, ""
		}
		if kv == "" {
			continue
		}
		key, val, _ := strings.Cut(kv, "=")
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			if key[:i] != lane {
				continue
			}
			key = key[i+1:]
		}
		if err := s.set(key, val); err != nil {
			return fmt.Errorf("mock script: cannot set %q to %q: %w", key, val, err)
		}
	}
	return nil
}

func (s *Script) set(key, val string) (err error) {
	switch key {
	case "id":
		s.ID = val
	case "case":
		s.Case = val
	case "dialect":
		if dialectByName(val) == nil {
			return fmt.Errorf("unknown dialect")
		}
		s.Dialect = val
	case "out":
		return count(&s.Out, val)
	case "chunks":
		return count(&s.Chunks, val)
	case "size":
		return count(&s.Size, val)
	case "in":
		return count(&s.In, val)
	case "cached":
		return count(&s.Cached, val)
	case "cache_write":
		return count(&s.CacheW, val)
	case "cache_write_1h":
		return count(&s.CacheW1h, val)
	case "reasoning":
		return count(&s.Reasoning, val)
	case "tools":
		return count(&s.Tools, val)
	case "finish":
		s.Finish = val
	case "ping":
		s.Ping = val
	case "comments":
		return count(&s.Comments, val)
	case "blank":
		return count(&s.Blank, val)
	case "delay":
		return duration(&s.Delay, val)
	case "gap":
		return duration(&s.Gap, val)
	case "slow_headers":
		return duration(&s.SlowHeaders, val)
	case "hold":
		return duration(&s.Hold, val)
	case "write":
		return count(&s.Write, val)
	case "flush":
		return count(&s.Flush, val)
	case "status":
		n, err := strconv.Atoi(val)
		if err != nil || n < 200 || n > 999 {
			return fmt.Errorf("want a status of 200 to 999")
		}
		s.Status = n
	case "error":
		if _, ok := errorStatus[val]; !ok {
			return fmt.Errorf("unknown error name")
		}
		s.Error = val
	case "retry_after":
		s.RetryAfter = val
	case "location":
		s.Location = val
	case "fail":
		return count(&s.Fail, val)
	case "error_at":
		return count(&s.ErrorAt, val)
	case "hang":
		return countOrHeaders(&s.Hang, val)
	case "hang_bytes":
		return count(&s.HangBytes, val)
	case "cut":
		return countOrHeaders(&s.Cut, val)
	case "cut_bytes":
		return count(&s.CutBytes, val)
	case "end":
		return count(&s.End, val)
	case "rst":
		return countOrHeaders(&s.Rst, val)
	case "rst_bytes":
		return count(&s.RstBytes, val)
	case "sse":
		s.SSE = val
		return oneOf(val, "crlf", "cr", "bom", "nospace", "comments", "ids", "multiline", "noend", "junk", "badjson", "noname")
	case "usage":
		s.Usage = val
		return oneOf(val, "none", "negative", "huge", "string", "null", "float", "exp", "nan", "twice", "shrink", "grow", "zero", "object", "honest")
	case "usage_in":
		s.UsageIn = val
		return oneOf(val, "negative", "huge", "string", "null", "float", "exp", "nan", "zero", "object", "honest")
	case "gzip":
		s.Gzip = val
		return oneOf(val, "1", "lie", "bomb")
	case "huge":
		return count(&s.Huge, val)
	case "line":
		return count(&s.Line, val)
	case "te":
		s.TE = val
		return oneOf(val, "length", "chunked", "close", "both", "short", "long")
	case "headers":
		s.Headers = val
	case "huge_headers":
		return count(&s.HugeHeader, val)
	case "close":
		s.Close = val
		return oneOf(val, "1", "silent", "0")
	case "early":
		s.Early = val
		code, _, _ := strings.Cut(val, "x")
		return oneOf(code, "100", "102", "103")
	case "answer":
		s.Answer = val
		return oneOf(val, "early")
	case "head":
		s.Head = val
		return oneOf(val, "broken", "http10")
	case "keep":
		s.Keep = val != "0"
	default:
		return fmt.Errorf("unknown key")
	}
	return nil
}

// count reads a number, with k, m and g for 2^10, 2^20 and 2^30.
func count(dst *int64, val string) error {
	unit := int64(1)
	if n := len(val); n > 1 {
		switch val[n-1] {
		case 'k':
			unit = 1 << 10
		case 'm':
			unit = 1 << 20
		case 'g':
			unit = 1 << 30
		}
		if unit > 1 {
			val = val[:n-1]
		}
	}
	n, err := strconv.ParseInt(val, 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("want a count")
	}
	*dst = n * unit
	return nil
}

func countOrHeaders(dst *int64, val string) error {
	if val == "headers" {
		*dst = beforeHeaders
		return nil
	}
	return count(dst, val)
}

func duration(dst *time.Duration, val string) error {
	d, err := time.ParseDuration(val)
	if err != nil || d < 0 {
		return fmt.Errorf("want a duration such as 200ms")
	}
	*dst = d
	return nil
}

func oneOf(val string, words ...string) error {
	for _, w := range words {
		if val == w {
			return nil
		}
	}
	return fmt.Errorf("want one of %s", strings.Join(words, ", "))
}

// scriptIn finds `mock:key=…` in text and gives the script, up to a blank, a
// quote or the end. Text that only says "mock:" is left alone.
func scriptIn(text string) string {
	for {
		i := strings.Index(text, "mock:")
		if i < 0 {
			return ""
		}
		text = text[i+len("mock:"):]
		end := strings.IndexAny(text, " \t\r\n\"'`<>)")
		if end < 0 {
			end = len(text)
		}
		script := text[:end]
		key, _, ok := strings.Cut(script, "=")
		if ok && key != "" && strings.Trim(key, "abcdefghijklmnopqrstuvwxyz0123456789_.-") == "" {
			return script
		}
	}
}

// modelScript splits a model name into the name proper and its script.
func modelScript(model string) (name, script string) {
	if id, ok := strings.CutPrefix(model, "case:"); ok {
		id, rest, _ := strings.Cut(id, "+")
		return model, "case=" + id + ";" + rest
	}
	name, script, _ = strings.Cut(model, "+")
	if !strings.Contains(script, "=") {
		return model, ""
	}
	return name, script
}
