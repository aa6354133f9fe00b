package stored

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

var errItems = errors.New("stored: the input is neither a text nor a list of items")

// items reads an input: a text is one message of the user.
func items(input []byte) ([]json.RawMessage, error) {
	input = bytes.TrimSpace(input)
	var list []json.RawMessage
	switch {
	case len(input) > 0 && input[0] == '"':
		one := append([]byte(`{"type":"message","role":"user","content":[{"type":"input_text","text":`), input...)
		return []json.RawMessage{append(one, "}]}"...)}, nil
	case len(input) == 0 || input[0] != '[' || json.Unmarshal(input, &list) != nil:
		return nil, errItems
	}
	return list, nil
}

// AppendInput appends an input that says all that a conversation has said and own, the
// member input of the request that goes on with it. Items lose their ids: they name
// objects of an account that another provider does not have. For the same reason
// thoughts and what tools of the provider did are left out, but for thoughts whose
// proof, if proof is not nil, it knows.
func AppendInput(dst []byte, history []Turn, own []byte, proof func(encrypted string) bool) ([]byte, error) {
	dst = append(dst, '[')
	first := true
	add := func(list []json.RawMessage, strip bool) error {
		for _, item := range list {
			if strip {
				var err error
				if item, err = portable(item, proof); err != nil {
					return err
				}
				if item == nil {
					continue
				}
			}
			if !first {
				dst = append(dst, ',')
			}
			first = false
			dst = append(dst, item...)
		}
		return nil
	}
	for i := range history {
		said, err := items(history[i].Input)
		if err == nil {
			err = add(said, true)
		}
		if err != nil {
			return nil, err
		}
		var answer struct{ Output []json.RawMessage }
		if err := json.Unmarshal(history[i].Answer, &answer); err != nil {
			return nil, fmt.Errorf("stored: cannot read a response: %w", err)
		}
		if err := add(answer.Output, true); err != nil {
			return nil, err
		}
	}
	list, err := items(own)
	if err != nil {
		return nil, err
	}
	if err := add(list, false); err != nil {
		return nil, err
	}
	return append(dst, ']'), nil
}

// portable is an item as any provider takes it, nil for one that none but its own
// does.
func portable(item json.RawMessage, proof func(string) bool) (json.RawMessage, error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(item, &m); err != nil {
		return nil, fmt.Errorf("stored: cannot read an item: %w", err)
	}
	var kind, encrypted string
	_ = json.Unmarshal(m["type"], &kind)
	switch kind {
	case "reasoning":
		if _ = json.Unmarshal(m["encrypted_content"], &encrypted); proof == nil || !proof(encrypted) {
			return nil, nil
		}
	case "web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call", "mcp_call", "mcp_list_tools",
		"mcp_approval_request", "mcp_approval_response", "tool_search_call", "tool_search_output", "compaction", "item_reference":
		return nil, nil
	}
	delete(m, "id")
	delete(m, "status")
	return marshal(m)
}

// Page says which input items are wanted.
type Page struct {
	After      string // id of the item before the first, "" = from the start
	Limit      int    // 1 to 100
	Descending bool
}

// AppendItems appends a page of a response's input items, the answer to GET
// …/input_items. Items without an id of their own have one made of the response's id
// and their place.
func AppendItems(dst []byte, id string, t *Turn, p *Page) ([]byte, error) {
	list, err := items(t.Input)
	if err != nil {
		return nil, err
	}
	type entry struct {
		id   string
		item []byte
	}
	var all []entry
	for n, raw := range list {
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil {
			return nil, fmt.Errorf("stored: cannot read an item: %w", err)
		}
		var kind, own string
		if _ = json.Unmarshal(m["type"], &kind); kind == "" {
			m["type"] = json.RawMessage(`"message"`)
		}
		if _ = json.Unmarshal(m["id"], &own); own == "" {
			own = "item_" + id + "_" + strconv.Itoa(n)
			m["id"], _ = json.Marshal(own)
		}
		if text := m["content"]; len(text) > 0 && text[0] == '"' {
			part := "input_text"
			if string(m["role"]) == `"assistant"` {
				part = "output_text"
			}
			m["content"] = json.RawMessage(`[{"type":"` + part + `","text":` + string(text) + `}]`)
		}
		b, err := marshal(m)
		if err != nil {
			return nil, fmt.Errorf("stored: cannot write an item: %w", err)
		}
		all = append(all, entry{own, b})
	}
	if p.Descending {
		for i, j := 0, len(all)-1; i < j; i, j = i+1, j-1 {
			all[i], all[j] = all[j], all[i]
		}
	}
	from := 0
	for i := range all {
		if p.After != "" && all[i].id == p.After {
			from = i + 1
		}
	}
	page := all[from:]
	more := len(page) > p.Limit
	page = page[:min(p.Limit, len(page))]
	dst = append(dst, `{"object":"list","data":[`...)
	for i := range page {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, page[i].item...)
	}
	firstID, lastID := "null", "null"
	if len(page) > 0 {
		firstID, lastID = quoted(page[0].id), quoted(page[len(page)-1].id)
	}
	return fmt.Appendf(dst, `],"first_id":%s,"last_id":%s,"has_more":%v}`, firstID, lastID, more), nil
}

// marshal is json.Marshal but leaves texts as they are: what was said should be the
// same bytes each time, for prompt caches.
func marshal(m map[string]json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}
