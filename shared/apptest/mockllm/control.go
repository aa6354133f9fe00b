package mockllm

import (
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"
)

func control(path string) bool {
	return path == "/healthz" || strings.HasPrefix(path, "/meter/") || strings.HasPrefix(path, "/script/")
}

// control answers the test's own questions:
//
//	GET  /healthz
//	GET  /meter/requests?id= &id_prefix= &model= &lane= &status= &end= &limit=
//	GET  /meter/wait?n=1&timeout=5s&…      until n such requests have ended; 408 if not
//	GET  /meter/summary
//	GET  /meter/body?id=                   head and body kept by keep=1
//	POST /meter/reset
//	PUT  /script/LANE                      body: the standing script; empty or DELETE takes it away
func (s *Server) control(c *conn, method, path, query string) {
	q, _ := url.ParseQuery(query)
	status, _ := strconv.Atoi(q.Get("status"))
	limit, _ := strconv.Atoi(q.Get("limit"))
	f := Filter{Marker: q.Get("id"), MarkerPrefix: q.Get("id_prefix"), Model: q.Get("model"), Lane: q.Get("lane"), Status: status, End: q.Get("end"), Limit: limit}
	switch {
	case path == "/healthz":
		c.reply(200, "ok")
	case path == "/meter/requests":
		c.replyJSON(200, s.meter.Requests(f))
	case path == "/meter/summary":
		c.replyJSON(200, s.meter.Summary())
	case path == "/meter/reset":
		s.meter.Reset()
		s.mu.Lock()
		s.failed = map[string]int64{}
		s.mu.Unlock()
		c.reply(200, "ok")
	case path == "/meter/body":
		d := s.meter.detail(q.Get("id"))
		if d == nil {
			c.reply(404, "nothing kept under that id")
			return
		}
		c.replyJSON(200, map[string]string{"head": d.Head, "body": string(d.Body)})
	case path == "/meter/wait":
		n, err := strconv.Atoi(q.Get("n"))
		if err != nil {
			n = 1
		}
		timeout, err := time.ParseDuration(q.Get("timeout"))
		if err != nil {
			timeout = 5 * time.Second
		}
		list, ok := s.meter.Wait(f, n, timeout)
		code := 200
		if !ok {
			code = 408
		}
		if list == nil {
			list = []Record{}
		}
		c.replyJSON(code, list)
	case strings.HasPrefix(path, "/script/"):
		script := strings.TrimSpace(string(c.body))
		if method == "DELETE" {
			script = ""
		}
		if err := s.SetScript(strings.TrimPrefix(path, "/script/"), script); err != nil {
			c.reply(400, err.Error())
			return
		}
		c.reply(200, "ok")
	default:
		c.reply(404, "not found")
	}
}

func (c *conn) reply(status int, text string) { c.send(status, "text/plain", []byte(text+"\n")) }

func (c *conn) replyJSON(status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		c.reply(500, err.Error())
		return
	}
	c.send(status, "application/json", b)
}

func (c *conn) send(status int, contentType string, body []byte) {
	h := "HTTP/1.1 " + strconv.Itoa(status) + " " + statusText(status) + "\r\nContent-Type: " + contentType +
		"\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n"
	if _, err := c.nc.Write(append([]byte(h), body...)); err != nil {
		c.close = true
	}
}
