package main

import (
	"bytes"
	"strconv"
)

// Every content event carries "@@SSSSSS:NNNNNNNNNNNNNNNNNNN@@": its number and when the
// provider sent it, Unix nanoseconds, both of fixed width. The load generator rebuilds
// each event from the two and compares it byte for byte.
const (
	seqWidth   = 6
	nanosWidth = 19
	markLen    = 2 + seqWidth + 1 + nanosWidth + 2
)

const streamEnd = "data: [DONE]\n\n"

// What the provider says it used. The relay's books are compared with these.
const (
	promptTokens = 412
	answerTokens = 120
)

const prose = "The relay hands each request to a provider that answers and writes down what was used, so that the bill of a month can be told line by line. "

func appendFixed(dst []byte, v int64, width int) []byte {
	at := len(dst)
	for range width {
		dst = append(dst, '0')
	}
	for i := at + width - 1; i >= at; i-- {
		dst[i] = byte('0' + v%10)
		v /= 10
	}
	return dst
}

// findMark reads the mark of an event, ok is false if it has none.
func findMark(event []byte) (seq int, nanos int64, ok bool) {
	i := bytes.Index(event, []byte("@@"))
	if i < 0 || len(event) < i+markLen || event[i+2+seqWidth] != ':' || !bytes.Equal(event[i+markLen-2:i+markLen], []byte("@@")) {
		return 0, 0, false
	}
	for _, c := range event[i+2 : i+2+seqWidth] {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		seq = seq*10 + int(c-'0')
	}
	for _, c := range event[i+3+seqWidth : i+markLen-2] {
		if c < '0' || c > '9' {
			return 0, 0, false
		}
		nanos = nanos*10 + int64(c-'0')
	}
	return seq, nanos, true
}

func appendChunkHead(dst []byte, model string) []byte {
	dst = append(dst, `data: {"id":"chatcmpl-sidebyside","object":"chat.completion.chunk","created":1700000000,"model":"`...)
	dst = append(dst, model...)
	return append(dst, `","system_fingerprint":"fp_side","choices":[`...)
}

func appendRole(dst []byte, model string) []byte {
	dst = appendChunkHead(dst, model)
	return append(dst, `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}],"usage":null}`+"\n\n"...)
}

func appendDelta(dst []byte, model string, seq int, nanos int64) []byte {
	dst = appendChunkHead(dst, model)
	dst = append(dst, `{"index":0,"delta":{"content":"@@`...)
	dst = appendFixed(dst, int64(seq), seqWidth)
	dst = append(dst, ':')
	dst = appendFixed(dst, nanos, nanosWidth)
	return append(dst, `@@"},"finish_reason":null}],"usage":null}`+"\n\n"...)
}

func appendFinish(dst []byte, model string) []byte {
	dst = appendChunkHead(dst, model)
	return append(dst, `{"index":0,"delta":{},"finish_reason":"stop"}],"usage":null}`+"\n\n"...)
}

func appendUsage(dst []byte, model string, out int) []byte {
	dst = appendChunkHead(dst, model)
	dst = append(dst, `],"usage":{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, promptTokens, 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, int64(out), 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, int64(promptTokens+out), 10)
	return append(dst, "}}\n\n"...)
}

// appendAnswer is the whole body of a plain answer, about 1 KB.
func appendAnswer(dst []byte, model string) []byte {
	dst = append(dst, `{"id":"chatcmpl-sidebyside","object":"chat.completion","created":1700000000,"model":"`...)
	dst = append(dst, model...)
	dst = append(dst, `","choices":[{"index":0,"message":{"role":"assistant","content":"`...)
	for range 4 {
		dst = append(dst, prose...)
	}
	dst = append(dst, `","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":`...)
	dst = strconv.AppendInt(dst, promptTokens, 10)
	dst = append(dst, `,"completion_tokens":`...)
	dst = strconv.AppendInt(dst, answerTokens, 10)
	dst = append(dst, `,"total_tokens":`...)
	dst = strconv.AppendInt(dst, promptTokens+answerTokens, 10)
	return append(dst, `},"service_tier":"default","system_fingerprint":"fp_side"}`...)
}

// The same stream as Anthropic has it.
const (
	textStop    = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	messageStop = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

func appendMessageStart(dst []byte) []byte {
	dst = append(dst, `event: message_start
data: {"type":"message_start","message":{"id":"msg_sidebyside","type":"message","role":"assistant","model":"upstream-other","content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":`...)
	dst = strconv.AppendInt(dst, promptTokens, 10)
	return append(dst, `,"output_tokens":1}}}

event: content_block_start
data: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}

`...)
}

func appendTextDelta(dst []byte, seq int, nanos int64) []byte {
	dst = append(dst, `event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"@@`...)
	dst = appendFixed(dst, int64(seq), seqWidth)
	dst = append(dst, ':')
	dst = appendFixed(dst, nanos, nanosWidth)
	return append(dst, "@@\"}}\n\n"...)
}

func appendMessageDelta(dst []byte, out int) []byte {
	dst = append(dst, `event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":`...)
	dst = strconv.AppendInt(dst, int64(out), 10)
	return append(dst, "}}\n\n"...)
}
