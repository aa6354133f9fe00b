package dashscope

import (
	"encoding/json"
	"strconv"

	"github.com/bytedance/sonic"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
)

// RanksPath is where ranks are asked for, below a provider's base URL.
const RanksPath = "/services/rerank/text-rerank/text-rerank"

// AppendRanksRequest appends a request for ranks in DashScope's form, of one in the form of
// Cohere and Jina that peek accepted.
func AppendRanksRequest(dst, body []byte, model string) []byte {
	get := func(name string) []byte { return walk.Get(body[walk.Space(body, 0):], name) }
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, `,"input":{"query":`...)
	dst = append(dst, get("query")...)
	dst = append(dst, `,"documents":[`...)
	list := get("documents")
	docs := walk.Array(list, 0)
	for n := 0; docs.Next(); n++ {
		if n > 0 {
			dst = append(dst, ',')
		}
		if docs.Byte() == '{' {
			if text := walk.Get(docs.Value(), "text"); len(text) > 0 && text[0] == '"' {
				dst = append(dst, text...)
				continue
			}
			dst = protocol.AppendString(dst, string(docs.Value())) // an object of other fields is its own text
			continue
		}
		dst = append(dst, docs.Value()...)
	}
	dst = append(dst, `]},"parameters":{"return_documents":`...)
	if string(get("return_documents")) == "true" {
		dst = append(dst, "true"...)
	} else {
		dst = append(dst, "false"...)
	}
	for _, name := range [...]string{"top_n", "top_k"} {
		if v := get(name); len(v) > 0 && v[0] != 'n' {
			dst = append(append(dst, `,"top_n":`...), v...)
			break
		}
	}
	return append(dst, "}}"...)
}

// AppendRanks appends an answer of DashScope in the form of Jina. false: it cannot be read.
func AppendRanks(dst, body, id []byte, model string) ([]byte, bool) {
	var r struct {
		Output struct {
			Results []struct {
				Index    int             `json:"index"`
				Score    json.Number     `json:"relevance_score"`
				Document json.RawMessage `json:"document"`
			} `json:"results"`
		} `json:"output"`
		Usage struct {
			Total int64 `json:"total_tokens"`
		} `json:"usage"`
	}
	if sonic.Unmarshal(body, &r) != nil || r.Output.Results == nil {
		return dst, false
	}
	dst = append(append(append(dst, `{"id":"`...), id...), '"')
	if model != "" {
		dst = protocol.AppendString(append(dst, `,"model":`...), model)
	}
	dst = append(dst, `,"results":[`...)
	for i, d := range r.Output.Results {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = strconv.AppendInt(append(dst, `{"index":`...), int64(d.Index), 10)
		dst = append(append(dst, `,"relevance_score":`...), d.Score...)
		if len(d.Document) > 0 && string(d.Document) != "null" {
			dst = append(append(dst, `,"document":`...), d.Document...)
		}
		dst = append(dst, '}')
	}
	dst = strconv.AppendInt(append(dst, `],"usage":{"total_tokens":`...), r.Usage.Total, 10)
	return append(dst, "}}"...), true
}
