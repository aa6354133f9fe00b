package attack

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// An attacker is a process of its own that gets what others leave (SCHED_IDLE): it would sit on another
// machine, and the processors that it takes here are not what it costs the relay.

// attackEnv names what a copy of the test's binary does instead of tests.
const attackEnv = "RELAY_ATTACK"

// orders are what an attacker is told, report what it says when it is stopped.
type orders struct {
	Attack, Addr, Key string
	Rate, Conns, MiB  int
}

type report struct {
	Sent   map[int]int64 // by status; 0 = the connection ended without an answer
	Wrong  string        // an answer that an attacker must not get, the first
	Offers int64         // requests that were handed to the kernel
}

func TestMain(m *testing.M) {
	if text := os.Getenv(attackEnv); text != "" {
		var o orders
		if err := json.Unmarshal([]byte(text), &o); err != nil {
			panic(err)
		}
		if o.Attack == "nothing" {
			standBy()
			return
		}
		_ = json.NewEncoder(os.Stdout).Encode(o.carryOut())
		return
	}
	os.Exit(m.Run())
}

// standBy serves requests without looking at them, until its standard input ends: an attack
// on it shows what the machine itself does to a customer of the relay beside it.
func standBy() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(ln.Addr().String())
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); _ = ln.Close() }()
	for {
		nc, err := ln.Accept()
		if err != nil {
			return
		}
		go answerAll(nc)
	}
}

// answerAll reads requests and refuses them: the large ones with 404.
func answerAll(nc net.Conn) {
	defer func() { _ = nc.Close() }()
	br := bufio.NewReaderSize(nc, 64<<10)
	for {
		body := 0
		for {
			line, err := br.ReadSlice('\n')
			if err != nil {
				return
			}
			if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				body, _ = strconv.Atoi(string(bytes.TrimSpace(n)))
			}
			if len(line) == 2 {
				break
			}
		}
		status := http.StatusUnauthorized
		if body > 4<<10 {
			status = http.StatusNotFound
		}
		if _, err := br.Discard(body); err != nil {
			return
		}
		if _, err := fmt.Fprintf(nc, "HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n", status); err != nil {
			return
		}
	}
}

// bystander starts a process that stands by, and returns its address.
func bystander(t *testing.T) (addr string) {
	t.Helper()
	_, _, says := begin(t, orders{Attack: "nothing"}, os.Args[0])
	if err := says.Decode(&addr); err != nil {
		t.Fatal(err)
	}
	return addr
}

// begin starts a copy of the test's binary under orders. stop ends its standard input, says
// is what it prints.
func begin(t *testing.T, o orders, command ...string) (cmd *exec.Cmd, stop func(), says *json.Decoder) {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	cmd = exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), attackEnv+"="+string(text))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() { _ = in.Close() })
	t.Cleanup(func() { stop(); _ = cmd.Wait() })
	return cmd, stop, json.NewDecoder(out)
}

// attackBegins is how long an attack goes on before it counts: its connections are open,
// and it is what it will be.
var attackBegins = time.Duration(pick(200, 2000)) * time.Millisecond

