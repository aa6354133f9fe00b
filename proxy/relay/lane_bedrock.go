package relay

import (
	"slices"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/protocol"
	"tokenrelay/proxy/protocol/bedrock"
	"tokenrelay/proxy/protocol/chat"
	"tokenrelay/proxy/upstream"
	"tokenrelay/shared/aws"
)

// converseLane asks models behind Amazon Bedrock. No client speaks Converse: every
// request is translated.
var converseLane = lane{
	wire:   catalog.WireConverse,
	form:   chat.Converse,
	accept: "application/vnd.amazon.eventstream",
	frames: true,
	path: func(dst []byte, x *Exchange) []byte {
		return aws.AppendConversePath(dst, x.choice.Route.UpstreamModel, x.stream)
	},
	fields: func(dst []byte, x *Exchange) []byte {
		if _, signs := aws.ParseSecret(string(x.choice.Key.Secret)); signs {
			return dst
		}
		dst = append(dst, "Authorization: Bearer "...)
		dst = append(dst, x.choice.Key.Secret...)
		return append(dst, "\r\n"...)
	},
	sign: signConverse,
	class: func(x *Exchange, status int, retryAfter, body []byte) protocol.Class {
		return bedrock.ErrorClass(status, retryAfter, x.call.Head.ErrorType, body)
	},
}

// signConverse signs the request in x.req where the provider's key is one to sign with.
// A request that cannot be signed goes out without: it is refused there as one with a
// wrong key, and the key is parked.
func signConverse(x *Exchange, h *upstream.Host, bodyAt int) {
	c, ok := aws.ParseSecret(string(x.choice.Key.Secret))
	if !ok {
		return
	}
	p := x.choice.Route.Provider
	region := p.Options["region"]
	if region == "" {
		region = aws.Region(h.Name())
	}
	var space [512]byte
	path := x.via.path(nil, x)
	fields, err := x.signer.AppendFields(space[:0], &c, p.BaseURL+string(path), x.req[bodyAt:], region, "bedrock", x.wall())
	if err != nil {
		x.r.o.Log.Error("cannot sign a request", "provider", p.Slug, "error", err)
		return
	}
	const blank = len("\r\n") // behind the last field
	x.req = slices.Insert(x.req, bodyAt-blank, fields...)
}

// wall is the time now, by Postgres's clock.
func (x *Exchange) wall() time.Time { return time.Now().Add(x.r.o.Clock.Offset()) }
