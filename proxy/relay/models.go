package relay

import (
	"slices"
	"strconv"

	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/anthropic"
	"tokenrelay/proxy/protocol/gemini"
	"tokenrelay/proxy/protocol/openai"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/price"
)

// models answers the models lists: what this key may call, by public name (S1-01).
func (x *Exchange) models() *apiError {
	snap := x.r.o.Catalog.Snapshot()
	x.snap = snap
	if x.match.Pinned {
		if x.pinned = snap.Providers[string(x.match.Provider)]; x.pinned == nil {
			return apierr.ErrNotFound
		}
	}
	google := x.match.Family == protocol.FamilyGemini
	messages := x.match.Endpoint == protocol.AnthropicModels || x.match.Endpoint == protocol.AnthropicModel
	if x.match.Param != nil {
		m := snap.Models[string(x.match.Param)]
		if m == nil || !x.visible(m) {
			return apierr.New(apierr.NotFound, "The model '"+string(x.match.Param)+"' does not exist or is not available to this key.").WithParam("model")
		}
		info := modelInfo(m)
		info.ID = string(x.match.Param) // an alias is answered by the name that was asked for
		switch {
		case google:
			x.out = gemini.AppendModel(x.out[:0], &info)
		case messages:
			x.out = anthropic.AppendModel(x.out[:0], &info)
		default:
			x.out = openai.AppendModel(x.out[:0], &info)
		}
		x.reply()
		return nil
	}
	list := make([]protocol.ModelInfo, 0, len(snap.ModelList))
	for _, m := range snap.ModelList {
		if x.visible(m) {
			list = append(list, modelInfo(m))
		}
	}
	switch {
	case google:
		page, next, err := x.googlePage(list)
		if err != nil {
			return err
		}
		x.out = gemini.AppendModels(x.out[:0], page, next)
	case messages:
		page, more, err := x.modelsPage(list)
		if err != nil {
			return err
		}
		x.out = anthropic.AppendModels(x.out[:0], page, more)
	default:
		x.out = openai.AppendModels(x.out[:0], list)
	}
	x.reply()
	return nil
}

// googlePage cuts the page that Gemini's pageSize and pageToken ask for; a token is the
// last model of the page before.
func (x *Exchange) googlePage(list []protocol.ModelInfo) (page []protocol.ModelInfo, next string, err *apiError) {
	const usual, most = 50, 1000
	args := x.ctx.QueryArgs()
	size := usual
	if v := args.Peek("pageSize"); v != nil {
		n, e := strconv.Atoi(string(v))
		if e != nil || n < 0 {
			return nil, "", apierr.Invalid("pageSize", "pageSize must be a whole number.")
		}
		if n > 0 {
			size = min(n, most)
		}
	}
	if token := args.Peek("pageToken"); len(token) > 0 {
		i := slices.IndexFunc(list, func(m protocol.ModelInfo) bool { return m.ID == string(token) })
		if i < 0 {
			return nil, "", apierr.Invalid("pageToken", "pageToken is none of this list.")
		}
		list = list[i+1:]
	}
	if len(list) > size {
		return list[:size], list[size-1].ID, nil
	}
	return list, "", nil
}

// modelsPage cuts the page that Anthropic's limit, after_id and before_id ask for.
func (x *Exchange) modelsPage(list []protocol.ModelInfo) (page []protocol.ModelInfo, more bool, err *apiError) {
	const usual, most = 20, 1000
	args := x.ctx.QueryArgs()
	limit := usual
	if v := args.Peek("limit"); v != nil {
		n, e := strconv.Atoi(string(v))
		if e != nil || n < 1 || n > most {
			return nil, false, apierr.Invalid("limit", "limit must be a whole number between 1 and 1000.")
		}
		limit = n
	}
	at := func(id []byte) int {
		return slices.IndexFunc(list, func(m protocol.ModelInfo) bool { return m.ID == string(id) })
	}
	if after := args.Peek("after_id"); after != nil {
		i := at(after)
		if i < 0 {
			return nil, false, apierr.Invalid("after_id", "after_id names no model of this list.")
		}
		list = list[i+1:]
	}
	if before := args.Peek("before_id"); before != nil {
		i := at(before)
		if i < 0 {
			return nil, false, apierr.Invalid("before_id", "before_id names no model of this list.")
		}
		list = list[:i]
		return list[max(0, len(list)-limit):], len(list) > limit, nil
	}
	return list[:min(limit, len(list))], len(list) > limit, nil
}

func modelInfo(m *catalog.Model) protocol.ModelInfo {
	return protocol.ModelInfo{ID: m.ID, CreatedUnix: m.CreatedUnix, MaxInput: m.ContextTokens, MaxOutput: m.MaxOutput}
}

// visible reports whether the key may call the model: in its scope and its group's,
// priced, and with a route (on a pinned path: of that provider).
func (x *Exchange) visible(m *catalog.Model) bool {
	if admit.Scope(x.key, x.snap.Groups[x.key.GroupID], m) != nil {
		return false
	}
	if m.Auto != nil {
		for _, target := range m.Auto.Models {
			if x.callable(target) {
				return true
			}
		}
		return false
	}
	return x.callable(m)
}

func (x *Exchange) callable(m *catalog.Model) bool {
	if price.Pick(m.Prices, x.startedMilli) == nil {
		return false
	}
	for _, r := range m.Routes {
		if x.pinned == nil || r.Provider == x.pinned {
			return true
		}
	}
	return false
}
