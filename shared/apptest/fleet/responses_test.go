package fleet

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
)

func responses(k apptest.Key, method, path, body string) apptest.Request {
	r := apptest.Chat(k.Token, "", "")
	r.Method, r.Path, r.Body = method, path, body
	return r
}

// A conversation on Responses goes on at any proxy the moment its client has seen the
// end of the turn before; what was kept is shown and deleted at any proxy, for its
// client only, and costs nothing.
func TestResponsesOverTwoProxies(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	c := s.CreateClient("acme", "10")
	k, other := s.CreateKey(c.Name), s.CreateKey(s.CreateClient("other", "10").Name)
	previous, ids := "", []string{}
	for turn := range 12 {
		stream := turn%2 == 0
		r := s.Proxies[turn%2].Do(responses(k, "POST", "/v1/responses", fmt.Sprintf(`{"model":"mock-chat","input":"turn %d mock:out=5","stream":%v%s}`, turn, stream, previous)))
		at := strings.Index(string(r.Body), `"id":"resp_`)
		if r.Status != 200 || at < 0 || stream && !strings.Contains(string(r.Body), "response.completed") {
			t.Fatalf("turn %d: %d %s", turn, r.Status, r.Body)
		}
		id, _, _ := strings.Cut(string(r.Body[at+len(`"id":"`):]), `"`)
		ids = append(ids, id)
		previous = fmt.Sprintf(`,"previous_response_id":%q`, id)
	}
	charged(t, s, c.Name, 10*money.USD)
	last, path := ids[len(ids)-1], "/v1/responses/"+ids[len(ids)-1]
	for i, p := range s.Proxies {
		if r := p.Do(responses(k, "GET", path, "")); r.Status != 200 || r.JSON("id") != last {
			t.Errorf("proxy %d: %d %s", i, r.Status, r.Body)
		}
		if r := p.Do(responses(k, "GET", path+"/input_items", "")); r.Status != 200 || !strings.Contains(string(r.Body), "turn 11") || strings.Contains(string(r.Body), "turn 10") {
			t.Errorf("proxy %d: %d %s", i, r.Status, r.Body)
		}
		for _, method := range []string{"GET", "DELETE"} {
			if r := p.Do(responses(other, method, path, "")); r.Status != 404 {
				t.Errorf("proxy %d, %s of another client: %d %s", i, method, r.Status, r.Body)
			}
		}
		if r := p.Do(responses(other, "POST", "/v1/responses", `{"model":"mock-chat","input":"a"`+previous+`}`)); r.Status != 404 {
			t.Errorf("proxy %d, another client goes on: %d %s", i, r.Status, r.Body)
		}
	}
	if r := s.Proxies[0].Do(responses(k, "DELETE", path, "")); r.Status != 200 || r.JSON("deleted") != "true" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	for i, p := range s.Proxies {
		if r := p.Do(responses(k, "GET", path, "")); r.Status != http.StatusNotFound {
			t.Errorf("proxy %d after it was deleted: %d %s", i, r.Status, r.Body)
		}
	}
	charged(t, s, c.Name, 10*money.USD)
}
