package openai

import (
	"strconv"

	"tokenrelay/proxy/protocol"
)

// AppendModel appends one model object, the body of GET /v1/models/{id}.
func AppendModel(dst []byte, m *protocol.ModelInfo) []byte {
	dst = append(dst, `{"id":`...)
	dst = protocol.AppendString(dst, m.ID)
	dst = append(dst, `,"object":"model","created":`...)
	dst = strconv.AppendInt(dst, m.CreatedUnix, 10)
	return append(dst, `,"owned_by":"token-relay"}`...)
}

// AppendModels appends the body of GET /v1/models.
func AppendModels(dst []byte, list []protocol.ModelInfo) []byte {
	dst = append(dst, `{"object":"list","data":[`...)
	for i := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendModel(dst, &list[i])
	}
	return append(dst, "]}"...)
}

// AppendInputTokens appends the body of POST /v1/responses/input_tokens.
func AppendInputTokens(dst []byte, tokens int64) []byte {
	dst = append(dst, `{"object":"response.input_tokens","input_tokens":`...)
	dst = strconv.AppendInt(dst, tokens, 10)
	return append(dst, '}')
}
