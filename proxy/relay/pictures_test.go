package relay_test

import (
	"encoding/json"
	"strings"
	"testing"

	"tokenrelay/shared/usage"
)

// Pictures by the piece: as many as were made are charged, at most as many as were held.
func TestPicturesByPiece(t *testing.T) {
	k, _ := beside(t)
	edit, editType := form(t, []byte("png"), "image", "@a.png", "mask", "@b.png", "prompt", "more", "model", "dalle-a", "n", "2", "size", "512x512")
	vary, varyType := form(t, []byte("png"), "image", "@a.png", "model", "dalle-a")
	for i, c := range []struct {
		path, body, kind string
		n                int
	}{
		{"/v1/images/generations", `{"model":"dalle-a","prompt":"a cat","size":"1024x1024","quality":"hd"}`, "application/json", 1},
		{"/v1/images/generations", `{"model":"dalle-a","prompt":"a cat","n":3,"response_format":"b64_json"}`, "application/json", 3},
		{"/v1/images/edits", edit, editType, 2},
		{"/v1/images/variations", vary, varyType, 1},
		{"/v1/openai/v1/images/generations", `{"model":"dalle-a","prompt":"a cat"}`, "application/json", 1},
	} {
		r := post(t, k, c.path, c.body, "Content-Type", c.kind)
		var a struct {
			Data []struct {
				B64 string `json:"b64_json"`
			}
		}
		if err := json.Unmarshal(r.body, &a); err != nil || r.status != 200 || len(a.Data) != c.n {
			t.Fatalf("%s: %d %s", c.path, r.status, tail(r.body))
		}
		check(t, c.path, last(t, k, i+1), units(usage.Images, c.n), usage.SourceReported, due(int64(c.n), 40_000_000_000))
		if rec := last(t, k, i+1); rec.Hold != rec.Charge {
			t.Errorf("%s: held %s, charged %s", c.path, rec.Hold, rec.Charge)
		}
	}
	k.AtRest(t)
}

// Pictures by tokens: what the provider reports, whole and streamed with partial pictures.
func TestPicturesByTokens(t *testing.T) {
	k, m := beside(t)
	edit, editType := form(t, []byte("png"), "image[]", "@a.png", "image[]", "@b.png", "prompt", "abcd", "model", "image-a", "stream", "true", "partial_images", "1")
	for i, c := range []struct {
		path, body, kind string
		in, given, out   int
		partial          int
	}{
		{"/v1/images/generations", `{"model":"image-a","prompt":"abcd","n":2,"size":"1536x1024","quality":"low"}`, "application/json", 1, 0, 200, 0},
		{"/v1/images/generations", `{"model":"image-a","prompt":"abcd","stream":true,"partial_images":2}`, "application/json", 1, 0, 100, 2},
		{"/v1/images/edits", edit, editType, 1, 100, 100, 1},
		{"/v1/images/edits", `{"model":"image-a","prompt":"abcd","images":[{"image_url":"data:image/png;base64,AAAA"}]}`, "application/json", 1, 50, 100, 0},
	} {
		r := post(t, k, c.path, c.body, "Content-Type", c.kind)
		if r.status != 200 || strings.Count(string(r.body), "event: ") != c.partial+min(1, c.partial) {
			t.Fatalf("%s: %d %s", c.path, r.status, tail(r.body))
		}
		check(t, c.path, last(t, k, i+1), units(usage.Input, c.in, usage.ImageIn, c.given, usage.ImageOut, c.out), usage.SourceReported,
			due(int64(c.in), 5_000_000, int64(c.given), 10_000_000, int64(c.out), 40_000_000))
	}
	for script, source := range map[string]usage.Source{"usage=none": usage.SourceEstimated, "usage=huge": usage.SourceEstimated, "usage=negative": usage.SourceEstimated} {
		n := len(k.Records(t))
		r := post(t, k, "/v1/images/generations", `{"model":"image-a","prompt":"a cat mock:`+script+`"}`)
		if rec := last(t, k, n+1); r.status != 200 || rec.Source != source || rec.Units[usage.ImageOut] == 0 || rec.Charge > rec.Hold || rec.Charge == 0 {
			t.Errorf("%s: %d %v %s, charged %s of %s", script, r.status, rec.Units, rec.Source, rec.Charge, rec.Hold)
		}
	}
	for _, r := range m.Requests(mockFilter) {
		if r.Model != "up-image" {
			t.Errorf("the provider was asked for %q", r.Model)
		}
	}
	k.AtRest(t)
}

func TestPicturesRefused(t *testing.T) {
	k, m := beside(t)
	for body, param := range map[string]string{
		`{"model":"image-a"}`:                                 "prompt",
		`{"prompt":"a"}`:                                      "model",
		`{"model":"image-a","prompt":"a","n":0}`:              "n",
		`{"model":"image-a","prompt":"a","n":11}`:             "n",
		`{"model":"image-a","prompt":"a","n":1,"N":9}`:        "n",
		`{"model":"image-a","prompt":"a","n":1,"n":9}`:        "n",
		`{"model":"image-a","prompt":"a","size":"huge"}`:      "size",
		`{"model":"image-a","prompt":"a","size":7}`:           "size",
		`{"model":"image-a","prompt":"a","partial_images":9}`: "partial_images",
		`{"model":"image-a","prompt":"a","stream":"yes"}`:     "stream",
		`{"model":"image-a","prompt":"a","\u006e":9}`:         "n",
	} {
		refused(t, post(t, k, "/v1/images/generations", body), 400, "invalid_request", param)
	}
	refused(t, post(t, k, "/v1/images/edits", `{"model":"image-a","prompt":"a","images":[{"file_id":"file-1"}]}`), 404, "not_found", "")
	refused(t, post(t, k, "/v1/images/variations", `{"model":"dalle-a","prompt":"a"}`), 400, "invalid_request", "")
	body, kind := form(t, []byte("png"), "model", "dalle-a", "prompt", "a")
	refused(t, post(t, k, "/v1/images/edits", body, "Content-Type", kind), 400, "invalid_request", "image")
	if n := len(m.Requests(mockFilter)); n != 0 {
		t.Errorf("%d requests reached a provider", n)
	}
	k.AtRest(t)
}
