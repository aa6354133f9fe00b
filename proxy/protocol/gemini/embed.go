package gemini

import (
	"encoding/json"
	"strconv"
	"strings"

	"github.com/bytedance/sonic"

	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/walk"
)

// AppendEmbedRequest appends a request for embeddings, each name of a model in it being the
// upstream's. The body is one that peek accepted.
func AppendEmbedRequest(dst, body []byte, model string) []byte {
	p := walk.Patch{Dst: dst, Src: body}
	it := walk.Object(body, walk.Space(body, 0))
	for it.Next() {
		switch string(it.Key) {
		case "model":
			putModel(&p, &it, model)
		case "requests":
			list := walk.Array(body, it.Val)
			if it.Byte() != '[' {
				continue
			}
			for list.Next() {
				if list.Byte() != '{' {
					continue
				}
				one := walk.Object(body, list.Val)
				named := false
				for one.Next() {
					if string(one.Key) == "model" {
						named = true
						putModel(&p, &one, model)
					}
				}
				if !named { // Google asks for it in each
					p.Keep(list.Val + 1)
					p.Dst = append(protocol.AppendString(append(p.Dst, `"model":`...), "models/"+model), ',')
				}
			}
		}
	}
	return p.Finish()
}

func putModel(p *walk.Patch, it *walk.Iter, model string) {
	p.Keep(it.Val)
	p.Dst = protocol.AppendString(p.Dst, "models/"+model)
	p.Cut(it.Val, it.ValueEnd())
}

// embedding is one request of Gemini's form.
type embedding struct {
	Content struct {
		Parts json.RawMessage `json:"parts"`
	} `json:"content"`
	TaskType  string `json:"taskType"`
	TaskType2 string `json:"task_type"`
	Title     string `json:"title"`
}

// text is all text of the content, as Gemini embeds it: as one.
func (e *embedding) text() string {
	type part struct {
		Text string `json:"text"`
	}
	var parts []part
	var one part
	if sonic.Unmarshal(e.Content.Parts, &parts) != nil && sonic.Unmarshal(e.Content.Parts, &one) == nil {
		parts = []part{one}
	}
	texts := make([]string, len(parts))
	for i := range parts {
		texts[i] = parts[i].Text
	}
	return strings.Join(texts, "\n")
}

// AppendTexts appends a request for embeddings in OpenAI's form, of one in Gemini's that
// peek accepted. dropped lists the members that have no place there.
func AppendTexts(dst, body []byte, model string, dimensions int64) (out []byte, dropped string) {
	var r struct {
		embedding
		Requests []embedding `json:"requests"`
	}
	if sonic.Unmarshal(body, &r) != nil {
		return append(dst, "{}"...), "" // the provider refuses it
	}
	list := r.Requests
	if len(list) == 0 {
		list = []embedding{r.embedding}
	}
	dst = append(dst, `{"model":`...)
	dst = protocol.AppendString(dst, model)
	dst = append(dst, `,"encoding_format":"float"`...)
	if dimensions > 0 {
		dst = append(dst, `,"dimensions":`...)
		dst = strconv.AppendInt(dst, dimensions, 10)
	}
	dst = append(dst, `,"input":[`...)
	task, title := false, false
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = protocol.AppendString(dst, list[i].text())
		task = task || list[i].TaskType+list[i].TaskType2 != ""
		title = title || list[i].Title != ""
	}
	var names []string
	if task {
		names = append(names, "taskType")
	}
	if title {
		names = append(names, "title")
	}
	return append(dst, "]}"...), strings.Join(names, ",")
}

// AppendEmbeddings appends an answer in OpenAI's form in that of Gemini: of a batch, or of
// one request. false: it cannot be read.
func AppendEmbeddings(dst, body []byte, batch bool) ([]byte, bool) {
	var r struct {
		Data []struct {
			Index     int             `json:"index"`
			Embedding json.RawMessage `json:"embedding"`
		} `json:"data"`
	}
	if sonic.Unmarshal(body, &r) != nil || len(r.Data) == 0 || !batch && len(r.Data) != 1 {
		return dst, false
	}
	list := make([]json.RawMessage, len(r.Data))
	for _, d := range r.Data {
		if d.Index < 0 || d.Index >= len(list) || list[d.Index] != nil || len(d.Embedding) == 0 || d.Embedding[0] != '[' {
			return dst, false
		}
		list[d.Index] = d.Embedding
	}
	if !batch {
		return append(append(append(dst, `{"embedding":{"values":`...), list[0]...), "}}"...), true
	}
	dst = append(dst, `{"embeddings":[`...)
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"values":`...), v...), '}')
	}
	return append(dst, "]}"...), true
}