// attack starts an attacker; end stops it and returns what it met.
func attack(t *testing.T, o orders) (end func() report) {
	t.Helper()
	cmd, stop, says := begin(t, o, "chrt", "--idle", "0", os.Args[0])
	var ready bool // it has made what it throws
	if err := says.Decode(&ready); err != nil || !ready {
		t.Fatalf("the attacker does not begin: %v", err)
	}
	time.Sleep(attackBegins)
	return func() (r report) {
		t.Helper()
		stop()
		if err := says.Decode(&r); err != nil {
			t.Fatalf("the attacker's report: %v", err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("the attacker: %v", err)
		}
		if r.Wrong != "" {
			t.Errorf("an attacker was answered %s", r.Wrong)
		}
		return r
	}
}

// attacker carries out orders until its standard input ends.
type attacker struct {
	orders
	stop chan struct{}

	mu     sync.Mutex
	report report
}

func (o orders) carryOut() report {
	a := &attacker{orders: o, stop: make(chan struct{}), report: report{Sent: map[int]int64{}}}
	go func() { _, _ = io.Copy(io.Discard, os.Stdin); close(a.stop) }()
	carry := map[string]func() func(worker int){
		"spray": func() func(int) { return a.spray }, "fresh": func() func(int) { return a.fresh }, "bombs": a.bombs,
	}[o.Attack]()
	_, _ = fmt.Println(true)
	var group sync.WaitGroup
	for i := range o.Conns {
		group.Go(func() { carry(i) })
	}
	group.Wait()
	return a.report
}

func (a *attacker) stopped() bool {
	select {
	case <-a.stop:
		return true
	default:
		return false
	}
}

// met notes an answer; wanted are the statuses that an attacker may get.
func (a *attacker) met(status int, err error, wanted ...int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err != nil {
		status = 0
	}
	a.report.Sent[status]++
	for _, w := range wanted {
		if status == w {
			return
		}
	}
	if a.report.Wrong == "" && !a.stopped() {
		a.report.Wrong = fmt.Sprintf("%d %v, want one of %v", status, err, wanted)
	}
}

func (a *attacker) offer() { a.mu.Lock(); a.report.Offers++; a.mu.Unlock() }

func unknownKey() []byte {
	return chat(fmt.Sprintf("sk-%016x%016x", rand.Uint64(), rand.Uint64()), `{"model":"mock-chat"}`)
}

// spray sends its part of Rate keys a second on one connection, whether they are answered
// or not, as far as the connection takes them.
func (a *attacker) spray(int) {
	for !a.stopped() {
		nc, err := net.Dial("tcp", a.Addr)
		if err != nil {
			a.met(0, err)
			return
		}
		closed := make(chan struct{})
		go func() {
			br := bufio.NewReader(nc)
			for {
				status, err := answer(br)
				if err != nil {
					break
				}
				a.met(status, nil, 401, 503)
			}
			close(closed)
		}()
		began := time.Now()
		for n := 1; !a.stopped(); n++ {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second * time.Duration(a.Conns) / time.Duration(a.Rate))))
			_ = nc.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			_, err := nc.Write(unknownKey())
			if errors.Is(err, os.ErrDeadlineExceeded) {
				<-a.stop // it takes no more, and of the last request it has a part
			}
			if err != nil {
				break
			}
			a.offer()
		}
		_ = nc.Close()
		<-closed
	}
}

// fresh opens a connection for every key, and does not wait for answers.
func (a *attacker) fresh(int) {
	for !a.stopped() {
		nc, err := net.Dial("tcp", a.Addr)
		if err != nil {
			a.met(0, err, 0) // a full backlog is an answer too
			time.Sleep(10 * time.Millisecond)
			continue
		}
		_ = nc.(*net.TCPConn).SetLinger(0)
		if _, err := nc.Write(unknownKey()); err == nil {
			a.offer()
		}
		_ = nc.Close()
	}
}

// bombs sends bodies that are small on the wire or cheap to make, and dear to read.
func (a *attacker) bombs() func(int) {
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	zeros := make([]byte, mib)
	for range a.MiB {
		_, _ = z.Write(zeros)
	}
	_ = z.Close()
	deep := `{"model":"mock-chat","messages":` + strings.Repeat("[", mib) + strings.Repeat("]", mib) + `}`
	all := []struct {
		req  []byte
		want int
	}{
		{chat(a.Key, zipped.String(), "Content-Encoding: gzip\r\n"), 415},
		{chat(a.Key, deep), 400},
		{chat(a.Key, strings.Repeat(`{"a":`, 100_000)), 400},
		{chat(a.Key, `{"model":"`+strings.Repeat("m", mib)+`"}`), 400},
	}
	return func(i int) {
		b := all[i%len(all)]
		for {
			select {
			case <-a.stop:
				return
			case <-time.After(20 * time.Millisecond):
			}
			nc, err := net.Dial("tcp", a.Addr)
			if err != nil {
				a.met(0, err)
				return
			}
			status, err := ask(nc, bufio.NewReader(nc), b.req)
			_ = nc.Close()
			a.met(status, err, b.want, 404, 429) // 404 is the bystander's
		}
	}
}
