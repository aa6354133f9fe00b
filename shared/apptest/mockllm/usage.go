package mockllm

import (
	"strconv"
)

// num appends one token count, or the lie that the script asks for instead.
func (o *out) num(dst []byte, v int64, input bool) []byte {
	lie := o.sc.Usage
	if input {
		lie = o.sc.UsageIn
	}
	switch lie {
	case "negative":
		return append(dst, "-5"...)
	case "huge":
		return append(dst, "1000000000000000000"...)
	case "string":
		dst = append(dst, '"')
		dst = strconv.AppendInt(dst, v, 10)
		return append(dst, '"')
	case "null":
		return append(dst, "null"...)
	case "float":
		return append(dst, "3.7"...)
	case "exp":
		return append(dst, "1e3"...)
	case "nan":
		return append(dst, "NaN"...)
	case "zero":
		return append(dst, '0')
	case "object":
		return append(dst, "{}"...)
	}
	return strconv.AppendInt(dst, v, 10)
}

// state tells the meter what usage the next bytes carry.
func (o *out) state(u Units) {
	o.usage, o.lie = &u, ""
	switch o.sc.Usage {
	case "", "none", "twice", "shrink", "grow", "honest":
	default:
		o.lie = o.sc.Usage
	}
	if o.sc.UsageIn != "" && o.sc.UsageIn != "honest" {
		o.lie += "/" + o.sc.UsageIn
	}
}

func (o *out) field(dst []byte, name string, v int64, input bool) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return o.num(dst, v, input)
}

func plain(dst []byte, name string, v int64) []byte {
	dst = append(dst, '"')
	dst = append(dst, name...)
	dst = append(dst, '"', ':')
	return strconv.AppendInt(dst, v, 10)
}

// chatUsage appends the usage object of an OpenAI-shaped answer in the
// dialect's own form.
func (o *out) chatUsage(dst []byte, u Units) []byte {
	prompt := u.TotalInput()
	completion, total := u.Output, prompt+u.Output
	written := u.CacheWrite + u.CacheWrite1h
	switch o.dial.name {
	case "xai", "gemini":
		completion -= u.Reasoning // both say reasoning in the total only
	}
	dst = append(dst, '{')
	dst = o.field(dst, "prompt_tokens", prompt, true)
	dst = append(dst, ',')
	dst = o.field(dst, "completion_tokens", completion, false)
	dst = append(dst, ',')
	dst = plain(dst, "total_tokens", total)
	if o.dial.name == "gemini" {
		return append(dst, '}')
	}
	dst = append(dst, `,"prompt_tokens_details":{`...)
	dst = plain(dst, "cached_tokens", u.CacheRead)
	if written > 0 {
		dst = append(dst, ',')
		dst = plain(dst, "cache_write_tokens", written)
	}
	switch o.dial.name {
	case "openai", "azure":
		dst = append(dst, `,"audio_tokens":0},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}}`...)
	case "deepseek":
		dst = append(dst, `},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `},`...)
		dst = plain(dst, "prompt_cache_hit_tokens", u.CacheRead)
		dst = append(dst, ',')
		dst = plain(dst, "prompt_cache_miss_tokens", prompt-u.CacheRead)
		dst = append(dst, '}')
	case "kimi":
		dst = append(dst, `},`...)
		dst = plain(dst, "cached_tokens", u.CacheRead)
		dst = append(dst, '}')
	case "xai":
		dst = append(dst, `,"text_tokens":`...)
		dst = strconv.AppendInt(dst, prompt, 10)
		dst = append(dst, `,"audio_tokens":0,"image_tokens":0},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0},"num_sources_used":0,"cost_in_usd_ticks":1466250}`...)
	case "groq":
		dst = append(dst, `},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `},"queue_time":0.004,"prompt_time":0.014,"completion_time":0.112,"total_time":0.126}`...)
	case "openrouter":
		dst = append(dst, `,"audio_tokens":0},"cost":0.000837,"is_byok":false,"cost_details":{"upstream_inference_cost":0.000837},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `}}`...)
	case "perplexity":
		dst = append(dst, `},"search_context_size":"low","cost":{"input_tokens_cost":0.00001,"output_tokens_cost":0.00002,"request_cost":0.005,"total_cost":0.00503}}`...)
	default:
		dst = append(dst, `},"completion_tokens_details":{`...)
		dst = plain(dst, "reasoning_tokens", u.Reasoning)
		dst = append(dst, `}}`...)
	}
	return dst
}

// anthropicUsage appends the members (no braces) of an Anthropic usage object.
func (o *out) anthropicUsage(dst []byte, u Units, output int64, start bool) []byte {
	dst = o.field(dst, "input_tokens", u.Input, true)
	dst = append(dst, ',')
	dst = plain(dst, "cache_creation_input_tokens", u.CacheWrite+u.CacheWrite1h)
	dst = append(dst, ',')
	dst = plain(dst, "cache_read_input_tokens", u.CacheRead)
	if start {
		dst = append(dst, `,"cache_creation":{`...)
		dst = plain(dst, "ephemeral_5m_input_tokens", u.CacheWrite)
		dst = append(dst, ',')
		dst = plain(dst, "ephemeral_1h_input_tokens", u.CacheWrite1h)
		dst = append(dst, '}')
	}
	dst = append(dst, ',')
	dst = o.field(dst, "output_tokens", output, false)
	if start {
		dst = append(dst, `,"service_tier":"standard"`...)
	}
	return dst
}
