package responses

import "tokenrelay/proxy/protocol/walk"

// echoed are the members of a request that its answer repeats, in order, with what
// stands there if the request has none.
var echoed = [...]struct{ name, absent string }{
	{"background", "false"},
	{"instructions", "null"},
	{"max_output_tokens", "null"},
	{"max_tool_calls", "null"},
	{"metadata", "{}"},
	{"parallel_tool_calls", "true"},
	{"previous_response_id", "null"},
	{"prompt_cache_key", "null"},
	{"reasoning", `{"effort":null,"summary":null}`},
	{"safety_identifier", "null"},
	{"service_tier", `"default"`},
	{"store", "true"},
	{"temperature", "1.0"},
	{"text", `{"format":{"type":"text"}}`},
	{"tool_choice", `"auto"`},
	{"tools", "[]"},
	{"top_logprobs", "0"},
	{"top_p", "1.0"},
	{"truncation", `"disabled"`},
	{"user", "null"},
}

// appendEcho appends them as members, each behind a comma.
func appendEcho(dst, body []byte) []byte {
	var found [len(echoed)][]byte
	it := walk.Object(body, 0)
	for it.Next() {
		for i := range echoed {
			if string(it.Key) == echoed[i].name && !walk.Null(it.Value()) {
				found[i] = it.Value()
			}
		}
	}
	for i := range echoed {
		dst = append(dst, ',', '"')
		dst = append(dst, echoed[i].name...)
		dst = append(dst, '"', ':')
		if found[i] == nil || echoed[i].name == "service_tier" { // no tier was asked for
			dst = append(dst, echoed[i].absent...)
			continue
		}
		for _, c := range found[i] {
			if c >= ' ' { // a line end would end the event; outside strings it says nothing
				dst = append(dst, c)
			}
		}
	}
	return dst
}
